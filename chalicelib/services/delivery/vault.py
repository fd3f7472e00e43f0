"""From a head to the state of its group, and back: objects first, then the head that names them.

A sealed group's state is one object, encrypted under a key that comes with each request about the group and is
nowhere kept (-02 §7). Opened, it is a store of objects like that of any other group, and what a use case does with
the state is the same.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

from chalicelib.protocol.crypto import cipher_suite
from chalicelib.protocol.delivery.errors import CannotOpen
from chalicelib.protocol.delivery.group_state import Change, GroupState, at_hand, decode_state
from chalicelib.protocol.delivery.policy import DsPolicy
from chalicelib.protocol.delivery.refusals import InvalidRequest, UnknownGroup
from chalicelib.protocol.delivery.removals import Signer, blocked_since
from chalicelib.protocol.delivery.sealed import STATE_KEY_SIZE, Sealed
from chalicelib.protocol.delivery.sealed_state import (
    MOST_MEMBERS,
    NONCE_SIZE,
    open_state,
    seal_state,
)
from chalicelib.protocol.mls.chunked_tree import Attempt
from chalicelib.protocol.mls.chunks import ATTEMPT_SIZE, ChunkStore, Ref, load, reference
from chalicelib.protocol.mls.extensions import BASIC, Credential, ExternalSender
from chalicelib.services.delivery.ports import DsKeys, GroupObjects
from chalicelib.services.delivery.safe import INBOX_KEY_SIZE, Safe
from chalicelib.services.delivery.sealed_rows import PURPOSE, OpenRow, covered, disclose, enclose
from chalicelib.services.delivery.state import GroupId, Head, Kind, LogRow, PastEpoch
from chalicelib.services.ports import Entropy


@dataclasses.dataclass(frozen=True)
class Opened:
    """A group at one version: `root` names its state, and `read` reads what a root says.

    `key` and `safe` are a sealed group's, and stay in memory.
    """

    head: Head
    root: Ref
    read: Callable[[Ref], GroupState] = dataclasses.field(repr=False)
    key: bytes | None = dataclasses.field(default=None, repr=False)
    safe: Safe | None = dataclasses.field(default=None, repr=False)

    @functools.cached_property
    def state(self) -> GroupState:
        """Return the state; it is read when it is first asked for."""
        return self.read(self.root)


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
    """A change whose objects are stored: the head that would name them, and the rows to be written with it."""

    head: Head
    rows: Sequence[LogRow] = ()
    past: PastEpoch | None = None


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

    # Reading.

    def open(self, head: Head, root: Ref | None = None) -> GroupState:
        """Return the state of a group that is not sealed, or that of another root which a row of it names."""
        return self.at(head.group_id, head.root if root is None else root)

    def at(self, group_id: GroupId, root: Ref) -> GroupState:
        """Return a state of a group that is not sealed, by a root which a row of it names."""
        return self._read(group_id, self.objects.of(group_id), root)

    def unlock(self, head: Head | None, sealed_state_key: Sealed | None) -> Opened:
        """Return a group with the key that a request about it brings along, or raise `UnknownGroup`.

        [mds-sealed-1] Where a sealed group's key is missing or another's, or comes for a group that is not sealed, the
        answer is that there is no such group. A frozen group is opened like any other: only members are told.
        """
        if head is None or head.deleted or head.sealed != (sealed_state_key is not None):
            raise UnknownGroup
        try:
            return self._unlock(head, self.open_state_key(head.group_id, sealed_state_key))
        except CannotOpen as failure:
            raise UnknownGroup from failure

    def again(self, opened: Opened, head: Head) -> Opened:
        """Return a group that was opened before as it is under a newer head."""
        if head.deleted:
            raise UnknownGroup
        return self._unlock(head, opened.key)

    def open_state_key(self, group_id: GroupId, sealed_state_key: Sealed | None) -> bytes | None:
        """Return a group-state key that was sealed to this service, or raise `CannotOpen`; None where there is none."""
        if sealed_state_key is None:
            return None
        key = self.keys.open_state_key(sealed_state_key.key_epoch, sealed_state_key.ciphertext, group_id)
        if len(key) != STATE_KEY_SIZE:
            raise CannotOpen
        return key

    def _unlock(self, head: Head, key: bytes | None) -> Opened:
        store: ChunkStore = self.objects.of(head.group_id)
        root, safe = head.root, None
        if key is not None:
            sealed = load(store, [head.root])[head.root]
            store = safe = Safe.decode(open_state(key, head.group_id, head.version, sealed))
            root = safe.root
        return Opened(head, root, lambda root: self._read(head.group_id, store, root), key, safe)

    def _read(self, group_id: GroupId, store: ChunkStore, root: Ref) -> GroupState:
        attempt = Attempt(store, self.entropy(ATTEMPT_SIZE))
        content = load(store, [root])[root]
        return decode_state(content, lambda suite_number: self.policy(group_id, suite_number), attempt)

    # Writing.

    def found(self, head: Head, change: Change, key: bytes | None, now: int) -> Head:
        """Store the first state of a group, and return the head that would name it."""
        if key is None:
            self.objects.put(head.group_id, change.objects)
            return dataclasses.replace(head, root=change.root)
        safe = Safe(Ref(b""), self.entropy(INBOX_KEY_SIZE)).after(change, None, {}, now)
        return dataclasses.replace(head, root=self._lock(head, key, safe))

    def store(
        self,
        opened: Opened,
        change: Change,
        rows: Sequence[LogRow] = (),
        *,
        now: int,
        past: PastEpoch | None = None,
        more: Mapping[Ref, bytes] | None = None,
    ) -> Stored:
        """Store what a change wrote, and `more` with it. Nothing leads to it until a head does.

        Rows name the roots that say who gets them: that of the state as it was, or the change's.
        """
        head = dataclasses.replace(opened.head, version=opened.head.version + 1, root=change.root)
        if opened.safe is None or opened.key is None:
            self.objects.put(head.group_id, {**change.objects, **(more or {})})
            return Stored(dataclasses.replace(head, blocked_since=blocked_since(change.state)), rows, past)
        # [mds-sealed-2] A sealed group has few enough members to be read and written as one object.
        if change.state.group.support.members > MOST_MEMBERS:
            raise InvalidRequest("mds-sealed-2", f"a sealed group has at most {MOST_MEMBERS} members")
        states = {opened.root: opened.state, change.root: at_hand(change.state, change.objects)}
        safe = opened.safe.after(change, past, more or {}, now)
        sealed_rows = [self._cover(head, row, states[row.root], safe) for row in rows]
        return Stored(dataclasses.replace(head, root=self._lock(head, opened.key, safe)), sealed_rows)

    def address(self, opened: Opened, row: LogRow) -> LogRow:
        """Return a row as it is stored, that names the state as it is."""
        return row if opened.safe is None else self._cover(opened.head, row, opened.state, opened.safe)

    def disclose(self, group_id: GroupId, row: LogRow) -> LogRow:
        """Return a stored row as it is delivered: one of a sealed group brings its own recipients."""
        if row.kind != Kind.SEALED:
            return row
        opened: OpenRow = disclose(row, self.keys.open(PURPOSE, group_id, row.recipients))
        return opened

    def _cover(self, head: Head, row: LogRow, state: GroupState, safe: Safe) -> LogRow:
        enclosed = enclose(row, state.records.all(), safe.inbox)
        return covered(row, self.keys.seal(PURPOSE, head.group_id, enclosed))

    def _lock(self, head: Head, key: bytes, safe: Safe) -> Ref:
        """Store a sealed group's one object for the version of a head; its name is random, as all of it is.

        It changes with the state, so when it was written is not kept more exactly than collecting it needs.
        """
        content = seal_state(key, head.group_id, head.version, self.entropy(NONCE_SIZE), safe.encode())
        root = reference(self.entropy(ATTEMPT_SIZE), content)
        self.objects.put(head.group_id, {root: content}, by_day=True)
        return root
