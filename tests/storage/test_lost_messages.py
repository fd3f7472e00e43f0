"""When a message counts as gone for good on AWS, and when it is only not to be had."""

import contextlib
import hashlib
import io
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ClientError

from chalicelib.services.queueing import reading
from chalicelib.services.queueing.state import LARGEST_ANSWER
from chalicelib.storage import clients, queueing_bodies
from chalicelib.storage.digests import AwsDigests
from chalicelib.storage.dynamodb import Database, Delete, Item, Put, Update, blob
from chalicelib.storage.objects import Objects
from chalicelib.storage.queueing_bodies import BODIES, AwsBodies
from chalicelib.storage.queueing_heads import QUEUES, head_key
from tests.contracts import aws, queueing
from tests.contracts.queueing import QueuePorts
from tests.fakes.clock import SettableClock
from tests.services.queueing.queues import Hub, Owner
from tests.storage.test_calls import counted

SMALL, STORED, LINKED = b"small", b"s" * 400_000, b"l" * (LARGEST_ANSWER + 1)


@pytest.fixture
def stage() -> str:
    return aws.new_stage("delivery")


@pytest.fixture
def ports(stage: str) -> QueuePorts:
    return queueing.on_aws(stage, SettableClock())


@pytest.fixture
def alice(ports: QueuePorts) -> Owner:
    """Return the owner of a queue with a message of each kind, and one behind them."""
    qs = ports.qs()
    alice, hub = qs.owner("alice"), Hub(qs)
    for message in (SMALL, STORED, LINKED, b"last"):
        hub.send(message, alice)
    return alice


def key(ports: QueuePorts, message: bytes) -> Item:
    assert isinstance(ports.digests, AwsDigests)
    return {"b": ports.digests.digest("queue body", hashlib.sha256(message).digest())}


def numbers(alice: Owner) -> list[int]:
    return [entry.number for entry in alice.all()]


def test_a_message_without_a_row_is_gone(stage: str, ports: QueuePorts, alice: Owner) -> None:
    Database(stage).batch_write([Delete(BODIES, key(ports, message)) for message in (SMALL, STORED)])
    assert numbers(alice) == [3, 4]


def test_a_message_without_its_object_is_gone(stage: str, ports: QueuePorts, alice: Owner) -> None:
    for message in (STORED, LINKED):
        name = queueing_bodies._object(blob(key(ports, message), "b"))
        Objects(stage, "objects").delete([name])
    assert numbers(alice) == [1, 4]


def test_a_message_that_is_not_what_was_sealed_is_gone(stage: str, ports: QueuePorts, alice: Owner) -> None:
    database = Database(stage)
    row = database.get(BODIES, key(ports, SMALL))
    assert row is not None
    sealed = blob(row, "sealed")
    database.write(Put(BODIES, {**row, "sealed": sealed[:-1] + bytes([sealed[-1] ^ 1])}))
    assert numbers(alice) == [2, 3, 4]


class _Body(io.BytesIO):
    def stream(self, *_: object) -> Iterator[bytes]:
        yield self.read()


@contextlib.contextmanager
def answered_by_s3(status: int, code: str) -> Iterator[None]:
    """Have S3 answer every GET with an error."""

    def refuse(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
        return AWSResponse(request.url, status, HTTPHeaders.from_dict({"Content-Type": "application/xml"}), _Body(body))

    events = clients.client("s3", 3).meta.events
    events.register("before-send.s3.GetObject", refuse)
    try:
        yield
    finally:
        events.unregister("before-send.s3.GetObject", refuse)


@pytest.mark.parametrize("after", [1, 2], ids=["in the answer", "by a link"])
@pytest.mark.parametrize(
    ("status", "code"), [(403, "AccessDenied"), (404, "NoSuchBucket"), (500, "InternalError"), (503, "SlowDown")]
)
def test_what_s3_refuses_is_not_gone(alice: Owner, status: int, code: str, after: int) -> None:
    with answered_by_s3(status, code), pytest.raises(ClientError, match=code):
        alice.fetch(after, most=1)
    assert numbers(alice) == [1, 2, 3, 4]


def test_what_s3_says_does_not_exist_is_gone(alice: Owner) -> None:
    with answered_by_s3(404, "NoSuchKey"):
        assert numbers(alice) == [1, 4]


@pytest.mark.parametrize("failure", [TimeoutError("left unprocessed"), LookupError("a key that we do not have yet")])
def test_what_a_call_or_a_key_stands_in_the_way_of_is_not_gone(
    alice: Owner, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def failing(*_: object) -> None:
        raise failure

    bodies = alice.qs.reading.bodies
    assert isinstance(bodies, AwsBodies)
    key_missing = isinstance(failure, LookupError)
    with monkeypatch.context() as patch:
        patch.setattr(
            bodies.sealer if key_missing else bodies.database, "open" if key_missing else "batch_get", failing
        )
        with pytest.raises(type(failure)):
            bodies.get([hashlib.sha256(SMALL).digest()])
    assert numbers(alice) == [1, 2, 3, 4]


def test_letting_go_of_very_many_entries_takes_so_many_calls_and_no_more(
    ports: QueuePorts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MOST_DISCARDED", 50)
    qs = ports.qs()
    alice = qs.owner("alice")
    for number in range(130):
        Hub(qs, group_id=b"group %d" % number).send(b"message", alice)
    with counted() as calls:
        alice.acknowledge(130)
    assert calls == {"BatchGetItem": 1, "Query": 1, "BatchWriteItem": 2, "UpdateItem": 2}
    assert alice.fetch().acknowledged == 130
    with counted() as calls:
        alice.acknowledge(130)
    assert calls == {"BatchGetItem": 1, "BatchWriteItem": 2, "UpdateItem": 1}
    alice.acknowledge(130)
    assert qs.reading.entries.read(alice.queue_id, 0, 130, 1, ports.clock()) == []
    with counted() as calls:
        alice.acknowledge(130)
    assert calls == {"BatchGetItem": 1}


def test_a_head_that_was_written_before_rows_were_counted_has_removed_them_all(stage: str, ports: QueuePorts) -> None:
    qs = ports.qs()
    alice, hub = qs.owner("alice"), Hub(qs)
    for number in range(4):
        hub.send(b"%d" % number, alice)
    alice.acknowledge(3)
    Database(stage).write(Update(QUEUES, head_key(alice.queue_id), "REMOVE #discarded"))
    (head,) = ports.heads.load([alice.queue_id])
    assert head is not None
    assert (head.acknowledged, head.discarded) == (3, 3)
    alice.acknowledge(4)
    assert alice.fetch().acknowledged == 4
