"""The tree in chunks equals the plain tree on every history, and a commit touches few chunks of it."""

import dataclasses
import random
from collections.abc import Collection, Iterator, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.protocol.crypto import cipher_suite
from chalicelib.protocol.mls.chunked_tree import Attempt, ChunkedTree
from chalicelib.protocol.mls.chunks import Chunk, Place, Ref, locate, locate_summary, reference, top_tier
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.framing import MLSMessage
from chalicelib.protocol.mls.nodes import LeafNode, Node
from chalicelib.protocol.mls.plain_tree import PlainTree
from chalicelib.protocol.mls.policy import Policy
from chalicelib.protocol.mls.proposals import SelfRemove
from chalicelib.protocol.mls.public_group import PublicGroup
from chalicelib.protocol.mls.stored_group import decode_root, encode_root, prefetch
from chalicelib.protocol.mls.tree import Kind, Summary, values
from tests.protocol.mls.crowd import key, make_leaf
from tests.protocol.mls.story import NOW, Story, content_of

SUITE, POLICY = cipher_suite(1), Policy()


class MemoryChunks(dict[Ref, bytes]):
    """A store that counts loads and lets no object change."""

    loads = 0
    calls = 0

    def load(self, refs: Collection[Ref]) -> Mapping[Ref, bytes]:
        self.loads += len(refs)
        self.calls += 1
        return {ref: self[ref] for ref in refs}

    def store(self, written: Mapping[Ref, bytes]) -> None:
        for ref, content in written.items():
            assert self.setdefault(ref, content) == content


class Twins:
    """A plain tree and a chunked one, changed alike; the chunked one is opened anew for every epoch."""

    def __init__(self, members: int, seed: int) -> None:
        self.random = random.Random(seed)
        self.numbers = iter(range(10**9))
        nodes: list[Node | None] = [None] * (2 * members - 1)
        for index in range(0, len(nodes), 2):
            nodes[index] = self.leaf()
        self.plain = PlainTree.build(SUITE, POLICY, nodes)
        self.chunks = MemoryChunks()
        built = ChunkedTree.build(self.plain, b"salt", 0, Attempt(self.chunks, bytes(8)))
        self.chunks.store(built.written)
        self.chunked = self.reopened(built)

    def leaf(self) -> LeafNode:
        return make_leaf(next(self.numbers))

    def members(self, draft: Draft) -> list[int]:
        return [leaf_index for leaf_index, _ in draft.all_leaves()]

    def epoch(self, adds: int, updates: int, removes: int, *, path: bool) -> None:
        """Apply one commit's changes to both trees."""
        drafts = Draft(self.plain), Draft(self.chunked)
        left = self.members(drafts[0])
        self.random.shuffle(left)
        for leaf_index in left[:updates]:
            leaf = self.leaf()
            for draft in drafts:
                draft.update(leaf_index, leaf)
        for leaf_index in left[updates : min(updates + removes, len(left) - 1)]:
            for draft in drafts:
                draft.remove(leaf_index)
        for _ in range(adds):
            leaf = self.leaf()
            assert len({draft.add(leaf) for draft in drafts}) == 1
        if path:
            self.commit(drafts, self.random.choice(self.members(drafts[0])))
        self.finish(drafts)

    def commit(self, drafts: tuple[Draft, Draft], leaf_index: int) -> None:
        leaf = self.leaf()
        filtered = drafts[0].filtered_direct_path(leaf_index)
        assert drafts[1].filtered_direct_path(leaf_index) == filtered
        keys = [key("parent", next(self.numbers)) for _ in filtered]
        for draft in drafts:
            draft.put(2 * leaf_index, leaf)
        assert len({draft.merge_keys(leaf_index, keys) for draft in drafts}) == 1

    def finish(self, drafts: tuple[Draft, Draft]) -> None:
        self.plain = self.plain.changed(drafts[0])
        after = self.chunked.changed(drafts[1])
        self.chunks.store(after.written)
        self.chunked = self.reopened(after)

    def reopened(self, tree: ChunkedTree) -> ChunkedTree:
        """Return a tree that remembers nothing it has read, as the next request has it."""
        tags = dataclasses.replace(tree.tags, loaded={})
        attempt = Attempt(self.chunks, self.random.randbytes(8))
        return dataclasses.replace(tree, tags=tags, attempt=attempt, chunks={}, nodes={}, written={})

    def compare(self) -> None:
        """Assert that both trees answer every question alike."""
        plain, chunked = self.plain, self.chunked
        assert plain.leaf_capacity == chunked.leaf_capacity
        drafts = Draft(plain), Draft(chunked)
        for index in range(2 * plain.leaf_capacity - 1):
            assert plain.node(index) == chunked.node(index)
            assert plain.summary(index) == chunked.summary(index)
            for kind, value in values(POLICY, plain.node(index)):
                places = drafts[0].positions(kind, value)
                assert drafts[1].positions(kind, value) == places
                assert index in places
        for kind in Kind:
            assert drafts[1].positions(kind, b"nobody's") == set()

    def compare_with_a_fresh_tree(self) -> None:
        """Assert that the plain tree is what it would be if it were built from its nodes."""
        assert PlainTree.build(SUITE, POLICY, list(self.plain.nodes)) == self.plain


changes = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 3), st.integers(0, 40), st.booleans()),
    min_size=1,
    max_size=12,
)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 200), changes, st.integers(0, 2**32))
def test_chunked_and_plain_trees_are_equal_on_any_history(
    members: int, history: list[tuple[int, int, int, bool]], seed: int
) -> None:
    twins = Twins(members, seed)
    for adds, updates, removes, path in history:
        twins.epoch(adds, updates, removes, path=path)
        twins.compare()
    twins.compare_with_a_fresh_tree()


def test_they_are_equal_on_long_histories(campaign: int) -> None:
    for seed in range(campaign):
        twins = Twins(1, seed)
        for epoch in range(250):
            growing = epoch % 100 < 60
            bulk = 30 if twins.random.random() < 0.1 else 2
            adds = twins.random.randrange(bulk + 1) if growing else twins.random.randrange(2)
            removes = twins.random.randrange(2) if growing else twins.random.randrange(bulk + 1)
            twins.epoch(adds, twins.random.randrange(2), removes, path=twins.random.random() < 0.8)
            if epoch % 25 == 24:
                twins.compare()
        twins.compare_with_a_fresh_tree()


def test_they_are_equal_across_all_tiers() -> None:
    twins = Twins(4_090, 5)
    assert top_tier(twins.plain.leaf_capacity) == 1
    twins.epoch(10, 0, 0, path=True)
    assert (twins.plain.leaf_capacity, top_tier(twins.plain.leaf_capacity)) == (8_192, 2)
    assert Draft(twins.chunked).tree_hash == Draft(twins.plain).tree_hash
    twins.epoch(0, 2, 0, path=True)
    for leaf_index in range(4_096, 4_100):
        drafts = Draft(twins.plain), Draft(twins.chunked)
        for draft in drafts:
            draft.remove(leaf_index)
        twins.finish(drafts)
    assert top_tier(twins.plain.leaf_capacity) == 1
    twins.epoch(20, 0, 0, path=True)
    twins.compare()
    twins.compare_with_a_fresh_tree()


def test_a_commit_touches_few_chunks_of_a_warm_tree() -> None:
    twins = Twins(3_000, 6)
    for leaf_index in (5, 700, 2_999):
        drafts = Draft(twins.plain), Draft(twins.chunked)
        twins.commit(drafts, leaf_index)
        twins.chunks.loads = 0
        written = twins.chunked.changed(drafts[1]).written
        twins.finish(drafts)
        # One leaf chunk and the delta; the top chunk is in the root.
        assert len(written) == 2
        assert twins.chunks.loads <= 2


def test_prefetching_leaves_nothing_to_load() -> None:
    twins = Twins(5_000, 7)
    tree = twins.reopened(twins.chunked)
    wanted = [(Kind.ENCRYPTION_KEY, key("new", number)) for number in range(14)]
    tree.prefetch([4_321], wanted)
    loads = twins.chunks.loads
    draft = Draft(tree)
    for kind, value in wanted:
        assert draft.positions(kind, value) == set()
    assert draft.leaf(4_321) is not None
    draft.filtered_direct_path(4_321)
    draft.merge_keys(4_321, [value for _, value in wanted[: len(draft.filtered_direct_path(4_321))]])
    assert draft.tree_hash
    assert twins.chunks.loads == loads


def test_a_chunk_that_is_not_what_its_reference_names_is_an_outage() -> None:
    twins = Twins(100, 8)
    ref = next(iter(twins.chunks))
    twins.chunks[ref] = twins.chunks[ref][:-1] + b"\x00"
    with pytest.raises(RuntimeError, match="not the one"):
        twins.compare()


def test_losers_and_winners_never_write_the_same_object() -> None:
    assert reference(b"attempt1", b"content") != reference(b"attempt2", b"content")
    assert reference(b"attempt1", b"content") == reference(b"attempt1", b"content")


def test_every_node_has_one_place() -> None:
    found = [locate(index) for index in range(2 * 8_192 - 1)]
    assert len(set(found)) == len(found)
    for index, (place, position) in enumerate(found):
        assert place.node(position) == index
    assert locate_summary(63, 1) == (Place(1, 0), 0)
    assert locate_summary(63, 0) == (Place(0, 0), 63)


@given(st.dictionaries(st.integers(0, 126), st.tuples(st.binary(max_size=9), st.integers(1, 99))), st.data())
def test_a_chunk_is_what_its_changes_made_it(entries: dict[int, tuple[bytes, int]], data: st.DataObject) -> None:
    chunk = Chunk.blank(32)
    order = data.draw(st.permutations(list(entries)))
    half = len(order) // 2
    for part in (order[:half], order[half:]):
        chunk = chunk.changed(
            {place: (entries[place][0], Summary(key(place), place, entries[place][1])) for place in part}
        )
    for place in range(127):
        content, leaves = entries.get(place, (b"", 0))
        assert chunk.entry(place) == content
        assert chunk.summary(place) == (Summary(key(place), place, leaves) if leaves else None)


# Whole groups.


def stored(story: Story, chunks: MemoryChunks) -> bytes:
    """Return the root of a story's group, its tree cut into chunks."""
    tree = ChunkedTree.build(story.group.tree, b"salt", story.group.epoch, Attempt(chunks, bytes(8)))
    chunks.store(tree.written)
    return encode_root(dataclasses.replace(story.group, tree=tree))


def attempts() -> Iterator[bytes]:
    yield from (b"%08d" % number for number in range(10**8))


def test_a_stored_group_follows_a_story_as_the_plain_one_does() -> None:
    story, chunks = Story("alice", "bob", proposals=(10,)), MemoryChunks()
    root, names = stored(story, chunks), attempts()

    def follow(message: MLSMessage) -> None:
        nonlocal root
        group = decode_root(root, story.policy, Attempt(chunks, next(names)))
        prefetch(group, content_of(message))
        loads = chunks.loads
        after = group.merge(group.stage(message, NOW))
        assert chunks.loads == loads
        assert isinstance(after.tree, ChunkedTree)
        chunks.store(after.tree.written)
        root = encode_root(after)

    def same() -> None:
        group: PublicGroup = decode_root(root, story.policy, Attempt(chunks, next(names)))
        assert group.context == story.group.context
        assert group.interim_transcript_hash == story.group.interim_transcript_hash
        assert group.support == story.group.support
        assert group.proposals == story.group.proposals
        assert encode_root(group) == root

    for number in range(66):
        pending = story.pending("alice", *story.adding(f"member {number}"), path=number % 3 > 0)
        follow(pending.commit)
        story.accept("alice", pending)
        same()
    message = story.members["bob"].propose(SelfRemove())
    follow(message)
    story.deliver(message, "bob")
    same()
    pending = story.pending("alice", *story.group.proposals)
    follow(pending.commit)
    story.accept("alice", pending, "bob")
    same()
    external = story.external("third")
    follow(external.commit)
    story.accept("third", external)
    same()
