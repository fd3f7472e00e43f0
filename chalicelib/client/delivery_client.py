"""A MIMI delivery service from a client's side: one method for each operation.

    key = SignatureKey(1, seed)  # Any MLS client's signature key; ours, `mls_identity.Identity`, will do as it is.
    client = DeliveryClient("https://eu.ds.example", "eu.ds.example", key)
    client.create_group(DSSenderID.leaf(0), group_id, key_package, queue_config, group_info)
    added = [AddedClient(key_package_ref, its_queue_config)]
    client.add_users(DSSenderID.leaf(0), group_update(commit, group_info), [welcome], added)

A queue config is what `QueueClient.client_queue_config` seals, or stands beside the KeyPackage in an AddPackage. MLS
messages are taken as bytes or decoded. A refusal raises `DeliveryRefused`; after `NoAnswer` the same message can
be sent again. Where the group's hub is another service than one's own, `forwarded=True` has one's own pass requests
on. In privacy mode each request about a group brings the group's key along, sealed to the hub:

    client.keep_state_key(group_id, secrets.token_bytes(32), hub.describe().hub_key)

Whoever joins needs that key too; members hand it on inside what they encrypt. The key of the hub can rotate: where
a group seems to be unknown, describe the hub again and keep the key anew.
"""

import dataclasses
import os
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from chalicelib.client.ds_https import Description, Https, ServiceKey, describe
from chalicelib.client.ds_requests import Requests
from chalicelib.client.signer import Signer
from chalicelib.errors import DecodeError
from chalicelib.protocol.delivery.directory import (
    AddPackage,
    KeyPackages,
    PublicKey,
    PublishKeyPackages,
    RequestGroupId,
    UserID,
)
from chalicelib.protocol.delivery.group_messages import SelfRemoveRequest, SendMessage, SubmitProposals
from chalicelib.protocol.delivery.group_updates import (
    AddClients,
    AddedClient,
    AddUsers,
    CommitRequest,
    CreateGroupRequest,
    DeleteGroupRequest,
    JoinByExternalCommit,
    MLSGroupUpdate,
    RemoveClients,
    RemoveUsers,
    ResyncClient,
    UpdateClient,
)
from chalicelib.protocol.delivery.info_requests import CloseGroup, ExternalCommitInfo, UpdateQueueInfo, WelcomeInfo
from chalicelib.protocol.delivery.messages import Body, DSMessage, DSSenderID
from chalicelib.protocol.delivery.parts import Domain
from chalicelib.protocol.delivery.queueing import ClientQueueConfig
from chalicelib.protocol.delivery.responses import (
    Answer,
    ExternalCommitInfoAnswer,
    GroupIdAnswer,
    KeyPackagesAnswer,
    Ok,
    PublicKeyAnswer,
    WelcomeInfoAnswer,
)
from chalicelib.protocol.delivery.sealed import STATE_KEY, Sealed, seal_to
from chalicelib.protocol.mls.extensions import ExternalSender
from chalicelib.protocol.mls.framing import MLSMessage, decode_message
from chalicelib.protocol.mls.group_info import GroupInfo, PartialGroupInfo
from chalicelib.protocol.mls.key_package import KeyPackage

Message = MLSMessage | bytes
"""An MLSMessage, decoded or not."""

Inside = TypeVar("Inside")
Given = TypeVar("Given", bound=Answer)


@dataclasses.dataclass(frozen=True)
class JoinInfo:
    """What a joiner needs: the GroupInfo, the encoded tree, and proposals that wait for a commit."""

    group_info: MLSMessage
    ratchet_tree: bytes
    proposals: tuple[MLSMessage, ...] = ()


def group_update(commit: Message, group_info: Message | GroupInfo) -> MLSGroupUpdate:
    """Return a commit with what the service needs of the next epoch's GroupInfo, signed by the committer."""
    info = _inside(group_info, GroupInfo)
    return MLSGroupUpdate(_message(commit), PartialGroupInfo(info.extensions, info.signature))


def seal_state_key(hub_key: ServiceKey, group_id: bytes, state_key: bytes) -> Sealed:
    """Seal a group's key to its hub, whose `Description.hub_key` this is."""
    return seal_to(hub_key.key, hub_key.epoch, STATE_KEY, group_id, state_key)


class DeliveryClient:
    """Speaks to one hub, as one signer. It serves many threads.

    `url` is the hub's own address or, with `forwarded`, that of one's own delivery service. `uploader` signs uploads,
    which a service takes from its users only: a member signs a large commit as a leaf, and uploads it as a user. A
    guest of the hub is forwarded, and then it is a user of its own service; the hub fetches there what was uploaded.
    """

    def __init__(
        self,
        url: str,
        hub: str,
        signer: Signer,
        *,
        forwarded: bool = False,
        uploader: tuple[Signer, DSSenderID] | None = None,
        ca: str | None = None,
        clock: Callable[[], float] = time.time,
        entropy: Callable[[int], bytes] = os.urandom,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._https = Https(url, ca, sleep)
        self._requests = Requests(self._https, Domain(hub), signer, uploader, forwarded, clock, entropy, sleep)
        self._fresh = self._requests.fresh
        self._key = signer.signature_key
        self._state_keys: dict[bytes, tuple[bytes, ServiceKey]] = {}

    def close(self) -> None:
        """Close the connections."""
        self._https.close()

    def describe(self) -> Description:
        """Return what the service at `url` says of itself; that is the hub unless requests are forwarded."""
        return describe(self._https)

    def keep_state_key(self, group_id: bytes, state_key: bytes, hub_key: ServiceKey) -> None:
        """Send a sealed group's key with every request about it from now on, sealed anew for each.

        `hub_key` is the hub's own `Description.hub_key`. A request's own `sealed_state_key` is sent instead.
        """
        self._state_keys[group_id] = (state_key, hub_key)

    # Groups as a whole.

    def request_group_id(self, sender: DSSenderID, cipher_suite: int | None = None) -> GroupIdAnswer:
        """Return an unused group id, and what the new group's external_senders must hold."""
        return self._ask(sender, RequestGroupId(self._suite(cipher_suite), self._fresh()), GroupIdAnswer)

    def public_key(self, sender: DSSenderID, group_id: bytes, cipher_suite: int | None = None) -> ExternalSender:
        """Return what the external_senders must hold of a group that one names oneself."""
        body = PublicKey(group_id, self._suite(cipher_suite), self._fresh())
        return self._ask(sender, body, PublicKeyAnswer).external_sender

    def create_group(
        self,
        sender: DSSenderID,
        group_id: bytes,
        key_package: Message | KeyPackage,
        queue_config: ClientQueueConfig,
        group_info: Message | GroupInfo,
        *,
        sealed_state_key: Sealed | None = None,
    ) -> None:
        """Create a group with one member."""
        package, info = _inside(key_package, KeyPackage), _inside(group_info, GroupInfo)
        self._ask(sender, CreateGroupRequest(group_id, package, queue_config, info, sealed_state_key), Ok)

    def delete_group(
        self, sender: DSSenderID, update: MLSGroupUpdate, *, sealed_state_key: Sealed | None = None
    ) -> None:
        """Remove everybody else and delete the group."""
        self._ask(sender, DeleteGroupRequest(update, sealed_state_key), Ok)

    # Members.

    def add_users(
        self,
        sender: DSSenderID,
        update: MLSGroupUpdate,
        welcomes: Iterable[Message],
        added: Iterable[AddedClient],
        *,
        sealed_state_key: Sealed | None = None,
    ) -> None:
        """Add users who are not in the group."""
        self._add(AddUsers, sender, update, welcomes, added, sealed_state_key)

    def add_clients(
        self,
        sender: DSSenderID,
        update: MLSGroupUpdate,
        welcomes: Iterable[Message],
        added: Iterable[AddedClient],
        *,
        sealed_state_key: Sealed | None = None,
    ) -> None:
        """Add clients of users who are in the group."""
        self._add(AddClients, sender, update, welcomes, added, sealed_state_key)

    def commit(
        self,
        sender: DSSenderID,
        update: MLSGroupUpdate,
        welcomes: Iterable[Message] = (),
        added: Iterable[AddedClient] = (),
        *,
        sealed_state_key: Sealed | None = None,
    ) -> None:
        """Commit any valid list of proposals."""
        self._add(CommitRequest, sender, update, welcomes, added, sealed_state_key)

    def remove_users(
        self, sender: DSSenderID, update: MLSGroupUpdate, *, sealed_state_key: Sealed | None = None
    ) -> None:
        """Remove users with all their clients."""
        self._ask(sender, RemoveUsers(update, sealed_state_key), Ok)

    def remove_clients(
        self, sender: DSSenderID, update: MLSGroupUpdate, *, sealed_state_key: Sealed | None = None
    ) -> None:
        """Remove clients of one's own user."""
        self._ask(sender, RemoveClients(update, sealed_state_key), Ok)

    def update_client(
        self, sender: DSSenderID, update: MLSGroupUpdate, *, sealed_state_key: Sealed | None = None
    ) -> None:
        """Give oneself a new leaf."""
        self._ask(sender, UpdateClient(update, sealed_state_key), Ok)

    def resync_client(
        self,
        sender: DSSenderID,
        update: MLSGroupUpdate,
        *,
        key_package: Message | KeyPackage | None = None,
        queue_config: ClientQueueConfig | None = None,
        sealed_state_key: Sealed | None = None,
    ) -> None:
        """Replace one's own leaf from outside."""
        package = None if key_package is None else _inside(key_package, KeyPackage)
        body = ResyncClient(update.group_id, self._key, update, package, queue_config, self._fresh(), sealed_state_key)
        self._ask(sender, body, Ok)

    def join_by_external_commit(
        self,
        sender: DSSenderID,
        update: MLSGroupUpdate,
        queue_config: ClientQueueConfig,
        *,
        key_package: Message | KeyPackage | None = None,
        sealed_state_key: Sealed | None = None,
    ) -> None:
        """Join from outside."""
        package = None if key_package is None else _inside(key_package, KeyPackage)
        self._ask(sender, JoinByExternalCommit(update, package, queue_config, self._fresh(), sealed_state_key), Ok)

    def self_remove(self, sender: DSSenderID, proposal: Message, *, sealed_state_key: Sealed | None = None) -> None:
        """Ask the others to remove oneself."""
        self._ask(sender, SelfRemoveRequest(_message(proposal), self._fresh(), sealed_state_key), Ok)

    def close_group(self, sender: DSSenderID, group_id: bytes, *, sealed_state_key: Sealed | None = None) -> None:
        """Delete a group that was reinitialised."""
        self._ask(sender, CloseGroup(group_id, self._key, self._fresh(), sealed_state_key), Ok)

    # What is sent, and what is asked.

    def send_message(self, sender: DSSenderID, message: Message, *, sealed_state_key: Sealed | None = None) -> None:
        """Send an application message to the group."""
        self._ask(sender, SendMessage(_message(message), self._fresh(), sealed_state_key), Ok)

    def submit_proposals(
        self, sender: DSSenderID, proposals: Iterable[Message], *, sealed_state_key: Sealed | None = None
    ) -> None:
        """Have proposals stored for a later commit."""
        messages = tuple(map(_message, proposals))
        self._ask(sender, SubmitProposals(messages, self._fresh(), sealed_state_key), Ok)

    def update_queue_info(
        self,
        sender: DSSenderID,
        group_id: bytes,
        queue_config: ClientQueueConfig,
        *,
        sealed_state_key: Sealed | None = None,
    ) -> None:
        """Have one's messages of a group go elsewhere from now on."""
        self._ask(sender, UpdateQueueInfo(group_id, self._key, queue_config, self._fresh(), sealed_state_key), Ok)

    def welcome_info(
        self, sender: DSSenderID, group_id: bytes, epoch: int, *, sealed_state_key: Sealed | None = None
    ) -> JoinInfo:
        """Return what one needs beside a Welcome to that epoch."""
        body = WelcomeInfo(group_id, self._key, epoch, self._fresh(), sealed_state_key)
        found = self._ask(sender, body, WelcomeInfoAnswer)
        return JoinInfo(found.group_info, self._https.resolve(found.ratchet_tree))

    def external_commit_info(
        self,
        sender: DSSenderID,
        group_id: bytes,
        *,
        key_package: Message | KeyPackage | None = None,
        sealed_state_key: Sealed | None = None,
    ) -> JoinInfo:
        """Return what one needs to join from outside."""
        package = None if key_package is None else _inside(key_package, KeyPackage)
        body = ExternalCommitInfo(group_id, self._key, package, self._fresh(), sealed_state_key)
        found = self._ask(sender, body, ExternalCommitInfoAnswer)
        return JoinInfo(found.group_info, self._https.resolve(found.ratchet_tree), found.proposals)

    # The directory.

    def publish_key_packages(self, sender: DSSenderID, packages: Iterable[AddPackage]) -> None:
        """Offer KeyPackages for others to take."""
        self._ask(sender, PublishKeyPackages(tuple(packages), self._fresh()), Ok)

    def key_packages(
        self, sender: DSSenderID, domain: str, users: Iterable[bytes], cipher_suite: int | None = None
    ) -> tuple[AddPackage, ...]:
        """Take a KeyPackage for every client of some users of a delivery service. Their signatures are unchecked."""
        wanted = tuple(map(UserID, users))
        body = KeyPackages(Domain(domain), self._suite(cipher_suite), wanted, self._fresh())
        return self._ask(sender, body, KeyPackagesAnswer).add_packages

    # Anything, once more.

    def send(self, message: DSMessage) -> Answer:
        """Send a signed message, the first time or again, and return the answer to it."""
        return self._requests.send(message)

    # How it is done.

    def _ask(self, sender: DSSenderID, body: Body, kind: type[Given]) -> Given:
        return self._requests.ask(sender, self._with_state_key(body), kind)

    def _with_state_key(self, body: Body) -> Body:
        """Return a request with the key of its group, if it has place for one and the key is known."""
        about: Any = body
        known = self._state_keys.get(getattr(body, "group_id", b""))
        if known is None or getattr(body, "sealed_state_key", b"") is not None:
            return body
        key, hub_key = known
        sealed: Body = dataclasses.replace(about, sealed_state_key=seal_state_key(hub_key, about.group_id, key))
        return sealed

    def _add(
        self,
        kind: type[AddUsers | AddClients | CommitRequest],
        sender: DSSenderID,
        update: MLSGroupUpdate,
        welcomes: Iterable[Message],
        added: Iterable[AddedClient],
        sealed_state_key: Sealed | None,
    ) -> None:
        self._ask(sender, kind(update, tuple(map(_message, welcomes)), tuple(added), sealed_state_key), Ok)

    def _suite(self, cipher_suite: int | None) -> int:
        return self._requests.signer.cipher_suite if cipher_suite is None else cipher_suite


def _message(message: Message) -> MLSMessage:
    return decode_message(message) if isinstance(message, bytes) else message


def _inside(message: Message | Inside, kind: type[Inside]) -> Inside:
    if isinstance(message, kind):
        return message
    body = _message(message).body  # type: ignore[arg-type]
    if not isinstance(body, kind):
        raise DecodeError(f"a message is not a {kind.__name__}")
    return body
