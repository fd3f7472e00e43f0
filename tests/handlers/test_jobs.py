"""Queues and schedules: what succeeded is deleted, what failed stays, and a pass serves a whole batch."""

import json
from typing import Any

import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.sqs.models import sqs_backends

from chalicelib.storage import clients
from chalicelib.wiring import provider
from tests.handlers.conftest import REGION, STAGE
from tests.handlers.edge import Edge


class Work:
    """A service of every kind, that fails for what is named "bad"."""

    def __init__(self) -> None:
        self.done: list[tuple[object, ...]] = []

    def __getattr__(self, name: str) -> Any:
        def do(*what: object, **_: object) -> int:
            if "bad" in what:
                raise ConnectionError("the other side is down")
            self.done.append((name, *what))
            return 1

        return do


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    work = Work()
    for name in ("dispatch", "sequencer", "publication", "following", "rebuild"):
        monkeypatch.setattr(provider, name, lambda: work)
    return work


@pytest.fixture
def batch_failed(edge: Edge) -> type[Exception]:
    from chalicelib.handlers.batches import BatchFailed  # noqa: PLC0415 - importing it reads the stage's settings

    return BatchFailed


class Queue:
    """One of the stage's queues, as Lambda reads it."""

    def __init__(self, edge: Edge, name: str) -> None:
        self.edge, self.name = edge, name
        self.sqs = clients.client("sqs")
        self.url = self.sqs.get_queue_url(QueueName=f"glados-{STAGE}-{name}")["QueueUrl"]
        sqs_backends[DEFAULT_ACCOUNT_ID][REGION].get_queue(self.url.rpartition("/")[2])._messages.clear()

    def hand_over(self, *bodies: dict[str, object]) -> None:
        """Send messages, receive them as one batch, and invoke the handler with it."""
        for body in bodies:
            self.sqs.send_message(QueueUrl=self.url, MessageBody=json.dumps(body))
        received = self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10)["Messages"]
        assert len(received) == len(bodies)
        event = self.edge.client.events.generate_sqs_event([one["Body"] for one in received], self.name)
        for record, one in zip(event["Records"], received, strict=True):
            record["messageId"], record["receiptHandle"] = one["MessageId"], one["ReceiptHandle"]
        handlers = {"outbox": "deliver"}
        self.edge.client.lambda_.invoke(handlers.get(self.name, self.name), event)

    def left(self) -> int:
        """Return how many messages are still there, handed over or not."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        told = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)["Attributes"]
        return sum(int(told[name]) for name in names)


@pytest.mark.parametrize(("queue", "field", "does"), [("outbox", "outbox_id", "work_off"), ("follow", "gp", "follow")])
def test_a_bad_message_stays_and_the_good_ones_are_deleted(
    edge: Edge, work: Work, batch_failed: type[Exception], queue: str, field: str, does: str
) -> None:
    at = Queue(edge, queue)
    with pytest.raises(batch_failed, match="1 of 3"):
        at.hand_over({field: "one"}, {field: "bad"}, {field: "two"})
    assert sorted(work.done) == [(does, "one"), (does, "two")]
    assert at.left() == 1


def test_a_batch_without_a_bad_message_leaves_nothing(edge: Edge, work: Work) -> None:
    outbox = Queue(edge, "outbox")
    outbox.hand_over({"outbox_id": "one"}, {"outbox_id": "two"})
    assert outbox.left() == 0


def test_a_message_that_is_no_hint_of_ours_fails_alone(edge: Edge, work: Work, batch_failed: type[Exception]) -> None:
    outbox = Queue(edge, "outbox")
    with pytest.raises(batch_failed, match="1 of 2"):
        outbox.hand_over({"other": 1}, {"outbox_id": "one"})
    assert (work.done, outbox.left()) == ([("work_off", "one")], 1)


def test_a_batch_of_the_sequencer_makes_one_pass_and_deletes_all(edge: Edge, work: Work) -> None:
    sequence = Queue(edge, "sequence")
    sequence.hand_over(*({} for _ in range(5)))
    assert work.done == [("run",), ("notify_all",)]
    assert sequence.left() == 0


def test_a_scan_is_named_by_version_and_segment(edge: Edge, work: Work) -> None:
    scan = Queue(edge, "scan")
    scan.hand_over({"version": 3, "segment": 7})
    assert (work.done, scan.left()) == ([("scan", 3, 7)], 0)


@pytest.mark.parametrize(
    ("schedule", "does"),
    [
        ("sweep", [("sweep",)]),
        ("publish", [("run",), ("notify_all",)]),
        ("follow_all", [("follow_all",)]),
        ("rebuild", [("step",)]),
    ],
)
def test_each_schedule_does_its_work(edge: Edge, work: Work, schedule: str, does: list[Any]) -> None:
    edge.client.lambda_.invoke(schedule, edge.client.events.generate_cw_event("aws.events", "Scheduled Event", {}, []))
    assert work.done == does


def test_the_log_of_a_failed_message_quotes_nothing(
    edge: Edge,
    work: Work,
    batch_failed: type[Exception],
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(batch_failed):
        Queue(edge, "outbox").hand_over({"outbox_id": "bad", "more": "+4915123456789"})
    logged = f"{[vars(record) for record in caplog.records if record.name == 'glados']}{capsys.readouterr()}"
    assert "ConnectionError" in logged
    assert "+49" not in logged
