"""Turning what owners of mappings must be told into writes: an event for the history, an outbox entry to send."""

from collections.abc import Iterable, Sequence

from chalicelib.protocol.glados.mappings import Notice
from chalicelib.services.accounts.state import ProviderId
from chalicelib.services.ports import Clock, Entropy
from chalicelib.services.provider.state import Event, EventId, OutboxEntry, OutboxId
from chalicelib.services.provider.writes import AddEvent, AddOutbox, Write
from chalicelib.services.ulids import ulid


def announce(notices: Iterable[Notice], clock: Clock, entropy: Entropy) -> tuple[list[Write], list[OutboxId]]:
    """Return the writes that record and send notices, and the outbox entries to hint at once they are durable."""
    events = [
        Event(
            event_id=EventId(ulid(clock(), entropy(10))),
            provider_id=ProviderId(notice.provider_id),
            type=notice.type,
            at=clock(),
            mapping_id=notice.mapping_id,
            user_id=notice.user_id,
            sequence=notice.sequence,
            by=notice.by,
        )
        for notice in notices
    ]
    return send_events(events)


def send_events(events: Sequence[Event], round_: int = 0) -> tuple[list[Write], list[OutboxId]]:
    """Return the writes that record events and queue them; `round_` tells a redelivery from the first delivery."""
    entries = [outbox_entry(event, event.at, round_) for event in events]
    writes: list[Write] = [AddEvent(event) for event in events]
    writes += [AddOutbox(entry) for entry in entries]
    return writes, [entry.outbox_id for entry in entries]


def outbox_entry(event: Event, now: int, round_: int = 0) -> OutboxEntry:
    """Return the entry that delivers an event; one a round, so that asking twice sends once."""
    return OutboxEntry(
        outbox_id=OutboxId(f"event.{event.event_id}.{round_}"),
        kind="event",
        ref=f"{event.provider_id} {event.event_id}",
        created_at=now,
        next_at=now,
    )
