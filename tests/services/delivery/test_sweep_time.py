"""The time that a sweep has: no domain that is slow to answer starves other shards, or groups that wait, of it."""

from collections import Counter

import pytest

from chalicelib.protocol.delivery.queueing import EnqueueRequest, EnqueueResponse
from chalicelib.services.delivery import sweeping
from chalicelib.services.delivery.state import GroupId
from tests.services.delivery.house import GROUP as A_GROUP
from tests.services.delivery.house import House, Person, done
from tests.services.delivery.sealed.insiders import Insider, got
from tests.services.delivery.test_domains import admitted
from tests.services.delivery.test_shards import GROUP, THERE, Town

SECOND, MINUTE = 1_000, 60_000
FUNCTION = 120 * SECOND
"""How long a sweep has before it is killed (.chalice/config.json)."""

SLOW = 19 * SECOND
"""How long a slow domain takes for an answer: almost what a call may take."""


class Outside:
    """Lets calls to one domain, about some shard or all of them, take their time; counts calls by shard."""

    def __init__(self, house: House, domain: str, shard: int | None = None) -> None:
        self.house, self.domain, self.shard = house, domain, shard
        self.asked = Counter[int]()
        self.enqueue = house.world.queueing_services.enqueue
        house.world.queueing_services.enqueue = self  # type: ignore[method-assign]

    def __call__(self, domain: str, request: EnqueueRequest) -> EnqueueResponse:
        if domain == self.domain:
            self.asked[request.shard] += 1
            if self.shard in {None, request.shard}:
                self.house.world.clock.advance(SLOW)
        return self.enqueue(domain, request)


@pytest.fixture
def town() -> Town:
    return Town()


def behind(town: Town) -> set[int]:
    """Return the shards in which the domain is behind."""
    return {shard.shard for shard in town.house.world.shards.of(GROUP) if THERE in shard.behind}


@pytest.mark.parametrize("work", [sweeping.WORK, SECOND], ids=["a minute", "time for one shard"])
def test_a_shard_that_takes_long_does_not_starve_those_after_it(
    town: Town, monkeypatch: pytest.MonkeyPatch, work: int
) -> None:
    """Without hints: only the sweep goes on with what was left behind."""
    house = town.house
    house.world.queueing_services.down.add(THERE)
    for number in range(40):
        town.say(1 + number)
    house.deliver()
    assert behind(town) == {0, 1}
    house.world.queueing_services.down.clear()
    monkeypatch.setattr(sweeping, "WORK", work)
    outside = Outside(house, THERE, shard=0)
    house.world.hints.lost = True
    house.world.clock.advance(10 * MINUTE)
    for _ in range(3):
        before = outside.asked[0]
        house.deliver()
        assert outside.asked[0] - before <= 2, "some seconds in each sweep"
    assert behind(town) == {0}
    for _ in range(80):
        house.deliver()
    assert behind(town) == set()


def many(house: House, count: int, domain: str, name: str) -> list[tuple[GroupId, Person]]:
    """Return groups each of which has somebody at a domain."""
    made = []
    for number in range(count):
        group_id = GroupId(f"{name} {number}".encode())
        owner, guest = Person(house, f"{name} owner {number}"), Person(house, f"{name} guest {number}", domain)
        owner.create(group_id)
        done(owner.adding(guest), owner)
        made.append((group_id, guest))
    return made


def reached(house: House, groups: list[tuple[GroupId, Person]]) -> int:
    return sum(bool(house.queue(guest, group_id)) for group_id, guest in groups)


def test_groups_with_something_new_for_a_slow_domain_leave_time_for_those_that_wait(house: House) -> None:
    """And the sweep ends before it is killed; each sweep goes on where the last one ended."""
    slow, other = admitted(house, 0), admitted(house, 1)
    house.world.queueing_services.down.add(other)
    waiting = many(house, 10, other, "waiting")
    house.deliver()
    house.world.queueing_services.down.clear()
    house.world.clock.advance(10 * MINUTE)
    new = many(house, 20, slow, "new")
    house.world.clock.advance(MINUTE)
    Outside(house, slow)
    house.world.hints.lost = True
    began = house.world.clock()
    house.sweep.sweep()
    assert house.world.clock() <= began + FUNCTION - 30 * SECOND
    assert reached(house, waiting) == 10
    assert 1 < reached(house, new) < 20
    sweeps = 1
    while reached(house, new) < 20:
        house.deliver()
        sweeps += 1
    assert sweeps <= 12


def test_a_sweep_says_how_many_groups_it_began(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = admitted(house, 0)
    many(house, 5, slow, "new")
    house.world.clock.advance(MINUTE)
    Outside(house, slow)
    monkeypatch.setattr(sweeping, "WORK", 4 * SLOW)
    assert house.sweep.sweep() == 2, "half of its time is for groups that wait"


@pytest.mark.parametrize("sealed", [False, True])
def test_a_group_for_which_no_time_is_left_stays_awake(sealed: bool) -> None:
    """And nothing of a sealed one is forgotten that nobody was given."""
    house = House()
    owner, guest = (Insider if sealed else Person)(house, "owner"), (Insider if sealed else Person)(house, "guest")
    owner.create()
    owner.add(guest)
    house.sweep.wake(A_GROUP, house.world.clock())
    assert list(house.world.tables.wakes) == [A_GROUP]
    assert got(house, guest) == []
    house.deliver()
    assert len(got(house, guest)) == 1
    house.deliver()
    assert not house.world.tables.wakes
