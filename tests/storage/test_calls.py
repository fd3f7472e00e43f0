"""What each operation costs in calls to AWS: a bill that must not grow unseen."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib.protocol.glados.identifiers import parse_sii
from chalicelib.protocol.glados.mappings import confirm
from chalicelib.services.accounts.state import ProviderId
from chalicelib.services.provider.state import PairKey
from chalicelib.services.provider.writes import CountUp, MoveVerification, OpenVerification, ReplaceRecords, TakeAttempt
from chalicelib.storage import clients
from tests.contracts.aws import AwsPorts, container
from tests.storage.journey import ALPHA, PHONE, account, limit, live, map_user, mapping, verification


@contextlib.contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count what leaves for AWS, the call that is signed by hand included."""
    calls: Counter[str] = Counter()

    def count(event_name: str, **_: Any) -> None:
        calls[event_name.rpartition(".")[2]] += 1

    services = [clients.client("dynamodb"), clients.client("kms", 3), clients.client("sqs", 2)]
    for client in services:
        client.meta.events.register("before-send", count)
    try:
        yield calls
    finally:
        for client in services:
            client.meta.events.unregister("before-send", count)


def test_a_query_is_one_batch_get_however_large_the_table_is(aws: AwsPorts) -> None:
    aws.accounts.create(account("alpha"))
    map_user(aws)
    for more in (1, 50):
        for number in range(more):
            map_user(aws, user_id=f"u{number}", sii=parse_sii(f"tel:+49151{23000000 + number}"))
        with counted() as calls:
            found, asker, _ = aws.snapshots.read(PHONE, ProviderId("alpha"))
        assert found.records.active
        assert asker is not None
        assert calls == {"BatchGetItem": 1}


def test_a_bucket_that_is_empty_is_read_and_not_written(aws: AwsPorts) -> None:
    now = aws.clock()
    assert aws.buckets.take("alpha", "sends", 5, 0.001, 5, now)[0] == 5
    for _ in range(2):
        with counted() as calls:
            assert aws.buckets.take("alpha", "sends", 1, 0.001, 5, now)[0] == 0
        assert set(calls) == {"GetItem"} or set(calls) == {"BatchGetItem"}


def test_a_bucket_that_many_take_from_refuses_rather_than_lets_through(
    aws: AwsPorts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losing every race is no outage: whoever fails open on outages must not fail open on crowds."""
    monkeypatch.setattr(aws.buckets, "_try", lambda *_: None)
    aws.database.sleep = lambda _seconds: None
    taken, wait, _ = aws.buckets.take("alpha", "queries", 1, 10.0, 200, aws.clock())
    assert taken == 0
    assert wait > 0


def test_a_confirmation_is_one_transaction(aws: AwsPorts) -> None:
    live(aws)
    opened = verification(aws, "v2")
    aws.store.commit(OpenVerification(opened))
    with counted() as calls:
        aws.store.commit(TakeAttempt(opened.verification_id, right=True, now=aws.clock()))
        before = aws.store.records(PHONE)
        change = confirm(before.records, mapping(aws, ALPHA, "alice-again"), aws.clock(), alone=False)
        moved = MoveVerification(opened.verification_id, "matched", "confirmed", aws.clock(), b"{}")
        aws.store.commit(moved, ReplaceRecords(PHONE, before, change, aws.clock()))
    assert calls == {"TransactWriteItems": 2, "BatchGetItem": 1}


def test_opening_a_verification_reads_once_and_writes_once(aws: AwsPorts) -> None:
    live(aws)
    opened = verification(aws, "v3")
    key = PairKey(opened.provider_id, PHONE, "alice-again")
    with counted() as calls:
        aws.store.admission(opened.verification_id, key, [limit(aws), limit(aws, "other")])
        aws.store.commit(OpenVerification(opened), CountUp(limit(aws), 8, aws.clock()))
    assert calls == {"BatchGetItem": 1, "TransactWriteItems": 1}


def test_a_lease_of_query_tokens_is_a_read_and_a_write(aws: AwsPorts) -> None:
    with counted() as calls:
        assert aws.buckets.take("alpha", "queries", 100, 10, 200, aws.clock())[0] == 100
    assert calls == {"BatchGetItem": 1, "PutItem": 1}


def test_a_container_reads_a_bucket_once(aws: AwsPorts) -> None:
    aws.buckets.take("alpha", "queries", 100, 10, 200, aws.clock())
    with counted() as calls:
        assert aws.buckets.take("alpha", "queries", 50, 10, 200, aws.clock())[0] == 50
    assert calls == {"PutItem": 1}


def test_a_bucket_that_another_container_changed_comes_with_the_refusal(aws: AwsPorts) -> None:
    other = container(aws.stage, aws.clock)
    aws.buckets.take("alpha", "queries", 100, 10, 200, aws.clock())
    assert other.buckets.take("alpha", "queries", 70, 10, 200, aws.clock())[0] == 70
    with counted() as calls:
        assert aws.buckets.take("alpha", "queries", 100, 10, 200, aws.clock())[0] == 30
    assert calls == {"PutItem": 2}


def test_a_hundred_pending_entries_are_discarded_in_two_transactions(aws: AwsPorts) -> None:
    aws.accounts.create(account("alpha"))
    for number in range(100):
        map_user(aws, user_id=f"u{number}", sii=parse_sii(f"tel:+49151{23000000 + number}"))
    entries = aws.pending_log.read()
    with counted() as calls:
        aws.pending_log.discard(entries)
    assert calls == {"TransactWriteItems": 2}


def test_keys_are_unwrapped_once_for_a_container_and_looked_at_once_a_minute(aws: AwsPorts) -> None:
    map_user(aws)
    with counted() as calls:
        for _ in range(10):
            aws.store.records(PHONE)
    assert calls == {"BatchGetItem": 10}
    aws.clock.advance(60_000)
    with counted() as calls:
        for _ in range(10):
            aws.store.records(PHONE)
    assert calls == {"BatchGetItem": 10, "Query": 2}
