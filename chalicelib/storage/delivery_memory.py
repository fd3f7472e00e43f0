"""Objects of groups that a container has read or written before: they never change, so it need not ask again.

Who commits or sends to a group mostly meets a container that did so a moment ago: root and chunks are at hand. What
is remembered is bounded in bytes, and what was not used for longest goes first. That an object is here does not say
that it still is in the table; whoever comes by a head that names it may rely on both.
"""

import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping

from chalicelib.protocol.mls.chunks import ChunkStore, Ref
from chalicelib.services.delivery.ports import GroupObjects
from chalicelib.services.delivery.state import GroupId

MOST_BYTES = 64 << 20
LARGEST = 1 << 20
"""What is larger than this is read each time."""


class RememberedObjects:
    """The port `GroupObjects` before another one, with a memory; safe for threads."""

    def __init__(self, objects: GroupObjects, most_bytes: int = MOST_BYTES) -> None:
        self.objects = objects
        self.most_bytes = most_bytes
        self._known: OrderedDict[tuple[GroupId, Ref], bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def of(self, group_id: GroupId) -> ChunkStore:
        """Return the reading side for one group."""
        return _OneGroup(self, group_id)

    def put(self, group_id: GroupId, written: Mapping[Ref, bytes], *, by_day: bool = False) -> None:
        """Store objects, and remember them: they are what the next request asks for."""
        self.objects.put(group_id, written, by_day=by_day)
        self.remember(group_id, written)

    def load(self, group_id: GroupId, refs: Collection[Ref]) -> Mapping[Ref, bytes]:
        """Return objects by their references; those that are not in memory are loaded together."""
        found: dict[Ref, bytes] = {}
        with self._lock:
            for ref in refs:
                content = self._known.get((group_id, ref))
                if content is not None:
                    self._known.move_to_end((group_id, ref))
                    found[ref] = content
        missing = [ref for ref in refs if ref not in found]
        if missing:
            loaded = self.objects.of(group_id).load(missing)
            self.remember(group_id, loaded)
            found |= loaded
        return found

    def remember(self, group_id: GroupId, objects: Mapping[Ref, bytes]) -> None:
        """Keep objects in mind, and forget others for them."""
        with self._lock:
            for ref, content in objects.items():
                if len(content) <= LARGEST and (group_id, ref) not in self._known:
                    self._known[group_id, ref] = content
                    self._bytes += len(content)
            while self._bytes > self.most_bytes:
                self._bytes -= len(self._known.popitem(last=False)[1])

    def forget(self) -> None:
        """Forget everything, as a new container has nothing in mind."""
        with self._lock:
            self._known.clear()
            self._bytes = 0


class _OneGroup:
    """The objects of one group, to be read."""

    def __init__(self, objects: RememberedObjects, group_id: GroupId) -> None:
        self._objects = objects
        self._group_id = group_id

    def load(self, refs: Collection[Ref]) -> Mapping[Ref, bytes]:
        """Return objects by their references."""
        return self._objects.load(self._group_id, refs)
