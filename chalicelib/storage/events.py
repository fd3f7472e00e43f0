"""The port `Events`: what each application provider was told, by provider and day, kept for 30 days.

events  provider#day / event id     mapping_id, sequence, type, ⟦user and words⟧, state, tries
"""

from typing import Literal

import msgspec

from chalicelib.protocol.glados.mappings import Provider
from chalicelib.protocol.timestamps import DAY, SECOND
from chalicelib.services.accounts.state import ProviderId
from chalicelib.services.ports import Clock
from chalicelib.services.provider.state import Event, EventId
from chalicelib.services.ulids import earliest, time_of
from chalicelib.storage.dynamodb import ConditionFailed, Database, Item, Put, Update, blob, number, text
from chalicelib.storage.notation import gone_at
from chalicelib.storage.sealing import Sealer

EVENTS = "events"
EVENT_LIFE = 30 * DAY


class _Sealed(msgspec.Struct, frozen=True):
    """What of an event is not for everyone who reads the table."""

    user_id: str | None
    by: tuple[str, str, str] | None
    detail: str | None


_sealed = msgspec.json.Decoder(_Sealed)


def adding(event: Event, sealer: Sealer) -> Put:
    """Return the operation that adds an event to its provider's history."""
    by = None if event.by is None else (event.by.provider_id, event.by.provider_name, event.by.gp)
    sealed = msgspec.json.encode(_Sealed(event.user_id, by, event.detail))
    row: Item = {
        **_key(event.provider_id, event.event_id),
        "provider_id": event.provider_id,
        "type": event.type,
        "at": event.at,
        "sealed": sealer.seal(EVENTS, event.event_id, sealed),
        "state": event.state,
        "gone_at": gone_at(event.at + EVENT_LIFE),
    }
    if event.mapping_id is not None:
        row["mapping_id"] = event.mapping_id
    if event.sequence is not None:
        row["sequence"] = event.sequence
    return Put(EVENTS, row, "attribute_not_exists(#id)")


class AwsEvents:
    """The events of one stage."""

    def __init__(self, database: Database, sealer: Sealer, clock: Clock) -> None:
        self.database = database
        self.sealer = sealer
        self.clock = clock

    def get(self, provider_id: ProviderId, event_id: EventId) -> Event | None:
        """Return one event of a provider; an id of another form names none."""
        if time_of(event_id) is None:
            return None
        row = self.database.get(EVENTS, _key(provider_id, event_id))
        return None if row is None or self._is_over(row) else self._read(row)

    def page(self, provider_id: ProviderId, after: EventId | None, until: int, most: int) -> list[Event]:
        """Return up to `most` events that follow `after` and happened no later than `until`, oldest first.

        Days are asked one by one, at most 31 of them, and nothing older than an event's life.
        """
        oldest = self.clock() - EVENT_LIFE
        since = max(oldest, 0 if after is None else time_of(after) or 0)
        low, high = after or "", earliest(until + 1)
        found: list[Event] = []
        if low >= high:
            return found  # `after` lies in the part that is withheld: there is nothing to show yet.
        for day in range(since // DAY, until // DAY + 1):
            rows = self.database.query(
                EVENTS,
                "#day = :day AND #id BETWEEN :low AND :high",
                {"day": _day(provider_id, day * DAY), "low": low or earliest(0), "high": high},
                most=most - len(found) + 1,
            )
            found += [self._read(row) for row in rows if text(row, "id") not in {low, high} and not self._is_over(row)]
            if len(found) >= most:
                break
        return found[:most]

    def record(self, event: Event, state: Literal["pending", "delivered", "failed"], now: int, outcome: str) -> None:
        """Add a try and a state; an event that was delivered stays so, and one that has expired stays gone."""
        tries: Item = {"one": frozenset({f"{now:015d} {outcome}"})}
        key = _key(event.provider_id, event.event_id)
        try:
            self.database.write(
                Update(
                    EVENTS,
                    key,
                    "SET #state = :state ADD #tries :one",
                    "attribute_exists(#id) AND #state <> :delivered",
                    {**tries, "state": state, "delivered": "delivered"},
                )
            )
        except ConditionFailed as failed:
            if failed.row is not None:
                self.database.write(Update(EVENTS, key, "ADD #tries :one", "attribute_exists(#id)", tries))

    def _is_over(self, row: Item) -> bool:
        return number(row, "gone_at") * SECOND <= self.clock()

    def _read(self, row: Item) -> Event:
        event_id = text(row, "id")
        opened = _sealed.decode(self.sealer.open(EVENTS, event_id, blob(row, "sealed")))
        tries = row.get("tries")
        plain = {
            "event_id": event_id,
            "provider_id": text(row, "provider_id"),
            "type": text(row, "type"),
            "at": number(row, "at"),
            "mapping_id": row.get("mapping_id"),
            "user_id": opened.user_id,
            "sequence": row.get("sequence"),
            "by": None if opened.by is None else Provider(*opened.by),
            "detail": opened.detail,
            "state": text(row, "state"),
            "tries": tuple(map(_read_try, sorted(tries))) if isinstance(tries, frozenset) else (),
        }
        return msgspec.convert(plain, Event)


def _key(provider_id: str, event_id: str) -> Item:
    moment = time_of(event_id)
    if moment is None:
        raise ValueError("an event id begins with its time")
    return {"day": _day(provider_id, moment), "id": event_id}


def _day(provider_id: str, moment: int) -> str:
    """Return the partition of a provider's events of one day."""
    return f"{provider_id}#{moment // DAY}"


def _read_try(entry: str) -> tuple[int, str]:
    moment, _, outcome = entry.partition(" ")
    return int(moment), outcome
