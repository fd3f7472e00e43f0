"""The port `PeerFilters`: tests of single positions in what we hold of peers' filters.

The objects are immutable, so a container keeps them as long as it has room: bases of up to `LARGEST_IN_MEMORY`
whole, deltas as sets. Of a larger base only the byte in question is read. The digest of what is read whole is
checked; a single byte is as trustworthy as our own bucket.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from chalicelib.protocol.glados import gapcoded
from chalicelib.protocol.glados.filters import has_bit
from chalicelib.services.provider.state import PeerHead, StoredObject
from chalicelib.storage.filter_objects import AwsFilterObjects

LARGEST_IN_MEMORY = 64 << 20
ROOM = 384 << 20
_BYTES_A_POSITION = 80  # What a position takes in a set of integers, roughly.

Held = TypeVar("Held")


class DamagedObject(Exception):
    """An object of our own bucket is not what its digest says."""


class BoundedCache(Generic[Held]):
    """Keeps the most recently used values whose sizes together stay within `room`."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._values: OrderedDict[str, tuple[int, Held]] = OrderedDict()
        self._used = 0
        self._lock = threading.Lock()

    def get(self, name: str, load: Callable[[], tuple[int, Held]]) -> Held:
        """Return the value of a name, loading it (with its size) when it is not kept."""
        with self._lock:
            known = self._values.get(name)
            if known is not None:
                self._values.move_to_end(name)
                return known[1]
        size, value = load()
        with self._lock:
            if name not in self._values:
                self._values[name] = (size, value)
                self._used += size
                while self._used > self.room and len(self._values) > 1:
                    self._used -= self._values.popitem(last=False)[1][0]
        return value


class AwsPeerFilters:
    """The filters of one stage's peers."""

    def __init__(self, objects: AwsFilterObjects, room: int = ROOM, largest: int = LARGEST_IN_MEMORY) -> None:
        self.objects = objects
        self.largest = largest
        self._bases: BoundedCache[bytes] = BoundedCache(room)
        self._deltas: BoundedCache[frozenset[int]] = BoundedCache(room // 4)
        self._added: dict[str, tuple[tuple[StoredObject, ...], frozenset[int]]] = {}

    def may_hold(self, head: PeerHead, positions: Sequence[int]) -> bool:
        """Tell whether every position is set in the base or in a delta."""
        added = self._of_deltas(head)
        return all(position in added or self._in_base(head, position) for position in positions)

    def _in_base(self, head: PeerHead, position: int) -> bool:
        base = head.base
        if base.size == 0:
            return False
        if base.size != head.parameters.raw_size:
            return position in self._delta(base)  # A small base may come gap-coded, as a delta does.
        if base.size > self.largest:
            byte = self.objects.get_range(base.name, position >> 3, 1)
            return has_bit(byte, position & 7)
        return has_bit(self._bases.get(base.name, lambda: self._load_base(base)), position)

    def _of_deltas(self, head: PeerHead) -> frozenset[int]:
        """Return all positions that the head's deltas added, joined once for each head."""
        known = self._added.get(head.gp)
        if known is not None and known[0] == head.deltas:
            return known[1]
        joined = frozenset[int]().union(*(self._delta(delta) for delta in head.deltas))
        self._added[head.gp] = (head.deltas, joined)
        return joined

    def _delta(self, delta: StoredObject) -> frozenset[int]:
        return self._deltas.get(delta.name, lambda: self._load_delta(delta))

    def _load_base(self, base: StoredObject) -> tuple[int, bytes]:
        return base.size, self._checked(base)

    def _load_delta(self, delta: StoredObject) -> tuple[int, frozenset[int]]:
        _, positions = gapcoded.decode(self._checked(delta))
        return len(positions) * _BYTES_A_POSITION, frozenset(positions)

    def _checked(self, stored: StoredObject) -> bytes:
        data = self.objects.get(stored.name)
        if len(data) != stored.size or hashlib.sha256(data).hexdigest() != stored.sha256:
            raise DamagedObject("an object of our own bucket is not what its digest says")
        return data
