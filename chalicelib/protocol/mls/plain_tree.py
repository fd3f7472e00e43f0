"""The ratchet tree in one piece, and its encoding in the `ratchet_tree` extension (RFC 9420 §12.4.3.3)."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Self

from chalicelib.protocol.crypto import CipherSuite
from chalicelib.protocol.mls import tree_math
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.errors import InvalidTree
from chalicelib.protocol.mls.nodes import LeafNode, Node, ParentNode, encode_optional_node, read_optional_node
from chalicelib.protocol.mls.policy import Policy
from chalicelib.protocol.mls.tree import (
    MAX_LEAF_CAPACITY,
    Kind,
    Summary,
    Tree,
    leaf_hash,
    node_hash,
    resolution_of,
    values,
)
from chalicelib.protocol.tls import TREE_ELEMENTS, Reader, decode, opaque


@dataclasses.dataclass(frozen=True)
class PlainTree:
    """A tree held as lists of all its nodes and summaries."""

    suite: CipherSuite
    policy: Policy
    nodes: Sequence[Node | None]
    summaries: Sequence[Summary]
    places: dict[tuple[Kind, bytes], frozenset[int]]

    @classmethod
    def build(cls, suite: CipherSuite, policy: Policy, nodes: Sequence[Node | None]) -> Self:
        """Return the tree of these nodes, blank ones added to the right to make it full."""
        leaf_capacity = tree_math.leaf_capacity_for(len(nodes) // 2 + 1)
        full = [*nodes, *[None] * (2 * leaf_capacity - 1 - len(nodes))]
        places: dict[tuple[Kind, bytes], set[int]] = {}
        for index, node in enumerate(full):
            for key in values(policy, node):
                places.setdefault(key, set()).add(index)
        return cls(
            suite,
            policy,
            full,
            _summaries(suite, full),
            {key: frozenset(found) for key, found in places.items()},
        )

    @property
    def leaf_capacity(self) -> int:
        """Return how many leaves the full tree has."""
        return (len(self.nodes) + 1) // 2

    def node(self, index: int) -> Node | None:
        """Return what stands at a node."""
        return self.nodes[index]

    def summary(self, index: int) -> Summary:
        """Return what the subtree at a node comes to."""
        return self.summaries[index]

    def positions(self, kind: Kind, value: bytes) -> Iterable[int]:
        """Return the nodes that hold the value."""
        return self.places.get((kind, value), frozenset())

    def changed(self, draft: Draft) -> Self:
        """Return the tree as the draft over it has it."""
        size = 2 * draft.leaf_capacity - 1
        grown = range(len(self.nodes), size)
        nodes = [*self.nodes[:size], *[None] * len(grown)]
        summaries = [*self.summaries[:size], *(draft.summary(index) for index in grown)]
        places = dict(self.places)
        for index, node in draft.nodes.items():
            for key in values(self.policy, draft.original(index)):
                places[key] = places.get(key, frozenset()) - {index}
                if not places[key]:
                    del places[key]
            if index < size:
                nodes[index] = node
        for index, node in draft.nodes.items():
            for key in values(self.policy, node):
                places[key] = places.get(key, frozenset()) | {index}
        for index, summary in draft.changed_summaries().items():
            summaries[index] = summary
        return dataclasses.replace(self, nodes=nodes, summaries=summaries, places=places)


def _summaries(suite: CipherSuite, nodes: Sequence[Node | None]) -> list[Summary]:
    """Compute every summary, lower levels first."""
    summaries = [Summary(b"", 0, 0)] * len(nodes)
    for index in range(0, len(nodes), 2):
        leaf = nodes[index]
        if isinstance(leaf, ParentNode):
            raise TypeError("a parent stands at a leaf")
        filled = 0 if leaf is None else 1
        summaries[index] = Summary(leaf_hash(suite, index // 2, leaf), filled, filled)
    step = 2
    while step <= len(nodes):
        for index in range(step - 1, len(nodes), 2 * step):
            left, right = summaries[tree_math.left(index)], summaries[tree_math.right(index)]
            summaries[index] = Summary(
                node_hash(suite, nodes[index], left.tree_hash, right.tree_hash),
                resolution_of(nodes[index], left.resolution, right.resolution),
                left.leaves + right.leaves,
            )
        step *= 2
    return summaries


def read_nodes(reader: Reader) -> tuple[Node | None, ...]:
    """Read `optional<Node> ratchet_tree<V>`."""
    return reader.vector(read_optional_node)


def decode_tree(suite: CipherSuite, policy: Policy, data: bytes) -> PlainTree:
    """Decode a `ratchet_tree`; it is well formed but nothing in it is verified yet."""
    nodes = decode(read_nodes, data, TREE_ELEMENTS)
    if not nodes or nodes[-1] is None:
        # The receiver MUST check that the last node in `ratchet_tree` is non-blank.
        raise InvalidTree("mls-12.4.3.3-1", "the last node of the ratchet tree is blank")
    if len(nodes) // 2 + 1 > MAX_LEAF_CAPACITY:
        raise InvalidTree("ds-2", "the tree has more leaves than are served here")
    for index, node in enumerate(nodes):
        if node is not None and isinstance(node, LeafNode) != (index % 2 == 0):
            raise InvalidTree("mls-12.4.3.3-2", "a node of the ratchet tree is of the wrong type for its place")
    return PlainTree.build(suite, policy, nodes)


def encode_tree(tree: Tree | Draft) -> bytes:
    """Encode a tree as a `ratchet_tree`, without the blank nodes after the last other one."""
    nodes = [tree.node(index) for index in range(2 * tree.leaf_capacity - 1)]
    while nodes and nodes[-1] is None:
        nodes.pop()
    return opaque(b"".join([encode_optional_node(node) for node in nodes]))
