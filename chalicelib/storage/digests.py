"""The port `Digests`: keyed hashes, separate for each purpose, under a key from the table `keys`."""

from chalicelib.storage.datakeys import DataKeys
from chalicelib.storage.sealing import keyed_hash


class AwsDigests:
    """Digests of one stage."""

    def __init__(self, keys: DataKeys) -> None:
        self.keys = keys

    def digest(self, purpose: str, *parts: str | bytes) -> bytes:
        """Return a keyed one-way digest, separate for each purpose."""
        return keyed_hash(self.keys.in_use("digest").key, purpose, *parts)
