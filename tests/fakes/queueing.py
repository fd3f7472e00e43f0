"""A queueing service's surroundings in memory: queues, streams, messages and keys."""

import dataclasses
import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from chalicelib.errors import AlreadyExists
from chalicelib.protocol.timestamps import DAY, SECOND
from chalicelib.services.ports import Clock, Lost
from chalicelib.services.queueing.shares import CAPACITY
from chalicelib.services.queueing.state import (
    LARGEST_ANSWER,
    Append,
    Entry,
    Head,
    QueueId,
    Stream,
    StreamKey,
)
from tests.fakes.clock import SettableClock
from tests.fakes.faults import Fake, Faults, When, fallible, require
from tests.fakes.keys import MemoryKeyring
from tests.fakes.limits import MemoryBuckets
from tests.fakes.outside import MemoryAlarms
from tests.fakes.remote_bodies import MemoryPieces, MemoryRemoteBodies
from tests.fakes.tables import Tables

BURIED_FOR = DAY


@dataclasses.dataclass
class QueueTables:
    """Everything that one queueing service has stored."""

    lock: threading.RLock = dataclasses.field(default_factory=threading.RLock)
    heads: dict[QueueId, Head] = dataclasses.field(default_factory=dict)
    entries: dict[QueueId, dict[int, Entry]] = dataclasses.field(default_factory=dict)
    streams: dict[StreamKey, Stream] = dataclasses.field(default_factory=dict)
    bodies: dict[bytes, tuple[bytes, int]] = dataclasses.field(default_factory=dict)


class MemoryQueueHeads(Fake):
    port = "heads"

    def __init__(self, faults: Faults, tables: QueueTables) -> None:
        super().__init__(faults, tables.lock)
        self.tables = tables

    @fallible
    def create(self, head: Head) -> None:
        require(head.seq == head.total == head.acknowledged == head.freed == 0, "a new queue is empty")
        require(len(head.queue_id) == 16 and len(head.token) == 32 and not head.deleted, "no queue looks like that")
        known = self.tables.heads.setdefault(head.queue_id, head)
        if known.deleted or _keys(known) != _keys(head):
            raise AlreadyExists("there is or was a queue of this name")

    @fallible
    def load(self, queue_ids: Sequence[QueueId]) -> list[Head | None]:
        require(0 < len(queue_ids) <= 100, "one round trip reads a hundred rows")
        return [self.tables.heads.get(queue_id) for queue_id in queue_ids]

    @fallible
    def rotate(self, before: Head, after: Head) -> None:
        require(after.updated_at > before.updated_at and len(after.update) == 32, "keys without an update")
        known = self.tables.heads[before.queue_id]
        if known.deleted or known.updated_at != before.updated_at:
            raise Lost
        self.tables.heads[before.queue_id] = dataclasses.replace(
            known,
            cipher_suite=after.cipher_suite,
            signature_key=after.signature_key,
            token=after.token,
            updated_at=after.updated_at,
            update=after.update,
        )

    @fallible
    def touch(self, queue_id: QueueId, now: int) -> None:
        self._change(queue_id, lambda head: dataclasses.replace(head, active_at=max(head.active_at, now)))

    @fallible
    def mark(self, queue_id: QueueId, up_to: int, freed: int, look_again_at: int, discarded: int) -> None:
        known = self.tables.heads.get(queue_id)
        if known is None or known.acknowledged > up_to or known.freed > freed:
            return
        require(up_to <= known.seq and freed <= known.total, "more is let go of than there was")
        require(discarded <= up_to, "more rows are removed than were let go of")
        self._change(
            queue_id,
            lambda head: dataclasses.replace(
                head, acknowledged=up_to, freed=freed, look_again_at=look_again_at, discarded=discarded
            ),
        )

    @fallible
    def bury(self, queue_id: QueueId, now: int, unless_active_after: int | None = None) -> bool:
        known = self.tables.heads.get(queue_id)
        if known is None or known.deleted:
            return False
        if unless_active_after is not None and known.active_at > unless_active_after:
            return False
        self.tables.heads[queue_id] = dataclasses.replace(known, deleted=True)
        return True

    @fallible
    def unused(self, since: int, most: int) -> list[QueueId]:
        unused = [(head.active_at, head.queue_id) for head in self.tables.heads.values() if not head.deleted]
        return [queue_id for at, queue_id in sorted(unused) if at <= since][:most]

    def _change(self, queue_id: QueueId, change: Callable[[Head], Head]) -> None:
        known = self.tables.heads.get(queue_id)
        if known is not None and not known.deleted:
            self.tables.heads[queue_id] = change(known)


class MemoryQueueEntries(Fake):
    """`busy` are queues that cannot be written, so many times each."""

    port = "entries"

    def __init__(self, faults: Faults, tables: QueueTables) -> None:
        super().__init__(faults, tables.lock)
        self.tables = tables
        self.busy: Counter[QueueId] = Counter()
        self.lots: list[int] = []

    @fallible
    def append(self, appends: Sequence[Append]) -> frozenset[QueueId]:
        self.lots.append(len(appends))
        queue_ids = [append.before.queue_id for append in appends]
        require(bool(appends) and len(set(queue_ids)) == len(queue_ids), "one append for each queue")
        require(sum(1 + len(append.entries) for append in appends) <= 100, "a transaction has a hundred items")
        for append in appends:
            self._check(append)
        moved = {one for one in queue_ids if self.busy[one]}
        self.busy.subtract(moved)
        moved |= {append.before.queue_id for append in appends if not self._still(append.before)}
        if moved:
            return frozenset(moved)
        for append in appends:
            self._do(append)
        return frozenset()

    @fallible
    def read(self, queue_id: QueueId, after: int, until: int, most: int, now: int) -> list[Entry]:
        head = self.tables.heads.get(queue_id)
        require(head is not None and until <= head.seq, "what is read is bounded by a head")
        require(most > 0, "a read of nothing")
        entries = self.tables.entries.get(queue_id, {})
        found = [entries[number] for number in sorted(entries) if after < number <= until]
        return [entry for entry in found if entry.gone_at > now][:most]

    @fallible
    def discard(self, queue_id: QueueId, after: int, up_to: int) -> None:
        head = self.tables.heads.get(queue_id)
        require(head is not None and up_to <= head.seq, "an entry that never was")
        for number in [one for one in self.tables.entries.get(queue_id, {}) if after < one <= up_to]:
            del self.tables.entries[queue_id][number]

    def _still(self, before: Head) -> bool:
        known = self.tables.heads.get(before.queue_id)
        return known is not None and not known.deleted and known.seq == before.seq

    def _check(self, append: Append) -> None:
        number, total = append.before.seq, append.before.total
        require(bool(append.entries) and append.seq > 0, "an append of nothing")
        for entry in append.entries:
            number, total = number + 1, total + entry.size
            require((entry.number, entry.total) == (number, total), "entries are not numbered and summed on")
            require(entry.seq == append.seq, "an entry is of another row")
            require(entry.body in self.tables.bodies, "an entry without its message")
            require(self.tables.bodies[entry.body][1] >= entry.gone_at + 7 * DAY, "the message goes before its entry")
        after = dataclasses.replace(append.before, seq=number, total=total)
        require(after.end - after.beginning <= CAPACITY, "the queue is full")
        put_in = sum(append.shares.newer.hubs.counts.values())
        require(append.shares.border + put_in == after.end, "the shares count something else than what was put in")

    def _do(self, append: Append) -> None:
        queue_id, last = append.before.queue_id, append.entries[-1]
        self.tables.entries.setdefault(queue_id, {}).update({entry.number: entry for entry in append.entries})
        known = self.tables.heads[queue_id]
        self.tables.heads[queue_id] = dataclasses.replace(
            known,
            seq=last.number,
            total=last.total,
            last_stream=append.stream,
            last_seq=append.seq,
            shares=append.shares,
        )


class MemoryStreams(Fake):
    port = "streams"

    def __init__(self, faults: Faults, tables: QueueTables) -> None:
        super().__init__(faults, tables.lock)
        self.tables = tables

    @fallible
    def load(self, key: StreamKey) -> Stream | None:
        require(len(key) == 32, "a stream is named by a digest")
        return self.tables.streams.get(key)

    @fallible
    def advance(self, key: StreamKey, before: Stream | None, after: Stream) -> None:
        require(after.last_seq > (0 if before is None else before.last_seq), "a stream goes forward only")
        known = self.tables.streams.get(key)
        if (known is None) != (before is None) or (known and before and known.last_seq != before.last_seq):
            raise Lost
        self.tables.streams[key] = after


class MemoryBodies(Fake):
    port = "bodies"

    def __init__(self, faults: Faults, tables: QueueTables, clock: Clock) -> None:
        super().__init__(faults, tables.lock)
        self.tables = tables
        self.clock = clock

    @fallible
    def put(self, sha256: bytes, message: bytes, until: int) -> None:
        require(hashlib.sha256(message).digest() == sha256, "a message under another's digest")
        _, before = self.tables.bodies.get(sha256, (b"", 0))
        self.tables.bodies[sha256] = (message, max(before, until))

    @fallible
    def get(self, wanted: Collection[bytes]) -> Mapping[bytes, bytes]:
        require(len(set(wanted)) == len(wanted), "a message is asked for twice")
        found = {sha256: self.tables.bodies.get(sha256, (b"", 0)) for sha256 in wanted}
        return {sha256: message for sha256, (message, until) in found.items() if until > self.clock()}

    @fallible
    def link(self, sha256: bytes) -> str | None:
        if sha256 not in self.tables.bodies:
            return None
        message, _ = self.tables.bodies[sha256]
        require(len(message) > LARGEST_ANSWER, "a link to a message that fits into an answer")
        return f"https://bodies.example/{sha256.hex()}"


class MemoryConfigKeys(Fake):
    """Epochs from 1; `retired` ones do not open any more."""

    port = "config_keys"

    def __init__(self, faults: Faults, seed: str) -> None:
        super().__init__(faults)
        self.seed = seed
        self.newest = 1
        self.retired: set[int] = set()

    @fallible
    def public(self) -> tuple[int, bytes]:
        private = X25519PrivateKey.from_private_bytes(self._private(self.newest))
        return self.newest, private.public_key().public_bytes_raw()

    @fallible
    def private(self, epoch: int) -> bytes | None:
        return self._private(epoch) if 1 <= epoch <= self.newest and epoch not in self.retired else None

    def _private(self, epoch: int) -> bytes:
        return hashlib.sha256(f"{self.seed} {epoch}".encode()).digest()


class QueueWorld:
    """One queueing service's surroundings. Time passes while somebody waits; `waiting` is then called."""

    def __init__(self, domain: str = "eu.ds.example", clock: SettableClock | None = None) -> None:
        self.faults = Faults()
        self.tables = QueueTables()
        self.clock = clock or SettableClock()
        self.heads = MemoryQueueHeads(self.faults, self.tables)
        self.entries = MemoryQueueEntries(self.faults, self.tables)
        self.streams = MemoryStreams(self.faults, self.tables)
        self.bodies = MemoryBodies(self.faults, self.tables, self.clock)
        self.remote_bodies = MemoryRemoteBodies(self.faults, self.clock)
        self.pieces = MemoryPieces(self.faults, self.clock)
        self.config_keys = MemoryConfigKeys(self.faults, domain)
        self.digests = MemoryKeyring(self.faults, domain)
        self.buckets = MemoryBuckets(self.faults, Tables())
        self.alarms = MemoryAlarms(self.faults)
        self.waits: list[int] = []

    def wait(self, milliseconds: int) -> None:
        require(0 < milliseconds <= 20 * SECOND, "nobody waits so long")
        self.waits.append(milliseconds)
        self.clock.advance(milliseconds)
        self.waiting()

    def waiting(self) -> None:
        """Do something while somebody waits."""

    def fail(self, port: str, method: str, when: When = "before", skip: int = 0, times: int = 1) -> None:
        """Make a port's method raise, before or after its effect."""
        fake = getattr(self, port)
        require(hasattr(getattr(fake, method), "__wrapped__"), f"{port}.{method} cannot fail")
        self.faults.arm(fake.port, method, when, times, skip)

    def vanish(self, queue_id: QueueId) -> None:
        """Delete expired entries as DynamoDB does, sooner or later."""
        entries = self.tables.entries.get(queue_id, {})
        for number in [number for number, entry in entries.items() if entry.gone_at <= self.clock()]:
            del entries[number]


def _keys(head: Head) -> tuple[int, bytes, bytes]:
    return head.cipher_suite, head.signature_key, head.token
