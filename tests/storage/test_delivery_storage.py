"""A delivery service's storage on an emulated AWS: what it costs, who wins a race, and what lies at rest."""

import base64
import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import pytest
from botocore.awsrequest import AWSResponse

from chalicelib.protocol.delivery.directory import AddPackage
from chalicelib.protocol.mls.chunks import reference
from chalicelib.services.delivery.state import GroupId, PastEpoch, Shard, User
from chalicelib.services.ports import Lost
from chalicelib.storage import clients, delivery_groups
from chalicelib.storage.delivery_hints import AwsFanoutHints
from chalicelib.storage.queues import Queues
from tests.contracts import aws
from tests.contracts.delivery import ANSWER, GROUP, HEAD, ROOT, DsPorts, answer, commit, following, message, on_aws
from tests.contracts.test_ds_directory import ALICE, LAPTOP, PHONE, package
from tests.fakes.clock import START, SettableClock
from tests.fakes.faults import Faults
from tests.fakes.outside import MemoryAlarms
from tests.protocol.delivery.requests import QUEUE
from tests.storage.test_at_rest import leaves, spellings
from tests.storage.test_calls import counted

Got = TypeVar("Got")
MANY = 200
CONTAINERS = 8
TABLES = ["groups", "wakes", "members", "ds-users", "directory"]


@pytest.fixture
def stage() -> str:
    return aws.new_stage("delivery")


@pytest.fixture
def ds(stage: str) -> DsPorts:
    return on_aws(stage, SettableClock())


# --- what it costs


def warm(ds: DsPorts) -> None:
    """Have the keys at hand, as a container has that is not new."""
    ds.create(dataclasses.replace(HEAD, group_id=GroupId(b"to be warm")))


@contextlib.contextmanager
def in_s3() -> Iterator[list[str]]:
    """List the calls to S3, in order."""
    calls: list[str] = []
    events = clients.client("s3", 3).meta.events

    def count(event_name: str, **_: Any) -> None:
        calls.append(event_name.rpartition(".")[2])

    events.register("before-send", count)
    try:
        yield calls
    finally:
        events.unregister("before-send", count)


def test_loading_a_group_is_one_call(ds: DsPorts) -> None:
    ds.create()
    with counted() as calls:
        assert ds.groups.load(GROUP, ANSWER.digest) == (HEAD, b"created")
    assert calls == {"BatchGetItem": 1}


def test_a_change_with_all_that_comes_with_it_is_one_transaction(ds: DsPorts) -> None:
    head = ds.create()
    past = PastEpoch(head.epoch, ROOT, ROOT, START + 1000)
    with counted() as calls:
        ds.groups.advance(head, following(head, shards=120), [commit(head)], past, answer(b"d" * 32))
    assert calls == {"TransactWriteItems": 1}
    with counted() as calls:
        ds.say(b"hello")
    assert calls == {"TransactWriteItems": 1, "BatchGetItem": 2}


def test_only_a_large_message_costs_a_call_more(ds: DsPorts) -> None:
    ds.create()
    with counted() as calls, in_s3() as objects:
        ds.say(b"x" * 70_000)
    assert (calls["TransactWriteItems"], objects) == (1, ["PutObject"])


def test_reading_the_log_fetches_no_message_that_was_not_asked_for(ds: DsPorts) -> None:
    ds.create()
    for number in range(4):
        ds.say(bytes([number]) * 70_000)
    with counted() as calls, in_s3() as objects:
        assert len(ds.groups.log(GROUP, 1, 2)) == 2
    assert (calls, objects) == ({"Query": 1}, ["GetObject"] * 2)


def test_no_more_of_the_log_is_read_than_a_worker_can_hold(ds: DsPorts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Members can send in a minute what no worker has the memory for; each read goes a part of the way."""
    monkeypatch.setattr(delivery_groups, "LARGEST_PAGE", 250_000)
    ds.create()
    sent = [bytes([number]) * size for number, size in enumerate([9, 100_000, 100_000, 9, 100_000, 300_000, 9, 70_000])]
    ds.say(*sent)
    pages, after = [], 1
    while page := ds.groups.log(GROUP, after, 50):
        pages.append([row.body for row in page])
        after = page[-1].seq
    assert [body for page in pages for body in page] == sent
    assert [len(page) for page in pages] == [4, 1, 1, 2]


def test_objects_are_read_by_the_hundred_and_written_by_twenty_five(ds: DsPorts) -> None:
    warm(ds)
    contents = [f"object {number}".encode() for number in range(124)]
    written = {reference(b"attempt0", content): content for content in contents}
    with counted() as calls:
        ds.objects.put(GROUP, written)
    assert calls == {"BatchWriteItem": 5}  # 124 objects, and the row by which the group is found.
    with counted() as calls:
        ds.objects.of(GROUP).load(written)
    assert calls == {"BatchGetItem": 2}


def test_a_shards_round_is_two_writes_and_a_new_one_three_calls_to_take(ds: DsPorts) -> None:
    ds.create()
    with counted() as calls:
        taken = ds.shards.take(GROUP, 0, START, START + 1)
    assert calls == {"UpdateItem": 1, "Query": 1, "PutItem": 1}
    assert taken is not None
    with counted() as calls:
        ds.shards.save(dataclasses.replace(taken, leased_until=0))
        ds.shards.take(GROUP, 0, START, START + 1)
    assert calls == {"PutItem": 1, "UpdateItem": 1}


def test_a_claim_is_a_query_a_write_for_each_client_and_one_for_all(ds: DsPorts) -> None:
    ds.directory.publish(ALICE, PHONE, 1, [package("one"), package("two")])
    ds.directory.publish(ALICE, LAPTOP, 1, [package("three")])
    with counted() as calls:
        assert len(ds.directory.claim(ALICE, 1, START)) == 2
    assert calls == {"Query": 1, "UpdateItem": 2, "BatchWriteItem": 1}


@pytest.mark.parametrize("shards", [1, 9, 10, 23, 525])
def test_hints_go_in_one_call_and_carry_group_and_shards_only(ds: DsPorts, stage: str, shards: int) -> None:
    group_id = GroupId(b"\xff\xfe group")
    ds.hints.fan_out(group_id, [])
    with counted() as calls:
        ds.hints.fan_out(group_id, range(shards))
    assert calls["SendMessageBatch"] == 1
    sqs = clients.client("sqs")
    url = sqs.get_queue_url(QueueName=f"glados-{stage}-fanout")["QueueUrl"]
    received: list[str] = []
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        received += [one["Body"] for one in messages]
    name = base64.urlsafe_b64encode(group_id).decode().rstrip("=")
    assert len(received) == min(shards, 10)
    said = [json.loads(body) for body in received]
    assert all(one.keys() == {"g", "shard", "more"} and one["g"] == name for one in said)
    named = [shard for one in said for shard in (one["shard"], *one["more"])]
    assert sorted(named) == list(range(shards))
    assert max(len(one["more"]) for one in said) <= -(-shards // 10) - 1


def test_a_hint_that_is_lost_is_an_alarm_and_no_error() -> None:
    aws.emulator()
    alarms = MemoryAlarms(Faults())
    AwsFanoutHints(Queues("no-such-stage", alarms)).fan_out(GROUP, [0])
    assert alarms.raised == [("hint-lost", "fanout")]


def test_hints_of_which_the_queue_refuses_one_are_an_alarm_too(stage: str) -> None:
    alarms = MemoryAlarms(Faults())
    refused: dict[str, object] = {
        "Successful": [],
        "Failed": [{"Id": "0", "Code": "InternalError", "SenderFault": False}],
    }

    def refuse(**_: object) -> tuple[AWSResponse, dict[str, object]]:
        return AWSResponse("", 200, {}, None), refused  # type: ignore[arg-type]

    events = clients.client("sqs", 2).meta.events
    events.register("before-call.sqs.SendMessageBatch", refuse)
    AwsFanoutHints(Queues(stage, alarms)).fan_out(GROUP, [0, 1])
    events.unregister("before-call.sqs.SendMessageBatch", refuse)
    assert alarms.raised == [("hint-lost", "fanout")]


def test_a_group_that_was_settled_leaves_no_wake_up(ds: DsPorts, stage: str) -> None:
    ds.create()
    ds.wakes.settle(GROUP, 1)
    ds.wakes.postpone(GROUP, START)
    assert clients.client("dynamodb").scan(TableName=f"glados-{stage}-wakes")["Items"] == []


# --- who wins


def at_once(stage: str, work: Callable[[DsPorts, int], Got], many: int) -> list[Got | Exception]:
    """Do the same work many times at once, in several containers."""
    containers = [on_aws(stage, SettableClock()) for _ in range(CONTAINERS)]
    for one in containers:
        one.groups.load(GROUP, ANSWER.digest)

    def attempt(number: int) -> Got | Exception:
        try:
            return work(containers[number % CONTAINERS], number)
        except Exception as error:  # noqa: BLE001 - what was raised is what the test looks at
            return error

    with ThreadPoolExecutor(32) as threads:
        return list(threads.map(attempt, range(many)))


def test_of_two_hundred_that_advance_one_head_one_wins(ds: DsPorts, stage: str) -> None:
    head = ds.create()

    def advance(one: DsPorts, number: int) -> None:
        row = commit(head, body=f"commit {number}".encode())
        one.groups.advance(head, following(head), [row], answer=answer(number.to_bytes(32, "big")))

    outcomes = at_once(stage, advance, MANY)
    assert outcomes.count(None) == 1
    assert sum(isinstance(outcome, Lost) for outcome in outcomes) == MANY - 1
    assert ds.head() == following(head)
    (row,) = ds.groups.log(GROUP, head.seq, 10)
    assert row.body == f"commit {outcomes.index(None)}".encode()


def test_messages_and_commits_at_once_leave_a_log_without_a_gap(ds: DsPorts, stage: str) -> None:
    ds.create()

    def write(one: DsPorts, number: int) -> str:
        kind = "commit" if number % 4 == 0 else "message"
        while True:
            head = one.head()
            try:
                if kind == "commit":
                    one.groups.advance(head, following(head), [commit(head, body=f"{number}".encode())])
                else:
                    row = message(head, body=f"{number}".encode())
                    one.groups.append(head, [row], answer(number.to_bytes(32, "big")))
            except Lost:
                continue
            return kind

    outcomes = at_once(stage, write, 40)
    assert [outcomes.count("commit"), outcomes.count("message")] == [10, 30]
    rows = ds.groups.log(GROUP, HEAD.seq, 100)
    assert [row.seq for row in rows] == list(range(2, 42))
    assert {row.body for row in rows} == {f"{number}".encode() for number in range(40)}
    head = ds.head()
    assert (head.seq, head.epoch, head.version) == (41, HEAD.epoch + 10, HEAD.version + 10)
    epochs = [row.epoch for row in rows]
    assert epochs == sorted(epochs)


def test_of_many_that_claim_no_two_get_one_package(ds: DsPorts, stage: str) -> None:
    ds.directory.publish(ALICE, PHONE, 1, [package(f"number {number}") for number in range(20)])
    outcomes = at_once(stage, lambda one, _: one.directory.claim(ALICE, 1, START), 40)
    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    given = [one.encode() for outcome in outcomes if isinstance(outcome, list) for one in outcome]
    assert len(given) == len(set(given)) == 20


def test_publishing_again_while_others_claim_gives_nothing_twice(ds: DsPorts, stage: str) -> None:
    packages = [package(f"number {number}") for number in range(20)]
    ds.directory.publish(ALICE, PHONE, 1, packages)

    def work(one: DsPorts, number: int) -> list[AddPackage]:
        if number % 4 == 0:
            one.directory.publish(ALICE, PHONE, 1, packages)
            return []
        return one.directory.claim(ALICE, 1, START)

    outcomes = at_once(stage, work, 40)
    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    given = [one.encode() for outcome in outcomes if isinstance(outcome, list) for one in outcome]
    given += [one.encode() for _ in range(20) for one in ds.directory.claim(ALICE, 1, START)]
    assert len(given) == len(set(given)) == 20


def take(now: int, one: DsPorts, _: int) -> Shard | None:
    return one.shards.take(GROUP, 0, now, now + 1000)


def test_of_many_workers_one_takes_a_shard(ds: DsPorts, stage: str) -> None:
    ds.create()
    for now in (START, START + 1000):
        taken = at_once(stage, partial(take, now), 32)
        assert sum(isinstance(one, Shard) for one in taken) == 1
        assert taken.count(None) == 31


# --- what lies at rest


PEOPLE = ["alice@eu", "bob@eu", "alice's phone"]
SECRET = [b"a queue of alice", b"what alice says", b"a large thing alice says", b"told alice"]


def live(ds: DsPorts) -> None:
    """Fill every table with something about somebody."""
    ds.store(b"a tree with alice@eu and a queue of alice")
    head = ds.create()
    large = b"a large thing alice says" * 20_000
    ds.store(large)
    row = commit(head, b"what alice says", joined=(b"alice@eu",), left=(b"bob@eu",), recipients=b"a queue of alice")
    ds.groups.advance(head, following(head), [row], answer=answer(b"d" * 32, b"told alice"))
    ds.say(large)
    ds.users.register(User(b"alice@eu", "alpha", 1, b"key of alice" * 3))
    ds.memberships.add(b"alice@eu", GROUP)
    ds.directory.publish(b"alice@eu", b"alice's phone", 1, [package("one"), package("last", last_resort=True)])
    ds.directory.claim(b"alice@eu", 1, START)


def at_rest(stage: str) -> Iterator[tuple[str, Any]]:
    """Yield every row of the tables, and every object in the bucket."""
    client = clients.client("dynamodb")
    for table in TABLES:
        for row in client.scan(TableName=f"glados-{stage}-{table}")["Items"]:
            yield table, row
    s3 = clients.client("s3", 3)
    for found in s3.list_objects_v2(Bucket=f"glados-{stage}-objects")["Contents"]:
        body = s3.get_object(Bucket=f"glados-{stage}-objects", Key=found["Key"])["Body"]
        yield "objects", {"name": found["Key"], "body": body.read()}


def test_neither_tables_nor_bucket_hold_a_user_a_queue_a_key_package_or_a_message(ds: DsPorts, stage: str) -> None:
    live(ds)
    _, offered = package("one")
    hidden = [one for person in PEOPLE for one in spellings(person)]
    hidden += [*SECRET, b"key of alice", QUEUE.sealed_config.ciphertext]
    hidden += [offered.key_package.leaf_node.signature_key, offered.key_package.init_key]
    seen = list(at_rest(stage))
    assert {table for table, _ in seen} == {*TABLES, "objects"}
    for table, row in seen:
        for leaf in leaves(row):
            assert not any(one in leaf for one in hidden), (table, sorted(row))


def test_every_row_carries_its_schema_version(ds: DsPorts, stage: str) -> None:
    live(ds)
    assert {table for table, row in at_rest(stage) if "schema" not in row} == {"objects"}


def test_what_expires_says_when(ds: DsPorts, stage: str) -> None:
    live(ds)
    lasting = ("head", "o#", "shard", "wrote")
    for table, row in at_rest(stage):
        if table == "directory" or (table == "groups" and not row["r"]["S"].startswith(lasting)):
            assert int(row["gone_at"]["N"]) > START // 1000
        else:
            assert "gone_at" not in row
