"""The state of a group at its delivery service (-02 §5): what one root object says, and what it leads to.

    struct {
        opaque reference<V>;
        opaque message<V>;                    // the MLSMessage, as it was received
        uint64 received_at;
    } StoredProposal;
    struct {
        uint32 leaf_index;
        opaque client<V>;                     // whom the removal is meant for: the leaf may be filled again
        RemovalReason reason;
        uint64 issued_at;
        opaque reference<V>;                  // of this epoch's Remove proposal; empty where there is none
        uint8 lapsed;
    } Removal;
    struct {
        uint8 version;
        opaque group<V>;                      // the MLS part, of protocol.mls.stored_group
        opaque group_info[24];                // reference of the epoch's GroupInfo
        opaque records<V>;                    // directory of the delivery records
        Domain domains<V>;                    // of their queues, as in `records`
        StoredProposal proposals<V>;
        Removal removals<V>;
        uint8 no_ds_sender;
    } Root;

A state never changes. What makes the next one returns a `Change`: the state, and the objects that must be stored
before a head may name its root.
"""

import dataclasses
import enum
from collections.abc import Callable, Collection, Mapping
from typing import Self

from chalicelib.errors import DecodeError
from chalicelib.protocol.delivery.parts import enumeration
from chalicelib.protocol.delivery.records import DeliveryRecord, Records
from chalicelib.protocol.mls.chunked_tree import Attempt, ChunkedTree
from chalicelib.protocol.mls.chunks import REF_SIZE, ChunkStore, Ref, load, reference
from chalicelib.protocol.mls.commit import Commit
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.framing import FramedContent
from chalicelib.protocol.mls.group_info import GroupInfo
from chalicelib.protocol.mls.nodes import LeafNode
from chalicelib.protocol.mls.policy import Policy
from chalicelib.protocol.mls.public_group import PublicGroup
from chalicelib.protocol.mls.stored_group import decode_root, encode_root, prefetch
from chalicelib.protocol.tls import STORED_ELEMENTS, Reader, decode, opaque, uint8, uint32, uint64, vector

VERSION = 2
FEW = 32
"""How many proposals and path nodes a commit has at most if all it touches is loaded before its sender is known."""


class RemovalReason(enum.IntEnum):
    """Why this service proposes to remove a client (-02 §2.2, and §6 for the last)."""

    CLIENT_REMOVED = 1
    USER_DELETED = 2
    INACTIVE = 3
    QUEUE_REJECTED = 4


_read_reason = enumeration(RemovalReason)


@dataclasses.dataclass(frozen=True, slots=True)
class StoredProposal:
    """A proposal that waits for a commit, as it was received."""

    reference: bytes
    message: bytes
    received_at: int

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the stored form."""
        return cls(reader.opaque(), reader.opaque(), reader.uint64())

    def encode(self) -> bytes:
        """Return the stored form."""
        return opaque(self.reference) + opaque(self.message) + uint64(self.received_at)


@dataclasses.dataclass(frozen=True, slots=True)
class Removal:
    """A client that this service wants out of the group, until a commit covers it."""

    leaf_index: int
    client: bytes
    reason: RemovalReason
    issued_at: int
    reference: bytes = b""
    lapsed: bool = False

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the stored form."""
        return cls(
            reader.uint32(),
            reader.opaque(),
            _read_reason(reader),
            reader.uint64(),
            reader.opaque(),
            reader.uint8() == 1,
        )

    def encode(self) -> bytes:
        """Return the stored form."""
        return (
            uint32(self.leaf_index)
            + opaque(self.client)
            + uint8(self.reason)
            + uint64(self.issued_at)
            + opaque(self.reference)
            + uint8(self.lapsed)
        )


@dataclasses.dataclass(frozen=True)
class GroupState:
    """One version of a group. `no_ds_sender` says that the group does not list this service as an external sender."""

    group: PublicGroup
    group_info: Ref
    records: Records
    proposals: tuple[StoredProposal, ...] = ()
    removals: tuple[Removal, ...] = ()
    no_ds_sender: bool = False

    @property
    def attempt(self) -> Attempt:
        """Return the try at a change that this state was loaded for."""
        return self.records.attempt

    def leaf(self, leaf_index: int) -> LeafNode | None:
        """Return the member at a leaf, or None for a blank one."""
        return Draft(self.group.tree).leaf(leaf_index)

    def info(self) -> GroupInfo:
        """Return the epoch's GroupInfo, as its signer signed it."""
        return decode(GroupInfo.read, load(self.attempt.store, [self.group_info])[self.group_info], STORED_ELEMENTS)

    def pending(self) -> tuple[Removal, ...]:
        """Return the removals that the next commit must cover."""
        return tuple(removal for removal in self.removals if removal.reference and not removal.lapsed)

    def removal_of(self, client: bytes) -> Removal | None:
        """Return the removal of a client, pending or lapsed."""
        return next((removal for removal in self.removals if removal.client == client), None)

    def quarantined(self, leaf_index: int) -> bool:
        """Say whether a member's requests are refused because its removal was not covered in time."""
        record = self.records.get(leaf_index)
        return record is not None and record.quarantined

    def prefetch(self, leaf_index: int, content: FramedContent | None = None) -> None:
        """Load together what a request of a member will ask for, and what the message in it will if it is small.

        A large message may name what lies all over the group, which is loaded for those alone who may send it.
        """
        tree, missing = self.group.tree, self.records.missing([leaf_index])
        if not isinstance(tree, ChunkedTree):
            raise TypeError("a stored group has a chunked tree")
        if content is not None and _is_small(content):
            self.records.keep(prefetch(self.group, content, missing))
        else:
            self.records.keep(tree.prefetch([leaf_index], (), missing))

    def encode(self) -> bytes:
        """Return the root."""
        return (
            uint8(VERSION)
            + opaque(encode_root(self.group))
            + self.group_info
            + self.records.encode()
            + vector(self.proposals)
            + vector(self.removals)
            + uint8(self.no_ds_sender)
        )


def _is_small(content: FramedContent) -> bool:
    commit = content.content
    if not isinstance(commit, Commit):
        return False
    return len(commit.proposals) + (0 if commit.path is None else len(commit.path.nodes)) <= FEW


def decode_state(root: bytes, policy_of: Callable[[int], Policy], attempt: Attempt) -> GroupState:
    """Return the state of a root; what it leads to is loaded when it is asked for.

    `policy_of` gives the rules for the group's cipher suite.
    """
    return decode(lambda reader: _read_state(reader, policy_of, attempt), root, STORED_ELEMENTS)


def _read_state(reader: Reader, policy_of: Callable[[int], Policy], attempt: Attempt) -> GroupState:
    if reader.uint8() != VERSION:
        raise DecodeError("a stored group has another version than this program writes")
    group = decode_root(reader.opaque(), Policy(), attempt)
    if not isinstance(group.tree, ChunkedTree):
        raise TypeError("a stored group has a chunked tree")
    tree = dataclasses.replace(group.tree, policy=policy_of(group.suite.number))
    return GroupState(
        group=dataclasses.replace(group, tree=tree),
        group_info=Ref(reader.take(REF_SIZE)),
        records=Records.read(reader, attempt),
        proposals=reader.vector(StoredProposal.read),
        removals=reader.vector(Removal.read),
        no_ds_sender=reader.uint8() == 1,
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Unwritten:
    """A store with objects at hand that are not in it yet: what a change wrote is read before it is stored."""

    store: ChunkStore
    written: Mapping[Ref, bytes]

    def load(self, refs: Collection[Ref]) -> Mapping[Ref, bytes]:
        """Return the objects with these references."""
        known = {ref: self.written[ref] for ref in refs if ref in self.written}
        missing = [ref for ref in refs if ref not in known]
        return {**known, **self.store.load(missing)} if missing else known


def at_hand(state: GroupState, written: Mapping[Ref, bytes]) -> GroupState:
    """Return a state whose own unwritten objects can be read."""
    tree = state.group.tree
    if not isinstance(tree, ChunkedTree):
        raise TypeError("a stored group has a chunked tree")
    attempt = Attempt(Unwritten(state.attempt.store, {**written, **tree.written}), state.attempt.name)
    group = dataclasses.replace(state.group, tree=dataclasses.replace(tree, attempt=attempt))
    return dataclasses.replace(state, group=group, records=dataclasses.replace(state.records, attempt=attempt))


@dataclasses.dataclass(frozen=True)
class Change:
    """A next state, and what must be stored before its root is."""

    state: GroupState
    written: Mapping[Ref, bytes]
    root: Ref = dataclasses.field(init=False)
    objects: Mapping[Ref, bytes] = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        content = self.state.encode()
        root = reference(self.state.attempt.name, content)
        tree = self.state.group.tree
        chunks = tree.written if isinstance(tree, ChunkedTree) else {}
        object.__setattr__(self, "root", root)
        object.__setattr__(self, "objects", {**chunks, **self.written, root: content})


def with_records(
    state: GroupState, changes: Mapping[int, DeliveryRecord | None]
) -> tuple[GroupState, Mapping[Ref, bytes]]:
    """Return a state with some delivery records set or taken away, and the chunks to be written."""
    records, written = state.records.changed(changes)
    return dataclasses.replace(state, records=records), written
