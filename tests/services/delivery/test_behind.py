"""Domains that cannot be reached, or that have lost count: they hold up nobody, and get everything in order."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.protocol.delivery.queueing import EnqueueRequest, EnqueueResponse
from chalicelib.protocol.delivery.queueing import QueueingServiceResponse as Result
from chalicelib.protocol.delivery.responses import Ok
from chalicelib.services.delivery import fanout, sweeping
from chalicelib.services.delivery.ports import StreamGap
from chalicelib.services.delivery.state import LOG_LIFE_DAYS, MEMBERSHIPS, GroupId
from chalicelib.services.ports import Refused
from tests.services.delivery.house import GROUP, House, Person, done
from tests.services.delivery.test_domains import admitted

SECOND, MINUTE, DAY = 1_000, 60_000, 86_400_000
US = "us.ds.example"


def behind(house: House) -> dict[str, Any]:
    (shard, _) = [shard for shard in house.world.shards.of(GROUP) if shard.shard in {0, MEMBERSHIPS}]
    return dict(shard.behind)


def said(count: int, start: int = 0) -> list[bytes]:
    return [b"%d" % number for number in range(start, start + count)]


def test_a_domain_that_is_down_for_a_day_holds_up_no_other(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    services = house.world.queueing_services
    services.down.add(US)
    for number in range(3):
        alice.say(b"%d" % number)
        house.deliver()
    done(alice.updating(), alice, bob)
    house.deliver()
    assert house.kinds(bob) == ["welcome"] + ["application"] * 3 + ["commit"]
    assert house.queue(carol) == []
    house.world.clock.advance(DAY)
    alice.say(b"3")
    house.deliver()
    assert house.kinds(bob)[-1] == "application"
    services.down.clear()
    house.world.clock.advance(10 * MINUTE)
    house.deliver()
    assert house.kinds(carol) == house.kinds(bob)
    assert carol.catch_up() == [*said(3), b"3"]
    assert carol.member.secrets == alice.member.secrets
    assert behind(house) == {}
    assert not house.world.tables.wakes


def test_it_is_tried_again_less_and_less_often(house: House, alice: Person, group: GroupId) -> None:
    house.world.queueing_services.down.add(US)
    alice.say(b"hello")
    tried = []
    for _ in range(DAY // MINUTE):
        before = len(house.world.calls("queueing_services"))
        house.deliver()
        tried.append(len(house.world.calls("queueing_services")) - before)
    assert 100 < sum(tried) < 200, "every ten minutes at last"
    assert ("domain-behind", US) in house.world.alarms.raised


def test_what_came_too_long_ago_is_given_up(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    """The log goes back so far and no further; who missed more comes back by a resync."""
    house.world.queueing_services.down.add(US)
    alice.say(b"lost")
    house.deliver()
    house.world.clock.advance(LOG_LIFE_DAYS * DAY)
    house.world.queueing_services.down.clear()
    house.deliver()
    assert behind(house) == {}
    alice.say(b"and on")
    house.deliver()
    assert house.kinds(carol) == ["application"]


@pytest.mark.parametrize(
    "trouble",
    [
        lambda services: services.refusing.update({US: 429}),
        lambda services: services.refusing.update({US: 503}),
        lambda services: services.known.discard(US),
    ],
    ids=["429", "503", "unknown"],
)
def test_whatever_its_trouble_is(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId, trouble: Callable[[Any], None]
) -> None:
    trouble(house.world.queueing_services)
    alice.say(b"hello")
    house.deliver()
    assert bob.catch_up() == [b"hello"]
    house.world.queueing_services.refusing.clear()
    house.world.queueing_services.known.add(US)
    house.world.clock.advance(MINUTE)
    house.deliver()
    assert carol.catch_up() == [b"hello"]


def test_a_row_that_came_too_fast_was_not_taken_and_comes_again(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    services, enqueue = house.world.queueing_services, house.world.queueing_services.enqueue
    limited: list[int] = []

    def limiting(domain: str, request: EnqueueRequest) -> EnqueueResponse:
        if domain == US and len(limited) < 3:
            limited.append(request.seq)
            raise Refused(429, "the group is faster than its queues may be filled")
        return enqueue(domain, request)

    services.enqueue = limiting  # type: ignore[method-assign]
    for data in said(5):
        alice.say(data)
    house.deliver()
    assert bob.catch_up() == said(5)
    for _ in range(3):
        house.deliver()
    assert carol.catch_up() == said(5)
    assert limited == [3, 3, 3], "the Welcome, which comes first"


def test_a_service_that_answers_for_others_has_not_taken_the_row(
    house: House, alice: Person, carol: Person, group: GroupId
) -> None:
    services, enqueue = house.world.queueing_services, house.world.queueing_services.enqueue
    services.enqueue = lambda *_: EnqueueResponse(())  # type: ignore[method-assign]
    alice.say(b"hello")
    house.deliver()
    assert set(behind(house)) == {house.world.domain, US}
    services.enqueue = enqueue  # type: ignore[method-assign]
    house.deliver()
    assert carol.catch_up() == [b"hello"]


def test_groups_that_wait_for_it_come_after_those_with_something_new(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody can make many groups that wait."""
    monkeypatch.setattr(sweeping, "SWEEP", 5)
    house.deliver()
    house.world.queueing_services.down.add(US)
    for number in range(10):
        group_id = GroupId(b"waiting %d" % number)
        owner, guest = Person(house, f"owner {number}"), Person(house, f"guest {number}", US)
        owner.create(group_id)
        assert house.serve(owner.adding(guest)[0]) == Ok()
    for _ in range(3):
        house.deliver()
    assert len(house.world.tables.wakes) == 10
    house.world.clock.advance(10 * MINUTE)
    alice.say(b"the hint of this was lost")
    house.world.clock.advance(10 * SECOND)
    house.sweep.sweep()
    assert bob.catch_up() == [b"the hint of this was lost"]
    house.world.queueing_services.down.clear()
    house.world.clock.advance(10 * MINUTE)
    for _ in range(2):
        house.deliver()
    assert not house.world.tables.wakes, "and each has its turn"


# Gaps.


def test_a_service_that_lost_rows_gets_them_again(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    """It was restored from a backup, say: it has less than it has confirmed."""
    for data in said(3):
        alice.say(data)
    house.deliver()
    services = house.world.queueing_services
    key = next(key for key in services.streams if key[0] == US)
    services.streams[key] = (4, EnqueueResponse((Result.OK,)))
    services.delivered[US] = [one for one in services.delivered[US] if one.seq <= 4]
    alice.say(b"3")
    house.deliver()
    assert bob.catch_up() == said(4)
    assert carol.catch_up() == said(4)
    assert ("stream-gap", US) in house.world.alarms.raised
    assert behind(house) == {}


def test_a_service_that_lost_everything_gets_what_the_log_has(
    house: House, alice: Person, carol: Person, group: GroupId
) -> None:
    for data in said(3):
        alice.say(data)
    house.deliver()
    house.world.queueing_services.streams.clear()
    house.world.queueing_services.delivered.clear()
    alice.say(b"3")
    house.deliver()
    assert carol.catch_up() == said(4)


def test_a_service_that_has_more_than_we_remember_goes_on_from_there(
    house: House, alice: Person, carol: Person, group: GroupId
) -> None:
    """Our count was lost with a shard's row; what was sent is not sent again."""
    for data in said(3):
        alice.say(data)
    house.deliver()
    shard = house.world.tables.shards[GROUP, 0]
    shard.sent[US] = 3  # type: ignore[index]
    alice.say(b"3")
    house.deliver()
    assert carol.catch_up() == said(4)
    assert behind(house) == {}


def test_a_service_that_claims_what_was_never_sent_is_left_behind(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    services, enqueue = house.world.queueing_services, house.world.queueing_services.enqueue

    def lying(domain: str, request: EnqueueRequest) -> EnqueueResponse:
        if domain == US:
            raise StreamGap(1 << 40)
        return enqueue(domain, request)

    services.enqueue = lying  # type: ignore[method-assign]
    alice.say(b"hello")
    for _ in range(3):
        house.deliver()
    assert bob.catch_up() == [b"hello"]
    services.enqueue = enqueue  # type: ignore[method-assign]
    house.world.clock.advance(10 * MINUTE)
    house.deliver()
    assert carol.catch_up() == [b"hello"]


def test_a_service_that_contradicts_itself_does_not_keep_a_worker(
    house: House, alice: Person, bob: Person, group: GroupId
) -> None:
    services, enqueue = house.world.queueing_services, house.world.queueing_services.enqueue

    def forgetful(domain: str, request: EnqueueRequest) -> EnqueueResponse:
        if domain == US:
            raise StreamGap(0)
        return enqueue(domain, request)

    services.enqueue = forgetful  # type: ignore[method-assign]
    alice.say(b"hello")
    house.deliver()
    assert bob.catch_up() == [b"hello"]
    assert len(house.world.calls("queueing_services")) < 20


# Slow ones.


def slowly(house: House, milliseconds: int) -> None:
    """Let each request take its time."""
    services, enqueue = house.world.queueing_services, house.world.queueing_services.enqueue

    def slow(domain: str, request: EnqueueRequest) -> EnqueueResponse:
        house.world.clock.advance(milliseconds)
        return enqueue(domain, request)

    services.enqueue = slow  # type: ignore[method-assign]


def test_a_worker_gives_its_shard_back_in_time_and_says_that_there_is_more(
    house: House, alice: Person, bob: Person, group: GroupId
) -> None:
    slowly(house, 10 * SECOND)
    for data in said(10):
        alice.say(data)
    house.world.hints.take()
    began = house.world.clock()
    house.fanout.deliver(GROUP, 0)
    assert house.world.clock() < began + fanout.LEASE
    assert house.world.hints.take() == [(GROUP, 0)]
    assert house.world.shards.of(GROUP)[0].leased_until == 0
    for _ in range(5):
        house.fanout.deliver(GROUP, 0)
    assert bob.catch_up() == said(10)


def test_a_long_way_back_is_gone_in_steps_while_the_others_go_on(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    """No worker has the time for all of it; each saves how far it came."""
    house.world.queueing_services.down.add(US)
    for data in said(60):
        alice.say(data)
    house.deliver()
    house.world.queueing_services.down.clear()
    slowly(house, 5 * SECOND)
    house.world.clock.advance(10 * MINUTE)
    seen = [0]
    for number in range(60, 66):
        house.fanout.deliver(GROUP, 0)
        seen.append(len(house.queue(carol)))
        alice.say(b"%d" % number)
        house.fanout.deliver(GROUP, 0)
        assert len(house.queue(bob)) == number + 2, "what is new comes first"
    assert seen == sorted(set(seen)), "each step is further than the one before"
    while behind(house):
        house.fanout.deliver(GROUP, 0)
    assert bob.catch_up() == carol.catch_up() == said(66)


class Killed(BaseException):
    """A function's time was up."""


FUNCTION = 120 * SECOND
"""How long a worker has before it is killed (.chalice/config.json)."""

CALL = 20 * SECOND


def timed(house: House, takes: Callable[[str], int], killed_at: list[int]) -> None:
    """Let requests take their time, and kill whoever makes them when its own is up."""
    services, enqueue = house.world.queueing_services, house.world.queueing_services.enqueue

    def slow(domain: str, request: EnqueueRequest) -> EnqueueResponse:
        house.world.clock.advance(takes(domain))
        if house.world.clock() >= killed_at[0]:
            raise Killed
        return enqueue(domain, request)

    services.enqueue = slow  # type: ignore[method-assign]


def worked(house: House, killed_at: list[int]) -> None:
    """Let a worker take the shard, and the next one after it."""
    killed_at[0] = house.world.clock() + FUNCTION
    with contextlib.suppress(Killed):
        house.fanout.deliver(GROUP, 0)
    house.world.clock.advance(SECOND)


@pytest.mark.parametrize("answers", [False, True], ids=["dead", "slow"])
def test_however_many_domains_take_their_time_the_others_go_on(
    house: House, alice: Person, bob: Person, group: GroupId, answers: bool
) -> None:
    """One row has more of them than a worker has time for."""
    slow = [admitted(house, number) for number in range(20)]
    people = [Person(house, f"person {number}", domain) for number, domain in enumerate(slow)]
    done(alice.adding(*people), alice, bob)
    house.deliver()
    if not answers:
        house.world.queueing_services.down.update(slow)
    killed_at = [0]
    timed(house, lambda domain: CALL - 1 if domain in slow else 0, killed_at)
    for data in said(3):
        alice.say(data)
    for _ in range(10):
        worked(house, killed_at)
    assert bob.catch_up() == said(3)
    house.world.queueing_services.down.clear()
    for _ in range(60):
        worked(house, killed_at)
    for person in people:
        assert house.kinds(person) == ["welcome", *["application"] * 3]
    assert behind(house) == {}


def test_a_domain_that_answers_slowly_does_not_slow_the_others_down(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    """It would be behind for good, and they with it, where more is said than it takes."""
    house.deliver()
    killed_at = [0]
    timed(house, lambda domain: CALL - 1 if domain == US else 0, killed_at)
    for turn in range(10):
        for data in said(10, 10 * turn):
            alice.say(data)
        worked(house, killed_at)
        worked(house, killed_at)
        assert len(house.queue(bob)) == 1 + 10 * (turn + 1)
    assert house.world.alarms.raised.count(("domain-slow", US)) == 1
    while behind(house):
        worked(house, killed_at)
    assert bob.catch_up() == carol.catch_up() == said(100)
