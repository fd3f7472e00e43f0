"""What waits: the outbox, events, the pending log, and the hints that wake their workers."""

import dataclasses
from collections.abc import Iterable
from typing import Literal

from chalicelib.protocol.timestamps import DAY, SECOND
from chalicelib.services.accounts.state import ProviderId
from chalicelib.services.ports import Clock
from chalicelib.services.provider.state import Event, EventId, OutboxEntry, OutboxId, PendingEntry
from tests.fakes.faults import Fake, Faults, fallible, require
from tests.fakes.tables import Tables

EVENT_LIFE = 30 * DAY


class MemoryOutbox(Fake):
    port = "outbox"

    def __init__(self, faults: Faults, tables: Tables, clock: Clock) -> None:
        super().__init__(faults, tables.lock)
        self.tables = tables
        self.clock = clock

    @fallible
    def take(self, outbox_id: OutboxId, now: int, until: int) -> OutboxEntry | None:
        require(until > now, "a lease that is over before it begins")
        entry = self.tables.outbox.get(outbox_id)
        if entry is None or entry.next_at > now:
            return None
        return self._keep(dataclasses.replace(entry, attempts=entry.attempts + 1, next_at=until))

    @fallible
    def postpone(self, entry: OutboxEntry, next_at: int) -> None:
        known = self.tables.outbox.get(entry.outbox_id)
        require(entry.attempts > 0, "an entry that was not taken is postponed")
        if known is not None and known.attempts == entry.attempts:
            self._keep(dataclasses.replace(known, next_at=next_at))

    @fallible
    def done(self, outbox_id: OutboxId) -> None:
        self.tables.outbox.pop(outbox_id, None)

    @fallible
    def due(self, now: int, most: int) -> list[OutboxId]:
        """Miss whatever was written in the last second, as the index may."""
        settled = self.clock() - SECOND
        waiting = sorted(
            (entry.next_at, outbox_id)
            for outbox_id, entry in self.tables.outbox.items()
            if entry.next_at <= now and self.tables.outbox_touched[outbox_id] <= settled
        )
        return [outbox_id for _, outbox_id in waiting[:most]]

    @property
    def entries(self) -> list[OutboxEntry]:
        """Everything that waits, due or not, oldest first."""
        return sorted(self.tables.outbox.values(), key=lambda entry: (entry.created_at, entry.outbox_id))

    def _keep(self, entry: OutboxEntry) -> OutboxEntry:
        self.tables.outbox[entry.outbox_id] = entry
        self.tables.outbox_touched[entry.outbox_id] = self.clock()
        return entry


class MemoryEvents(Fake):
    port = "events"

    def __init__(self, faults: Faults, tables: Tables, clock: Clock) -> None:
        super().__init__(faults, tables.lock)
        self.tables = tables
        self.clock = clock

    @fallible
    def get(self, provider_id: ProviderId, event_id: EventId) -> Event | None:
        return next((event for event in self.of(provider_id) if event.event_id == event_id), None)

    @fallible
    def page(self, provider_id: ProviderId, after: EventId | None, until: int, most: int) -> list[Event]:
        told = [event for event in self.of(provider_id) if event.event_id > (after or "") and event.at <= until]
        return told[:most]

    @fallible
    def record(self, event: Event, state: Literal["pending", "delivered", "failed"], now: int, outcome: str) -> None:
        known = self.tables.events.get(event.event_id)
        if known is None:
            return
        tries = known.tries if (now, outcome) in known.tries else (*known.tries, (now, outcome))
        reached = "delivered" if known.state == "delivered" else state
        self.tables.events[event.event_id] = dataclasses.replace(known, state=reached, tries=tries)

    def of(self, provider_id: ProviderId) -> list[Event]:
        """Return the history of a provider, in order, as long as it is kept."""
        kept = [event for event in self.tables.events.values() if event.at > self.clock() - EVENT_LIFE]
        return sorted((event for event in kept if event.provider_id == provider_id), key=lambda event: event.event_id)


class MemoryPendingLog(Fake):
    port = "pending_log"

    def __init__(self, faults: Faults, tables: Tables) -> None:
        super().__init__(faults, tables.lock)
        self.tables = tables

    @fallible
    def read(self) -> list[PendingEntry]:
        """Return the newest first: no order is promised, so none may be relied on."""
        return list(reversed(self.tables.pending.values()))

    @fallible
    def discard(self, entries: Iterable[PendingEntry]) -> None:
        for entry in entries:
            known = self.tables.pending.pop(entry.entry_id, None)
            if known is not None:
                require(known == entry, "an entry that no read gave out")
                for provider_id, by in known.users:
                    self.tables.users[provider_id] += by


class MemoryHints(Fake):
    """Every hint given, in order, as (kind, what for); `lost` makes the next ones go nowhere."""

    port = "hints"

    def __init__(self, faults: Faults, tables: Tables) -> None:
        super().__init__(faults, tables.lock)
        self.tables = tables
        self.given: list[tuple[str, object]] = []
        self.lost = False

    @fallible
    def outbox(self, outbox_id: OutboxId, delay_seconds: int = 0) -> None:
        require(outbox_id in self.tables.outbox_ever, "a hint at work that is not durable yet")
        require(0 <= delay_seconds <= 900, "a queue delays by 15 minutes at most")
        self._give("outbox", (outbox_id, delay_seconds))

    @fallible
    def sequence(self) -> None:
        self._give("sequence", None)

    @fallible
    def follow(self, gp: str) -> None:
        self._give("follow", gp)

    @fallible
    def scan(self, version: int, segment: int) -> None:
        self._give("scan", (version, segment))

    def take(self) -> list[tuple[str, object]]:
        """Return the hints given since last time, and forget them."""
        with self.lock:
            given, self.given = self.given, []
        return given

    def _give(self, kind: str, about: object) -> None:
        if not self.lost:
            self.given.append((kind, about))
