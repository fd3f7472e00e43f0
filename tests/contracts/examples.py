"""Values to store: alice's and bob's identifiers, and what providers alpha and beta hold of them."""

import dataclasses
import hashlib

from chalicelib.protocol.glados.identifiers import Sii, parse_sii
from chalicelib.protocol.glados.mappings import Change, Mapping, MappingId, Notice, Provider, confirm
from chalicelib.protocol.timestamps import DAY, MINUTE
from chalicelib.services.accounts.state import Account, ProviderId
from chalicelib.services.provider.ports import Store
from chalicelib.services.provider.state import (
    Count,
    Event,
    EventId,
    LimitKey,
    OutboxEntry,
    OutboxId,
    PairKey,
    StoredRecords,
    Verification,
    VerificationId,
)
from chalicelib.services.provider.writes import AddEvent, ReplaceRecords, Write
from chalicelib.services.ulids import ulid
from tests.fakes.clock import START

NOW = START

ALICE = parse_sii("mailto:alice@example.org")
BOB = parse_sii("tel:+4915123456789")
DRAMA = parse_sii("tel:+447700900123")

ALPHA = Provider("alpha", "Alpha", "eu")
BETA = Provider("beta", "Beta", "eu")

LIMIT = LimitKey("sends", ALICE.uri, NOW - NOW % DAY, NOW - NOW % DAY + DAY)


def account(provider_id: str = "alpha", thumbprint: str = "a") -> Account:
    return Account(
        provider_id=ProviderId(provider_id),
        name=provider_id.title(),
        domain=f"{provider_id}.example",
        client_id=provider_id,
        secret_tag=b"tag",
        status="active",
        thumbprints=(thumbprint.ljust(43, "-"),),
        scopes=("query", "register"),
        review="seen on paper",
        created_at=NOW,
        sms_regions=("DE",),
    )


def mapping(provider: Provider = ALPHA, user: str = "alice", number: int = 0) -> Mapping:
    return Mapping(
        mapping_id=MappingId(f"map_{provider.provider_id}_{user}_{number}"),
        provider=provider,
        user_id=user,
        ssi=f"im:{user}@{provider.provider_id}.example",
        source="verified",
        registered_at=NOW + number,
        tags=("home",),
    )


def verification(name: str = "ver_1", sii: Sii = ALICE) -> Verification:
    return Verification(
        verification_id=VerificationId(name),
        provider_id=ProviderId("alpha"),
        sii=sii,
        user_id="alice",
        purpose="mapping",
        opened_at=NOW,
        expires_at=NOW + 10 * MINUTE,
        resend_after=NOW + MINUTE,
        locale="de",
        delivery_at=NOW,
    )


def pair_of(one: Verification) -> PairKey:
    return PairKey(one.provider_id, one.sii, one.user_id)


def event_id(at: int, number: int = 0) -> EventId:
    """Return an event id: its time first, so that ids sort as their events happened."""
    return EventId(ulid(at, number.to_bytes(10, "big")))


def event(number: int = 0, at: int = NOW, provider_id: str = "alpha") -> Event:
    return Event(
        event_id=event_id(at, number),
        provider_id=ProviderId(provider_id),
        type="webhook.test",
        at=at,
        detail="{}",
    )


def outbox_entry(name: str = "out_1", next_at: int = NOW) -> OutboxEntry:
    return OutboxEntry(OutboxId(name), "code", ref=f"ref of {name}", created_at=NOW, next_at=next_at)


def change_of(before: StoredRecords, new: Mapping, now: int = NOW) -> Change:
    return confirm(before.records, new, now, alone=False)


def writes_of(sii: Sii, before: StoredRecords, change: Change, now: int = NOW) -> list[Write]:
    """Return the writes of a change: the records, and an event for each notice."""
    return [ReplaceRecords(sii, before, change, now), *(AddEvent(told(notice, now)) for notice in change.notices)]


def told(notice: Notice, now: int) -> Event:
    digest = hashlib.sha256(f"{notice.mapping_id} {notice.sequence}".encode()).digest()
    plain = event(int.from_bytes(digest[:8], "big"), now, notice.provider_id)
    return dataclasses.replace(
        plain,
        type=notice.type,
        mapping_id=notice.mapping_id,
        user_id=notice.user_id,
        sequence=notice.sequence,
        by=notice.by,
        detail=None,
    )


def register(store: Store, sii: Sii = ALICE, new: Mapping | None = None, now: int = NOW) -> None:
    """Commit one more confirmed mapping of an identifier."""
    before = store.records(sii)
    store.commit(*writes_of(sii, before, change_of(before, new or mapping(), now), now))


def counted(store: Store, limit: LimitKey) -> Count:
    """Return a counter as it stands."""
    _, _, (count,) = store.admission(VerificationId("none"), PairKey(ProviderId("alpha"), ALICE, "alice"), (limit,))
    return count
