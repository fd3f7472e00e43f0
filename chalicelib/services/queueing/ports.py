"""The ports of a queueing service. Reads are consistent and writes durable, as `services.delivery.ports` has it.

A write may have happened although its method raised. What is not named here raises as it comes.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from chalicelib.services.queueing.state import Append, Entry, Head, QueueId, Stream, StreamKey

Wait = Callable[[int], None]  # Returns after about that many milliseconds, sooner rather than later.


class QueueHeads(Protocol):
    """The one row that each queue is.

    `create` leaves a queue that stands as it is, and raises `AlreadyExists` unless it has the same keys and was
    not deleted. `rotate` gives a queue the keys of `after`, and raises `Lost` when its keys changed since `before`
    or it was deleted.
    `mark` raises `acknowledged` and `freed` together, and says how far rows are `discarded`; one that is behind what
    stands changes nothing.
    `touch` and `mark` leave a deleted queue alone. `bury` deletes a queue: it takes no entries from then on. It
    does nothing and returns False where the queue is gone already, or was active after `unless_active_after`.
    `unused` may miss changes of the last second.
    """

    def create(self, head: Head) -> None: ...
    def load(self, queue_ids: Sequence[QueueId]) -> list[Head | None]: ...
    def rotate(self, before: Head, after: Head) -> None: ...
    def touch(self, queue_id: QueueId, now: int) -> None: ...
    def mark(self, queue_id: QueueId, up_to: int, freed: int, look_again_at: int, discarded: int) -> None: ...
    def bury(self, queue_id: QueueId, now: int, unless_active_after: int | None = None) -> bool: ...
    def unused(self, since: int, most: int) -> list[QueueId]: ...


class QueueEntries(Protocol):
    """What lies in queues.

    `append` does all of its appends or none. It returns the queues that are to blame if it did none: their heads
    moved since they were read, or they are too busy. An entry and the head that counts it are seen together: who
    has read a head can read all entries up to its `seq`. At most 100 entries and heads go together.
    `read` returns entries with `after` < number <= `until` in order, without those that expired before `now`.
    `discard` removes a range of them for good, and is repeatable.
    """

    def append(self, appends: Sequence[Append]) -> frozenset[QueueId]: ...
    def read(self, queue_id: QueueId, after: int, until: int, most: int, now: int) -> list[Entry]: ...
    def discard(self, queue_id: QueueId, after: int, up_to: int) -> None: ...


class Streams(Protocol):
    """How far each stream has come. `advance` raises `Lost` unless the stream still is `before` (None: a new one)."""

    def load(self, key: StreamKey) -> Stream | None: ...
    def advance(self, key: StreamKey, before: Stream | None, after: Stream) -> None: ...


class Bodies(Protocol):
    """Messages by their SHA-256, each stored once however many queues it lies in.

    `put` returns once the message is durable until `until` at least; a repeat may prolong that. `get` returns those
    that there are. `link` is a URL by which anybody may fetch a message of more than `LARGEST_ANSWER` bytes for five
    minutes. What `get` leaves out, or `link` has None for, is gone for good: a consistent read said that it is not
    there, or not what was stored. Where a call fails, or a key is not to be had, they raise.
    """

    def put(self, sha256: bytes, message: bytes, until: int) -> None: ...
    def get(self, wanted: Collection[bytes]) -> Mapping[bytes, bytes]: ...
    def link(self, sha256: bytes) -> str | None: ...


class ConfigKeys(Protocol):
    """The X25519 keys that queue configs are sealed to, raw, by epoch.

    `public` is the newest that every container can open for. `private` is None for an epoch that never was or
    that was retired.
    """

    def public(self) -> tuple[int, bytes]: ...
    def private(self, epoch: int) -> bytes | None: ...
