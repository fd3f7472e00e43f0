"""The ratchet tree's algorithms, by the working group's vectors and small trees."""

import json
from pathlib import Path

import pytest

from chalicelib.protocol.crypto import cipher_suite
from chalicelib.protocol.mls import tree_math
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.plain_tree import PlainTree, decode_tree
from chalicelib.protocol.mls.policy import Policy
from chalicelib.protocol.mls.tree import Kind, blank_summary
from tests.protocol.mls.crowd import make_leaf

VECTORS = Path(__file__).parent.parent.parent / "vectors" / "mls"
SUITE = cipher_suite(1)


def test_hashes_and_resolutions_are_those_of_the_vectors() -> None:
    # [mls-7.8-1]
    for vector in json.loads((VECTORS / "tree-validation.json").read_bytes()):
        suite = cipher_suite(vector["cipher_suite"])
        draft = Draft(decode_tree(suite, Policy(), bytes.fromhex(vector["tree"])))
        for node, (tree_hash, resolution) in enumerate(zip(vector["tree_hashes"], vector["resolutions"], strict=True)):
            assert draft.hash(node).hex() == tree_hash
            assert draft.resolution(node) == resolution


def test_levels_and_common_ancestors() -> None:
    assert [tree_math.level(node) for node in range(15)] == [0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 2, 0, 1, 0]
    assert [tree_math.common_ancestor(0, other) for other in range(1, 8)] == [1, 3, 3, 7, 7, 7, 7]
    assert tree_math.common_ancestor(6, 7) == 13
    assert [tree_math.leaf_capacity_for(leaves) for leaves in (1, 2, 3, 4, 5, 8, 9)] == [1, 2, 4, 4, 8, 8, 16]


@pytest.mark.parametrize("leaf_capacity", [1, 2, 8, 64])
def test_a_path_leads_from_a_leaf_to_the_root(leaf_capacity: int) -> None:
    for leaf_index in range(leaf_capacity):
        path = list(tree_math.direct_path(2 * leaf_index, leaf_capacity))
        assert len(path) == leaf_capacity.bit_length() - 1
        for node in path:
            assert tree_math.is_below(leaf_index, node)
            assert {tree_math.left(node), tree_math.right(node)} > {tree_math.sibling(tree_math.left(node))}


def test_a_blank_subtree_comes_to_what_it_would_if_it_were_built() -> None:
    tree = PlainTree.build(SUITE, Policy(), [None] * 15)
    for index in range(15):
        assert blank_summary(SUITE, index) == tree.summary(index)


def test_a_draft_says_where_values_stand_before_and_after_its_changes() -> None:
    leaves = [make_leaf(number) for number in range(4)]
    tree = PlainTree.build(SUITE, Policy(), [leaves[0], None, leaves[1], None, leaves[2]])
    draft = Draft(tree)
    draft.remove(1)
    draft.update(0, leaves[3])
    places = [draft.positions(Kind.ENCRYPTION_KEY, leaf.encryption_key) for leaf in leaves]
    assert places == [set(), set(), {4}, {0}]
    assert Draft(tree).positions(Kind.ENCRYPTION_KEY, leaves[0].encryption_key) == {0}
    draft.add(leaves[0])
    assert draft.positions(Kind.SIGNATURE_KEY, leaves[0].signature_key) == {2}
    assert tree.changed(draft).places == PlainTree.build(SUITE, Policy(), tree.changed(draft).nodes).places


def test_a_path_key_stands_on_filtered_nodes_only() -> None:
    leaves = [make_leaf(number) for number in range(5)]
    nodes = [node for leaf in leaves for node in (leaf, None)][:-1]
    draft = Draft(PlainTree.build(SUITE, Policy(), nodes))
    draft.put(0, make_leaf(9))
    path = draft.filtered_direct_path(4)
    assert path == [(7, 3)]
    above = draft.merge_keys(4, [bytes(32)])
    assert above
    assert [index for index in range(1, 15, 2) if draft.parent(index)] == [7]
    with pytest.raises(ValueError, match="zip"):
        draft.merge_keys(4, [])
