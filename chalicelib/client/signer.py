"""Whoever signs requests: any key that an MLS client signs its leaves with, or a queue's own."""

import dataclasses
from typing import Protocol

from chalicelib.protocol.crypto import cipher_suite


class Signer(Protocol):
    """A signature key in use. `mls_identity.Identity` is one; `SignatureKey` makes one of a private key."""

    @property
    def cipher_suite(self) -> int:
        """Return the number of the cipher suite, whose signature scheme this is."""
        ...

    @property
    def signature_key(self) -> bytes:
        """Return the public key."""
        ...

    def sign(self, label: str, content: bytes) -> bytes:
        """SignWithLabel of RFC 9420 §5.1.2."""
        ...


@dataclasses.dataclass(frozen=True)
class SignatureKey:
    """A private signature key as it is: the seed for EdDSA, the big-endian scalar for ECDSA."""

    cipher_suite: int
    private: bytes = dataclasses.field(repr=False)

    @property
    def signature_key(self) -> bytes:
        """Return the public key."""
        return cipher_suite(self.cipher_suite).signatures.public_key(self.private)

    def sign(self, label: str, content: bytes) -> bytes:
        """SignWithLabel of RFC 9420 §5.1.2."""
        return cipher_suite(self.cipher_suite).sign_with_label(self.private, label, content)
