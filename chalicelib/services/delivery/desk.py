"""The desk where every DSMessage arrives (-02 §2.4): decode, look whether it is of the present, pass it on."""

import dataclasses
from collections.abc import Callable
from typing import Any

from chalicelib.errors import DecodeError
from chalicelib.protocol.delivery.creation import CannotCreate
from chalicelib.protocol.delivery.directory import KeyPackages, PublicKey, PublishKeyPackages, RequestGroupId, Upload
from chalicelib.protocol.delivery.group_messages import SelfRemoveRequest, SendMessage, SubmitProposals
from chalicelib.protocol.delivery.group_updates import (
    AddClients,
    AddUsers,
    CommitRequest,
    CreateGroupRequest,
    DeleteGroupRequest,
    JoinByExternalCommit,
    RemoveClients,
    RemoveUsers,
    ResyncClient,
    UpdateClient,
)
from chalicelib.protocol.delivery.info_requests import CloseGroup, ExternalCommitInfo, UpdateQueueInfo, WelcomeInfo
from chalicelib.protocol.delivery.messages import BODIES, ROUTES, DSMessage
from chalicelib.protocol.delivery.parts import LONGEST_GROUP_ID
from chalicelib.protocol.delivery.refusals import InvalidRequest, UnknownGroup
from chalicelib.protocol.delivery.responses import CreateGroupResponse
from chalicelib.protocol.tls import MESSAGE_ELEMENTS, POSTED_ELEMENTS, SMALL_ELEMENTS, decode
from chalicelib.services.delivery.asking import Asked, StaleRequest
from chalicelib.services.delivery.commits import Commits
from chalicelib.services.delivery.creation import Creation
from chalicelib.services.delivery.directory import KeyPackageDirectory
from chalicelib.services.delivery.ending import Ending
from chalicelib.services.delivery.information import Information
from chalicelib.services.delivery.sending import Sending
from chalicelib.services.delivery.uploading import Uploading
from chalicelib.services.ports import Clock

Serve = Callable[[Asked, Any], bytes]
"""Serves a request with its body, and returns the DSResponse."""


@dataclasses.dataclass(frozen=True, slots=True)
class Desk:
    """Passes each request to the use case that it is for; `domain` is this delivery service's."""

    creation: Creation
    commits: Commits
    sending: Sending
    information: Information
    ending: Ending
    key_packages: KeyPackageDirectory
    uploading: Uploading
    clock: Clock
    domain: str

    def serve(self, operation: str, content: bytes, *, uploaded: bool = False) -> bytes:
        """Answer a DSMessage that came by an operation's route with a DSResponse, or raise its refusal.

        One that was `uploaded` may be larger: a user of ours or of a peer answers for it.
        """
        message = decode(DSMessage.read, content, elements(operation, uploaded=uploaded))
        request = message.request
        if ROUTES.get(operation) != request.request_type:
            raise DecodeError("the request is for another operation than its route")
        _check_group_id(message)
        asked = Asked(message, message.request_sha256, self.clock())
        try:
            asked.check_fresh(self.domain)
        except StaleRequest:
            # A repeat is answered as the first was, whenever it comes.
            if (known := self.information.answered(asked)) is not None:
                return asked.again(known)
            raise
        return self._use_case(type(request.body))(asked, request.body)

    def _use_case(self, kind: type) -> Serve:
        by_kind: dict[type, Serve] = {
            CreateGroupRequest: self.creation.create,
            **dict.fromkeys(_COMMITS, self.commits.accept),
            SendMessage: self.sending.send,
            SubmitProposals: self.sending.propose,
            SelfRemoveRequest: self.sending.propose,
            UpdateQueueInfo: self.information.update_queue,
            WelcomeInfo: self.information.welcome_info,
            ExternalCommitInfo: self.information.external_commit_info,
            RequestGroupId: self.information.request_group_id,
            PublicKey: self.information.public_key,
            PublishKeyPackages: self.key_packages.publish,
            KeyPackages: self.key_packages.claim,
            Upload: self.uploading.link,
            CloseGroup: self.ending.close,
        }
        return by_kind[kind]


def elements(operation: str, *, uploaded: bool) -> int:
    """Return how many vector elements a request may hold. They are paid for before anybody knows who sends it."""
    request_type = ROUTES.get(operation)
    if request_type is None or BODIES[request_type] not in _COMMITS:
        return SMALL_ELEMENTS
    return MESSAGE_ELEMENTS if uploaded else POSTED_ELEMENTS


def _check_group_id(message: DSMessage) -> None:
    """[mds-create-1] Refuse a group id that no group has here, because none can: empty, or too long to be a key."""
    group_id = message.request.group_id
    if group_id is not None and not 0 < len(group_id) <= LONGEST_GROUP_ID:
        cause = InvalidRequest("mds-create-1", "the group id is empty, or too long")
        match message.request.body:
            case CreateGroupRequest():
                raise CannotCreate(CreateGroupResponse.INVALID_GROUP_ID, cause)
            case PublicKey():
                raise cause
            case _:
                raise UnknownGroup


_COMMITS = (
    AddUsers,
    AddClients,
    RemoveUsers,
    RemoveClients,
    UpdateClient,
    DeleteGroupRequest,
    ResyncClient,
    JoinByExternalCommit,
    CommitRequest,
)
