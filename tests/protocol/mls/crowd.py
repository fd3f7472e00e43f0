"""Many leaves quickly: nothing in them is signed, because trees alone do not ask."""

import hashlib

from chalicelib.protocol.mls.extensions import BASIC, Credential
from chalicelib.protocol.mls.key_package import MLS10
from chalicelib.protocol.mls.nodes import Capabilities, LeafNode, LeafNodeSource

CAPABILITIES = Capabilities((MLS10,), (1,), (), (), (BASIC,))


def key(*parts: object) -> bytes:
    """Return 32 bytes that these values determine."""
    return hashlib.sha256(repr(parts).encode()).digest()


def make_leaf(number: int) -> LeafNode:
    """Return the leaf with this number: two numbers, two clients."""
    return LeafNode(
        key("encryption", number),
        key("signature", number),
        Credential(BASIC, b"client %d" % number),
        CAPABILITIES,
        LeafNodeSource.UPDATE,
        None,
        None,
        (),
        bytes(64),
    )
