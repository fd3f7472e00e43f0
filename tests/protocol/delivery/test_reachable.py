"""What a root leads to is exactly what its state can load, on any history."""

import dataclasses
from collections.abc import Collection, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.protocol.delivery.group_state import Change, GroupState, decode_state
from chalicelib.protocol.delivery.parts import Domain
from chalicelib.protocol.delivery.queueing import ClientQueueConfig
from chalicelib.protocol.delivery.reachable import reachable
from chalicelib.protocol.delivery.records import DeliveryRecord, Records
from chalicelib.protocol.delivery.sealed import Sealed
from chalicelib.protocol.mls.chunked_tree import Attempt, ChunkedTree
from chalicelib.protocol.mls.chunks import Ref, reference
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.extensions import Extension
from chalicelib.protocol.mls.group_info import GroupContext, GroupInfo
from chalicelib.protocol.mls.policy import Policy
from chalicelib.protocol.mls.public_group import PublicGroup
from chalicelib.protocol.mls.support import Support
from chalicelib.protocol.mls.tree import values
from tests.protocol.mls.test_chunked_tree import Twins

CONTEXT = GroupContext(1, 1, b"a group", 0, bytes(32), bytes(32), ())


class Recording:
    """A store that remembers what was asked of it, and has nothing but what it is given."""

    def __init__(self, objects: Mapping[Ref, bytes]) -> None:
        self.objects = objects
        self.loaded: set[Ref] = set()

    def load(self, refs: Collection[Ref]) -> Mapping[Ref, bytes]:
        self.loaded |= set(refs)
        return {ref: self.objects[ref] for ref in refs}


class History:
    """A group that changes at random; `objects` is everything that was ever written for it."""

    def __init__(self, members: int, seed: int) -> None:
        self.twins = Twins(members, seed)
        self.random = self.twins.random
        self.objects: dict[Ref, bytes] = self.twins.chunks
        self.records = Records(Attempt(self.twins.chunks, bytes(8)))
        self.roots: list[Ref] = []
        self.keep()

    def keep(self) -> None:
        """Store the state as it is now: its records for the leaves there are, its GroupInfo, its root."""
        tree, attempt = self.twins.chunked, self.twins.chunked.attempt
        members = self.twins.members(Draft(tree))
        known = {leaf_index for leaf_index, _ in self.records.all()}
        changes: dict[int, DeliveryRecord | None] = dict.fromkeys(known - set(members))
        for leaf_index in {*members} - known | {self.random.choice(members)}:
            queue = ClientQueueConfig(Domain("ds.example"), Sealed(1, self.random.randbytes(80)))
            changes[leaf_index] = DeliveryRecord(queue, 0, 0)
        records = dataclasses.replace(self.records, attempt=attempt)
        self.records, written = records.changed(changes)
        info = GroupInfo(CONTEXT, (Extension(0xFFFF, self.random.randbytes(8)),), b"tag", 0, b"signature").encode()
        info_ref = reference(attempt.name, info)
        group = PublicGroup(CONTEXT, b"", b"", tree, Support(len(members), {}))
        change = Change(GroupState(group, info_ref, self.records), {**written, info_ref: info})
        self.objects.update(change.objects)
        self.roots.append(change.root)

    def open(self, root: Ref, objects: Mapping[Ref, bytes]) -> tuple[GroupState, Recording]:
        store = Recording(objects)
        return decode_state(self.objects[root], lambda _: Policy(), Attempt(store, bytes(8))), store


def ask_everything(state: GroupState) -> None:
    """Read all that a request might ask of a state."""
    tree = state.group.tree
    assert isinstance(tree, ChunkedTree)
    assert state.info().signature == b"signature"
    assert {leaf_index for leaf_index, _ in state.records.all()} == {i for i, _ in Draft(tree).all_leaves()}
    for index in range(2 * tree.leaf_capacity - 1):
        tree.summary(index)
        for kind, value in values(Policy(), tree.node(index)):
            assert index in tree.positions(kind, value)
    for refs in tree.tags.directories:
        for segment in refs:
            tree.tags.content(tree.attempt.store, segment.ref)


def check(history: History) -> None:
    for root in history.roots:
        state, _ = history.open(root, history.objects)
        found = reachable(state)
        assert root not in found
        # It is enough: the state works where nothing else is left.
        left = {ref: history.objects[ref] for ref in found}
        state, store = history.open(root, left)
        ask_everything(state)
        # And none of it is too much.
        assert store.loaded == found


changes = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 3), st.integers(0, 40), st.booleans()), min_size=1, max_size=8
)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 200), changes, st.integers(0, 2**32))
def test_what_a_root_leads_to_is_what_its_state_can_load(
    members: int, epochs: list[tuple[int, int, int, bool]], seed: int
) -> None:
    history = History(members, seed)
    for adds, updates, removes, path in epochs:
        history.twins.epoch(adds, updates, removes, path=path)
        history.keep()
    check(history)


def test_it_is_so_across_all_tiers() -> None:
    history = History(4_090, 3)
    for adds, removes in ((10, 0), (0, 4), (0, 40)):
        history.twins.epoch(adds, 1, removes, path=True)
        history.keep()
    history.roots = history.roots[1:3]
    check(history)


def test_only_chunks_between_the_root_and_the_leaves_are_read() -> None:
    small, large = History(300, 1), History(4_200, 2)
    state, store = small.open(small.roots[0], small.objects)
    assert len(reachable(state)) > 5
    assert store.loaded == set()
    state, store = large.open(large.roots[0], large.objects)
    assert len(reachable(state)) > 66
    assert len(store.loaded) == 2


def test_a_root_without_its_objects_is_an_outage() -> None:
    history = History(4_200, 4)
    state, _ = history.open(history.roots[0], {})
    with pytest.raises(KeyError):
        reachable(state)
