"""Commits and the UpdatePath they carry (RFC 9420 §§7.6, 12.4)."""

import dataclasses
from typing import Self

from chalicelib.errors import DecodeError
from chalicelib.protocol.mls.nodes import LeafNode
from chalicelib.protocol.mls.proposals import Proposal, encode_proposal, read_proposal
from chalicelib.protocol.tls import Reader, opaque, optional, vector


@dataclasses.dataclass(frozen=True, slots=True)
class HPKECiphertext:
    """Something encrypted to an HPKE key; only its holder can tell whether it is any good."""

    kem_output: bytes
    ciphertext: bytes

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.opaque(), reader.opaque())

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return opaque(self.kem_output) + opaque(self.ciphertext)


@dataclasses.dataclass(frozen=True, slots=True)
class UpdatePathNode:
    """A new key for one node of the filtered direct path, with its path secret for the copath."""

    encryption_key: bytes
    encrypted_path_secret: tuple[HPKECiphertext, ...]

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.opaque(), reader.vector(HPKECiphertext.read))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return opaque(self.encryption_key) + vector(self.encrypted_path_secret)


@dataclasses.dataclass(frozen=True, slots=True)
class UpdatePath:
    """The committer's new leaf and the new keys above it."""

    leaf_node: LeafNode
    nodes: tuple[UpdatePathNode, ...]

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(LeafNode.read(reader), reader.vector(UpdatePathNode.read))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return self.leaf_node.encode() + vector(self.nodes)


@dataclasses.dataclass(frozen=True, slots=True)
class ProposalOrRef:
    """A proposal by value, or the ProposalRef of one that was sent before: exactly one of the two."""

    proposal: Proposal | None = None
    reference: bytes | None = None

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        match reader.uint8():
            case 1:
                return cls(proposal=read_proposal(reader))
            case 2:
                return cls(reference=reader.opaque())
            case _:
                raise DecodeError("a committed proposal is neither a value nor a reference")

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        if self.proposal is not None:
            return b"\x01" + encode_proposal(self.proposal)
        return b"\x02" + opaque(self.reference or b"")


@dataclasses.dataclass(frozen=True, slots=True)
class Commit:
    """Proposals that take effect, and the committer's path."""

    proposals: tuple[ProposalOrRef, ...]
    path: UpdatePath | None

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.vector(ProposalOrRef.read), reader.optional(UpdatePath.read))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return vector(self.proposals) + optional(self.path)
