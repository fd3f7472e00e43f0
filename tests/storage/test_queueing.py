"""A queueing service on an emulated AWS: races, what a row costs, what lies at rest, and how keys come and go."""

import hashlib
import itertools
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from cryptography.exceptions import InvalidTag

from chalicelib.errors import NotPermitted, Refusal, TooManyRequests
from chalicelib.protocol.delivery.parts import Reference
from chalicelib.protocol.delivery.queue_requests import Fetch
from chalicelib.protocol.delivery.queueing import QueueingServiceResponse as Result
from chalicelib.protocol.timestamps import DAY, MINUTE
from chalicelib.services.queueing import owners
from chalicelib.services.queueing.shares import ENTRY_COST
from chalicelib.services.queueing.state import LARGEST_ANSWER
from chalicelib.storage import clients
from chalicelib.storage.config_keys import AwsConfigKeys
from chalicelib.storage.datakeys import QUEUE_CONFIG, DataKeys
from chalicelib.storage.dynamodb import Database, Delete, Item, Put
from chalicelib.storage.queueing_heads import QUEUES, head_key
from tests.contracts import aws, queueing
from tests.contracts.races import race
from tests.fakes.clock import SettableClock
from tests.services.queueing.queues import EU, GROUP, US, Hub, Owner, Qs, content
from tests.storage.test_calls import counted

OK = Result.OK


@pytest.fixture
def stage() -> str:
    return aws.new_stage("delivery")


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def qs(stage: str, clock: SettableClock) -> Qs:
    return queueing.on_aws(stage, clock).qs()


def another(stage: str, clock: SettableClock) -> Qs:
    """Return the service as another container has it."""
    return queueing.on_aws(stage, clock).qs()


# --- what it costs


def test_a_row_for_500_costs_at_most_one_call_in_ten_recipients(qs: Qs) -> None:
    owners = [Owner(qs, f"client {number}") for number in range(500)]
    for number, owner in enumerate(owners):
        owner.create(f"192.0.2.{number}")
    configs = [owner.config for owner in owners]
    hub = Hub(qs)
    hub.give(hub.row((b"first", configs)))
    row = hub.row((b"second", configs))
    with counted() as calls:
        assert hub.give(row) == [OK] * 500
    assert sum(calls.values()) / 500 <= 0.1
    assert dict(calls) == {"BatchGetItem": 6, "PutItem": 3, "TransactWriteItems": 10}
    with counted() as calls:
        assert hub.give(row) == [OK] * 500
    assert sum(calls.values()) == 1, "a repeat is one read"
    assert [owners[place].messages() for place in (0, 49, 50, 499)] == [[b"first", b"second"]] * 4


def test_a_fetch_is_three_reads_and_an_acknowledgement_four_calls(qs: Qs) -> None:
    alice, hub = qs.owner("alice"), Hub(qs)
    for number in range(5):
        hub.send(b"%d" % number, alice)
    with counted() as calls:
        assert len(alice.fetch().entries) == 5
    assert calls == {"BatchGetItem": 2, "Query": 1}
    with counted() as calls:
        alice.acknowledge(5)
    assert calls == {"BatchGetItem": 1, "Query": 1, "BatchWriteItem": 1, "UpdateItem": 1}


def test_strangers_cost_a_read_and_a_hundredth_of_a_write_and_nothing_once_they_are_turned_away(qs: Qs) -> None:
    alice = qs.owner("alice")

    def try_it() -> type[Exception] | None:
        fetch = Fetch(0, 500, 20_000, alice.fresh())
        try:
            qs.reading.fetch(alice.sign(fetch, key=bytes(32)), "198.51.100.7")
        except Refusal as refused:
            return type(refused)
        return None

    with counted() as calls:
        while (refused := try_it()) is NotPermitted:
            pass
    assert refused is TooManyRequests
    assert calls["BatchGetItem"] > 200
    assert sum(calls.values()) - calls["BatchGetItem"] < 30
    with counted() as calls:
        assert [try_it() for _ in range(50)] == [TooManyRequests] * 50
    assert not calls


# --- races


def test_two_workers_with_one_stream_deliver_each_row_once_and_in_order(
    stage: str, clock: SettableClock, qs: Qs
) -> None:
    owners = [qs.owner(f"client {number}") for number in range(60)]
    configs = [owner.config for owner in owners]
    hubs = [Hub(another(stage, clock)) for _ in range(3)]

    def work(hub: Hub) -> list[list[Result]]:
        return [hub.give(hub.row((b"%d" % number, configs))) for number in range(8)]

    outcomes = race(*(lambda hub=hub: work(hub) for hub in hubs))
    for outcome in outcomes:
        assert not isinstance(outcome, Exception) or isinstance(outcome, Refusal), outcome
    assert any(outcome == [[OK] * 60] * 8 for outcome in outcomes)
    for owner in owners:
        assert owner.messages() == [b"%d" % number for number in range(8)]


def test_many_groups_that_fill_one_queue_at_once_lose_nothing(stage: str, clock: SettableClock, qs: Qs) -> None:
    alice, bob = qs.owner("alice"), qs.owner("bob")
    configs = [alice.config, bob.config]
    hubs = [Hub(another(stage, clock), group_id=b"group %d" % number) for number in range(4)]

    def work(hub: Hub) -> set[tuple[Result, ...]]:
        rows = range(10)
        return {tuple(hub.give(hub.row((hub.group_id + b" %d" % number, configs)))) for number in rows}

    assert race(*(lambda hub=hub: work(hub) for hub in hubs)) == [{(OK, OK)}] * 4
    for owner in (alice, bob):
        entries = owner.all()
        assert [entry.number for entry in entries] == list(range(1, 41))
        for hub in hubs:
            mine = [content(entry) for entry in entries if entry.group_id == hub.group_id]
            assert mine == [hub.group_id + b" %d" % number for number in range(10)]


def test_reading_and_acknowledging_while_rows_come_steps_over_nothing(stage: str, clock: SettableClock, qs: Qs) -> None:
    alice = qs.owner("alice")
    config = alice.config
    done = threading.Event()
    reader = Owner(another(stage, clock), "alice")
    hubs = [Hub(another(stage, clock), group_id=b"group %d" % number) for number in range(2)]

    def write(hub: Hub) -> list[int]:
        for number in range(25):
            assert hub.give(hub.row((b"%d" % number, [config]))) == [OK]
        return []

    def read() -> list[int]:
        seen: list[int] = []
        for _ in itertools.count():
            last_round = done.is_set()
            fetched = reader.fetch(seen[-1] if seen else 0, most=7)
            seen += [entry.number for entry in fetched.entries]
            if seen:
                reader.acknowledge(seen[-1])
            if last_round and not fetched.entries:
                return seen
        raise AssertionError

    def write_all() -> list[int]:
        try:
            outcomes = race(*(lambda hub=hub: write(hub) for hub in hubs))
        finally:
            done.set()
        assert outcomes == [[], []]
        return []

    assert race(write_all, read)[1] == list(range(1, 51))
    (head,) = qs.reading.heads.load([alice.queue_id])
    assert head is not None
    assert (head.seq, head.acknowledged, head.total - head.freed) == (50, 50, 0)


def test_one_group_that_fills_a_queue_from_many_workers_at_once_leaves_the_rest(
    stage: str, clock: SettableClock, qs: Qs
) -> None:
    """Whoever loses a race for the head judges again by the shares that the winner wrote."""
    alice, bob = qs.owner("alice"), qs.owner("bob")
    configs, large = [alice.config, bob.config], bytes(4 * (1 << 20) - ENTRY_COST)
    hubs = [Hub(another(stage, clock), shard=number) for number in range(3)]

    def flood(hub: Hub) -> int:
        return sum(hub.give(hub.row((large, configs))) == [OK, OK] for _ in range(7))

    taken = race(*(lambda hub=hub: flood(hub) for hub in hubs))
    assert not [one for one in taken if isinstance(one, Exception)], taken
    for owner in (alice, bob):
        (head,) = qs.reading.heads.load([owner.queue_id])
        assert head is not None
        assert head.seq == 16, "a quarter of the queue"
    other = Hub(qs, domain=EU)
    assert other.give(other.row((large, configs))) == [OK, OK]
    alice.acknowledge(16)
    assert hubs[0].give(hubs[0].row((large, configs))) == [OK, Result.SENDER_LIMITED]


def test_a_queue_that_is_deleted_while_rows_come_takes_none_after(stage: str, clock: SettableClock, qs: Qs) -> None:
    alice, bob = qs.owner("alice"), qs.owner("bob")
    configs = [alice.config, bob.config]
    hub, owner = Hub(another(stage, clock)), Owner(another(stage, clock), "alice")

    def write() -> list[Result]:
        return [hub.give(hub.row((b"%d" % number, configs)))[0] for number in range(12)]

    def delete() -> list[Result]:
        owner.delete()
        return []

    results, _ = race(write, delete)
    assert isinstance(results, list)
    assert results == sorted(results), "once it is gone it stays gone"
    assert len(bob.messages()) == 12


# --- at rest


def rows(stage: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for table in ("queues", "streams", "bodies", "bucket", "keys"):
        for row in clients.client("dynamodb").scan(TableName=f"glados-{stage}-{table}")["Items"]:
            yield table, row


def test_no_table_says_what_was_said_in_which_group_or_by_which_token(stage: str, qs: Qs) -> None:
    alice, hub = qs.owner("alice"), Hub(qs)
    hub.send(b"what was said", alice)
    hub.send(bytes(LARGEST_ANSWER // 2), alice)
    private = qs.configs.keys.private(1)
    assert private is not None
    secrets = [b"what was said", GROUP, US.encode(), alice.token, b"192.0.2.1", private]
    spelled = [form for one in secrets for form in (one, one.hex().encode(), hashlib.sha256(one).digest())]
    seen = list(rows(stage))
    assert {table for table, _ in seen} == {"queues", "streams", "bodies", "bucket", "keys"}
    for table, row in seen:
        assert "schema" in row, table
        written = {name: value for name, value in row.items() if not (table == "bucket" and name == "owner")}
        flat = b"\0".join(_leaves(written))
        assert not [one for one in spelled if one in flat], table
    owners = {row["owner"]["S"] for table, row in seen if table == "bucket"}
    assert {owner.partition(":")[0] for owner in owners} == {"hub", "digest"}
    assert not any("192.0.2.1" in owner for owner in owners)


def _leaves(value: object) -> Iterator[bytes]:
    match value:
        case bytes():
            yield value
        case str():
            yield value.encode()
        case dict():
            for inner in value.values():
                yield from _leaves(inner)


def test_an_entry_opens_in_its_own_place_only(stage: str, qs: Qs) -> None:
    alice, bob, hub = qs.owner("alice"), qs.owner("bob"), Hub(qs)
    hub.send(b"for alice", alice)
    hub.send(b"for bob", bob)
    database = Database(stage)
    key: Item = {"q": alice.queue_id, "r": f"e#{1:016x}"}
    stolen = database.get("queues", key)
    assert stolen is not None
    database.write(Put("queues", {**stolen, "q": bob.queue_id}))
    with pytest.raises(InvalidTag):
        bob.fetch()
    assert alice.messages() == [b"for alice"]


def test_a_reference_leads_anybody_to_the_message(qs: Qs) -> None:
    alice, hub = qs.owner("alice"), Hub(qs)
    large = bytes(range(256)) * (LARGEST_ANSWER // 256 + 1)
    hub.send(large, alice)
    hub.send(large[:400_000], alice)
    first, second = alice.fetch().entries
    assert isinstance(first.message, Reference)
    with urllib.request.urlopen(first.message.url) as answer:
        found = answer.read()
    assert (found, first.message.length) == (large, len(found))
    assert first.message.sha256 == hashlib.sha256(found).digest()
    assert second.message == large[:400_000]


def test_entries_and_messages_carry_their_time_to_live(stage: str, clock: SettableClock, qs: Qs) -> None:
    alice, hub = qs.owner("alice"), Hub(qs)
    hub.send(b"one", alice)
    alice_late = Owner(qs, "alice")
    by_table = {(table, row.get("r", {}).get("S", "")): row for table, row in rows(stage)}
    entry = int(by_table["queues", f"e#{1:016x}"]["gone_at"]["N"]) * 1000
    body = int(by_table["bodies", ""]["gone_at"]["N"]) * 1000
    assert 30 * DAY <= entry - clock() <= 30 * DAY + 1000
    assert body - entry >= 7 * DAY
    assert "gone_at" not in by_table["queues", "head"]
    alice_late.delete()
    heads = [row for table, row in rows(stage) if table == "queues"]
    assert [("gone_at" in row, "idle_shard" in row) for row in heads] == [(True, False)]


# --- keys


def test_a_new_key_is_announced_before_it_is_given_out_and_the_old_one_opens(
    stage: str, clock: SettableClock, qs: Qs
) -> None:
    alice, hub = qs.owner("alice"), Hub(qs)
    old = alice.config
    keys = DataKeys(Database(stage), clock)
    ours = AwsConfigKeys(keys)
    assert ours.public()[0] == 1
    keys.rotate(QUEUE_CONFIG)
    assert ours.public()[0] == 1, "others have not heard of it yet"
    clock.advance(5 * MINUTE)
    assert ours.public()[0] == 2
    new = Owner(another(stage, clock), "alice").config
    assert (old.sealed_config.key_epoch, new.sealed_config.key_epoch) == (1, 2)
    assert hub.give(hub.row((b"old", [old]))) == [OK]
    assert hub.give(hub.row((b"new", [new]))) == [OK]
    keys.retire(QUEUE_CONFIG, 1)
    hub.qs = another(stage, clock)
    assert hub.give(hub.row((b"retired", [old, new]))) == [Result.INVALID_CLIENT_QUEUE_INFORMATION, OK]
    assert alice.messages() == [b"old", b"new", b"retired"]


# --- batches of writes


def test_what_dynamodb_leaves_unprocessed_is_written_all_the_same(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(stage, sleep=lambda _seconds: None)
    send, sizes = database._send, []

    def partly(operation: str, request: dict[str, Any], *, safe: bool) -> bytes:
        if operation != "BatchWriteItem":
            return send(operation, request, safe=safe)
        ((table, writes),) = request["RequestItems"].items()
        sizes.append(len(writes))
        send(operation, {"RequestItems": {table: writes[:20]}}, safe=safe)
        left = {table: writes[20:]} if writes[20:] else {}
        return msgspec.json.encode({"UnprocessedItems": left})

    monkeypatch.setattr(database, "_send", partly)
    keys: list[Item] = [{"s": b"%d" % number} for number in range(60)]
    database.batch_write([Put("streams", key) for key in keys])
    assert sizes == [25, 5, 25, 5, 10]
    assert all(database.batch_get([("streams", key) for key in keys]))
    database.batch_write([Delete("streams", key) for key in keys[:59]])
    assert [row is not None for row in database.batch_get([("streams", key) for key in keys])] == [False] * 59 + [True]


def test_a_batch_that_is_never_done_is_an_outage_and_takes_no_conditions(
    stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(stage, sleep=lambda _seconds: None)
    write = Put("streams", {"s": b"one"})

    def never(_operation: str, request: dict[str, Any], **_: object) -> bytes:
        return msgspec.json.encode({"UnprocessedItems": request["RequestItems"]})

    monkeypatch.setattr(database, "_send", never)
    with pytest.raises(TimeoutError):
        database.batch_write([write])
    with pytest.raises(ValueError, match="without conditions"):
        database.batch_write([Put("streams", {"s": b"one"}, "attribute_not_exists(#s)")])


# --- queues whose name is given again


def test_a_name_that_is_given_again_is_a_new_queue_whatever_was_left_of_the_old_one(
    stage: str, qs: Qs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deletion may leave entries, by its bound or by dying; the head goes after a day, and they after a month."""
    alice, bob, hub = qs.owner("alice"), qs.owner("bob"), Hub(qs)
    for number in range(3):
        hub.send(b"old %d" % number, alice)
    monkeypatch.setattr(owners, "MOST_DISCARDED", 1)
    alice.delete()
    Database(stage).batch_write([Delete(QUEUES, head_key(alice.queue_id))])
    alice.create()
    assert alice.messages() == []
    for number in range(4):
        assert hub.send(b"new %d" % number, alice, bob) == [OK, OK]
    assert alice.messages() == bob.messages() == [b"new %d" % number for number in range(4)]
