"""Tags: where in a large tree a key or an identity stands, without reading the tree.

Keys must be unique among all nodes of a tree and clients among its leaves. For each such value the group keeps a tag,
eight bytes of a hash that a salt makes the group's own, and the node where the value stands. Tags lie sorted in
segments of at most 2,048; a directory in the group's root says where each segment starts. Only where one value stands
in more places than that, as a user with very many clients does, is its segment as long as it has to be.

A commit changes tags all over the place. So changes first gather in one delta; a segment for which many are pending is
rewritten, at most four of them per commit, and split if it has grown too large.

A tag can be stale or, once in 2^64, another value's: whoever finds one looks at the node before believing it.

    struct { opaque tag[8]; uint32 node; } Entry;                         // a segment is these, sorted
    struct { uint8 present; opaque tag[8]; uint32 node; } Change;         // the delta is these, by segment
"""

import bisect
import dataclasses
import hashlib
import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Self

from chalicelib.errors import DecodeError
from chalicelib.protocol.mls.chunks import REF_SIZE, ChunkStore, Ref, load, reference
from chalicelib.protocol.mls.tree import Kind
from chalicelib.protocol.tls import Reader, opaque

TAG_SIZE, ENTRY_SIZE, CHANGE_SIZE = 8, 12, 13
SEGMENT_ENTRIES = 2_048
SPLIT_TO = 1_750
"""The average number of entries at which a segment built in one go is filled."""
PENDING = 64
REWRITES = 4

TABLES = {Kind.ENCRYPTION_KEY: 0, Kind.SIGNATURE_KEY: 1, Kind.CLIENT: 1, Kind.USER: 1}
"""Encryption keys change with every commit, the rest with membership: they are kept apart."""


class Segment(NamedTuple):
    """Where a segment's range of tags starts, the segment if there is any, and how many changes are pending."""

    start: int
    ref: Ref
    pending: int = 0


NOTHING = Ref(bytes(REF_SIZE))
_SEGMENT = struct.Struct(f">Q{REF_SIZE}sI")


def read_directory(reader: Reader) -> tuple[Segment, ...]:
    """Read the stored form of a directory."""
    content = reader.opaque()
    if len(content) % _SEGMENT.size:
        raise DecodeError("a directory of tags ends inside a segment")
    return tuple(Segment(*fields) for fields in _SEGMENT.iter_unpack(content))


def encode_directory(directory: tuple[Segment, ...]) -> bytes:
    """Return the stored form of a directory."""
    return opaque(b"".join([_SEGMENT.pack(*segment) for segment in directory]))


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """A tag that came to a node, or went."""

    table: int
    present: bool
    tag: bytes
    node: int

    def encode(self) -> bytes:
        """Return the stored form."""
        return bytes((self.present,)) + self.tag + self.node.to_bytes(4, "big")


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
        found += [
            int.from_bytes(change[1 + TAG_SIZE :], "big")
            for change in _cut(self._part(store, table, self.segment(table, tag)), CHANGE_SIZE)
            if change[1 : 1 + TAG_SIZE] == tag
        ]
        return found

    def _part(self, store: ChunkStore, table: int, number: int) -> bytes:
        """Return one segment's part of the delta."""
        before = [segment for directory in self.directories[:table] for segment in directory]
        directory = self.directories[table]
        at = sum(segment.pending for segment in (*before, *directory[:number]))
        end = at + directory[number].pending
        return self.content(store, self.delta)[at * CHANGE_SIZE : end * CHANGE_SIZE]

    def _pending(self, store: ChunkStore) -> list[list[bytes]]:
        """Return each segment's part of the delta."""
        delta, at, tables = self.content(store, self.delta), 0, []
        for directory in self.directories:
            parts = []
            for segment in directory:
                end = at + segment.pending * CHANGE_SIZE
                parts.append(delta[at:end])
                at = end
            tables.append(parts)
        return tables

    def changed(self, store: ChunkStore, changes: Iterable[Change], attempt: bytes) -> tuple[Self, Mapping[Ref, bytes]]:
        """Return the tags after changes, and the objects to be written for them."""
        pending = self._pending(store)
        for change in changes:
            pending[change.table][self.segment(change.table, change.tag)] += change.encode()
        full = sorted(
            (-len(part), table, number)
            for table, parts in enumerate(pending)
            for number, part in enumerate(parts)
            if len(part) > PENDING * CHANGE_SIZE
        )
        rewritten = {(table, number) for _, table, number in full[:REWRITES]}
        wanted = {self.directories[table][number].ref for table, number in rewritten} - {NOTHING} - self.loaded.keys()
        if wanted:
            self.loaded.update(load(store, wanted))
        written: dict[Ref, bytes] = {}
        directories, delta = [], []
        for table, directory in enumerate(self.directories):
            segments: list[Segment] = []
            stops = [segment.start for segment in directory[1:]] + [1 << 64]
            for number, (segment, stop) in enumerate(zip(directory, stops, strict=True)):
                part = pending[table][number]
                if (table, number) in rewritten:
                    entries = _apply(self.content(store, segment.ref), part)
                    segments += _segments(entries, segment.start, stop, attempt, written)
                else:
                    segments.append(Segment(segment.start, segment.ref, len(part) // CHANGE_SIZE))
                    delta.append(part)
            directories.append(tuple(segments))
        left, ref = b"".join(delta), NOTHING
        if left:
            ref = reference(attempt, left)
            written[ref] = left
        loaded = {**self.loaded, **written}
        after = dataclasses.replace(self, directories=tuple(directories), delta=ref, loaded=loaded)
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


def _cut(content: bytes, size: int) -> list[bytes]:
    return [content[at : at + size] for at in range(0, len(content), size)]


def _apply(entries: bytes, changes: bytes) -> list[bytes]:
    """Return a segment's entries after changes, in the order they were made."""
    kept = set(_cut(entries, ENTRY_SIZE))
    for change in _cut(changes, CHANGE_SIZE):
        if change[0]:
            kept.add(change[1:])
        else:
            kept.discard(change[1:])
    return sorted(kept)


def _segments(
    entries: list[bytes],
    start: int,
    stop: int,
    attempt: bytes,
    written: dict[Ref, bytes],
    most: int = SEGMENT_ENTRIES,
) -> list[Segment]:
    """Cut sorted entries into segments, halving the range of tags until each is small enough, or a single tag's."""
    if len(entries) > most and entries[0][:TAG_SIZE] != entries[-1][:TAG_SIZE]:
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
