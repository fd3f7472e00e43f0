"""A client reads its queue: fetch what is new, wait for it if need be, and let go of what it has.

Entries are numbered without a gap, and a head that says `seq` was written together with entry `seq`. So what is
read is bounded by a head that was read before: a later entry could otherwise be seen while an earlier one, written
between the two looks, is not, and `after` would step over it.

An entry whose message is gone for good is left out, with an alarm, or it would hold up all behind it for as long as it
lies there. Its group's next `seq` shows the client that it missed something, and it comes back by an external commit.
Where it is not certain that the message is gone, because a call fails, the fetch fails and is repeated.
"""

import dataclasses

from chalicelib.errors import NoSuchEntry, NotFound, NotPermitted
from chalicelib.protocol.delivery.parts import Reference
from chalicelib.protocol.delivery.queue_requests import Acknowledge, Fetch, QSMessage
from chalicelib.protocol.delivery.queueing import Fetched, QueueEntry
from chalicelib.protocol.timestamps import HOUR, SECOND
from chalicelib.services.limits import network
from chalicelib.services.ports import Alarms, Clock
from chalicelib.services.queueing.owners import MOST_DISCARDED, Authentication, body_of
from chalicelib.services.queueing.ports import Bodies, QueueEntries, QueueHeads, Wait
from chalicelib.services.queueing.state import LARGEST_ANSWER, Entry, Head, QueueId

MOST_FETCHED = 500
LONGEST_WAIT = 20 * SECOND
FIRST_LOOK, LAST_LOOK = 100, SECOND  # Between looks at a queue that somebody waits at.
MOST_WAITING = 50
"""How many fetches wait in one process at a time; who comes after them is answered at once and asks again."""
MOST_PAGES = 8
"""How many pages of which nothing is left one fetch looks through before it says how far it came."""
ACTIVITY_GRAIN = HOUR
LINK_BYTES = 2_048
ENTRY_BYTES = 300


class Waiting:
    """Who waits for a new entry in this process: a few, and one for each queue.

    A fetch that waits holds a worker for as long as it likes, so it must not be had as often as somebody likes. Anybody
    may have many queues: so a network has no more places than are left, and no single one has them all.
    """

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._most = most
        self._queues: dict[bytes, tuple[object, bytes]] = {}

    def enter(self, queue_id: bytes, source: str) -> bool:
        """Say whether a fetch from an address may wait; one that may has to leave."""
        own = object(), network(source)
        waiting = list(self._queues.values())  # Of threads that come in together, some may wait beyond the bounds.
        if sum(by == own[1] for _, by in waiting) >= self._most - len(waiting):
            return False
        return self._queues.setdefault(queue_id, own) is own

    def leave(self, queue_id: bytes) -> None:
        """Wait no longer."""
        self._queues.pop(queue_id, None)


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """What the owner of a queue does with its entries."""

    heads: QueueHeads
    entries: QueueEntries
    bodies: Bodies
    authentication: Authentication
    alarms: Alarms
    clock: Clock
    wait: Wait
    waiting: Waiting = dataclasses.field(default_factory=Waiting)

    def fetch(self, message: QSMessage, source: str) -> Fetched:
        """Return entries after a number, in order; where there is none, wait for one as long as asked, or not at all.

        Where none is returned although `last` is further on, everything up to `last` had expired, or is lost; there
        may be more behind it where much is lost.
        """
        asked = body_of(Fetch, message)
        head = self.authentication.living(message, source)
        if asked.after > head.seq:
            raise NoSuchEntry(head.seq)
        now = self.clock()
        if now - head.active_at >= ACTIVITY_GRAIN:
            self.heads.touch(head.queue_id, now)
        most = min(asked.most, MOST_FETCHED)
        until = now + min(asked.wait_ms, LONGEST_WAIT)
        fetched = self._page(head, asked.after, most)
        if fetched.entries or fetched.last < head.seq or most == 0 or self.clock() >= until:
            return fetched
        if not self.waiting.enter(head.queue_id, source):
            return fetched
        try:
            return self._waited(head, most, until)
        finally:
            self.waiting.leave(head.queue_id)

    def _waited(self, head: Head, most: int, until: int) -> Fetched:
        """Return what comes after what there was, of which nothing is left."""
        look = FIRST_LOOK
        while True:
            after = head.seq
            self.wait(min(look, max(1, until - self.clock())))
            look = min(2 * look, LAST_LOOK)
            head = self._again(head)
            fetched = self._page(head, after, most)
            if fetched.entries or fetched.last < head.seq or self.clock() >= until:
                return fetched

    def acknowledge(self, message: QSMessage, source: str) -> None:
        """Let go of all entries up to a number; a number that was let go of before changes nothing.

        Of very many, some rows are removed now, and more with each acknowledgement that comes later, or they expire.
        """
        asked = body_of(Acknowledge, message)
        head = self.authentication.living(message, source)
        if asked.up_to > head.seq:
            raise NoSuchEntry(head.seq)
        up_to, freed = head.acknowledged, head.freed
        if asked.up_to > up_to:
            up_to, freed = asked.up_to, self._total_up_to(head, asked.up_to)
        discarded = min(up_to, head.discarded + MOST_DISCARDED)
        if discarded < up_to != head.acknowledged:
            # Whatever becomes of so many rows, they are gone for their owner and for who puts more in.
            self.heads.mark(head.queue_id, up_to, freed, head.look_again_at, head.discarded)
        if discarded > head.discarded:
            # First the entries, then the mark: after a crash between the two a repeat finds its work to do. The entries
            # are the client's to lose from here on, and the queue looks fuller than it is until then.
            self.entries.discard(head.queue_id, head.discarded, discarded)
            self.heads.mark(head.queue_id, up_to, freed, head.look_again_at, discarded)

    def _page(self, head: Head, after: int, most: int) -> Fetched:
        """Return what comes after a number. Pages of which nothing is left are passed over, at most so many."""
        after = max(after, head.acknowledged)
        for _ in range(MOST_PAGES):
            found = self._new(head, after, most)
            entries = self._with_messages(found)
            if entries or not found:
                return Fetched(entries, head.acknowledged, head.seq)
            after = found[-1].number
        return Fetched((), head.acknowledged, after)

    def _new(self, head: Head, after: int, most: int) -> list[Entry]:
        if head.seq <= after or most == 0:
            return []
        entries = self.entries.read(head.queue_id, after, head.seq, most, self.clock())
        room = LARGEST_ANSWER
        for place, entry in enumerate(entries):
            room -= _weight(entry)
            if room < 0 and place:
                return entries[:place]
        return entries

    def _again(self, before: Head) -> Head:
        (head,) = self.heads.load([QueueId(before.queue_id)])
        if head is None or head.deleted:
            raise NotFound("there is no such queue")
        if head.signature_key != before.signature_key:
            raise NotPermitted("the request is not signed with the queue's key")
        return head

    def _total_up_to(self, head: Head, up_to: int) -> int:
        """Return how many bytes went in up to an entry, by that entry or by the first one after it that is left."""
        left = self.entries.read(head.queue_id, up_to - 1, head.seq, 1, self.clock())
        if not left:
            return head.total
        return left[0].total - (left[0].size if left[0].number > up_to else 0)

    def _with_messages(self, entries: list[Entry]) -> tuple[QueueEntry, ...]:
        """Return entries as a client gets them, without those whose message is gone for good."""
        inline = {entry.body for entry in entries if entry.size <= LARGEST_ANSWER}
        messages: dict[bytes, bytes | Reference] = dict(self.bodies.get(inline)) if inline else {}
        for entry in entries:
            if entry.body not in inline and (link := self.bodies.link(entry.body)) is not None:
                messages[entry.body] = Reference(link, entry.body, entry.size)
        if any(entry.body not in messages for entry in entries):
            self.alarms.raise_("message-lost", "")
        return tuple(
            QueueEntry(
                entry.number,
                entry.hub,
                entry.group_id,
                entry.seq,
                entry.accepted_at,
                messages[entry.body],
            )
            for entry in entries
            if entry.body in messages
        )


def _weight(entry: Entry) -> int:
    """Return the bytes that an entry has in an answer, rather too many than too few."""
    message = entry.size if entry.size <= LARGEST_ANSWER else LINK_BYTES
    return message + len(entry.group_id) + len(entry.hub) + ENTRY_BYTES
