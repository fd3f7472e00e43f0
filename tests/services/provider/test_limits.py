"""How much one provider may ask: never more than its bucket holds, however many containers serve it."""

import dataclasses
from collections.abc import Callable

import pytest

from chalicelib.errors import TooManyRequests
from chalicelib.protocol.timestamps import DAY, SECOND
from chalicelib.services.accounts.state import Account
from chalicelib.services.ports import Unreachable
from chalicelib.services.provider.limits import FLOOR_DISTINCT, QueryLimits
from tests.fakes.world import World
from tests.services.provider.providers import MAIL, PHONE, uri


@pytest.fixture
def container(world: World) -> Callable[[], QueryLimits]:
    return lambda: QueryLimits(world.buckets, world.keyring, world.alarms)


def admitted(limits: list[QueryLimits], account: Account, now: int, questions: int) -> int:
    """Spread questions over containers and return how many were admitted."""
    count = 0
    for turn in range(questions):
        try:
            limits[turn % len(limits)].admit(account, uri(PHONE), now)
        except TooManyRequests:
            continue
        count += 1
    return count


@pytest.mark.parametrize("containers", [1, 3, 50])
def test_all_containers_together_admit_no_more_than_the_burst(
    container: Callable[[], QueryLimits], alpha: Account, world: World, containers: int
) -> None:
    limits = [container() for _ in range(containers)]
    assert 0 < admitted(limits, alpha, world.clock(), 2_000) <= 200
    assert admitted(limits, alpha, world.clock.advance(10 * SECOND), 2_000) <= 100


def test_a_refusal_says_when_to_come_again_and_that_is_right(
    container: Callable[[], QueryLimits], alpha: Account, world: World
) -> None:
    limits = container()
    admitted([limits], alpha, world.clock(), 500)
    with pytest.raises(TooManyRequests) as refused:
        limits.admit(alpha, uri(PHONE), world.clock())
    assert refused.value.retry_after_seconds is not None
    world.clock.advance(round(refused.value.retry_after_seconds * SECOND))
    container().admit(alpha, uri(PHONE), world.clock())


def test_a_busy_provider_costs_few_writes_and_a_quiet_one_wastes_nothing(
    container: Callable[[], QueryLimits], alpha: Account, world: World
) -> None:
    busy = dataclasses.replace(alpha, query_rate=1_000)
    admitted([container()], busy, world.clock(), 1_000)
    assert len(world.calls("buckets")) < 20
    quiet = container()
    for _ in range(5):
        quiet.admit(dataclasses.replace(alpha, provider_id=alpha.provider_id), uri(PHONE), world.clock.advance(DAY))
    assert world.buckets._rows["alpha", "queries"].tokens == 199


def test_more_users_may_ask_more(container: Callable[[], QueryLimits], alpha: Account, world: World) -> None:
    grown = dataclasses.replace(alpha, users=1_000_000)
    assert admitted([container()], grown, world.clock(), 3_000) > 1_000


def test_what_is_told_to_be_left_is_never_more_than_there_is(
    container: Callable[[], QueryLimits], alpha: Account, world: World
) -> None:
    limits = container()
    for turn in range(150):
        allowance = limits.admit(alpha, uri(PHONE), world.clock())
        assert allowance.remaining < 200 - turn


def refusal_of(limits: QueryLimits, account: Account, sii: str, now: int) -> str | None:
    try:
        limits.admit(account, uri(sii), now)
    except TooManyRequests as refused:
        return refused.limit
    return None


def test_distinct_identifiers_a_day_are_bounded(
    container: Callable[[], QueryLimits], alpha: Account, world: World
) -> None:
    rich = dataclasses.replace(alpha, query_rate=5)
    limits = container()
    for turn in range(int(0.85 * FLOOR_DISTINCT)):
        limits.admit(rich, uri(f"tel:+4915{turn:09d}"), world.clock.advance(200))
    more = range(FLOOR_DISTINCT, int(1.3 * FLOOR_DISTINCT))
    refused = {refusal_of(limits, rich, f"tel:+4915{turn:09d}", world.clock.advance(200)) for turn in more}
    assert refused == {None, "distinct-identifiers-a-day"}
    limits.admit(rich, uri(MAIL), world.clock.advance(DAY))


def test_queries_of_a_provider_in_good_standing_are_served_while_the_limiter_is_down(
    container: Callable[[], QueryLimits], alpha: Account, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object) -> None:
        raise Unreachable("as asked")

    monkeypatch.setattr(world.buckets, "take", down)
    assert admitted([container()], alpha, world.clock(), 50) == 50
    assert ("query-limiter-down", "alpha") in world.alarms.raised
