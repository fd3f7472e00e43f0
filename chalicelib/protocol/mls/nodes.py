"""What stands in a ratchet tree: leaf nodes and parent nodes (RFC 9420 §§7.1, 7.2)."""

import dataclasses
import enum
import itertools
from typing import Self

from chalicelib.errors import DecodeError
from chalicelib.protocol.crypto import CipherSuite
from chalicelib.protocol.mls.extensions import Credential, Extensions, read_extensions
from chalicelib.protocol.tls import Reader, opaque, uint8, uint16s, uint32, uint32s, uint64, vector


class LeafNodeSource(enum.IntEnum):
    """How a leaf node came into the tree, and so what its signature covers."""

    KEY_PACKAGE = 1
    UPDATE = 2
    COMMIT = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Capabilities:
    """What a client supports, beyond what every client does. Values we do not know are kept."""

    versions: tuple[int, ...]
    cipher_suites: tuple[int, ...]
    extensions: tuple[int, ...]
    proposals: tuple[int, ...]
    credentials: tuple[int, ...]

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.uint16s(), reader.uint16s(), reader.uint16s(), reader.uint16s(), reader.uint16s())

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return (
            uint16s(self.versions)
            + uint16s(self.cipher_suites)
            + uint16s(self.extensions)
            + uint16s(self.proposals)
            + uint16s(self.credentials)
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Lifetime:
    """The seconds since 1970 between which a KeyPackage's leaf is good."""

    not_before: int
    not_after: int

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.uint64(), reader.uint64())

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return uint64(self.not_before) + uint64(self.not_after)


@dataclasses.dataclass(frozen=True, slots=True)
class LeafNode:
    """A member, as the tree holds it.

    `signed` is the part before the signature exactly as it was received; a leaf made here has it computed. It
    is no field of its own on the wire and does not count in comparisons: the other fields determine it.
    """

    encryption_key: bytes
    signature_key: bytes
    credential: Credential
    capabilities: Capabilities
    source: LeafNodeSource
    lifetime: Lifetime | None
    parent_hash: bytes | None
    extensions: Extensions
    signature: bytes
    signed: bytes = dataclasses.field(default=b"", compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.signed:
            object.__setattr__(self, "signed", self._encode_signed())

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        start = reader.position
        encryption_key = reader.opaque()
        signature_key = reader.opaque()
        credential = Credential.read(reader)
        capabilities = Capabilities.read(reader)
        lifetime = parent_hash = None
        match reader.uint8():
            case LeafNodeSource.KEY_PACKAGE:
                source = LeafNodeSource.KEY_PACKAGE
                lifetime = Lifetime.read(reader)
            case LeafNodeSource.UPDATE:
                source = LeafNodeSource.UPDATE
            case LeafNodeSource.COMMIT:
                source = LeafNodeSource.COMMIT
                parent_hash = reader.opaque()
            case _:
                raise DecodeError("a leaf node has an unknown source")
        extensions = read_extensions(reader)
        signed = reader.since(start)
        signature = reader.opaque()
        return cls(
            encryption_key,
            signature_key,
            credential,
            capabilities,
            source,
            lifetime,
            parent_hash,
            extensions,
            signature,
            signed,
        )

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return self.signed + opaque(self.signature)

    def _encode_signed(self) -> bytes:
        content = (
            opaque(self.encryption_key)
            + opaque(self.signature_key)
            + self.credential.encode()
            + self.capabilities.encode()
            + uint8(self.source)
        )
        if self.lifetime is not None:
            content += self.lifetime.encode()
        if self.parent_hash is not None:
            content += opaque(self.parent_hash)
        return content + vector(self.extensions)

    def to_be_signed(self, group_id: bytes, leaf_index: int) -> bytes:
        """Return LeafNodeTBS; group and index count only for a leaf made inside a group (§7.2)."""
        if self.source == LeafNodeSource.KEY_PACKAGE:
            return self.signed
        return self.signed + opaque(group_id) + uint32(leaf_index)

    def verify_signature(self, suite: CipherSuite, group_id: bytes, leaf_index: int) -> None:
        """[mls-7.3-2] Verify that the signature on the LeafNode is valid using `signature_key`."""
        content = self.to_be_signed(group_id, leaf_index)
        suite.verify_with_label(self.signature_key, "LeafNodeTBS", content, self.signature, "mls-7.3-2")


@dataclasses.dataclass(frozen=True, slots=True)
class ParentNode:
    """A non-blank intermediate node."""

    encryption_key: bytes
    parent_hash: bytes
    unmerged_leaves: tuple[int, ...]

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct; unmerged leaves are in increasing order, each once (§7.1)."""
        node = cls(reader.opaque(), reader.opaque(), reader.uint32s())
        leaves = node.unmerged_leaves
        if any(a >= b for a, b in itertools.pairwise(leaves)):
            # [mls-7.1-1] The vector MUST be sorted in increasing order.
            raise DecodeError("unmerged leaves are not in increasing order")
        return node

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return opaque(self.encryption_key) + opaque(self.parent_hash) + uint32s(self.unmerged_leaves)


Node = LeafNode | ParentNode


def read_node(reader: Reader) -> Node:
    """Read the struct Node of §12.4.3.3."""
    match reader.uint8():
        case 1:
            return LeafNode.read(reader)
        case 2:
            return ParentNode.read(reader)
        case _:
            raise DecodeError("a node is neither leaf nor parent")


def read_optional_node(reader: Reader) -> Node | None:
    """Read `optional<Node>`."""
    return reader.optional(read_node)


def encode_optional_node(node: Node | None) -> bytes:
    """Return the encoding of `optional<Node>`."""
    if node is None:
        return b"\x00"
    return (b"\x01\x01" if isinstance(node, LeafNode) else b"\x01\x02") + node.encode()
