"""The port `ConfigKeys`: X25519 keys derived from the data keys of the purpose `queue-config`, one for each epoch.

A new epoch is announced first, so that every container opens for it before any client seals to it.
"""

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from chalicelib.storage.datakeys import QUEUE_CONFIG, DataKeys
from chalicelib.storage.sealing import keyed_hash


class AwsConfigKeys:
    """The keys of one stage."""

    def __init__(self, keys: DataKeys) -> None:
        self.keys = keys

    def public(self) -> tuple[int, bytes]:
        """Return the epoch in use, and its public key."""
        key = self.keys.in_use(QUEUE_CONFIG)
        return key.epoch, X25519PrivateKey.from_private_bytes(_private(key.key)).public_key().public_bytes_raw()

    def private(self, epoch: int) -> bytes | None:
        """Return the private key of an epoch."""
        key = self.keys.of_epoch(QUEUE_CONFIG, epoch)
        return None if key is None else _private(key.key)


def _private(key: bytes) -> bytes:
    return keyed_hash(key, "queue config X25519")
