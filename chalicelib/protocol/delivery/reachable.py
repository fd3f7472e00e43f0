"""What a group's root leads to: the objects that must stay for as long as the root does.

    root → GroupInfo
         → chunks of delivery records
         → segments of tags, and their delta
         → tree chunks of the highest tier but one → … → leaf chunks

Chunks of tier 0 refer to nothing, so they are named without being read: up to 4,096 leaves nothing is loaded at all,
and above that only the chunks between the root and the leaf chunks.
"""

from collections.abc import Iterable, Iterator

from chalicelib.protocol.delivery.group_state import GroupState
from chalicelib.protocol.mls.chunked_tree import ChunkedTree
from chalicelib.protocol.mls.chunks import ENTRIES, REF_SIZE, Chunk, Ref, load

_NOTHING = Ref(bytes(REF_SIZE))


def reachable(state: GroupState) -> frozenset[Ref]:
    """Return the references of all objects that a state was read from or may still ask for, but for its root's own."""
    tree = state.group.tree
    if not isinstance(tree, ChunkedTree):
        raise TypeError("a stored group has a chunked tree")
    segments = [segment.ref for directory in tree.tags.directories for segment in directory]
    found = {state.group_info, *state.records.directory, *segments, tree.tags.delta, *_tree_chunks(tree)}
    return frozenset(found - {_NOTHING})


def _tree_chunks(tree: ChunkedTree) -> Iterator[Ref]:
    """Give the chunks below the top one, a tier at a time."""
    above = [tree.top]
    for tier in range(tree.top_place.tier - 1, -1, -1):
        refs = list(_below(above))
        yield from refs
        if tier and refs:
            above = [Chunk(content, tree.suite.hash_size) for content in load(tree.attempt.store, refs).values()]


def _below(chunks: Iterable[Chunk]) -> Iterator[Ref]:
    for chunk in chunks:
        for position in range(0, ENTRIES, 2):
            if content := chunk.entry(position):
                yield Ref(content[:REF_SIZE])
