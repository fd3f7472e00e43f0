"""Queues and schedules: what raises keeps its messages, and nothing runs twice at once."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.local.emulator import Emulator
from infra.local.pump import Pump
from tests.infra.local import toy
from tests.infra.local.conftest import REGION

STACK = Path(__file__).with_name("toy-stack.json")


def eventually(holds: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Wait for a condition that nothing announces."""
    deadline = time.monotonic() + seconds
    while not (held := holds()) and time.monotonic() < deadline:
        threading.Event().wait(0.02)
    return held


@pytest.fixture(scope="module")
def stack(emulator: Emulator) -> dict[str, str]:
    return emulator.create_stack(REGION, "toy", STACK, {"Seconds": "1"})


@pytest.fixture
def sqs(aws: Emulator, stack: dict[str, str]) -> Iterator[Any]:
    client = aws.client("sqs", REGION)
    client.purge_queue(QueueUrl=stack["WorkUrl"])
    toy.received.clear()
    toy.ticks.clear()
    yield client
    toy.refuse_messages.clear()
    client.close()


@pytest.fixture
def pump(sqs: Any) -> Iterator[Pump]:
    pump = Pump(toy.app, time_scale=600)
    yield pump
    pump.stop()


def in_queue(sqs: Any, url: str) -> int:
    """Return how many messages are in a queue, visible or not."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    counts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(int(counts[name]) for name in names)


def test_messages_come_in_batches_and_are_deleted_when_the_function_returned(
    sqs: Any, pump: Pump, stack: dict[str, str]
) -> None:
    for start in (0, 10):
        entries = [{"Id": str(number), "MessageBody": f"m{number}"} for number in range(start, start + 10)]
        sqs.send_message_batch(QueueUrl=stack["WorkUrl"], Entries=entries)
    pump.start()
    assert eventually(lambda: sum(map(len, toy.received)) >= 20)
    assert sorted(body for batch in toy.received for body in batch) == sorted(f"m{number}" for number in range(20))
    assert max(len(batch) for batch in toy.received) == 15
    assert eventually(lambda: in_queue(sqs, stack["WorkUrl"]) == 0)


def test_a_raising_function_leaves_its_messages_and_a_later_run_gets_them(
    sqs: Any, pump: Pump, stack: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    toy.refuse_messages.set()
    sqs.send_message(QueueUrl=stack["WorkUrl"], MessageBody="kept")
    pump.start()
    assert eventually(lambda: pump.raised["work"] >= 1)
    assert in_queue(sqs, stack["WorkUrl"]) == 1
    toy.refuse_messages.clear()
    assert eventually(lambda: pump.returned["work"] == 1)
    assert toy.received[-1] == ["kept"]
    assert eventually(lambda: in_queue(sqs, stack["WorkUrl"]) == 0)
    assert "RuntimeError" in caplog.text
    assert "kept" not in caplog.text


def test_a_message_that_is_refused_again_and_again_ends_in_the_dead_letter_queue(
    sqs: Any, pump: Pump, stack: dict[str, str]
) -> None:
    toy.refuse_messages.set()
    sqs.send_message(QueueUrl=stack["WorkUrl"], MessageBody="poison")
    pump.start()
    dead = sqs.get_queue_url(QueueName="toy-work-dead")["QueueUrl"]
    assert eventually(lambda: in_queue(sqs, dead) == 1)
    assert pump.raised["work"] == 3
    assert in_queue(sqs, stack["WorkUrl"]) == 0


def test_the_event_has_the_form_of_lambdas(sqs: Any, stack: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[dict[str, Any]] = []
    monkeypatch.setitem(toy.app.handler_map, "work", lambda event, context: events.append(event))
    sqs.send_message(
        QueueUrl=stack["WorkUrl"],
        MessageBody="b",
        MessageAttributes={"kind": {"DataType": "String", "StringValue": "hint"}},
    )
    pump = Pump(toy.app)
    pump.start()
    try:
        assert eventually(lambda: bool(events))
    finally:
        pump.stop()
    record = events[0]["Records"][0]
    assert record["body"] == "b"
    assert record["eventSourceARN"] == f"arn:aws:sqs:{REGION}:000000000000:toy-work"
    assert (record["eventSource"], record["awsRegion"]) == ("aws:sqs", REGION)
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert record["messageAttributes"]["kind"]["stringValue"] == "hint"
    assert set(record) >= {"messageId", "receiptHandle", "md5OfBody"}


def test_a_schedule_fires_as_often_as_the_time_scale_says(sqs: Any, pump: Pump) -> None:
    began = time.monotonic()
    pump.start()  # One minute at 600 times the speed: every tenth of a second.
    assert eventually(lambda: pump.returned["tick"] >= 10)
    assert time.monotonic() - began > 0.8
    # A machine that is busy may be late with some of them, and not with all.
    assert min(later - earlier for earlier, later in itertools.pairwise(toy.ticks)) < 0.3


def test_a_schedule_never_runs_twice_at_once_and_skips_what_it_missed(sqs: Any, pump: Pump) -> None:
    toy.ticks_inside[:] = [0, 0]
    toy.tick_lasts.set()
    try:
        pump.start()
        assert eventually(lambda: pump.returned["tick"] >= 5)
    finally:
        toy.tick_lasts.clear()
    assert toy.ticks_inside[1] == 1
    # A run takes two and a half periods; the next begins with the third, not at once.
    assert toy.ticks[4] - toy.ticks[0] > 4 * 0.25 + 0.1
