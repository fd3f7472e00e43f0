"""A draft of a tree's next state, with the algorithms of RFC 9420 §§4.1, 7.4–7.9 and 12.1 on it.

It is laid over a tree that stays as it is, remembers the nodes that differ, and works out again only what lies on
their paths. Nothing here walks a whole tree unless its name says so.
"""

import bisect
import dataclasses
from collections.abc import Iterable, Iterator, Mapping

from chalicelib.protocol.mls import tree_math
from chalicelib.protocol.mls.nodes import LeafNode, Node, ParentNode
from chalicelib.protocol.mls.tree import (
    Kind,
    Summary,
    Tree,
    blank_summary,
    leaf_hash,
    node_hash,
    parent_hash,
    resolution_of,
    values,
)


class Draft:
    """A tentative next state of a tree: the nodes that differ, over the tree that they differ from."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.suite = tree.suite
        self.policy = tree.policy
        self.leaf_capacity = tree.leaf_capacity
        self.nodes: dict[int, Node | None] = {}
        self._counts: dict[int, tuple[int, int]] = {}
        self._hashes: dict[int, bytes] = {}
        self._touched: set[int] = set()
        self._places: dict[tuple[Kind, bytes], set[int]] = {}

    # What stands where.

    def node(self, index: int) -> Node | None:
        """Return what stands at a node of the draft."""
        if index in self.nodes:
            return self.nodes[index]
        return self.original(index)

    def original(self, index: int) -> Node | None:
        """Return what stood at a node before the draft."""
        return self.tree.node(index) if index < 2 * self.tree.leaf_capacity - 1 else None

    def leaf(self, leaf_index: int) -> LeafNode | None:
        """Return the leaf with this index, or None where it is blank or beyond the tree."""
        if leaf_index >= self.leaf_capacity:
            return None
        node = self.node(2 * leaf_index)
        return node if isinstance(node, LeafNode) else None

    def parent(self, index: int) -> ParentNode | None:
        """Return the intermediate node with this index, or None for a blank one."""
        node = self.node(index)
        return node if isinstance(node, ParentNode) else None

    def all_leaves(self) -> Iterator[tuple[int, LeafNode]]:
        """Give every member with its leaf index: the whole tree is read."""
        for leaf_index in range(self.leaf_capacity):
            leaf = self.leaf(leaf_index)
            if leaf is not None:
                yield leaf_index, leaf

    def changed_leaves(self) -> Iterator[tuple[LeafNode | None, LeafNode | None]]:
        """Give the old and the new of every leaf that differs."""
        for index, node in self.nodes.items():
            if tree_math.level(index) == 0:
                old = self.original(index)
                yield (
                    old if isinstance(old, LeafNode) else None,
                    node if isinstance(node, LeafNode) else None,
                )

    def positions(self, kind: Kind, value: bytes) -> set[int]:
        """Return exactly the nodes that hold the value."""
        known = self._places.get((kind, value), set())
        places = {place for place in known if self._holds(place, kind, value)}
        for place in self.tree.positions(kind, value):
            if self._holds(place, kind, value):
                places.add(place)
        return places

    def _holds(self, index: int, kind: Kind, value: bytes) -> bool:
        return (kind, value) in values(self.policy, self.node(index))

    # What subtrees come to.

    @property
    def root(self) -> int:
        """Return the root's node index."""
        return tree_math.root(self.leaf_capacity)

    @property
    def tree_hash(self) -> bytes:
        """Return the tree hash of the whole tree (§7.8)."""
        return self.hash(self.root)

    @property
    def members(self) -> int:
        """Return how many members the group has."""
        return self.leaves(self.root)

    def leaves(self, index: int) -> int:
        """Return how many leaves of a subtree are filled."""
        return self._count(index)[1]

    def resolution_size(self, index: int) -> int:
        """Return how many nodes the resolution of a node has."""
        return self._count(index)[0]

    def summary(self, index: int) -> Summary:
        """Return what a subtree of the draft comes to."""
        return Summary(self.hash(index), *self._count(index))

    def _count(self, index: int) -> tuple[int, int]:
        """Return resolution size and filled leaves. They are kept apart from hashes, which can wait."""
        known = self._counts.get(index)
        if known is None:
            unchanged = self._unchanged(index)
            if unchanged is not None:
                known = unchanged.resolution, unchanged.leaves
            elif tree_math.level(index) == 0:
                filled = 0 if self.node(index) is None else 1
                known = filled, filled
            else:
                left = self._count(tree_math.left(index))
                right = self._count(tree_math.right(index))
                known = resolution_of(self.node(index), left[0], right[0]), left[1] + right[1]
            self._counts[index] = known
        return known

    def hash(self, index: int) -> bytes:
        """Return the tree hash of a subtree."""
        known = self._hashes.get(index)
        if known is None:
            unchanged = self._unchanged(index)
            if unchanged is not None:
                known = unchanged.tree_hash
            elif tree_math.level(index) == 0:
                known = leaf_hash(self.suite, index // 2, self.leaf(index // 2))
            else:
                left, right = self.hash(tree_math.left(index)), self.hash(tree_math.right(index))
                known = node_hash(self.suite, self.node(index), left, right)
            self._hashes[index] = known
        return known

    def _unchanged(self, index: int) -> Summary | None:
        """Return the summary of a subtree that the draft leaves as it was, or None."""
        if index in self._touched:
            return None
        first, stop = tree_math.subtree(index)
        if stop <= self.tree.leaf_capacity:
            return self.tree.summary(index)
        return blank_summary(self.suite, index) if first >= self.tree.leaf_capacity else None

    def changed_summaries(self) -> Mapping[int, Summary]:
        """Return the summaries of all nodes with a change at or below them, within the draft's capacity."""
        end = 2 * self.leaf_capacity - 1
        return {index: self.summary(index) for index in self._touched if index < end}

    def resolution(self, index: int) -> list[int]:
        """Return the resolution of a node (§4.1.1), as node indices."""
        node = self.node(index)
        if isinstance(node, ParentNode):
            return [index, *(2 * leaf_index for leaf_index in node.unmerged_leaves)]
        if isinstance(node, LeafNode):
            return [index]
        if tree_math.level(index) == 0 or self.resolution_size(index) == 0:
            return []
        return self.resolution(tree_math.left(index)) + self.resolution(tree_math.right(index))

    # How it changes.

    def put(self, index: int, node: Node | None) -> None:
        """Let `node` stand at a node."""
        self.nodes[index] = node
        for kind, value in values(self.policy, node):
            self._places.setdefault((kind, value), set()).add(index)
        self._forget(index)
        for above in tree_math.direct_path(index, self.leaf_capacity):
            if above in self._touched and above not in self._counts and above not in self._hashes:
                # Nothing is remembered here, so nothing that was worked out from it is either.
                break
            self._forget(above)

    def _forget(self, index: int) -> None:
        self._touched.add(index)
        self._counts.pop(index, None)
        self._hashes.pop(index, None)

    def leftmost_blank(self) -> int:
        """Return the leftmost blank leaf, after extending the tree if it is full (§7.7)."""
        if self.members == self.leaf_capacity:
            self.leaf_capacity *= 2
        index = self.root
        while tree_math.level(index):
            left = tree_math.left(index)
            size = 1 << tree_math.level(left)
            index = left if self.leaves(left) < size else tree_math.right(index)
        return index // 2

    def add(self, leaf: LeafNode) -> int:
        """Apply an Add (§12.1.1): the leaf is unmerged at every non-blank node above it."""
        leaf_index = self.leftmost_blank()
        for index in tree_math.direct_path(2 * leaf_index, self.leaf_capacity):
            parent = self.parent(index)
            if parent is not None:
                unmerged = list(parent.unmerged_leaves)
                bisect.insort(unmerged, leaf_index)
                self.put(index, dataclasses.replace(parent, unmerged_leaves=tuple(unmerged)))
        self.put(2 * leaf_index, leaf)
        return leaf_index

    def update(self, leaf_index: int, leaf: LeafNode) -> None:
        """Apply an Update (§12.1.2)."""
        self.put(2 * leaf_index, leaf)
        self.blank_path(leaf_index)

    def remove(self, leaf_index: int) -> None:
        """Apply a Remove (§12.1.3)."""
        self.put(2 * leaf_index, None)
        self.blank_path(leaf_index)
        self.truncate()

    def blank_path(self, leaf_index: int) -> None:
        """Blank the intermediate nodes above a leaf."""
        for index in tree_math.direct_path(2 * leaf_index, self.leaf_capacity):
            if self.node(index) is not None:
                self.put(index, None)

    def truncate(self) -> None:
        """[mls-7.7-1] Halve the tree while its right half holds no member (§7.7)."""
        while self.leaf_capacity > 1 and self.leaves(tree_math.right(self.root)) == 0:
            # The root goes with the right half, blank or not; a later extension must find it blank.
            if self.node(self.root) is not None:
                self.put(self.root, None)
            self.leaf_capacity //= 2

    def filtered_direct_path(self, leaf_index: int) -> list[tuple[int, int]]:
        """Return the filtered direct path (§4.1.2), each node with its child on the copath."""
        path = []
        child = 2 * leaf_index
        for index in tree_math.direct_path(child, self.leaf_capacity):
            copath = tree_math.right(index) if child < index else tree_math.left(index)
            if self.resolution_size(copath):
                path.append((index, copath))
            child = index
        return path

    def merge_keys(self, leaf_index: int, keys: Iterable[bytes]) -> bytes:
        """Put new keys on the filtered direct path (§7.5), and return the parent hash for the leaf."""
        path = self.filtered_direct_path(leaf_index)
        self.blank_path(leaf_index)
        above = b""
        for (index, copath), key in reversed(list(zip(path, keys, strict=True))):
            # The path has just cleared every unmerged leaf of this node, so the sibling's original tree hash
            # is its current one (§7.9).
            parent = ParentNode(key, above, ())
            self.put(index, parent)
            above = parent_hash(self.suite, parent, self.hash(copath))
        return above
