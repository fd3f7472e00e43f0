"""Trees and messages that an attacker would send: refused, and in time and memory in proportion to their size."""

import dataclasses
from collections.abc import Iterator

import pytest

from chalicelib.errors import Refusal
from chalicelib.protocol.crypto import cipher_suite
from chalicelib.protocol.mls.commit import Commit, HPKECiphertext, ProposalOrRef, UpdatePath, UpdatePathNode
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.extensions import REQUIRED_CAPABILITIES, Extension, RequiredCapabilities
from chalicelib.protocol.mls.framing import Sender, SenderType, decode_message
from chalicelib.protocol.mls.nodes import LeafNode, Node, ParentNode
from chalicelib.protocol.mls.plain_tree import PlainTree
from chalicelib.protocol.mls.policy import Policy
from chalicelib.protocol.mls.proposals import Add, GroupContextExtensions, Remove
from chalicelib.protocol.mls.tree_rules import check_parent_hashes, check_parent_keys, check_unmerged_leaves
from tests.effort import growth, least
from tests.protocol.mls.crowd import key, make_leaf
from tests.protocol.mls.story import NOW, Story, refused, sign_key_package_leaf


def deep(leaves: int, *, unmerged: bool) -> Draft:
    """Return a tree whose parents are all there, and list every leaf below as unmerged if asked to."""
    nodes: list[Node | None] = [None] * (2 * leaves - 1)
    for leaf_index in range(leaves):
        nodes[2 * leaf_index] = make_leaf(leaf_index)
    step = 2
    while step <= leaves:
        for first in range(0, leaves, step):
            listed = tuple(range(first, first + step)) if unmerged else ()
            nodes[2 * first + step - 1] = ParentNode(key("parent", first, step), b"", listed)
        step *= 2
    return Draft(PlainTree.build(cipher_suite(1), Policy(), nodes))


def test_a_deep_tree_of_unlinked_parents_is_refused() -> None:
    draft = deep(256, unmerged=False)
    check_parent_keys(draft)
    check_unmerged_leaves(draft)
    with refused("mls-7.9.2-1"):
        check_parent_hashes(draft)


def test_parents_that_list_everyone_as_unmerged_cost_what_they_weigh() -> None:
    def validate(leaves: int) -> None:
        draft = deep(leaves, unmerged=True)
        check_unmerged_leaves(draft)
        with pytest.raises(Refusal):
            check_parent_hashes(draft)

    # Eight times the leaves are about eleven times the bytes; the square would be sixty-four.
    assert growth(validate, 256, 2_048) < 32


def test_a_sparse_tree_is_refused_for_its_leaves_not_for_its_width() -> None:
    nodes: list[Node | None] = [None] * (2 * 16_384 - 1)
    nodes[0], nodes[-1] = make_leaf(0), make_leaf(1)
    draft = Draft(PlainTree.build(cipher_suite(1), Policy(), nodes))
    assert draft.members == 2
    assert draft.filtered_direct_path(0) == [(16_383, 24_575)]
    draft.remove(16_383)
    assert draft.leaf_capacity == 1


def test_a_parent_cannot_vouch_for_itself_in_a_circle() -> None:
    draft = deep(8, unmerged=False)
    # Each parent names another's key as what is above it; no leaf starts the chain.
    for index in (1, 3, 5, 7, 9, 11, 13):
        node = draft.parent(index)
        assert node is not None
        other = draft.parent(7 if index != 7 else 3)
        assert other is not None
        draft.put(index, dataclasses.replace(node, parent_hash=key(other.encryption_key)))
    with refused("mls-7.9.2-1"):
        check_parent_hashes(draft)


@pytest.mark.parametrize("leaf_index", [2**31, 2**32 - 1])
def test_leaves_beyond_any_tree_are_nobodys(leaf_index: int) -> None:
    story = Story("alice", "bob")
    with refused("mls-12.1.3-1"):
        story.stage(story.forge_commit("bob", Remove(leaf_index)))
    with refused("mls-6.1-2"):
        story.stage(story.forge("bob", Remove(0), sender=Sender(SenderType.MEMBER, leaf_index)))


def test_a_path_with_far_too_many_nodes_is_refused() -> None:
    story = Story("alice", "bob")
    path = story.path("bob")
    nodes = tuple(UpdatePathNode(key(number), (HPKECiphertext(b"", b""),) * 100) for number in range(1_000))
    with refused("mls-7.5-1"):
        story.stage(story.forge_commit("bob", path=UpdatePath(path.leaf_node, nodes)))


def test_a_group_does_not_come_to_require_without_end() -> None:
    story = Story("alice", "bob", leaf_extensions=tuple(range(0xE000, 0xE400)))
    required = RequiredCapabilities(tuple(range(0xE000, 0xE000 + 511)))
    extension = Extension(REQUIRED_CAPABILITIES, required.encode())
    story.stage(story.forge_commit("bob", GroupContextExtensions((extension,))))
    with refused("ds-5"):
        more = GroupContextExtensions((extension, Extension(0xE000, b"")))
        story.stage(story.forge_commit("bob", more))


def test_a_leaf_with_every_capability_and_extension_costs_what_it_weighs() -> None:
    story = Story("alice", "bob")

    def add(count: int) -> None:
        numbers = tuple(range(0x1000, 0x1000 + count))
        owner = story.key_package("third", extensions=numbers, proposals=numbers)
        extensions = tuple(Extension(number, b"") for number in numbers)
        key_package = sign_key_package_leaf(owner, extensions=extensions)
        story.stage(story.commit_adding("alice", key_package))

    assert growth(add, 25, 250) < 40


def test_what_a_leaf_supports_does_not_fill_the_table_without_end() -> None:
    story = Story("alice", "bob", leaf_extensions=(0xF001,))
    numbers = (0xF001, *range(0x1000, 0x13FF))
    owner = story.key_package("stranger", extensions=numbers, proposals=numbers)
    pending = story.pending("alice", Add(owner.public))
    story.accept("alice", pending)
    assert story.group.support.overflowed
    assert len(story.group.support.counts) <= 512
    # What is counted is still right, and what is not is looked up at every leaf.
    with refused("mls-13.4-5"):
        story.stage(story.forge_commit("bob", GroupContextExtensions((Extension(0x13FE, b""),))))
    story.commit("alice", Remove(2))
    assert story.group.support.by_all((1, 0xF001), list)


def test_members_are_looked_through_once_for_all_that_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story("alice", "bob", leaf_extensions=tuple(range(0xE000, 0xE400)))
    assert story.group.support.overflowed
    uncounted = [number for number in range(0xE000, 0xE400) if (1, number) not in story.group.support.counts]
    required = RequiredCapabilities(tuple(uncounted[:500]))
    message = story.forge_commit("bob", GroupContextExtensions((Extension(REQUIRED_CAPABILITIES, required.encode()),)))
    walks = []
    all_leaves = Draft.all_leaves

    def counted(draft: Draft) -> Iterator[tuple[int, LeafNode]]:
        walks.append(draft)
        return all_leaves(draft)

    monkeypatch.setattr(Draft, "all_leaves", counted)
    story.stage(message)
    assert len(walks) == 2  # Once for what is required, once for the types of credentials.


@pytest.mark.parametrize("field", ["versions", "cipher_suites", "extensions", "proposals", "credentials"])
def test_a_leaf_does_not_list_capabilities_without_end(field: str) -> None:
    story = Story("alice", "bob")
    most = (1, *range(0x1000, 0x13FF))
    for numbers, room in ((most, True), ((*most, 0x2000), False)):
        add = Add(story.key_package("third", **{field: numbers}).public)
        if room:
            story.stage(story.forge("alice", add))
            continue
        with refused("ds-6"):
            story.stage(story.forge("alice", add))


def test_a_commit_of_10_000_removes_of_nobody_is_refused_at_the_first() -> None:
    story = Story("alice", "bob")
    removes = tuple(ProposalOrRef(Remove(number)) for number in range(2, 10_002))
    message = story.forge("bob", Commit(removes, story.path("bob"))).encode()

    def stage() -> None:
        with refused("mls-12.1.3-1"):
            story.group.stage(decode_message(message), NOW)

    assert least(stage) < 2
