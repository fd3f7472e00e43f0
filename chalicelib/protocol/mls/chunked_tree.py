"""The ratchet tree in chunks: a commit on a warm tree loads and rewrites O(log n) of them.

It answers the same questions as the plain tree and is changed by the same drafts; a property test holds the two
equal on every history. What is asked for is loaded then; `prefetch` loads together what a commit is going to ask for.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Self

from chalicelib.protocol.crypto import CipherSuite
from chalicelib.protocol.mls import tree_math
from chalicelib.protocol.mls.chunks import (
    EMPTY,
    REF_SIZE,
    Chunk,
    ChunkStore,
    Place,
    Ref,
    load,
    locate,
    locate_summary,
    reference,
    top_tier,
)
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.nodes import LeafNode, Node, ParentNode
from chalicelib.protocol.mls.policy import Policy
from chalicelib.protocol.mls.tags import TABLES, Change, Tags
from chalicelib.protocol.mls.tree import Kind, Summary, Tree, blank_summary, values
from chalicelib.protocol.tls import STORED_ELEMENTS, Reader, decode, uint64


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One request's try at a change: where chunks are read from, and the eight bytes that name what it writes."""

    store: ChunkStore
    name: bytes


@dataclasses.dataclass(frozen=True)
class ChunkedTree:
    """A tree of which the top chunk is at hand.

    `written` are the objects that `changed` made and that must be stored before this tree's root is. `chunks` and
    `nodes` remember what was read; they are no part of the value.
    """

    suite: CipherSuite
    policy: Policy
    leaf_capacity: int
    epoch: int
    top: Chunk
    tags: Tags
    attempt: Attempt
    written: Mapping[Ref, bytes] = dataclasses.field(default_factory=dict)
    chunks: dict[Place, Chunk | None] = dataclasses.field(default_factory=dict, compare=False, repr=False)
    nodes: dict[int, Node | None] = dataclasses.field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def build(cls, tree: Tree, salt: bytes, epoch: int, attempt: Attempt) -> Self:
        """Cut a tree into chunks; the whole of it is written."""
        tags, written = Tags.build(salt, _all_values(tree), attempt.name)
        blank = Chunk.blank(tree.suite.hash_size)
        empty = cls(tree.suite, tree.policy, 1, epoch - 1, blank, tags, attempt)
        nodes = {index: tree.node(index) for index in range(2 * tree.leaf_capacity - 1)}
        summaries = {index: tree.summary(index) for index in nodes}
        top, chunks = empty._rewrite(tree.leaf_capacity, nodes, summaries)
        return dataclasses.replace(
            empty,
            leaf_capacity=tree.leaf_capacity,
            epoch=epoch,
            top=top,
            written={**written, **chunks},
            chunks={},
        )

    @property
    def top_place(self) -> Place:
        """Return which chunk the top one is."""
        return Place(top_tier(self.leaf_capacity), 0)

    def chunk(self, place: Place) -> Chunk | None:
        """Return a chunk, or None where no member is below it."""
        if place == self.top_place:
            return self.top
        if place not in self.chunks:
            above = self.chunk(place.above)
            content = b"" if above is None else above.entry(place.position_above)
            chunk = None
            if content:
                ref = Ref(content[:REF_SIZE])
                chunk = Chunk(load(self.attempt.store, [ref])[ref], self.suite.hash_size)
            self.chunks[place] = chunk
        return self.chunks[place]

    def node(self, index: int) -> Node | None:
        """Return what stands at a node."""
        if index not in self.nodes:
            place, position = locate(index)
            chunk = self.chunk(place)
            content = b"" if chunk is None else chunk.entry(position)
            read: Callable[[Reader], Node] = ParentNode.read if index % 2 else LeafNode.read
            self.nodes[index] = decode(read, content, STORED_ELEMENTS) if content else None
        return self.nodes[index]

    def summary(self, index: int) -> Summary:
        """Return what the subtree at a node comes to."""
        place, position = locate_summary(index, self.top_place.tier)
        chunk = self.chunk(place)
        known = None if chunk is None else chunk.summary(position)
        return blank_summary(self.suite, index) if known is None else known

    def positions(self, kind: Kind, value: bytes) -> Iterable[int]:
        """Return all nodes that hold the value, and perhaps others; none beyond the tree."""
        found = self.tags.positions(self.attempt.store, kind, value)
        return [node for node in found if node < 2 * self.leaf_capacity - 1]

    def prefetch(
        self, leaves: Iterable[int], wanted: Iterable[tuple[Kind, bytes]], more: Collection[Ref] = ()
    ) -> Mapping[Ref, bytes]:
        """Load, a tier at a time, the chunks above some leaves and the segments for some values.

        `more` are other objects, which are loaded together with them and returned.
        """
        beside: dict[Ref, bytes] = {}
        awaited = list(more)
        refs: dict[Ref, Place | None] = {ref: None for kind, value in wanted for ref in self.tags.refs(kind, value)}
        places = {Place(0, leaf_index >> 6) for leaf_index in leaves if leaf_index < self.leaf_capacity}
        for tier in range(self.top_place.tier - 1, -1, -1):
            for place in {Place(tier, place.number >> (6 * tier)) for place in places} - self.chunks.keys():
                above = self.chunk(place.above)
                content = b"" if above is None else above.entry(place.position_above)
                if content:
                    refs[Ref(content[:REF_SIZE])] = place
            loaded = load(self.attempt.store, [*refs, *awaited]) if refs or awaited else {}
            beside |= {ref: loaded[ref] for ref in awaited}
            for ref, place_or_tags in refs.items():
                if place_or_tags is None:
                    self.tags.loaded[ref] = loaded[ref]
                else:
                    self.chunks[place_or_tags] = Chunk(loaded[ref], self.suite.hash_size)
            refs, awaited = {}, []
        return beside

    def changed(self, draft: Draft) -> Self:
        """Return the tree as the draft over it has it, with the objects to be written for it."""
        changes = self._tag_changes(draft)
        tags, segments = self.tags.changed(self.attempt.store, changes, self.attempt.name)
        summaries = draft.changed_summaries()
        root = draft.root
        top, chunks = self._rewrite(draft.leaf_capacity, draft.nodes, {**summaries, root: draft.summary(root)})
        return dataclasses.replace(
            self,
            leaf_capacity=draft.leaf_capacity,
            epoch=self.epoch + 1,
            top=top,
            tags=tags,
            written={**segments, **chunks},
            chunks={},
            nodes={},
        )

    def _tag_changes(self, draft: Draft) -> Iterator[Change]:
        for index, node in draft.nodes.items():
            old = {(kind, self.tags.tag(kind, value)) for kind, value in values(self.policy, draft.original(index))}
            new = {(kind, self.tags.tag(kind, value)) for kind, value in values(self.policy, node)}
            for kind, tag in old - new:
                yield Change(TABLES[kind], False, tag, index)
            for kind, tag in new - old:
                yield Change(TABLES[kind], True, tag, index)

    def _rewrite(
        self, leaf_capacity: int, nodes: Mapping[int, Node | None], summaries: Mapping[int, Summary]
    ) -> tuple[Chunk, Mapping[Ref, bytes]]:
        """Return the new top chunk and the chunks to be written below it.

        `summaries` has every node with a change at or below it, the root at least. Lower tiers come first, because a
        chunk is known by its reference only when it is complete.
        """
        top = Place(top_tier(leaf_capacity), 0)
        size = 2 * leaf_capacity - 1
        entries: dict[Place, dict[int, tuple[bytes, Summary]]] = {top: {}}
        if top.tier > self.top_place.tier:
            # The tree has outgrown its top chunk, which becomes one among others.
            entries[self.top_place] = {}
        for index, summary in summaries.items():
            place, position = locate(index)
            entries.setdefault(place, {})[position] = (self._content(index, nodes), summary)
        written: dict[Ref, bytes] = {}
        while True:
            place = min(entries)
            chunk = self._base(place).changed(_within(place, entries.pop(place), size))
            if place == top:
                return chunk, written
            known = summaries.get(place.root) if place.root < size else summaries[tree_math.root(leaf_capacity)]
            if known is None:
                known = self.summary(place.root)
            content = b""
            if known.leaves:
                ref = reference(self.attempt.name, chunk.content)
                written[ref] = chunk.content
                content = ref + uint64(self.epoch + 1)
            entries.setdefault(place.above, {})[place.position_above] = (content, known)

    def _base(self, place: Place) -> Chunk:
        """Return the chunk as it was, blank if it lay beyond the tree."""
        beyond = tree_math.subtree(place.node(0))[0] >= self.leaf_capacity
        chunk = None if beyond or place.tier > self.top_place.tier else self.chunk(place)
        return Chunk.blank(self.suite.hash_size) if chunk is None else chunk

    def _content(self, index: int, nodes: Mapping[int, Node | None]) -> bytes:
        """Return the encoding of a node, unchanged if the draft does not have it."""
        if index in nodes:
            node = nodes[index]
            return b"" if node is None else node.encode()
        if index >= 2 * self.leaf_capacity - 1:
            # What an entry held before the tree was truncated and grew again is of no account.
            return b""
        place, position = locate(index)
        chunk = self.chunk(place)
        return b"" if chunk is None else chunk.entry(position)


def _within(place: Place, entries: dict[int, tuple[bytes, Summary]], size: int) -> Mapping[int, tuple[bytes, Summary]]:
    """Clear what lies beyond the tree; only the first chunk of a tier can reach over its edge."""
    if place.number == 0 and place.node(126) >= size:
        for position in range(127):
            if tree_math.subtree(place.node(position))[0] * 2 >= size or (
                place.node(position) >= size and position % 2
            ):
                entries[position] = (b"", EMPTY)
    return entries


def _all_values(tree: Tree) -> Iterator[tuple[Kind, bytes, int]]:
    for index in range(2 * tree.leaf_capacity - 1):
        for kind, value in values(tree.policy, tree.node(index)):
            yield kind, value, index
