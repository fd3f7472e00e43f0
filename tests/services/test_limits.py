"""Limits: all tokens that are wanted or none, and a time when there will be enough."""

import pytest

from chalicelib.errors import TooManyRequests, Unavailable
from chalicelib.protocol.timestamps import HOUR
from chalicelib.services.limits import Limit, Limits
from chalicelib.services.ports import Unreachable
from tests.fakes.clock import START as NOW
from tests.fakes.delivery import DeliveryWorld

TEN_AN_HOUR = Limit("things", 10, HOUR, 20)


@pytest.fixture
def world() -> DeliveryWorld:
    return DeliveryWorld()


@pytest.fixture
def limits(world: DeliveryWorld) -> Limits:
    return Limits(world.buckets, world.keys)


def test_what_is_refused_costs_nothing_and_says_when_there_will_be_enough(limits: Limits) -> None:
    limits.spend(TEN_AN_HOUR, b"alice", 15, NOW)
    for _ in range(3):
        with pytest.raises(TooManyRequests) as told:
            limits.spend(TEN_AN_HOUR, b"alice", 10, NOW)
        assert told.value.limit == "things"
        assert told.value.retry_after_seconds == pytest.approx(1800, abs=1)
    limits.spend(TEN_AN_HOUR, b"alice", 10, NOW + HOUR // 2)


def test_owners_do_not_share_and_limits_do_not_either(limits: Limits) -> None:
    limits.spend(TEN_AN_HOUR, b"alice", 20, NOW)
    limits.spend(TEN_AN_HOUR, b"bob", 20, NOW)
    limits.spend(Limit("others", 10, HOUR, 20), b"alice", 20, NOW)


def test_where_one_of_many_has_nothing_left_the_others_keep_theirs(limits: Limits) -> None:
    limits.spend(TEN_AN_HOUR, b"bob", 20, NOW)
    for _ in range(30):
        with pytest.raises(TooManyRequests):
            limits.spend_each(TEN_AN_HOUR, [b"alice", b"bob"], NOW)
    limits.spend(TEN_AN_HOUR, b"alice", 20, NOW)


def test_where_the_limiter_is_down_nothing_is_allowed(
    limits: Limits, world: DeliveryWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object) -> None:
        raise Unreachable

    for method in ("take", "give_back"):
        monkeypatch.setattr(world.buckets, method, down)
    with pytest.raises(Unavailable):
        limits.spend(TEN_AN_HOUR, b"alice", 1, NOW)
    limits.give_back(TEN_AN_HOUR, b"alice", 1)


def test_no_owner_stands_in_a_buckets_name(
    limits: Limits, world: DeliveryWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []

    def take(owner: str, kind: str, *_: object) -> tuple[int, int, bytes]:
        names.append(f"{owner} {kind}")
        return 1, 0, b""

    monkeypatch.setattr(world.buckets, "take", take)
    limits.spend(TEN_AN_HOUR, b"alice", 1, NOW)
    assert "alice" not in names[0]
    assert b"alice".hex() not in names[0]
