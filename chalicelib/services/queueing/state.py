"""What a queueing service remembers: queues, what lies in them, and how far each hub's streams have come.

A queue is a row that counts, its head, and numbered entries. Nothing in it says whose it is. `total` counts every
byte that ever went in, and an entry knows the total with it: so what is left in a queue follows from two marks, and
letting go of entries twice, or of some that had expired, cannot count anything twice. `shares` counts for whom.
"""

import dataclasses
from typing import NewType

from chalicelib.protocol.delivery.parts import Domain
from chalicelib.protocol.timestamps import DAY
from chalicelib.services.queueing.shares import CAPACITY, ENTRY_COST, NOBODYS, Sender, Shares, may_hold

QueueId = NewType("QueueId", bytes)
StreamKey = NewType("StreamKey", bytes)

RETENTION = 30 * DAY
LARGEST_ANSWER = 3 << 20
"""Bytes of entries that one answer brings along; a message larger than that is fetched by a link."""


@dataclasses.dataclass(frozen=True, slots=True)
class Head:
    """A queue. `token` is a digest of what enqueuing takes.

    `seq` is the number of the last entry and `acknowledged` that up to which they are gone; `total` and `freed` are
    the bytes up to either. `discarded` is how far the rows were removed, too, of what is gone: it may lag.
    `look_again_at` is when the oldest entry of a full queue will have expired.
    `last_stream` and `last_seq` say what was appended last. A deleted queue is kept for a day, for repeats.
    """

    queue_id: QueueId
    cipher_suite: int
    signature_key: bytes
    token: bytes = dataclasses.field(repr=False)
    created_at: int
    active_at: int
    updated_at: int
    update: bytes = b""
    seq: int = 0
    total: int = 0
    acknowledged: int = 0
    freed: int = 0
    discarded: int = 0
    look_again_at: int = 0
    last_stream: bytes = b""
    last_seq: int = 0
    deleted: bool = False
    shares: Shares = NOBODYS

    @property
    def beginning(self) -> int:
        """Return the cost of everything that was let go of."""
        return self.freed + ENTRY_COST * self.acknowledged

    @property
    def end(self) -> int:
        """Return the cost of everything that ever went in."""
        return self.total + ENTRY_COST * self.seq

    def left(self, cost: int) -> int:
        """Return how much room is left with so much more in the queue; where it does not fit, less than nothing."""
        return CAPACITY - (self.end - self.beginning) - cost

    def shares_with(self, sender: Sender, cost: int) -> Shares | None:
        """Return who holds how much with so much more from a sender, or None if it may not hold that."""
        after, beginning = self.shares.as_of(self.beginning, self.end).plus(sender, cost), self.beginning
        held = after.of_hub(sender, beginning), after.of_group(sender, beginning)
        return after if may_hold(self.left(cost), *held) else None


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One message in a queue; the bytes lie elsewhere, once for all queues, under their digest `body`."""

    number: int
    hub: Domain
    group_id: bytes
    seq: int
    accepted_at: int
    body: bytes
    size: int
    total: int
    gone_at: int


@dataclasses.dataclass(frozen=True, slots=True)
class Append:
    """Entries for one queue, if its head still is `before`; they are numbered on from there, and `shares` has them."""

    before: Head
    stream: StreamKey
    seq: int
    entries: tuple[Entry, ...]
    shares: Shares


@dataclasses.dataclass(frozen=True, slots=True)
class Stream:
    """How far a hub's rows for one shard of one group have come, and the answer to the last of them.

    `tokens` (in thousandths, as of `at`) bound how fast rows may come.
    """

    last_seq: int
    results: bytes
    tokens: int
    at: int
