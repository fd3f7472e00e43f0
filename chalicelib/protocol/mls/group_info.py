"""The GroupContext, which every signature of a member covers, and the GroupInfo (RFC 9420 §§8.1, 12.4.3)."""

import dataclasses
from typing import Self

from chalicelib.protocol.crypto import CipherSuite
from chalicelib.protocol.mls.extensions import Extensions, read_extensions
from chalicelib.protocol.tls import Reader, opaque, uint16, uint32, uint64, vector


@dataclasses.dataclass(frozen=True)
class GroupContext:
    """What the members of an epoch agree on."""

    version: int
    cipher_suite: int
    group_id: bytes
    epoch: int
    tree_hash: bytes
    confirmed_transcript_hash: bytes
    extensions: Extensions

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(
            reader.uint16(),
            reader.uint16(),
            reader.opaque(),
            reader.uint64(),
            reader.opaque(),
            reader.opaque(),
            read_extensions(reader),
        )

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return (
            uint16(self.version)
            + uint16(self.cipher_suite)
            + opaque(self.group_id)
            + uint64(self.epoch)
            + opaque(self.tree_hash)
            + opaque(self.confirmed_transcript_hash)
            + vector(self.extensions)
        )


@dataclasses.dataclass(frozen=True, slots=True)
class GroupInfo:
    """An epoch as one member vouches for it; its signature is unchecked until `verify`.

    `signed` is the part before the signature, as received.
    """

    group_context: GroupContext
    extensions: Extensions
    confirmation_tag: bytes
    signer: int
    signature: bytes
    signed: bytes = dataclasses.field(default=b"", compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.signed:
            object.__setattr__(self, "signed", self._encode_signed())

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        start = reader.position
        group_context = GroupContext.read(reader)
        extensions = read_extensions(reader)
        confirmation_tag = reader.opaque()
        signer = reader.uint32()
        signed = reader.since(start)
        return cls(group_context, extensions, confirmation_tag, signer, reader.opaque(), signed)

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return self.signed + opaque(self.signature)

    def _encode_signed(self) -> bytes:
        return (
            self.group_context.encode() + vector(self.extensions) + opaque(self.confirmation_tag) + uint32(self.signer)
        )

    def verify_signature(self, suite: CipherSuite, signature_key: bytes) -> None:
        """[mls-12.4.3-2] Verify the signature with the key of the leaf at `signer`."""
        suite.verify_with_label(signature_key, "GroupInfoTBS", self.signed, self.signature, "mls-12.4.3-2")


@dataclasses.dataclass(frozen=True, slots=True)
class PartialGroupInfo:
    """What of a GroupInfo the delivery service cannot compute itself: it knows the rest from the commit."""

    group_info_extensions: Extensions
    signature: bytes

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(read_extensions(reader), reader.opaque())

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return vector(self.group_info_extensions) + opaque(self.signature)

    def complete(self, group_context: GroupContext, confirmation_tag: bytes, signer: int) -> GroupInfo:
        """Return the GroupInfo that the committer signed, if it is honest."""
        return GroupInfo(group_context, self.group_info_extensions, confirmation_tag, signer, self.signature)
