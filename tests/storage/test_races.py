"""Many containers at once, as threads against one emulator: one winner, nothing lost, nothing twice."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from chalicelib.errors import AlreadyExists, RequestInFlight
from chalicelib.protocol.glados.identifiers import parse_sii
from chalicelib.protocol.glados.mappings import Provider, confirm
from chalicelib.services.accounts.state import Account, ProviderId
from chalicelib.services.ports import Lost
from chalicelib.services.provider.state import OutboxEntry, OutboxId
from chalicelib.services.provider.writes import (
    AddOutbox,
    CheckBelow,
    CountUp,
    OpenVerification,
    ReplaceRecords,
    Stale,
    TakeAttempt,
)
from tests.contracts.aws import AwsPorts, container
from tests.storage.journey import PHONE, account, limit, map_user, mapping, verification

Got = TypeVar("Got")
MANY = 8


def at_once(work: Callable[[int], Got], many: int = MANY) -> list[Got | Exception]:
    """Do the same work in many threads, and return what each got or raised."""

    def attempt(number: int) -> Got | Exception:
        try:
            return work(number)
        except Exception as error:  # noqa: BLE001 - what was raised is what the test looks at
            return error

    with ThreadPoolExecutor(many) as threads:
        return list(threads.map(attempt, range(many)))


def test_of_many_that_confirm_one_number_at_once_each_sees_the_others_or_loses(aws: AwsPorts) -> None:
    found = aws.store.records(PHONE)

    def map_it(number: int) -> None:
        provider = Provider(f"ap{number}", f"Ap {number}", "eu")
        change = confirm(found.records, mapping(aws, provider), aws.clock(), alone=True)
        aws.store.commit(ReplaceRecords(PHONE, found, change, aws.clock()))

    outcomes = at_once(map_it)
    assert outcomes.count(None) == 1
    assert sum(isinstance(outcome, Stale) for outcome in outcomes) == MANY - 1
    assert len(aws.store.records(PHONE).records.active) == 1
    assert len(aws.pending_log.read()) == 1


def test_a_code_takes_five_attempts_however_many_try_at_once(aws: AwsPorts) -> None:
    opened = verification(aws)
    aws.store.commit(OpenVerification(opened))
    tried = at_once(lambda _: aws.store.commit(TakeAttempt(opened.verification_id, right=False, now=aws.clock())), 12)
    assert tried.count(None) == 5
    after = aws.store.verification(opened.verification_id)
    assert after is not None
    assert after.attempts_left == 0


def test_a_limit_admits_as_many_as_it_says(aws: AwsPorts) -> None:
    def count(number: int) -> None:
        opened = verification(aws, f"v{number}")
        aws.store.commit(CountUp(limit(aws), 4, aws.clock()), OpenVerification(opened))

    outcomes = at_once(count)
    assert outcomes.count(None) == 4
    with pytest.raises(Stale):
        aws.store.commit(CheckBelow(limit(aws), 4), OpenVerification(verification(aws, "late")))


def test_a_bucket_never_gives_more_than_it_holds(aws: AwsPorts) -> None:
    taken = at_once(lambda _: aws.buckets.take("alpha", "queries", 3, 0.0, 10, aws.clock())[0])
    assert sum(number for number in taken if isinstance(number, int)) == 10
    assert all(isinstance(number, int) for number in taken)


def test_of_many_that_take_an_outbox_entry_one_gets_it(aws: AwsPorts) -> None:
    now = aws.clock()
    aws.store.commit(AddOutbox(OutboxEntry(OutboxId("o1"), "event", "e1", now, now)))
    taken = at_once(lambda _: aws.outbox.take(OutboxId("o1"), now, now + 60_000))
    assert sum(isinstance(entry, OutboxEntry) for entry in taken) == 1
    assert taken.count(None) == MANY - 1


def test_counts_move_once_although_many_discard_the_same_entries(aws: AwsPorts) -> None:
    aws.accounts.create(account("alpha"))
    for number in range(20):
        map_user(aws, user_id=f"u{number}", sii=parse_sii(f"tel:+49151{23000000 + number}"))
    entries = aws.pending_log.read()
    outcomes = at_once(lambda _: aws.pending_log.discard(entries), 4)
    assert outcomes == [None] * 4
    loaded = aws.accounts.load(ProviderId("alpha"))
    assert loaded is not None
    assert loaded.value.users == 20
    assert aws.pending_log.read() == []


def test_a_certificate_has_one_owner_although_many_enrol_with_it(aws: AwsPorts) -> None:
    def enrol(number: int) -> Account:
        enrolled = account(f"ap{number}", "T" * 43)
        aws.accounts.create(enrolled)
        return enrolled

    outcomes = at_once(enrol)
    winners = [outcome for outcome in outcomes if isinstance(outcome, Account)]
    assert len(winners) == 1
    assert sum(isinstance(outcome, AlreadyExists) for outcome in outcomes) == MANY - 1
    held = [aws.accounts.load(ProviderId(f"ap{number}")) for number in range(MANY)]
    assert [one.value for one in held if one is not None] == winners


def test_one_of_many_requests_with_one_key_is_worked_on(aws: AwsPorts) -> None:
    now = aws.clock()
    begun = at_once(lambda _: aws.idempotency.begin(["alpha", "route", "key"], b"body", now, now + 30_000))
    assert begun.count(None) == 1
    assert sum(isinstance(outcome, RequestInFlight) for outcome in begun) == MANY - 1


def test_a_pointer_is_swapped_by_one_of_many(aws: AwsPorts) -> None:
    before = aws.filter_pointer.load()
    outcomes = at_once(lambda _: aws.filter_pointer.replace(before, before.value))
    assert outcomes.count(None) == 1
    assert sum(isinstance(outcome, Lost) for outcome in outcomes) == MANY - 1


def test_containers_that_need_a_key_at_once_agree_on_one(aws: AwsPorts) -> None:
    others = [container(aws.stage, aws.clock) for _ in range(MANY)]
    digests = at_once(lambda number: others[number].keyring.digest("test", "alice"))
    kids = at_once(lambda number: others[number].keyring.signing_key("at+jwt").kid)
    codes = at_once(lambda number: others[number].keyring.code_key())
    for agreed in (digests, kids, codes):
        assert len(set(agreed)) == 1
        assert not isinstance(agreed[0], Exception)
    assert [key["kid"] for key in aws.keyring.public_jwks("at+jwt")] == [kids[0]]
