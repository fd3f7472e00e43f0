"""Who may still join an epoch by its Welcome: stored beside the epoch, until the KeyPackages end.

struct { opaque reference<V>; opaque signature_key<V>; } Joiner;
struct { Joiner joiners<V>; } Joiners;
"""

import dataclasses
from typing import Self

from chalicelib.protocol.tls import Reader, opaque, vector


@dataclasses.dataclass(frozen=True, slots=True)
class Joiner:
    """A client that a commit added, by the KeyPackageRef and signature key of the KeyPackage it was added by."""

    reference: bytes
    signature_key: bytes

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the stored form."""
        return cls(reader.opaque(), reader.opaque())

    def encode(self) -> bytes:
        """Return the stored form."""
        return opaque(self.reference) + opaque(self.signature_key)


@dataclasses.dataclass(frozen=True, slots=True)
class Joiners:
    """All clients that one commit added."""

    joiners: tuple[Joiner, ...]

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the stored form."""
        return cls(reader.vector(Joiner.read))

    def encode(self) -> bytes:
        """Return the stored form."""
        return vector(self.joiners)

    def key_of(self, reference: bytes) -> bytes | None:
        """Return the signature key of the joiner with this KeyPackageRef, or None if it is not among them."""
        return next((one.signature_key for one in self.joiners if one.reference == reference), None)
