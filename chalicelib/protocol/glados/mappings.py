"""Who an identifier leads to, and how that changes (draft §8.1, §8.2, §10).

Theory of operation. All records of one SII are one value, `Records`. It changes only by the functions below,
each of which returns a `Change`: the next value, what the affected application providers must be told, and how
the provider's counts move. Nothing here writes; a service stores the next value by compare-and-swap, so the
loser of a race judges again with the winner in view.

The draft prefers the newest timestamp, but then "keep the old one" (§8.2.1) would lose to the mapping that was
just made. So a *choice* has a time of its own, `preferred_at`: chosen mappings go before unchosen ones and the
newest choice first; among unchosen ones the oldest registration stands.

Every stamp lies above each stamp this GP has seen for the SII, its own or a peer's, and above the floor that
peers' claims left. Two GPs that have heard of each other's choices therefore agree on their order.
"""

import dataclasses
from collections.abc import Iterable
from typing import Literal, NewType

from chalicelib.errors import Gone, NotFound, TooManyMappings
from chalicelib.protocol.timestamps import DAY, MINUTE

MappingId = NewType("MappingId", str)
State = Literal["active", "superseded", "removed"]
Source = Literal["verified", "bulk"]
EventType = Literal["mapping.superseded", "mapping.removed", "mapping.restored"]

MOST_ACTIVE = 32
TOMBSTONE_LIFE = 30 * DAY
AHEAD = 5 * MINUTE  # A peer's stamp further ahead of our clock than this is not believed.


@dataclasses.dataclass(frozen=True, slots=True)
class Provider:
    """An application provider as its mappings and notices name it."""

    provider_id: str
    provider_name: str
    gp: str


@dataclasses.dataclass(frozen=True, slots=True)
class Mapping:
    """One provider's record for an SII; a tombstone once its state is no longer active.

    Times are milliseconds since 1970. `sequence` counts the notices its provider was sent about it. `test`
    marks a never-assigned number, which no filter and no peer is told of.
    """

    mapping_id: MappingId
    provider: Provider
    user_id: str
    ssi: str
    source: Source
    registered_at: int
    preferred_at: int | None = None
    tags: tuple[str, ...] = ()
    state: State = "active"
    ended_at: int | None = None
    sequence: int = 0
    test: bool = False

    @property
    def stamp(self) -> int:
        """The newest moment this record vouches for; claims are compared with it."""
        return max(self.registered_at, self.preferred_at or 0)

    def __repr__(self) -> str:
        """Leave the user out of tracebacks."""
        return f"<Mapping of {self.provider.provider_id}, {self.state}>"


@dataclasses.dataclass(frozen=True, slots=True)
class Notice:
    """What the owner of a mapping is told: `sequence` orders the notices of one mapping."""

    type: EventType
    mapping_id: MappingId
    provider_id: str
    user_id: str
    sequence: int
    by: Provider


@dataclasses.dataclass(frozen=True, slots=True)
class Records:
    """Every record of one SII on this GP, tombstones included, and the newest stamp claimed elsewhere."""

    all: tuple[Mapping, ...] = ()
    floor: int = 0

    @property
    def active(self) -> tuple[Mapping, ...]:
        """The records that a query may answer with."""
        return tuple(record for record in self.all if record.state == "active")

    def of(self, provider_id: str) -> Mapping | None:
        """Return the provider's active record: it has at most one."""
        return next((record for record in self.active if record.provider.provider_id == provider_id), None)

    def find(self, mapping_id: MappingId) -> Mapping:
        """Return the record with this id, tombstone or not, or raise `NotFound`."""
        for record in self.all:
            if record.mapping_id == mapping_id:
                return record
        raise NotFound("there is no such mapping")

    @property
    def stamps(self) -> tuple[int, ...]:
        """The moments that a new stamp must exceed."""
        return (self.floor, *(record.stamp for record in self.all))


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """The next value of an SII's records and what follows from it.

    `users` says by how many each provider's count of mapped users moves. `appears` is true when the SII had no
    active record and now has one: the moment a bit may flip in the routing filter.
    """

    records: Records
    notices: tuple[Notice, ...]
    users: tuple[tuple[str, int], ...]
    appears: bool


def rank(mapping: Mapping, now: int) -> tuple[bool, int, int, str, str]:
    """Return a sort key: the mapping to answer with sorts first.

    A stamp more than five minutes ahead of our clock counts as no choice at all.
    """
    preferred_at = mapping.preferred_at
    if preferred_at is not None and preferred_at > now + AHEAD:
        preferred_at = None
    return (
        preferred_at is None,
        -(preferred_at or 0),
        mapping.registered_at,
        mapping.provider.gp,
        mapping.provider.provider_id,
    )


def best(mappings: Iterable[Mapping], now: int) -> Mapping | None:
    """Return the mapping that a query answers with, or None where there is none."""
    return min(mappings, key=lambda mapping: rank(mapping, now), default=None)


def stamp(now: int, records: Records, seen: Iterable[int] = ()) -> int:
    """Return a new choice's time: our clock, or just above the newest stamp seen for this SII.

    A peer's stamp that is too far ahead to be believed is not climbed over, or one bad clock would move all.
    """
    believed = [moment for moment in (*records.stamps, *seen) if moment <= now + AHEAD]
    return max([now, *(moment + 1 for moment in believed)])


def prior_to(provider: Provider, mappings: Iterable[Mapping]) -> tuple[Provider, ...]:
    """Return the other providers that hold the SII, by GP and id, each once (draft §8.2.1).

    A provider id is its GP's own: a namesake enrolled with another GP is another provider.
    """
    others = {(mapping.provider.gp, mapping.provider.provider_id): mapping.provider for mapping in mappings}
    others.pop((provider.gp, provider.provider_id), None)
    return tuple(others[key] for key in sorted(others))


def confirm(records: Records, new: Mapping, now: int, *, alone: bool, seen: Iterable[int] = ()) -> Change:
    """Add a mapping that was verified (or bulk loaded) for `new.provider` and `new.user_id`.

    `alone` says that the search for prior mappings was complete and found none: only then is a first verified
    mapping preferred by itself (draft §10). The same user verified again keeps its registration and its choice;
    another user at the same provider replaces the record, which is the number that moved (draft §8.2.2).
    """
    old = records.of(new.provider.provider_id)
    if old is None and len(records.active) >= MOST_ACTIVE:
        raise TooManyMappings(f"the identifier has {MOST_ACTIVE} mappings already")
    same_user = old is not None and old.user_id == new.user_id
    if old is not None and same_user:
        new = dataclasses.replace(
            old,
            source="verified" if "verified" in (old.source, new.source) else "bulk",
            tags=new.tags or old.tags,
        )
    else:
        # Above the floor, or a claim that comes again would take this record for one older than the choice.
        new = dataclasses.replace(new, registered_at=max(new.registered_at, records.floor + 1))
    if new.preferred_at is None and new.source == "verified" and alone:
        new = dataclasses.replace(new, preferred_at=stamp(now, records, seen))
    notices: tuple[Notice, ...] = ()
    kept = _without_expired(records.all, now)
    if old is not None and not same_user:
        ended, notices = _end(old, "superseded", new.provider, now)
        kept = _replaced(kept, old, ended)
    if same_user:
        kept = tuple(record for record in kept if record is not old)
    return Change(
        Records((*kept, new), records.floor),
        notices,
        users=() if old is not None else ((new.provider.provider_id, 1),),
        appears=not records.active,
    )


def choose(
    records: Records,
    mapping: Mapping,
    choice: Literal["prefer", "replace"],
    now: int,
    seen: Iterable[int] = (),
) -> Change:
    """Make `mapping` the user's choice (draft §8.2.1, §10): `prefer` removes nothing, `replace` ends all others.

    Either way every other provider with an active record is told that it is no longer the one answered.
    """
    chosen = dataclasses.replace(mapping, preferred_at=stamp(now, records, seen))
    others = [record for record in records.active if record.mapping_id != mapping.mapping_id]
    kept = _replaced(_without_expired(records.all, now), mapping, chosen)
    kept, notices, users = _displace(kept, others, choice, chosen.provider, now)
    return Change(Records(kept, records.floor), notices, users, appears=False)


def claim(
    records: Records,
    choice: Literal["prefer", "replace"],
    preferred_at: int,
    by: Provider,
    now: int,
) -> Change | None:
    """Follow a choice made on another GP, or return None where it changes nothing here (draft §10).

    Only records older than the claim give way, and the floor rises to the claim, so duplicates, reordering and
    claims that cross on the wire all end in the same state.
    """
    older = [record for record in records.active if record.stamp < preferred_at]
    if not records.all:
        return None  # Nothing is stored about people whom this GP does not know.
    if records.floor >= preferred_at and (choice == "prefer" or not older):
        return None  # A repeat: everyone concerned was told when the floor rose.
    kept, notices, users = _displace(_without_expired(records.all, now), older, choice, by, now)
    return Change(Records(kept, max(records.floor, preferred_at)), notices, users, appears=False)


def remove(records: Records, mapping: Mapping, now: int) -> Change:
    """End a mapping at its own provider's wish; it stays a tombstone for 30 days."""
    ended, notices = _end(mapping, "removed", mapping.provider, now)
    kept = _replaced(_without_expired(records.all, now), mapping, ended)
    users = ((mapping.provider.provider_id, -1),)
    return Change(Records(kept, records.floor), notices, users, appears=False)


def restore(records: Records, tombstone: Mapping, now: int, seen: Iterable[int] = ()) -> Change:
    """Bring a tombstone back as its user's choice (draft §8.2.1): id and registration time are the old ones.

    The proof that the user wants it is a fresh verification, which has usually made a new record of the same
    provider; that record gives way, because one provider has one record for an SII.
    """
    kept = _without_expired(records.all, now)
    if tombstone not in kept:
        raise Gone("the tombstone has ended")
    own = records.of(tombstone.provider.provider_id)
    if own is None and len(records.active) >= MOST_ACTIVE:
        raise TooManyMappings(f"the identifier has {MOST_ACTIVE} mappings already")
    back = dataclasses.replace(
        tombstone,
        state="active",
        ended_at=None,
        preferred_at=stamp(now, records, seen),
        sequence=tombstone.sequence + 1,
    )
    kept = _replaced(kept, tombstone, back)
    notices: tuple[Notice, ...] = (_notice("mapping.restored", back, back.provider),)
    if own is not None:
        ended, ending = _end(own, "superseded", back.provider, now)
        kept, notices = _replaced(kept, own, ended), (*notices, *ending)
    others = [record for record in records.active if record is not own]
    kept, told, _ = _displace(kept, others, "prefer", back.provider, now)
    users = () if own is not None else ((back.provider.provider_id, 1),)
    return Change(Records(kept, records.floor), (*notices, *told), users, appears=not records.active)


Displaced = tuple[tuple[Mapping, ...], tuple[Notice, ...], tuple[tuple[str, int], ...]]


def _displace(
    kept: tuple[Mapping, ...],
    others: list[Mapping],
    choice: Literal["prefer", "replace"],
    by: Provider,
    now: int,
) -> Displaced:
    """Tell each of `others` that it gave way, and on `replace` end it."""
    notices: list[Notice] = []
    for other in others:
        if choice == "replace":
            ended, told = _end(other, "superseded", by, now)
        else:
            ended = dataclasses.replace(other, sequence=other.sequence + 1)
            told = (_notice("mapping.superseded", ended, by),)
        kept = _replaced(kept, other, ended)
        notices += told
    gone = tuple((other.provider.provider_id, -1) for other in others) if choice == "replace" else ()
    return kept, tuple(notices), gone


def _end(
    mapping: Mapping, state: Literal["superseded", "removed"], by: Provider, now: int
) -> tuple[Mapping, tuple[Notice, ...]]:
    ended = dataclasses.replace(mapping, state=state, ended_at=now, sequence=mapping.sequence + 1)
    return ended, (_notice("mapping.superseded" if state == "superseded" else "mapping.removed", ended, by),)


def _notice(type_: EventType, mapping: Mapping, by: Provider) -> Notice:
    return Notice(type_, mapping.mapping_id, mapping.provider.provider_id, mapping.user_id, mapping.sequence, by)


def _replaced(records: tuple[Mapping, ...], old: Mapping, new: Mapping) -> tuple[Mapping, ...]:
    return tuple(new if record.mapping_id == old.mapping_id else record for record in records)


def _without_expired(records: tuple[Mapping, ...], now: int) -> tuple[Mapping, ...]:
    return tuple(record for record in records if record.ended_at is None or record.ended_at > now - TOMBSTONE_LIFE)
