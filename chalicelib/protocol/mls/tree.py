"""The ratchet tree: what any tree answers, and the hashes over it (RFC 9420 §§4, 7.8, 7.9).

Theory of operation. A tree is never changed. A `Draft` is laid over it, holds the nodes that differ, and can be
thrown away; `Tree.changed(draft)` makes the next tree of it. Every algorithm of the RFC is written once, in the draft,
on two questions that any tree answers: `node(x)`, what stands at a node, and `summary(x)`, what a whole subtree comes
to. A plain tree answers from a list; a chunked tree loads a chunk when asked. So a commit costs what its paths cost.

A summary holds three things: the subtree's tree hash, how many nodes its resolution has, and how many of its leaves
are filled. The last finds the leftmost blank leaf and tells when to truncate; the second decides the filtered
direct path and how many ciphertexts a path node must carry.

`positions(kind, value)` finds where a key or an identity stands, for uniqueness. It may answer with places that no
longer hold the value or never did; the draft looks at the node before it believes.
"""

import dataclasses
import enum
import functools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol, Self

from chalicelib.protocol.crypto import CipherSuite, cipher_suite
from chalicelib.protocol.mls import tree_math
from chalicelib.protocol.mls.nodes import LeafNode, Node, ParentNode
from chalicelib.protocol.mls.policy import Policy
from chalicelib.protocol.tls import opaque, optional, uint32

if TYPE_CHECKING:
    from chalicelib.protocol.mls.draft import Draft

MAX_LEAF_CAPACITY = 1 << 18
"""The largest tree that is served here."""


class Kind(enum.IntEnum):
    """What must be findable by value in a tree."""

    ENCRYPTION_KEY = 1
    SIGNATURE_KEY = 2
    CLIENT = 3
    USER = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Summary:
    """What a subtree comes to."""

    tree_hash: bytes
    resolution: int
    leaves: int


class Tree(Protocol):
    """A ratchet tree that does not change. Node indices beyond its capacity are never asked for."""

    @property
    def suite(self) -> CipherSuite:
        """Return the group's cipher suite."""
        ...

    @property
    def policy(self) -> Policy:
        """Return the policy that names clients and users."""
        ...

    @property
    def leaf_capacity(self) -> int:
        """Return how many leaves the full tree has, a power of two."""
        ...

    def node(self, index: int) -> Node | None:
        """Return what stands at a node, or None for a blank one."""
        ...

    def summary(self, index: int) -> Summary:
        """Return what the subtree at a node comes to."""
        ...

    def positions(self, kind: Kind, value: bytes) -> Iterable[int]:
        """Return all nodes that hold the value, and perhaps others."""
        ...

    def changed(self, draft: "Draft") -> Self:
        """Return the tree as the draft over it has it."""
        ...


def leaf_hash(suite: CipherSuite, leaf_index: int, leaf: LeafNode | None) -> bytes:
    """Return the tree hash of a leaf (§7.8)."""
    return suite.hash(b"\x01" + uint32(leaf_index) + optional(leaf))


def parent_tree_hash(suite: CipherSuite, parent: ParentNode | None, left: bytes, right: bytes) -> bytes:
    """[mls-7.8-1] Return the tree hash of an intermediate node (§7.8)."""
    return suite.hash(b"\x02" + optional(parent) + opaque(left) + opaque(right))


@functools.lru_cache(maxsize=1 << 15)
def _blank_hash(suite_number: int, index: int) -> bytes:
    """Return the tree hash of a blank subtree: no constant, because a leaf's index is hashed."""
    suite = cipher_suite(suite_number)
    if tree_math.level(index) == 0:
        return leaf_hash(suite, index // 2, None)
    left = _blank_hash(suite_number, tree_math.left(index))
    return parent_tree_hash(suite, None, left, _blank_hash(suite_number, tree_math.right(index)))


def blank_summary(suite: CipherSuite, index: int) -> Summary:
    """Return what a subtree without any member comes to."""
    return Summary(_blank_hash(suite.number, index), 0, 0)


def resolution_of(node: Node | None, left: int, right: int) -> int:
    """Return the size of an intermediate node's resolution, given those of its children (§4.1.1)."""
    return 1 + len(node.unmerged_leaves) if isinstance(node, ParentNode) else left + right


def node_hash(suite: CipherSuite, node: Node | None, left: bytes, right: bytes) -> bytes:
    """Return the tree hash of an intermediate node, which only a parent may fill."""
    if isinstance(node, LeafNode):
        raise TypeError("a leaf stands at an intermediate node")
    return parent_tree_hash(suite, node, left, right)


def values(policy: Policy, node: Node | None) -> Iterator[tuple[Kind, bytes]]:
    """Give what a node must be findable by."""
    if node is None:
        return
    yield Kind.ENCRYPTION_KEY, node.encryption_key
    if isinstance(node, LeafNode):
        yield Kind.SIGNATURE_KEY, node.signature_key
        yield Kind.CLIENT, policy.client(node)
        yield Kind.USER, policy.user(node)


def parent_hash(suite: CipherSuite, parent: ParentNode, sibling_tree_hash: bytes) -> bytes:
    """Return the parent hash of a node with the copath child of this tree hash (§7.9)."""
    return suite.hash(opaque(parent.encryption_key) + opaque(parent.parent_hash) + opaque(sibling_tree_hash))
