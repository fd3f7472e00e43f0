"""KeyPackages (RFC 9420 §10)."""

import dataclasses
from typing import Self

from chalicelib.protocol.crypto import CipherSuite
from chalicelib.protocol.mls.extensions import Extensions, read_extensions
from chalicelib.protocol.mls.nodes import LeafNode
from chalicelib.protocol.tls import LARGE_ELEMENT, Reader, opaque, uint16, vector

MLS10 = 1
"""ProtocolVersion mls10, the only one there is."""


@dataclasses.dataclass(frozen=True, slots=True)
class KeyPackage:
    """A client's offer to be added to a group. `signed` is the part before the signature, as received.

    [mls-13.4-2] Unknown values in its extensions are carried along and ignored.
    """

    version: int
    cipher_suite: int
    init_key: bytes
    leaf_node: LeafNode
    extensions: Extensions
    signature: bytes
    signed: bytes = dataclasses.field(default=b"", compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.signed:
            object.__setattr__(self, "signed", self._encode_signed())

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        reader.spend(LARGE_ELEMENT)
        start = reader.position
        version = reader.uint16()
        cipher_suite = reader.uint16()
        init_key = reader.opaque()
        leaf_node = LeafNode.read(reader)
        extensions = read_extensions(reader)
        signed = reader.since(start)
        return cls(version, cipher_suite, init_key, leaf_node, extensions, reader.opaque(), signed)

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return self.signed + opaque(self.signature)

    def _encode_signed(self) -> bytes:
        return (
            uint16(self.version)
            + uint16(self.cipher_suite)
            + opaque(self.init_key)
            + self.leaf_node.encode()
            + vector(self.extensions)
        )

    def reference(self, suite: CipherSuite) -> bytes:
        """Return the KeyPackageRef (§5.2)."""
        return suite.ref_hash("MLS 1.0 KeyPackage Reference", self.encode())

    def verify_signature(self, suite: CipherSuite) -> None:
        """[mls-10.1-3] Verify that the signature on the KeyPackage is valid using the leaf's key."""
        key = self.leaf_node.signature_key
        suite.verify_with_label(key, "KeyPackageTBS", self.signed, self.signature, "mls-10.1-3")
