"""Tags: where in a large tree a key or an identity stands, without reading the tree.

Keys must be unique among all nodes of a tree and clients among its leaves. For each such value the group keeps a tag,
eight bytes of a hash that a salt makes the group's own, and the node where the value stands. Tags lie sorted in
segments of at most 4,096; a directory in the group's root says where each segment starts.

A commit changes tags all over the place. So changes first gather in one delta; a segment for which many are pending is
rewritten, at most four of them per commit, and split if it has grown too large.

A tag can be stale or, once in 2^64, another value's: whoever finds one looks at the node before believing it.

    struct { opaque tag[8]; uint32 node; } Entry;                         // a segment is these, sorted
    struct { uint8 table; uint8 present; opaque tag[8]; uint32 node; } Change;   // the delta is these, in order
"""

import bisect
import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Self

from chalicelib.protocol.mls.chunks import ChunkStore, Ref, load, reference
from chalicelib.protocol.mls.tree import Kind
from chalicelib.protocol.tls import Reader, opaque, uint64

TAG_SIZE, ENTRY_SIZE, CHANGE_SIZE = 8, 12, 14
SEGMENT_ENTRIES = 4_096
SPLIT_TO = 3_500
"""The average number of entries at which a segment built in one go is filled."""
PENDING = 64
REWRITES = 4

TABLES = {Kind.ENCRYPTION_KEY: 0, Kind.SIGNATURE_KEY: 1, Kind.CLIENT: 1, Kind.USER: 1}
"""Encryption keys change with every commit, the rest with membership: they are kept apart."""


@dataclasses.dataclass(frozen=True, slots=True)
class Segment:
    """Where a segment's range of tags starts, and the segment, if there is any tag in it."""

    start: int
    ref: Ref

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the stored form."""
        return cls(reader.uint64(), Ref(reader.opaque()))

    def encode(self) -> bytes:
        """Return the stored form."""
        return uint64(self.start) + opaque(self.ref)


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """A tag that came to a node, or went."""

    table: int
    present: bool
    tag: bytes
    node: int

    def encode(self) -> bytes:
        """Return the stored form."""
        return bytes((self.table, self.present)) + self.tag + self.node.to_bytes(4, "big")


NOTHING = Ref(b"")
_START = Segment(0, NOTHING)


@dataclasses.dataclass(frozen=True)
class Tags:
    """All tags of one epoch; `loaded` remembers what was read of them."""

    salt: bytes
    directories: tuple[tuple[Segment, ...], ...] = ((_START,), (_START,))
    delta: Ref = NOTHING
    loaded: dict[Ref, bytes] = dataclasses.field(default_factory=dict, compare=False, repr=False)

    def tag(self, kind: Kind, value: bytes) -> bytes:
        """Return the tag of a value."""
        return hashlib.sha256(self.salt + bytes((kind,)) + value).digest()[:TAG_SIZE]

    def segment(self, table: int, tag: bytes) -> int:
        """Return the number of the segment whose range a tag is in."""
        number = int.from_bytes(tag, "big")
        return bisect.bisect_right(self.directories[table], number, key=lambda entry: entry.start) - 1

    def refs(self, kind: Kind, value: bytes) -> list[Ref]:
        """Return what has to be loaded to find a value."""
        directory = self.directories[TABLES[kind]]
        found = [directory[self.segment(TABLES[kind], self.tag(kind, value))].ref, self.delta]
        return [ref for ref in found if ref != NOTHING and ref not in self.loaded]

    def content(self, store: ChunkStore, ref: Ref) -> bytes:
        """Return an object, loading it if it was not read before."""
        if ref == NOTHING:
            return b""
        if ref not in self.loaded:
            self.loaded.update(load(store, [ref]))
        return self.loaded[ref]

    def positions(self, store: ChunkStore, kind: Kind, value: bytes) -> Iterable[int]:
        """Return the nodes that hold a value, and perhaps some that did."""
        table, tag = TABLES[kind], self.tag(kind, value)
        found = []
        entries = self.content(store, self.directories[table][self.segment(table, tag)].ref)
        at = _first(entries, tag)
        while entries[at : at + TAG_SIZE] == tag:
            found.append(int.from_bytes(entries[at + TAG_SIZE : at + ENTRY_SIZE], "big"))
            at += ENTRY_SIZE
        wanted = bytes((table, 1)) + tag
        delta = self.content(store, self.delta)
        at = delta.find(wanted)
        while at >= 0:
            if at % CHANGE_SIZE == 0:
                found.append(int.from_bytes(delta[at + len(wanted) : at + CHANGE_SIZE], "big"))
            at = delta.find(wanted, at + 1)
        return found

    def changed(
        self, store: ChunkStore, changes: Sequence[Change], attempt: bytes
    ) -> tuple[Self, Mapping[Ref, bytes]]:
        """Return the tags after changes, and the objects to be written for them."""
        pending: dict[tuple[int, int], list[bytes]] = {}
        delta = self.content(store, self.delta) + b"".join([change.encode() for change in changes])
        for at in range(0, len(delta), CHANGE_SIZE):
            change = delta[at : at + CHANGE_SIZE]
            table = change[0]
            pending.setdefault((table, self.segment(table, change[2:10])), []).append(change)
        full = sorted((key for key in pending if len(pending[key]) > PENDING), key=lambda key: -len(pending[key]))
        written: dict[Ref, bytes] = {}
        directories = [list(directory) for directory in self.directories]
        # From the last segment back, so that a split does not move those still to come.
        for table, number in sorted(full[:REWRITES], reverse=True):
            old = directories[table][number]
            entries = _apply(self.content(store, old.ref), pending.pop((table, number)))
            stop = directories[table][number + 1].start if number + 1 < len(directories[table]) else 1 << 64
            directories[table][number : number + 1] = _segments(entries, old.start, stop, attempt, written)
        left = b"".join(b"".join(changes) for _, changes in sorted(pending.items()))
        ref = NOTHING
        if left:
            ref = reference(attempt, left)
            written[ref] = left
        after = dataclasses.replace(
            self,
            directories=tuple(tuple(directory) for directory in directories),
            delta=ref,
            loaded={**self.loaded, **written},
        )
        return after, written

    @classmethod
    def build(
        cls, salt: bytes, values: Iterable[tuple[Kind, bytes, int]], attempt: bytes
    ) -> tuple[Self, Mapping[Ref, bytes]]:
        """Return the tags of a whole tree, and the objects to be written for them."""
        empty = cls(salt)
        tables: tuple[list[bytes], list[bytes]] = ([], [])
        for kind, value, node in values:
            tables[TABLES[kind]].append(empty.tag(kind, value) + node.to_bytes(4, "big"))
        written: dict[Ref, bytes] = {}
        directories = tuple(
            tuple(_segments(sorted(entries), 0, 1 << 64, attempt, written, SPLIT_TO)) for entries in tables
        )
        return cls(salt, directories, NOTHING, dict(written)), written


def _first(entries: bytes, tag: bytes) -> int:
    """Return the offset of the first entry that is not before a tag."""
    low, high = 0, len(entries) // ENTRY_SIZE
    while low < high:
        middle = (low + high) // 2
        if entries[middle * ENTRY_SIZE : middle * ENTRY_SIZE + TAG_SIZE] < tag:
            low = middle + 1
        else:
            high = middle
    return low * ENTRY_SIZE


def _apply(entries: bytes, changes: Sequence[bytes]) -> list[bytes]:
    """Return a segment's entries after changes, in the order they were made."""
    kept = {entries[at : at + ENTRY_SIZE] for at in range(0, len(entries), ENTRY_SIZE)}
    for change in changes:
        if change[1]:
            kept.add(change[2:])
        else:
            kept.discard(change[2:])
    return sorted(kept)


def _segments(
    entries: list[bytes],
    start: int,
    stop: int,
    attempt: bytes,
    written: dict[Ref, bytes],
    most: int = SEGMENT_ENTRIES,
) -> list[Segment]:
    """Cut sorted entries into segments, halving the range of tags until each is small enough."""
    if len(entries) > most:
        middle = (start + stop) // 2
        cut = bisect.bisect_left(entries, middle.to_bytes(TAG_SIZE, "big"))
        lower = _segments(entries[:cut], start, middle, attempt, written, most)
        return lower + _segments(entries[cut:], middle, stop, attempt, written, most)
    if not entries:
        return [Segment(start, NOTHING)]
    content = b"".join(entries)
    ref = reference(attempt, content)
    written[ref] = content
    return [Segment(start, ref)]
