"""The port `DsKeys`: what a delivery service signs, opens and names with, derived from the data keys.

The sender key is in the GroupContext of every group, so the secret behind it never rotates. The key for the state of
sealed groups has epochs; a new one is announced first, so that every container opens for it before any client seals
to it.
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from chalicelib.protocol.crypto import cipher_suite as suite_of
from chalicelib.protocol.delivery.errors import CannotOpen
from chalicelib.protocol.delivery.sealed import OVERHEAD, STATE_KEY, Sealed, open_sealed
from chalicelib.protocol.tls import opaque, uint16
from chalicelib.services.delivery.state import GroupId
from chalicelib.storage.datakeys import GROUP_STATE, SENDER, DataKeys
from chalicelib.storage.sealing import Sealer, keyed_hash

_CURVES = {2: ec.SECP256R1(), 5: ec.SECP521R1(), 7: ec.SECP384R1()}
_SEEDS = {1: 32, 3: 32, 4: 57, 6: 57, 0xF057: 32}
_WIDER = 16  # Bytes beyond the order's, so that the remainder is as good as uniform (FIPS 186-5, A.2.1).


class AwsDsKeys:
    """The keys of one stage."""

    def __init__(self, keys: DataKeys, sealer: Sealer) -> None:
        self.keys = keys
        self.sealer = sealer

    def sender_key(self, group_id: GroupId, cipher_suite: int) -> bytes:
        """Return the private key with which this service is an external sender of a group."""
        return derive_sender_key(self.keys.in_use(SENDER).key, group_id, cipher_suite)

    def hub_key(self) -> tuple[int, bytes]:
        """Return epoch and public key to which clients seal the keys of sealed groups now."""
        key = self.keys.in_use(GROUP_STATE)
        return key.epoch, X25519PrivateKey.from_private_bytes(_hub_private(key.key)).public_key().public_bytes_raw()

    def open_state_key(self, key_epoch: int, ciphertext: bytes, context: bytes) -> bytes:
        """Open what was sealed to a live epoch's key, or raise `CannotOpen`."""
        key = self.keys.of_epoch(GROUP_STATE, key_epoch)
        if key is None or len(ciphertext) < OVERHEAD:
            raise CannotOpen
        return open_sealed(_hub_private(key.key), STATE_KEY, context, Sealed(key_epoch, ciphertext))

    def digest(self, purpose: str, *parts: str | bytes) -> bytes:
        """Return a keyed one-way digest, separate for each purpose."""
        return keyed_hash(self.keys.in_use("digest").key, f"delivery {purpose}", *parts)

    def seal(self, purpose: str, name: bytes, plain: bytes) -> bytes:
        """Seal what must wait in a row."""
        return self.sealer.seal(f"delivery {purpose}", name, plain)

    def open(self, purpose: str, name: bytes, sealed: bytes) -> bytes:
        """Open what was sealed for this purpose and name; raise `CannotOpen` for anything else."""
        try:
            return self.sealer.open(f"delivery {purpose}", name, sealed)
        except (InvalidTag, LookupError) as failure:
            raise CannotOpen from failure


def derive_sender_key(secret: bytes, group_id: GroupId, cipher_suite: int) -> bytes:
    """Return a private key in its suite's form: a seed for EdDSA, a scalar from 1 to n - 1 for ECDSA."""
    suite = suite_of(cipher_suite)  # What is not served here has no key.
    info = b"GLADOS external sender" + uint16(suite.number) + opaque(group_id)
    curve = _CURVES.get(suite.number)
    if curve is None:
        return HKDFExpand(hashes.SHA512(), _SEEDS[suite.number], info).derive(secret)
    size = (curve.key_size + 7) // 8
    wide = HKDFExpand(hashes.SHA512(), size + _WIDER, info).derive(secret)
    return (int.from_bytes(wide, "big") % (curve.group_order - 1) + 1).to_bytes(size, "big")


def _hub_private(key: bytes) -> bytes:
    return keyed_hash(key, "group state X25519")
