"""The port `PeerBodies`: objects under `peers/out/`, each named by a keyed digest of whom it is for and what it is.

They are encrypted with the stage's key and not sealed by us, so that a piece can be read without the whole. The bucket
forgets them after two days; what is older than one day is written again when it is kept again.
"""

from chalicelib.services.delivery.ports import DsKeys
from chalicelib.storage.objects import Objects

YOUNG_SECONDS = 86_400


class AwsPeerBodies:
    """What the peers of one stage may come for."""

    def __init__(self, objects: Objects, keys: DsKeys) -> None:
        self.objects = objects
        self.keys = keys

    def keep(self, domain: str, sha256: bytes, content: bytes) -> None:
        """Store a message for a domain, for a day at least."""
        name = self._name(domain, sha256)
        age = self.objects.age(name)
        if age is None or age >= YOUNG_SECONDS:
            self.objects.put(name, content)

    def read(self, domain: str, sha256: bytes, offset: int, most: int) -> tuple[bytes, int]:
        """Return bytes from an offset and the whole length, or raise `LookupError`."""
        return self.objects.get_range(self._name(domain, sha256), offset, most)

    def _name(self, domain: str, sha256: bytes) -> str:
        return f"peers/out/{self.keys.digest('peer body', domain.encode(), sha256).hex()}"
