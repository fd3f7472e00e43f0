"""The key schedule (RFC 9420 §8): from the secrets of a commit to those of an epoch."""

import dataclasses
from collections.abc import Sequence
from typing import Self

from chalicelib.client.mls_crypto import NONCE_SIZE, KeyPair, MemberSuite
from chalicelib.protocol.mls.proposals import PreSharedKeyID
from chalicelib.protocol.tls import uint16


@dataclasses.dataclass(frozen=True)
class EpochSecrets:
    """What the members of an epoch share, by the names of §8."""

    joiner_secret: bytes
    welcome_secret: bytes
    init_secret: bytes
    sender_data_secret: bytes
    encryption_secret: bytes
    exporter_secret: bytes
    external_secret: bytes
    confirmation_key: bytes
    membership_key: bytes
    resumption_psk: bytes
    epoch_authenticator: bytes

    @classmethod
    def next(
        cls, suite: MemberSuite, init_secret: bytes, commit_secret: bytes, psk_secret: bytes, context: bytes
    ) -> Self:
        """Return the secrets of the epoch that a commit starts; `context` is its encoded GroupContext."""
        joined = suite.extract(init_secret, commit_secret)
        joiner_secret = suite.expand_with_label(joined, "joiner", context, suite.hash_size)
        return cls.from_joiner_secret(suite, joiner_secret, psk_secret, context)

    @classmethod
    def from_joiner_secret(cls, suite: MemberSuite, joiner_secret: bytes, psk_secret: bytes, context: bytes) -> Self:
        """Return an epoch's secrets from what a Welcome brings."""
        with_psk = suite.extract(joiner_secret, psk_secret)
        epoch_secret = suite.expand_with_label(with_psk, "epoch", context, suite.hash_size)
        return cls.from_epoch_secret(suite, joiner_secret, suite.derive_secret(with_psk, "welcome"), epoch_secret)

    @classmethod
    def from_epoch_secret(
        cls, suite: MemberSuite, joiner_secret: bytes, welcome_secret: bytes, epoch_secret: bytes
    ) -> Self:
        """Derive all that follows from an epoch secret; a group's first one is random."""
        derived = [
            suite.derive_secret(epoch_secret, label)
            for label in (
                "init",
                "sender data",
                "encryption",
                "exporter",
                "external",
                "confirm",
                "membership",
                "resumption",
                "authentication",
            )
        ]
        return cls(joiner_secret, welcome_secret, *derived)

    def external_key_pair(self, suite: MemberSuite) -> KeyPair:
        """Return the key pair to which an external joiner encrypts."""
        return suite.derive_key_pair(self.external_secret)

    def export(self, suite: MemberSuite, label: str, context: bytes, size: int) -> bytes:
        """MLS-Exporter (§8.5)."""
        derived = suite.derive_secret(self.exporter_secret, label)
        return suite.expand_with_label(derived, "exported", suite.cipher_suite.hash(context), size)


def welcome_key_and_nonce(suite: MemberSuite, welcome_secret: bytes) -> tuple[bytes, bytes]:
    """Return what the GroupInfo inside a Welcome is encrypted with (§12.4.3.1)."""
    return (
        suite.expand_with_label(welcome_secret, "key", b"", suite.key_size),
        suite.expand_with_label(welcome_secret, "nonce", b"", NONCE_SIZE),
    )


def psk_secret(suite: MemberSuite, psks: Sequence[tuple[PreSharedKeyID, bytes]]) -> bytes:
    """Chain pre-shared keys, in the order of their proposals, into one secret (§8.4)."""
    zero = bytes(suite.hash_size)
    secret = zero
    for index, (name, psk) in enumerate(psks):
        label = name.encode() + uint16(index) + uint16(len(psks))
        extracted = suite.extract(zero, psk)
        derived = suite.expand_with_label(extracted, "derived psk", label, suite.hash_size)
        secret = suite.extract(derived, secret)
    return secret
