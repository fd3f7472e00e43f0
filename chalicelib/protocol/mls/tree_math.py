"""Where the nodes of a tree lie in an array (RFC 9420 appendix C).

Nodes are numbered from left to right, so leaf L is node 2L and a node's level is the number of its trailing
one bits. The tree is always full: a tree for `leaf_capacity` leaves, a power of two, has 2·leaf_capacity - 1
nodes.
"""

from collections.abc import Iterator


def level(node: int) -> int:
    """Return 0 for a leaf, and one more for each step up."""
    return (node ^ (node + 1)).bit_length() - 1


def leaf_capacity_for(leaves: int) -> int:
    """Return how many leaves the smallest full tree with this many has."""
    return 1 << max(leaves - 1, 0).bit_length()


def root(leaf_capacity: int) -> int:
    """Return the root's node index."""
    return leaf_capacity - 1


def left(node: int) -> int:
    """Return the left child of an intermediate node."""
    return node ^ (1 << (level(node) - 1))


def right(node: int) -> int:
    """Return the right child of an intermediate node."""
    return node ^ (3 << (level(node) - 1))


def parent(node: int) -> int:
    """Return the parent of a node that is not the root."""
    height = level(node)
    return (node | (1 << height)) & ~(1 << (height + 1))


def sibling(node: int) -> int:
    """Return the other child of the node's parent."""
    above = parent(node)
    return right(above) if node < above else left(above)


def direct_path(node: int, leaf_capacity: int) -> Iterator[int]:
    """Give the nodes above `node`, the root last."""
    top = root(leaf_capacity)
    while node != top:
        node = parent(node)
        yield node


def subtree(node: int) -> tuple[int, int]:
    """Return the range of leaf indices below `node`: the first, and one past the last."""
    height = level(node)
    first = (node - (1 << height) + 1) // 2
    return first, first + (1 << height)


def is_below(leaf_index: int, node: int) -> bool:
    """Say whether a leaf lies in the subtree of `node`."""
    first, stop = subtree(node)
    return first <= leaf_index < stop


def common_ancestor(leaf: int, other: int) -> int:
    """Return the lowest node above both of two different leaves."""
    height = (leaf ^ other).bit_length()
    return ((leaf >> height) << (height + 1)) + (1 << height) - 1
