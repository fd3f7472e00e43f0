"""What is written at rest about people: sealed values and keyed row names.

A sealed value is the epoch of its key (4 bytes), a random nonce (12), then AES-256-GCM of the plaintext, bound
to table, row and schema version, so that a value moved to another row does not open. With random nonces one key
is good for about 2^32 values; a new one begins each month.

A row is named by HMAC-SHA-256 of what it is about. Without the key nobody can try all phone numbers against the
table, which is what a plain hash would invite.
"""

import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from chalicelib.services.ports import Entropy
from chalicelib.storage.datakeys import DataKeys
from chalicelib.storage.dynamodb import SCHEMA

PURPOSE = "seal"
_EPOCH_BYTES = 4
_NONCE_BYTES = 12
_TAG_BYTES = 16


class Sealer:
    """Seals values for one row each, and opens them in that row only."""

    def __init__(self, keys: DataKeys, entropy: Entropy = os.urandom) -> None:
        self.keys = keys
        self.entropy = entropy

    def seal(self, table: str, row: str | bytes, plain: bytes) -> bytes:
        """Return `plain` sealed under this month's key."""
        key = self.keys.monthly(PURPOSE)
        nonce = self.entropy(_NONCE_BYTES)
        sealed = AESGCM(key.key).encrypt(nonce, plain, _bound(table, row))
        return key.epoch.to_bytes(_EPOCH_BYTES, "big") + nonce + sealed

    def open(self, table: str, row: str | bytes, sealed: bytes) -> bytes:
        """Return what was sealed for this row; raise `InvalidTag` for any other row or a changed value."""
        if len(sealed) < _EPOCH_BYTES + _NONCE_BYTES + _TAG_BYTES:
            raise InvalidTag
        key = self.keys.of_epoch(PURPOSE, int.from_bytes(sealed[:_EPOCH_BYTES], "big"))
        if key is None:
            raise LookupError("a value is sealed under a key that is not live")
        nonce = sealed[_EPOCH_BYTES : _EPOCH_BYTES + _NONCE_BYTES]
        return AESGCM(key.key).decrypt(nonce, sealed[_EPOCH_BYTES + _NONCE_BYTES :], _bound(table, row))


def _bound(table: str, row: str | bytes) -> bytes:
    name = row.encode() if isinstance(row, str) else row
    return table.encode() + b"\0" + name + b"\0" + str(SCHEMA).encode()


def keyed_hash(key: bytes, purpose: str, *parts: str | bytes) -> bytes:
    """Return HMAC-SHA-256 over purpose and parts, each with its length, so that no two lists share an input."""
    written = [purpose.encode(), *(part.encode() if isinstance(part, str) else part for part in parts)]
    return hmac.digest(key, b"".join(len(part).to_bytes(4, "big") + part for part in written), hashlib.sha256)
