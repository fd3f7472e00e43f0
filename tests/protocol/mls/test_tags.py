"""Tags are found, all of them, and do not outlive what they name."""

import dataclasses

from chalicelib.protocol.crypto import cipher_suite
from chalicelib.protocol.mls.chunked_tree import Attempt, ChunkedTree
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.nodes import LeafNode, Node
from chalicelib.protocol.mls.plain_tree import PlainTree
from chalicelib.protocol.mls.policy import Policy
from chalicelib.protocol.mls.tags import ENTRY_SIZE, SEGMENT_ENTRIES, Change, Tags
from chalicelib.protocol.mls.tree import Kind
from tests.protocol.mls.crowd import key, make_leaf
from tests.protocol.mls.test_chunked_tree import MemoryChunks

ATTEMPT = b"attempt0"


def entries(tags: Tags, chunks: MemoryChunks, table: int) -> int:
    """Return how many entries a table's segments have."""
    return sum(len(tags.content(chunks, segment.ref)) for segment in tags.directories[table]) // ENTRY_SIZE


def change(tags: Tags, *, present: bool, number: int) -> Change:
    return Change(0, present, tags.tag(Kind.ENCRYPTION_KEY, key(number)), number)


def test_every_place_of_a_value_is_found() -> None:
    chunks = MemoryChunks()
    tags, written = Tags.build(b"salt", [(Kind.USER, b"alice", node) for node in range(9)], ATTEMPT)
    chunks.store(written)
    assert sorted(tags.positions(chunks, Kind.USER, b"alice")) == list(range(9))
    more = [Change(1, True, tags.tag(Kind.USER, b"alice"), node) for node in (20, 30)]
    tags, _ = tags.changed(chunks, more, ATTEMPT)
    assert sorted(tags.positions(chunks, Kind.USER, b"alice")) == [*range(9), 20, 30]
    assert list(tags.positions(chunks, Kind.CLIENT, b"alice")) == []


def test_what_is_gone_leaves_its_segment_with_the_next_rewrite() -> None:
    chunks = MemoryChunks()
    values = [(Kind.ENCRYPTION_KEY, key(number), number) for number in range(200)]
    tags, written = Tags.build(b"salt", values, ATTEMPT)
    chunks.store(written)
    gone = [change(tags, present=False, number=number) for number in range(100)]
    tags, written = tags.changed(chunks, gone, ATTEMPT)
    chunks.store(written)
    assert entries(tags, chunks, 0) == 100
    assert list(tags.positions(chunks, Kind.ENCRYPTION_KEY, key(0))) == []
    assert list(tags.positions(chunks, Kind.ENCRYPTION_KEY, key(150))) == [150]


def test_segments_that_grow_are_split_and_a_commit_rewrites_few() -> None:
    chunks = MemoryChunks()
    tags, _ = Tags.build(b"salt", [], ATTEMPT)
    for start in range(0, 12_000, 1_000):
        added = [change(tags, present=True, number=number) for number in range(start, start + 1_000)]
        tags, written = tags.changed(chunks, added, ATTEMPT)
        chunks.store(written)
    for _ in range(20):  # Until the delta has drained, four segments at a time.
        tags, written = tags.changed(chunks, [], ATTEMPT)
        chunks.store(written)
    assert len(tags.directories[0]) >= 8
    for segment in tags.directories[0]:
        assert len(tags.content(chunks, segment.ref)) <= SEGMENT_ENTRIES * ENTRY_SIZE
        assert segment.pending <= 64
    for number in range(0, 12_000, 97):
        assert list(tags.positions(chunks, Kind.ENCRYPTION_KEY, key(number))) == [number]


def test_segments_to_be_rewritten_are_loaded_together() -> None:
    chunks = MemoryChunks()
    values = [(Kind.ENCRYPTION_KEY, key(number), number) for number in range(10_000)]
    tags, written = Tags.build(b"salt", values, ATTEMPT)
    chunks.store(written)
    new = [change(tags, present=True, number=number) for number in range(10_000, 11_000)]
    dataclasses.replace(tags, loaded={}).changed(chunks, new, ATTEMPT)
    assert (chunks.calls, chunks.loads) == (1, 4)


def test_a_user_may_have_more_clients_than_a_segment_has_entries() -> None:
    chunks = MemoryChunks()
    tags, written = Tags.build(b"s" * 16, [(Kind.USER, b"alice", 2 * number) for number in range(3_000)], ATTEMPT)
    chunks.store(written)
    tag = tags.tag(Kind.USER, b"alice")
    for start in range(3_000, 4_000, 100):
        added = [Change(1, True, tag, 2 * number) for number in range(start, start + 100)]
        others = [Change(1, True, tags.tag(Kind.USER, key(number)), 2 * number) for number in range(start, start + 100)]
        tags, written = tags.changed(chunks, [*added, *others], ATTEMPT)
        chunks.store(written)
    assert sorted(tags.positions(chunks, Kind.USER, b"alice")) == list(range(0, 8_000, 2))
    assert list(tags.positions(chunks, Kind.USER, key(3_456))) == [6_912]


def test_a_tree_of_one_users_many_clients_can_be_stored_and_changed() -> None:
    class OneUser(Policy):
        def user(self, leaf: LeafNode) -> bytes:
            return b"alice"

    nodes: list[Node | None] = [None] * 5_999
    nodes[::2] = [make_leaf(number) for number in range(3_000)]
    chunks = MemoryChunks()
    plain = PlainTree.build(cipher_suite(1), OneUser(), nodes)
    tree = ChunkedTree.build(plain, b"salt", 0, Attempt(chunks, ATTEMPT))
    chunks.store(tree.written)
    draft = Draft(tree)
    for number in range(3_000, 3_100):
        draft.add(make_leaf(number))
    tree = tree.changed(draft)
    chunks.store(tree.written)
    assert Draft(tree).positions(Kind.USER, b"alice") == set(range(0, 6_200, 2))
