"""Welcome messages (RFC 9420 §12.4.3.1): all but who is welcomed is closed to a delivery service."""

import dataclasses
from typing import Self

from chalicelib.protocol.mls.commit import HPKECiphertext
from chalicelib.protocol.mls.proposals import PreSharedKeyID
from chalicelib.protocol.tls import Reader, opaque, optional, uint16, vector


@dataclasses.dataclass(frozen=True, slots=True)
class EncryptedGroupSecrets:
    """The secrets for one new member, named by the KeyPackageRef of its KeyPackage."""

    new_member: bytes
    encrypted_group_secrets: HPKECiphertext

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.opaque(), HPKECiphertext.read(reader))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return opaque(self.new_member) + self.encrypted_group_secrets.encode()


@dataclasses.dataclass(frozen=True, slots=True)
class Welcome:
    """An invitation to one or more new members."""

    cipher_suite: int
    secrets: tuple[EncryptedGroupSecrets, ...]
    encrypted_group_info: bytes

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.uint16(), reader.vector(EncryptedGroupSecrets.read), reader.opaque())

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return uint16(self.cipher_suite) + vector(self.secrets) + opaque(self.encrypted_group_info)


@dataclasses.dataclass(frozen=True, slots=True)
class PathSecret:
    """The path secret of the lowest node that committer and joiner share."""

    path_secret: bytes

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.opaque())

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return opaque(self.path_secret)


@dataclasses.dataclass(frozen=True, slots=True)
class GroupSecrets:
    """What a joiner finds inside; only clients ever decode one."""

    joiner_secret: bytes
    path_secret: PathSecret | None
    psks: tuple[PreSharedKeyID, ...]

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.opaque(), reader.optional(PathSecret.read), reader.vector(PreSharedKeyID.read))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return opaque(self.joiner_secret) + optional(self.path_secret) + vector(self.psks)
