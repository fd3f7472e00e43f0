"""The fan-out queue's function: it passes on the hints that came with its own, before it begins."""

import pytest

from chalicelib import wiring
from chalicelib.wiring import groups
from tests.handlers.edge import Edge

GROUP = "YSBncm91cA"


class Heard:
    """Who is told of hints and of deliveries, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def fan_out(self, group_id: bytes, shards: list[int]) -> None:
        self.calls.append(("hint", group_id, shards))

    def deliver(self, group_id: bytes, shard: int) -> None:
        self.calls.append(("deliver", group_id, shard))

    def delete(self, queue: str, _handle: str) -> None:
        self.calls.append(("delete", queue))


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    heard = Heard()
    monkeypatch.setattr(groups, "hints", lambda: heard)
    monkeypatch.setattr(groups, "fanout", lambda: heard)
    monkeypatch.setattr(wiring, "queues", lambda: heard)
    return heard


def test_workers_and_sweeps_of_one_process_know_of_the_same_silent_domains(edge: Edge) -> None:
    assert groups.fanout() is groups.fanout() is groups.sweep().fanout
    assert groups.fanout().posting.breaker is groups.breaker()


def hand_over(edge: Edge, body: str) -> None:
    edge.client.lambda_.invoke("fan_out", edge.client.events.generate_sqs_event([body], "fanout"))


def test_the_other_shards_are_woken_first(edge: Edge, heard: Heard) -> None:
    hand_over(edge, f'{{"g": "{GROUP}", "shard": 3, "more": [13, 23]}}')
    assert heard.calls == [("hint", b"a group", [13, 23]), ("deliver", b"a group", 3), ("delete", "fanout")]


def test_a_hint_for_one_shard_wakes_nobody_else(edge: Edge, heard: Heard) -> None:
    hand_over(edge, f'{{"g": "{GROUP}", "shard": 0, "more": []}}')
    assert heard.calls == [("deliver", b"a group", 0), ("delete", "fanout")]
