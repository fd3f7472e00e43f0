"""Taking in a new group (-02 §3.1)."""

import dataclasses

from chalicelib.protocol.crypto import InvalidSignature, cipher_suite
from chalicelib.protocol.delivery.creation import judge_creation
from chalicelib.protocol.delivery.errors import CannotOpen
from chalicelib.protocol.delivery.group_updates import CreateGroupRequest
from chalicelib.protocol.delivery.messages import DSMessage, DSSenderID
from chalicelib.protocol.delivery.refusals import GroupExists, InvalidRequest
from chalicelib.protocol.mls.chunks import Ref
from chalicelib.services.delivery.asking import Asked
from chalicelib.services.delivery.domains import QueueDomains
from chalicelib.services.delivery.ports import Exists, FanoutHints, Groups
from chalicelib.services.delivery.senders import WrongSender
from chalicelib.services.delivery.state import MEMBERSHIPS, GroupId, Head, Kind, LogRow
from chalicelib.services.delivery.vault import Vault
from chalicelib.services.ports import Entropy

SALT_SIZE = 16


@dataclasses.dataclass(frozen=True, slots=True)
class Creation:
    """Takes in new groups; `may_lack_sender` admits those that do not list this service as an external sender."""

    groups: Groups
    vault: Vault
    hints: FanoutHints
    entropy: Entropy
    may_lack_sender: bool
    domains: QueueDomains

    def create(self, asked: Asked, request: CreateGroupRequest) -> bytes:
        """Make a group of one member; a repeat is answered as the first was.

        Raises `CannotCreate` with the check that failed, or `GroupExists` where the id was ever used.
        """
        group_id = GroupId(request.group_id)
        _, known = self.groups.load(group_id, asked.key)
        if known is not None:
            return asked.again(known)
        _authenticate(asked.message, request)
        self.domains.check([request.client_queue_config])
        context = request.group_info.group_context
        key = self._state_key(group_id, request)
        change = judge_creation(
            request,
            self.vault.policy(group_id, context.cipher_suite),
            self.vault.attempt(group_id),
            self.entropy(SALT_SIZE),
            asked.now,
            may_lack_sender=self.may_lack_sender,
        )
        head = Head(group_id, context.epoch, 1, 0, Ref(b""), 1, created_at=0, used_at=0, sealed=key is not None)
        month = head.used(asked.now)
        head = dataclasses.replace(head, created_at=month, used_at=month)
        head = self.vault.store_first(head, change, key, asked.now)
        rows = []
        if key is None:
            # It delivers nothing: the index of users learns of the first one by it, as of all others.
            user = change.state.group.policy.user(request.key_package.leaf_node)
            rows = [LogRow(1, Kind.CREATED, context.epoch, head.root, asked.now, b"", sender=0, joined=(user,))]
        head = dataclasses.replace(head, seq=len(rows))
        answer = asked.done()
        try:
            # From here the group is there. Before, there are only objects that nothing names.
            self.groups.create(head, rows, answer)
        except Exists as taken:
            # [mds-create-1] The group id is not in use, nor was it ever: a deleted group leaves its head behind.
            _, known = self.groups.load(group_id, asked.key)
            if known is None:
                raise GroupExists from taken
            return asked.again(known)
        self.hints.fan_out(group_id, [0] if head.sealed else [0, MEMBERSHIPS])
        return answer.response

    def _state_key(self, group_id: GroupId, request: CreateGroupRequest) -> bytes | None:
        """[mds-sealed-3] Return the key under which the group is to be sealed, if it is; it must open here."""
        try:
            return self.vault.open_state_key(group_id, request.sealed_state_key)
        except CannotOpen as failure:
            complaint = "the group-state key is not sealed to this service for the group, or is none"
            raise InvalidRequest("mds-sealed-3", complaint) from failure


def _authenticate(message: DSMessage, request: CreateGroupRequest) -> None:
    """[mds-create-8] Check that the creator signs: as leaf 0, or by its KeyPackage; both have the same key."""
    suite = cipher_suite(request.group_info.group_context.cipher_suite)
    allowed = (DSSenderID.leaf(0), DSSenderID.key_package(request.key_package.reference(suite)))
    if message.sender_id not in allowed:
        raise WrongSender
    try:
        message.verify(suite, request.key_package.leaf_node.signature_key)
    except InvalidSignature as failure:
        raise WrongSender from failure
