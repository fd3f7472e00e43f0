"""What providers said of accounts, in memory, and the queues that were deleted for it."""

import dataclasses
import threading

from chalicelib.services.delivery.state import MARK_LIFE, AccountEvent
from tests.fakes.faults import Fake, Faults, fallible, require

Name = tuple[bytes, bytes | None, tuple[bytes, ...], str]


@dataclasses.dataclass
class EventRow:
    """An event, and once it is done, when its mark ends."""

    event: AccountEvent
    gone_at: int | None = None


class MemoryAccountEvents(Fake):
    port = "account_events"

    def __init__(self, faults: Faults) -> None:
        super().__init__(faults, threading.RLock())
        self._rows: dict[Name, EventRow] = {}

    @fallible
    def add(self, event: AccountEvent) -> None:
        require(event.version == 0, "an event is added as it was made")
        require(list(event.queues) == sorted(set(event.queues)), "queues are named once and in order")
        known = self._rows.get(_name(event))
        version = 1 if known is None else known.event.version + 1
        self._rows[_name(event)] = EventRow(dataclasses.replace(event, version=version))

    @fallible
    def due(self, now: int, most: int) -> list[AccountEvent]:
        due = [row.event for row in self._rows.values() if row.gone_at is None and row.event.next_at <= now]
        return sorted(due, key=lambda event: event.next_at)[:most]

    @fallible
    def take(self, event: AccountEvent, now: int, until: int) -> AccountEvent | None:
        require(until > now, "a lease that is over before it begins")
        row = self._rows.get(_name(event))
        if row is None or row.gone_at is not None or row.event.next_at > now:
            return None
        row.event = dataclasses.replace(row.event, next_at=until, version=row.event.version + 1)
        return row.event

    @fallible
    def postpone(self, event: AccountEvent, next_at: int) -> None:
        if (row := self._as_taken(event)) is not None:
            row.event = dataclasses.replace(row.event, next_at=next_at)

    @fallible
    def done(self, event: AccountEvent, now: int) -> None:
        if (row := self._as_taken(event)) is not None:
            row.event = dataclasses.replace(row.event, next_at=0)
            row.gone_at = now + MARK_LIFE

    @fallible
    def removed(self, user: bytes, now: int) -> list[AccountEvent]:
        rows = [row for row in self._rows.values() if row.event.user == user]
        return [row.event for row in rows if row.gone_at is None or row.gone_at > now]

    def _as_taken(self, event: AccountEvent) -> EventRow | None:
        row = self._rows.get(_name(event))
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


def _name(event: AccountEvent) -> Name:
    return event.user, event.client, event.queues, event.provider_id
