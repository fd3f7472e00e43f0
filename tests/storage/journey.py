"""One life at one GP, in writes: verified, confirmed, told, taken over; and the values that must not lie about."""

import dataclasses

from chalicelib.protocol.glados.identifiers import Sii, parse_sii
from chalicelib.protocol.glados.mappings import Mapping, Provider, choose, confirm, remove
from chalicelib.services.accounts.state import Account, ProviderId, WebhookEndpoint, WebhookSigningSecret
from chalicelib.services.provider.state import (
    Event,
    EventId,
    LimitKey,
    OutboxEntry,
    OutboxId,
    PairKey,
    Verification,
    VerificationId,
)
from chalicelib.services.provider.writes import (
    AddEvent,
    AddOutbox,
    CountUp,
    MoveVerification,
    OpenVerification,
    RecordDelivery,
    RecordProof,
    ReplaceRecords,
    SetLive,
    SpendProof,
    TakeAttempt,
)
from chalicelib.services.ulids import ulid
from tests.contracts.aws import AwsPorts

DAY = 86_400_000
PHONE = parse_sii("tel:+4915123456789")
USER = "alice-of-alpha"
CODE = "482913"
SECRET = b"a webhook secret of thirty-two b"
ALPHA = Provider("alpha", "Alpha", "eu")
BETA = Provider("beta", "Beta", "eu")


def account(provider_id: str, *thumbprints: str) -> Account:
    webhook = WebhookEndpoint("https://alpha.example/hook", (WebhookSigningSecret(SECRET),), "enabled", 0)
    return Account(
        provider_id=ProviderId(provider_id),
        name=provider_id.title(),
        domain=f"{provider_id}.example",
        client_id=provider_id,
        secret_tag=b"t" * 32,
        status="active",
        thumbprints=thumbprints,
        scopes=("query", "register"),
        review="looked at",
        created_at=0,
        webhook=webhook,
    )


def mapping(aws: AwsPorts, provider: Provider, user_id: str = USER, sii: Sii = PHONE) -> Mapping:
    return Mapping(
        mapping_id=aws.keyring.mapping_id(provider.provider_id, sii, user_id.encode()),
        provider=provider,
        user_id=user_id,
        ssi=f"im:{user_id}@{provider.provider_id}.example",
        source="verified",
        registered_at=aws.clock(),
    )


def map_user(aws: AwsPorts, provider: Provider = ALPHA, user_id: str = USER, sii: Sii = PHONE) -> None:
    """Confirm a mapping, as the code route does."""
    before = aws.store.records(sii)
    change = confirm(before.records, mapping(aws, provider, user_id, sii), aws.clock(), alone=True)
    aws.store.commit(ReplaceRecords(sii, before, change, aws.clock()))


def verification(aws: AwsPorts, name: str = "v1", sii: Sii = PHONE) -> Verification:
    now = aws.clock()
    return Verification(
        verification_id=VerificationId(name),
        provider_id=ProviderId("alpha"),
        sii=sii,
        user_id=USER,
        purpose="mapping",
        opened_at=now,
        expires_at=now + 600_000,
        resend_after=now + 30_000,
    )


def limit(aws: AwsPorts, value: str = PHONE.uri) -> LimitKey:
    start = aws.clock() // DAY * DAY
    return LimitKey("sends", value, start, start + DAY)


def live(aws: AwsPorts) -> None:
    """Fill every table that holds anything about a person, through the adapters."""
    now = aws.clock()
    aws.accounts.create(account("alpha"))
    opened = verification(aws)
    key = PairKey(opened.provider_id, PHONE, USER)
    aws.store.commit(
        OpenVerification(opened),
        SetLive(key, opened.verification_id, None),
        CountUp(limit(aws), 8, now),
        AddOutbox(OutboxEntry(OutboxId("send"), "code", f"{opened.verification_id} {PHONE.uri} {CODE}", now, now)),
    )
    aws.store.commit(RecordDelivery(opened.verification_id, "failed", now, f"no route to {PHONE.address}"))
    aws.store.commit(TakeAttempt(opened.verification_id, right=True, now=now))
    answer = f'{{"user_id": "{USER}", "code": "{CODE}"}}'.encode()
    aws.store.commit(
        MoveVerification(opened.verification_id, "matched", "confirmed", now, answer),
        RecordProof(key, opened.verification_id, now),
    )
    map_user(aws)
    map_user(aws, BETA, "bob-of-beta")
    found = aws.store.records(PHONE)
    old = next(record for record in found.records.active if record.provider == ALPHA)
    change = choose(found.records, dataclasses.replace(old), "replace", now)
    event = Event(
        event_id=EventId(ulid(now, b"0123456789")),
        provider_id=ProviderId("beta"),
        type="mapping.superseded",
        at=now,
        mapping_id=change.notices[0].mapping_id,
        user_id="bob-of-beta",
        sequence=1,
        by=ALPHA,
        detail=f"about {PHONE.uri}",
    )
    aws.store.commit(
        ReplaceRecords(PHONE, found, change, now), SpendProof(key, opened.verification_id), AddEvent(event)
    )
    found = aws.store.records(PHONE)
    active = found.records.active[0]
    aws.store.commit(ReplaceRecords(PHONE, found, remove(found.records, active, now), now))
    aws.events.record(event, "failed", now, "503")
    aws.idempotency.begin(["alpha", "POST /v1/verifications", PHONE.uri], PHONE.uri.encode(), now, now + 1000)
    aws.idempotency.finish(["alpha", "POST /v1/verifications", PHONE.uri], (200, {"X-User": USER}, answer))
    aws.buckets.take("alpha", "queries", 1, 10, 100, now, bytes(1023) + b"\1")
