"""From a head to the state of its group, and back: objects first, then the head that names them."""

import dataclasses

from chalicelib.protocol.crypto import cipher_suite
from chalicelib.protocol.delivery.group_state import Change, GroupState, decode_state
from chalicelib.protocol.delivery.policy import DsPolicy
from chalicelib.protocol.delivery.removals import Signer
from chalicelib.protocol.mls.chunked_tree import Attempt
from chalicelib.protocol.mls.chunks import ATTEMPT_SIZE, Ref, load
from chalicelib.protocol.mls.extensions import BASIC, Credential, ExternalSender
from chalicelib.services.delivery.ports import DsKeys, GroupObjects
from chalicelib.services.delivery.state import GroupId, Head
from chalicelib.services.ports import Entropy


@dataclasses.dataclass(frozen=True, slots=True)
class Vault:
    """Opens and stores the states of groups; `domain` is this delivery service's."""

    objects: GroupObjects
    keys: DsKeys
    entropy: Entropy
    domain: str

    def signer(self, group_id: GroupId, suite_number: int) -> Signer:
        """Return this service as an external sender of a group: always the same one."""
        private = self.keys.sender_key(group_id, suite_number)
        public = cipher_suite(suite_number).signatures.public_key(private)
        return Signer(private, ExternalSender(public, Credential(BASIC, self.domain.encode())))

    def policy(self, group_id: GroupId, suite_number: int) -> DsPolicy:
        """Return the rules of a group."""
        return DsPolicy(self.signer(group_id, suite_number).public)

    def attempt(self, group_id: GroupId) -> Attempt:
        """Return a new try at changing a group: what it writes has names of its own."""
        return Attempt(self.objects.of(group_id), self.entropy(ATTEMPT_SIZE))

    def open(self, head: Head, root: Ref | None = None) -> GroupState:
        """Return the state that a head leads to, or that of another root which a row of the group names."""
        attempt = self.attempt(head.group_id)
        named = head.root if root is None else root
        content = load(attempt.store, [named])[named]
        return decode_state(content, lambda suite_number: self.policy(head.group_id, suite_number), attempt)

    def store(self, group_id: GroupId, change: Change, *more: tuple[Ref, bytes]) -> Ref:
        """Store what a change wrote, and return its root. Nothing leads to it until a head does."""
        self.objects.put(group_id, {**change.objects, **dict(more)})
        return change.root
