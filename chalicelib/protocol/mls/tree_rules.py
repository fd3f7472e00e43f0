"""Is a ratchet tree one that members could have built? (RFC 9420 §§7.9.2, 12.4.3.1)

This is the whole-tree validation of a joiner, made when a group is created here from a tree that somebody
sends. Afterwards each commit keeps a valid tree valid, at the price of its own paths.
"""

import bisect

from chalicelib.protocol.mls import tree_math
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.errors import InvalidTree
from chalicelib.protocol.mls.extensions import Extensions
from chalicelib.protocol.mls.leaf_rules import GroupRules, check_encryption_key, check_leaf_in_tree
from chalicelib.protocol.mls.nodes import LeafNode, ParentNode
from chalicelib.protocol.mls.support import Support
from chalicelib.protocol.mls.tree import Kind, Tree, leaf_hash, parent_hash, parent_tree_hash


def check_tree(tree: Tree, group_id: bytes, extensions: Extensions) -> Support:
    """Verify the integrity of an imported tree (§12.4.3.1), and return what its members support."""
    draft = Draft(tree)
    check_parent_keys(draft)
    support = Support.of(leaf for _, leaf in draft.all_leaves())
    rules = GroupRules(tree.suite, tree.policy, group_id, extensions, support)
    for leaf_index, leaf in draft.all_leaves():
        check_leaf_in_tree(leaf, leaf_index, draft, rules)
    check_unmerged_leaves(draft)
    check_parent_hashes(draft)
    return support


def _parents(draft: Draft) -> list[tuple[int, ParentNode]]:
    found = []
    for index in range(1, 2 * draft.leaf_capacity - 1, 2):
        parent = draft.parent(index)
        if parent is not None:
            found.append((index, parent))
    return found


def check_unmerged_leaves(draft: Draft) -> None:
    """Check every entry of `unmerged_leaves` in a tree."""
    unmerged = {index: frozenset(parent.unmerged_leaves) for index, parent in _parents(draft)}
    for index, leaves in unmerged.items():
        for leaf_index in leaves:
            # [mls-12.4.3.1-3] The entry represents a non-blank leaf that is a descendant of the parent node.
            if not tree_math.is_below(leaf_index, index) or draft.leaf(leaf_index) is None:
                raise InvalidTree("mls-12.4.3.1-3", "an unmerged leaf is not a member below its node")
            # [mls-12.4.3.1-4] Every non-blank node between the two has an entry for the leaf as well.
            for between in tree_math.direct_path(2 * leaf_index, draft.leaf_capacity):
                if between == index:
                    break
                if leaf_index not in unmerged.get(between, leaves):
                    raise InvalidTree("mls-12.4.3.1-4", "an unmerged leaf is merged at a node below")


def check_parent_keys(draft: Draft) -> None:
    """Check that no parent's encryption key appears in any other node of the tree."""
    for index, parent in _parents(draft):
        if draft.positions(Kind.ENCRYPTION_KEY, parent.encryption_key) != {index}:
            raise InvalidTree("mls-12.4.3.1-5", "the encryption key of a parent stands in another node too")
        check_encryption_key(draft.suite, parent.encryption_key, "mls-5.1.1-1")


def check_parent_hashes(draft: Draft) -> None:
    """[mls-7.9.2-1] Check that each non-blank parent is parent-hash valid, by the top-down method of §7.9.2.

    For each parent P there must be exactly one descendant D whose parent hash is valid with respect to P.
    That D is a leaf or a parent, and the same must hold of it; so every chain ends at a leaf.
    """
    for index, parent in _parents(draft):
        found = 0
        for child, sibling in (
            (tree_math.left(index), tree_math.right(index)),
            (tree_math.right(index), tree_math.left(index)),
        ):
            expected = parent_hash(draft.suite, parent, _original_tree_hash(draft, parent, sibling))
            below = {2 * leaf for leaf in parent.unmerged_leaves if tree_math.is_below(leaf, child)}
            resolution = set(draft.resolution(child))
            # D is in the resolution of C, and P's unmerged leaves under C are the resolution without D.
            candidates = resolution - below
            if below <= resolution and len(candidates) == 1:
                found += _stored_parent_hash(draft, candidates.pop()) == expected
        if found != 1:
            raise InvalidTree("mls-7.9.2-1", "a parent node is not linked to exactly one node below it")


def _stored_parent_hash(draft: Draft, index: int) -> bytes | None:
    node = draft.node(index)
    if isinstance(node, LeafNode):
        return node.parent_hash
    return None if node is None else node.parent_hash


def _original_tree_hash(draft: Draft, parent: ParentNode, sibling: int) -> bytes:
    """Return `original_sibling_tree_hash` (§7.9): the sibling before the leaves not yet merged came."""
    return _hash_without(draft, sibling, frozenset(parent.unmerged_leaves), parent.unmerged_leaves)


def _hash_without(draft: Draft, index: int, gone: frozenset[int], leaves: tuple[int, ...]) -> bytes:
    """Return the tree hash of a subtree without some leaves; `leaves` are those of them to look for in it."""
    here = leaves[slice(*(bisect.bisect_left(leaves, edge) for edge in tree_math.subtree(index)))]
    if not here:
        return draft.hash(index)
    if tree_math.level(index) == 0:
        return leaf_hash(draft.suite, index // 2, None)
    node = draft.parent(index)
    if node is not None:
        merged = tuple(leaf for leaf in node.unmerged_leaves if leaf not in gone)
        node = ParentNode(node.encryption_key, node.parent_hash, merged)
    left = _hash_without(draft, tree_math.left(index), gone, here)
    return parent_tree_hash(draft.suite, node, left, _hash_without(draft, tree_math.right(index), gone, here))
