"""Whoever makes more queues than it may costs nothing before long, and others make theirs."""

import pytest

from chalicelib.errors import TooManyRequests
from chalicelib.protocol.timestamps import SECOND
from chalicelib.services.queueing.creations import LOOKS
from chalicelib.services.queueing.limits import CREATED_BY_SOURCE
from tests.fakes.queueing import QueueWorld
from tests.services.queueing.queues import Owner, Qs

FLOOD = "198.51.100.7"
PAUSE = 6 * SECOND


def flood(qs: Qs, count: int, name: str = "flood", source: str = FLOOD) -> list[tuple[str, float | None]]:
    """Try to make so many queues, and return what those were told that were refused."""
    told = []
    for number in range(count):
        try:
            Owner(qs, f"{name} {number}").create(source)
        except TooManyRequests as refused:
            told.append((refused.limit, refused.retry_after_seconds))
    return told


@pytest.fixture
def exhausted(qs: Qs, world: QueueWorld) -> Qs:
    """Return the service whose limiter has just refused a source for the first time."""
    assert len(flood(qs, CREATED_BY_SOURCE.burst + 1, "first")) == 1
    world.faults.calls.clear()
    return qs


def calls(world: QueueWorld, *ports: str) -> int:
    return sum(port in ports for port, _ in world.faults.calls)


def test_whoever_is_beyond_its_limit_is_refused_before_anything_is_looked_at(world: QueueWorld, exhausted: Qs) -> None:
    assert flood(exhausted, 500) == [(CREATED_BY_SOURCE.name, 6.0)] * 500
    assert (calls(world, "heads"), calls(world, "buckets")) == (LOOKS, 0)


def test_whoever_lost_a_reply_is_answered_although_its_source_may_make_no_more(
    world: QueueWorld, exhausted: Qs
) -> None:
    for number in range(LOOKS):
        Owner(exhausted, f"first {number}").create(FLOOD)
    with pytest.raises(TooManyRequests):
        Owner(exhausted, "first 50").create(FLOOD)
    world.clock.advance(PAUSE)
    Owner(exhausted, "first 50").create(FLOOD)


def test_a_source_makes_as_many_queues_later_as_its_limit_says(world: QueueWorld, exhausted: Qs) -> None:
    flood(exhausted, 50)
    world.clock.advance(PAUSE - 1)
    assert len(flood(exhausted, 3, "too early")) == 3
    world.clock.advance(1)
    for lot in range(3):
        assert len(flood(exhausted, 30, f"lot {lot}")) == 29
        world.clock.advance(PAUSE)


def test_other_sources_are_not_kept_waiting(exhausted: Qs) -> None:
    flood(exhausted, 50)
    assert flood(exhausted, 20, "others", "203.0.113.9") == []


def test_the_owners_at_such_a_source_read_their_queues(world: QueueWorld, exhausted: Qs) -> None:
    flood(exhausted, 500)
    one = Owner(exhausted, "first 0")
    assert one.fetch().last == 0
