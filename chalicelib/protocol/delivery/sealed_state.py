"""The state of a sealed group at rest: one object that opens with the group's key and nowhere but in its place.

    struct {
        opaque content<V>;
        uint8 zeros[...];                // up to a power of two, so that the size tells little
    } Padded;
    struct {
        uint8 format;
        opaque nonce[12];
        opaque ciphertext[...];          // AES-256-GCM of Padded; the associated data is that of the key
    } SealedState;

The key is HKDF-SHA256 of the group-state key, for one group and one version of it. So what is put in the place of
another group's or of a newer version does not open, and no two versions share a key whatever their nonces are. Who
holds the stored objects sees when they change, and how large they are but for a factor of two.
"""

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from chalicelib.protocol.delivery.errors import CannotOpen
from chalicelib.protocol.delivery.sealed import STATE_KEY_SIZE
from chalicelib.protocol.tls import Reader, opaque, uint8, uint64

NONCE_SIZE: Final = 12
SMALLEST: Final = 1 << 14
"""What even a group of one is padded to."""

MOST_MEMBERS: Final = 1_000
"""A larger group's state would be too much to read and write with every request."""

_FORMAT = 1
_INFO = b"MIMI DS group state"


def seal_state(state_key: bytes, group_id: bytes, version: int, nonce: bytes, content: bytes) -> bytes:
    """Return a group's state as it is stored; the nonce is random."""
    framed = opaque(content)
    padded = framed.ljust(max(SMALLEST, 1 << (len(framed) - 1).bit_length()), b"\x00")
    place = _place(group_id, version)
    return uint8(_FORMAT) + nonce + AESGCM(_key(state_key, place)).encrypt(nonce, padded, place)


def open_state(state_key: bytes, group_id: bytes, version: int, sealed: bytes) -> bytes:
    """Return the state that was stored for this group and version, or raise `CannotOpen`."""
    place = _place(group_id, version)
    nonce, ciphertext = sealed[1 : 1 + NONCE_SIZE], sealed[1 + NONCE_SIZE :]
    if sealed[:1] != uint8(_FORMAT) or len(state_key) != STATE_KEY_SIZE:
        raise CannotOpen
    try:
        padded = AESGCM(_key(state_key, place)).decrypt(nonce, ciphertext, place)
    except (InvalidTag, ValueError) as failure:
        raise CannotOpen from failure
    return Reader(padded).opaque()


def _place(group_id: bytes, version: int) -> bytes:
    return opaque(group_id) + uint64(version)


def _key(state_key: bytes, place: bytes) -> bytes:
    return HKDF(SHA256(), 32, None, _INFO + b"\x00" + place).derive(state_key)
