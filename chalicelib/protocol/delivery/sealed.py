"""Sealing to a service's public key: queue configs to a queueing service, group-state keys to a hub.

HPKE of RFC 9180 in base mode, one suite only: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-128-GCM. `ciphertext` is
the encapsulated key followed by the AEAD's output; `info` is label ‖ 0 ‖ context and says what was sealed and for
whom, so that nothing sealed for one purpose opens for another. No label holds a zero byte. The sender stays unnamed:
who seals is known from the signature on the message around it.

The library draws the ephemeral key itself. It is the one randomness on this floor that is no argument.
"""

import dataclasses
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from chalicelib.errors import DecodeError, InvalidValue
from chalicelib.protocol.delivery.errors import CannotOpen
from chalicelib.protocol.tls import Reader, opaque, uint32

QUEUE_CONFIG: Final = "MIMI QueueConfig"
"""Label of a QueueConfig sealed to a queueing service; the context is that service's ds_domain."""

STATE_KEY: Final = "MIMI StateKey"
"""Label of a group-state key sealed to the hub; the context is the group_id."""

QUEUE_REJECTION: Final = "MIMI QueueRejection"
"""Label of a note that a queue was rejected, sealed to its group's inbox; the context is the group_id."""

OVERHEAD = 32 + 16
"""Bytes that sealing adds: the encapsulated key and the AEAD's tag."""

STATE_KEY_SIZE: Final = 32
"""Bytes of a group-state key."""

_HPKE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_128_GCM)


@dataclasses.dataclass(frozen=True, slots=True)
class Sealed:
    """Something only the holder of one private key can read; `key_epoch` says of which."""

    key_epoch: int
    ciphertext: bytes

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct; what is shorter than sealing nothing makes it is refused."""
        sealed = cls(reader.uint32(), reader.opaque())
        if len(sealed.ciphertext) < OVERHEAD:
            raise DecodeError("something sealed is shorter than an encapsulated key and a tag")
        return sealed

    @classmethod
    def read_of(cls, reader: Reader, size: int) -> Self:
        """Read what was sealed of so many bytes. It cannot be looked into, so its length is all that bounds it."""
        sealed = cls.read(reader)
        if len(sealed.ciphertext) != OVERHEAD + size:
            raise DecodeError("something sealed has another length than what should be inside")
        return sealed

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return uint32(self.key_epoch) + opaque(self.ciphertext)


def read_sealed_state_key(reader: Reader) -> Sealed:
    """Read a group-state key that is sealed to the hub."""
    return Sealed.read_of(reader, STATE_KEY_SIZE)


def _info(label: str, context: bytes) -> bytes:
    return label.encode("ascii") + b"\x00" + context


def public_key(private_key: bytes) -> bytes:
    """Return the raw X25519 public key of a raw private one."""
    return X25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()


def seal_to(public_key: bytes, key_epoch: int, label: str, context: bytes, plaintext: bytes) -> Sealed:
    """Seal `plaintext` to a raw X25519 public key; one of low order is an `InvalidValue`."""
    try:
        key = X25519PublicKey.from_public_bytes(public_key)
        return Sealed(key_epoch, _HPKE.encrypt(plaintext, key, _info(label, context)))
    except ValueError as failure:
        raise InvalidValue("the key to seal to is not an X25519 public key") from failure


def open_sealed(private_key: bytes, label: str, context: bytes, sealed: Sealed) -> bytes:
    """Open with a raw X25519 private key, or raise `CannotOpen`; the caller chose the key by `key_epoch`."""
    key = X25519PrivateKey.from_private_bytes(private_key)
    try:
        return _HPKE.decrypt(sealed.ciphertext, key, _info(label, context))
    except (InvalidTag, ValueError) as failure:
        raise CannotOpen from failure
