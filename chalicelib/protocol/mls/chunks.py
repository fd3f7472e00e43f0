"""Chunks: the pieces in which a large tree is stored, so that a commit loads and rewrites few of them.

A chunk holds a full binary tree of 64 places: 127 entries in order, places at even positions and what lies above
them at odd ones. At tier 0 the places are leaves, so a chunk is the subtree over 64 aligned leaves. At a higher tier
the places are the chunks of the tier below, so its entries are the next six levels of the tree. Three tiers hold
2^18 leaves.

Every entry has its content and the summary of its subtree. The content is the node's encoding, or for a place of a
higher tier the reference of the chunk below and the epoch in which that chunk was born. An entry without members
below it is empty: what a blank subtree comes to is computed, not stored.

    struct {
        opaque tree_hash[hash_size];
        uint32 resolution;
        uint32 leaves;
    } Summary;

    struct {
        uint32 ends[127];               // of each content, counted from the first one
        Summary summaries[127];
        opaque contents[ends[126]];
    } Chunk;

Both tables have a fixed stride, so one node is found and decoded without reading the others. Chunks never change. A
reference is eight bytes that name the attempt which wrote the chunk and half of the chunk's SHA-256: two requests
racing for one epoch never write the same object, so the loser's can be told apart as garbage.
"""

import dataclasses
import hashlib
import struct
from collections.abc import Collection, Mapping
from typing import NewType, Protocol, Self

from chalicelib.protocol.mls import tree_math
from chalicelib.protocol.mls.tree import Summary

Ref = NewType("Ref", bytes)

ENTRIES = 127
ATTEMPT_SIZE = 8
REF_SIZE = ATTEMPT_SIZE + 16
LEVELS = 6
"""How many levels of the tree one chunk adds above its places."""


class ChunkStore(Protocol):
    """Immutable objects by reference.

    `load` returns every object asked for, or raises; an object once written under a reference never changes, and
    is there before anything refers to it. The store is not trusted with contents: each is checked against its
    reference.
    """

    def load(self, refs: Collection[Ref]) -> Mapping[Ref, bytes]:
        """Return the objects with these references."""
        ...


def reference(attempt: bytes, content: bytes) -> Ref:
    """Return the reference of an object that this attempt writes."""
    return Ref(attempt + hashlib.sha256(content).digest()[: REF_SIZE - ATTEMPT_SIZE])


def load(store: ChunkStore, refs: Collection[Ref]) -> Mapping[Ref, bytes]:
    """Load objects and check each against its reference; a wrong one is an outage, not a refusal."""
    loaded = store.load(refs)
    for ref in refs:
        if reference(ref[:ATTEMPT_SIZE], loaded[ref]) != ref:
            raise RuntimeError("a stored chunk is not the one that its reference names")
    return loaded


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Place:
    """Which chunk: its tier, and its number within the tier."""

    tier: int
    number: int

    @property
    def above(self) -> "Place":
        """Return the chunk of the next tier that refers to this one."""
        return Place(self.tier + 1, self.number >> LEVELS)

    @property
    def position_above(self) -> int:
        """Return the entry that refers to this chunk in the one above."""
        return 2 * (self.number & 63)

    @property
    def root(self) -> int:
        """Return the tree's node at the top of this chunk."""
        return self.node(63)

    def node(self, position: int) -> int:
        """Return the tree's node at an entry."""
        below = LEVELS * self.tier
        return ((128 * self.number + position) << below) + (1 << below) - 1


def locate(index: int) -> tuple[Place, int]:
    """Return the chunk that holds a node's content, and the entry."""
    height = tree_math.level(index)
    return _locate(index, 0 if height == 0 else (height - 1) // LEVELS)


def locate_summary(index: int, top_tier: int) -> tuple[Place, int]:
    """Return the highest chunk that holds a node's summary: the one above knows it for a chunk's root."""
    height = tree_math.level(index)
    return _locate(index, min(height // LEVELS, top_tier))


def _locate(index: int, tier: int) -> tuple[Place, int]:
    position = (index - (1 << (LEVELS * tier)) + 1) >> (LEVELS * tier)
    return Place(tier, position >> 7), position & 127


def top_tier(leaf_capacity: int) -> int:
    """Return the tier of the one chunk at the top; even the smallest tree has one above its leaves."""
    return max(1, locate(tree_math.root(leaf_capacity))[0].tier)


EMPTY = Summary(b"", 0, 0)
_ENDS = struct.Struct(f">{ENTRIES}I")
_COUNTS = struct.Struct(">II")


@dataclasses.dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk as it is stored, read where it is asked."""

    content: bytes
    hash_size: int

    def summary(self, position: int) -> Summary | None:
        """Return an entry's summary, or None if no member is below it."""
        start = _ENDS.size + position * (self.hash_size + _COUNTS.size)
        resolution, leaves = _COUNTS.unpack_from(self.content, start + self.hash_size)
        if leaves == 0:
            return None
        return Summary(self.content[start : start + self.hash_size], resolution, leaves)

    def entry(self, position: int) -> bytes:
        """Return an entry's content, empty for a blank node or chunk."""
        base = _ENDS.size + ENTRIES * (self.hash_size + _COUNTS.size)
        start = int.from_bytes(self.content[4 * position - 4 : 4 * position], "big") if position else 0
        end = int.from_bytes(self.content[4 * position : 4 * position + 4], "big")
        return self.content[base + start : base + end]

    @classmethod
    def blank(cls, hash_size: int) -> Self:
        """Return a chunk without members."""
        return cls(bytes(_ENDS.size + ENTRIES * (hash_size + _COUNTS.size)), hash_size)

    def changed(self, entries: Mapping[int, tuple[bytes, Summary]]) -> Self:
        """Return the chunk with some entries replaced; what lies between them is copied in one piece."""
        stride = self.hash_size + _COUNTS.size
        base = _ENDS.size + ENTRIES * stride
        old = _ENDS.unpack_from(self.content)
        summaries = bytearray(self.content[_ENDS.size : base])
        ends: list[int] = []
        contents: list[bytes] = []
        shift = taken = 0
        for position in [*sorted(entries), ENTRIES]:
            between = old[len(ends) : position]
            if between:
                contents.append(self.content[base + taken : base + between[-1]])
                taken = between[-1]
                ends += [end + shift for end in between]
            if position < ENTRIES:
                content, summary = entries[position]
                contents.append(content)
                ends.append((ends[-1] if ends else 0) + len(content))
                taken = old[position]
                shift = ends[-1] - taken
                at = position * stride
                summaries[at : at + stride] = summary.tree_hash.ljust(self.hash_size, b"\x00") + _COUNTS.pack(
                    summary.resolution, summary.leaves
                )
        return type(self)(_ENDS.pack(*ends) + bytes(summaries) + b"".join(contents), self.hash_size)
