"""What providers said of accounts, in memory, and the queues that were deleted for it."""

import dataclasses
import hashlib
import threading

from chalicelib.services.delivery.ports import Spoiled
from chalicelib.services.delivery.state import MARK_LIFE, AccountEvent, EventName
from tests.fakes.faults import Fake, Faults, fallible, require


@dataclasses.dataclass
class EventRow:
    """An event, and once it is done, when its mark ends."""

    event: AccountEvent
    gone_at: int | None = None
    spoiled: bool = False


class MemoryAccountEvents(Fake):
    port = "account_events"

    def __init__(self, faults: Faults) -> None:
        super().__init__(faults, threading.RLock())
        self._rows: dict[EventName, EventRow] = {}

    @fallible
    def add(self, event: AccountEvent) -> EventName:
        require((event.version, event.after, event.again) == (0, None, None), "an event is added as it was made")
        require(list(event.queues) == sorted(set(event.queues)), "queues are named once and in order")
        name, version, after = name_of(event), 1, None
        if (known := self._rows.get(name)) is not None:
            version, after = known.event.version + 1, known.event.after
        self._rows[name] = EventRow(dataclasses.replace(event, version=version, after=after, again=after))
        return name

    @fallible
    def due(self, now: int, most: int) -> list[EventName]:
        due = [row.event for row in self._rows.values() if row.gone_at is None and row.event.next_at <= now]
        return [name_of(event) for event in sorted(due, key=lambda event: event.next_at)[:most]]

    @fallible
    def take(self, name: EventName, now: int, until: int) -> AccountEvent | None:
        require(until > now, "a lease that is over before it begins")
        row = self._rows.get(name)
        if row is None or row.gone_at is not None or row.event.next_at > now:
            return None
        row.event = dataclasses.replace(row.event, next_at=until, version=row.event.version + 1)
        if row.spoiled:
            raise Spoiled
        return row.event

    @fallible
    def postpone(self, event: AccountEvent, next_at: int) -> None:
        if (row := self._as_taken(event)) is not None:
            row.event = dataclasses.replace(row.event, next_at=next_at)

    @fallible
    def advance(self, event: AccountEvent) -> bool:
        if (row := self._as_taken(event)) is None:
            return False
        row.event = dataclasses.replace(row.event, next_at=event.next_at, after=event.after, again=event.again)
        return True

    @fallible
    def done(self, event: AccountEvent, now: int) -> None:
        if (row := self._as_taken(event)) is not None:
            row.event = dataclasses.replace(row.event, next_at=0, after=None, again=None)
            row.gone_at = now + MARK_LIFE

    @fallible
    def removed(self, user: bytes, now: int) -> list[AccountEvent]:
        rows = [row for row in self._rows.values() if row.event.user == user]
        rows = [row for row in rows if row.gone_at is None or row.gone_at > now]
        read = [row.event for row in rows if not row.spoiled]
        if len(read) < len(rows):
            raise Spoiled(read)
        return read

    def spoil(self, event: AccountEvent) -> None:
        """Let an event's row be one that cannot be opened."""
        self._rows[name_of(event)].spoiled = True

    def _as_taken(self, event: AccountEvent) -> EventRow | None:
        row = self._rows.get(name_of(event))
        require(row is not None and event.version > 1, "an event is settled that was never taken")
        if row is None or row.gone_at is not None or row.event.version != event.version:
            return None
        return row


class MemoryQueueRemover(Fake):
    port = "queue_remover"

    def __init__(self, faults: Faults) -> None:
        super().__init__(faults)
        self.removed: set[bytes] = set()

    @fallible
    def remove(self, queue_id: bytes) -> None:
        require(len(queue_id) == 16, "a queue's id has 16 bytes")
        self.removed.add(queue_id)


def name_of(event: AccountEvent) -> EventName:
    named = event.user, event.client, event.queues, event.provider_id
    return EventName(hashlib.sha512(repr(named).encode()).digest())
