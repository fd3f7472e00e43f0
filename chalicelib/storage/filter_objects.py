"""The port `FilterObjects`: immutable objects, each written on the condition that its name is free.

If it is taken, the bytes must be the same ones: what an object holds is in its name, so anything else is a bug or a
tampered bucket.
"""

from chalicelib.services.provider.state import StoredObject
from chalicelib.storage.objects import Objects


class AwsFilterObjects:
    """The filters of one stage, its own and peers'."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects

    def put(self, name: str, data: bytes) -> StoredObject:
        """Write an object, durably; a repeat is the same object."""
        return StoredObject(name, len(data), self.objects.put_once(name, data))

    def get(self, name: str) -> bytes:
        """Return an object's bytes; raise `LookupError` where there is none."""
        return self.objects.get(name)

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """Return some of an object's bytes."""
        return self.objects.get_range(name, start, length)[0]

    def link(self, name: str) -> str:
        """Return a URL by which the object can be fetched for five minutes."""
        return self.objects.link(name)

    def delete(self, name: str) -> None:
        """Remove an object; one that has gone is gone."""
        self.objects.delete([name])
