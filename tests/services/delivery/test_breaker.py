"""Domains that do not answer cost everybody's time once: in one process, not in each group and for each row."""

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.protocol.delivery.queueing import EnqueueRequest, EnqueueResponse
from chalicelib.services.delivery.breaker import PAUSE, SILENCE, Breaker
from chalicelib.services.delivery.enclosures import Enclosures
from chalicelib.services.delivery.ports import StreamGap
from chalicelib.services.delivery.state import GroupId
from chalicelib.services.ports import Refused, Unreachable
from tests.services.delivery.house import House, Person, done
from tests.services.delivery.test_domains import admitted

SECOND, MINUTE = 1_000, 60_000
CALL = 20 * SECOND
"""How long a call to a dead domain takes until it is given up."""

US, DEAD = "us.ds.example", "d0.example"

# By itself.

Outcome = Exception | None
ANSWERS: list[Outcome] = [None, Refused(429, "too fast"), Refused(400, "never"), StreamGap(3)]


@dataclasses.dataclass
class Time:
    """A clock that is set by hand."""

    now: int = 0

    def __call__(self) -> int:
        return self.now


def called(breaker: Breaker, time: Time, domain: str, milliseconds: int, outcome: Outcome) -> None:
    """Make a call that takes so long and ends so."""
    with contextlib.suppress(Unreachable, Refused, StreamGap), breaker.asking(domain):
        time.now += milliseconds
        if outcome is not None:
            raise outcome


MOMENTS = st.sampled_from([0, 1, SILENCE - 1, SILENCE, CALL, PAUSE - 1, PAUSE, PAUSE + 1])
CALLS = st.tuples(st.sampled_from("abc"), MOMENTS, MOMENTS, st.sampled_from([*ANSWERS, Unreachable("503")]))


@given(st.lists(CALLS, max_size=20))
def test_a_domain_pauses_for_as_long_as_is_said_after_a_long_silence_and_for_nothing_else(
    calls: list[tuple[str, int, int, Outcome]],
) -> None:
    time, silent = Time(), dict[str, int]()
    breaker = Breaker(time)
    for domain, gap, takes, outcome in calls:
        time.now += gap
        for one in "abc":
            assert breaker.is_open(one) == (one in silent and time.now < silent[one] + PAUSE)
        called(breaker, time, domain, takes, outcome)
        if not isinstance(outcome, Unreachable):
            silent.pop(domain, None)
        elif takes >= SILENCE:
            silent[domain] = time.now


@given(st.lists(st.integers(0, 6), max_size=PAUSE // SILENCE - 1))
def test_it_remembers_the_last_of_many_and_no_more(numbers: list[int]) -> None:
    time = Time()
    breaker = Breaker(time, most=3)
    for number in numbers:
        called(breaker, time, str(number), SILENCE, Unreachable())
    last = list(dict.fromkeys(reversed(numbers)))[:3]
    assert {number for number in range(7) if breaker.is_open(str(number))} == set(last)


def test_a_clock_that_is_set_back_does_not_make_a_pause_longer() -> None:
    time = Time(10 * MINUTE)
    breaker = Breaker(time)
    called(breaker, time, "a", CALL, Unreachable())
    assert breaker.is_open("a")
    time.now = 0
    assert not breaker.is_open("a")


def test_a_defect_is_neither_silence_nor_an_answer() -> None:
    time = Time()
    breaker = Breaker(time)
    with pytest.raises(ValueError, match="a defect"):
        called(breaker, time, "a", CALL, ValueError("a defect"))
    assert not breaker.is_open("a")


# In a house.


class Outside:
    """Counts calls, and lets some domains take their time; the others answer at once."""

    def __init__(self, house: House) -> None:
        self.takes: dict[str, int] = {}
        self.asked = Counter[str]()
        self.house = house
        self.enqueue = house.world.queueing_services.enqueue
        house.world.queueing_services.enqueue = self  # type: ignore[method-assign]

    def __call__(self, domain: str, request: EnqueueRequest) -> EnqueueResponse:
        self.asked[domain] += 1
        self.house.world.clock.advance(self.takes.get(domain, 0))
        return self.enqueue(domain, request)

    def kill(self, domain: str) -> None:
        self.takes[domain] = CALL
        self.house.world.queueing_services.down.add(domain)

    def revive(self, domain: str) -> None:
        self.takes.pop(domain)
        self.house.world.queueing_services.down.discard(domain)

    def swept(self) -> Counter[str]:
        """Return how often each domain was asked in one sweep, and by the workers that it woke."""
        self.asked.clear()
        self.house.world.hints.take()
        self.house.sweep.sweep()
        for group_id, shard in self.house.world.hints.take():
            self.house.fanout.deliver(group_id, shard)
        return Counter(self.asked)


GROUPS = 100


@pytest.fixture
def crowd(house: House) -> list[tuple[GroupId, Person, Person, Person]]:
    """Return many groups, each with somebody at a domain that will die, at another one, and here."""
    people = []
    admitted(house, 0)
    for number in range(GROUPS):
        group_id = GroupId(b"group %d" % number)
        owner = Person(house, f"owner {number}")
        there, far, here = (
            Person(house, f"{name} {number}", domain) for name, domain in (("there", DEAD), ("far", US), ("here", None))
        )
        owner.create(group_id)
        done(owner.adding(there, far, here), owner)
        people.append((group_id, there, far, here))
    house.world.clock.advance(MINUTE)
    return people


def test_one_dead_domain_in_many_groups_costs_a_sweep_one_timeout_and_all_others_are_served(
    house: House, crowd: list[tuple[GroupId, Person, Person, Person]]
) -> None:
    outside = Outside(house)
    outside.kill(DEAD)
    began = house.world.clock()
    assert outside.swept()[DEAD] == 1
    assert house.world.clock() == began + CALL
    for group_id, there, far, here in crowd:
        assert [len(house.queue(person, group_id)) for person in (there, far, here)] == [0, 1, 1]
    # From then on all wait for the domain only, and cost what one of them does.
    for _ in range(10):
        house.world.clock.advance(MINUTE)
        assert outside.swept()[DEAD] <= 1
    outside.revive(DEAD)
    for _ in range(3):
        house.world.clock.advance(10 * MINUTE)
        outside.swept()
    assert all(len(house.queue(there, group_id)) == 1 for group_id, there, _, _ in crowd)
    assert not house.world.tables.wakes


def test_after_the_pause_it_is_asked_again_and_once_it_answers_by_everybody(
    house: House, crowd: list[tuple[GroupId, Person, Person, Person]]
) -> None:
    outside = Outside(house)
    outside.kill(DEAD)
    outside.swept()
    house.world.clock.advance(PAUSE - 1)
    assert outside.swept()[DEAD] == 0
    house.world.clock.advance(MINUTE)
    assert outside.swept()[DEAD] == 1, "and it is silent again"
    outside.revive(DEAD)
    house.world.clock.advance(10 * MINUTE)
    assert outside.swept()[DEAD] == GROUPS


@pytest.mark.parametrize(
    "trouble",
    [
        lambda services: services.refusing.update({DEAD: 429}),
        lambda services: services.refusing.update({DEAD: 503}),
        lambda services: services.refusing.update({DEAD: 400}),
        lambda services: services.down.add(DEAD),
    ],
    ids=["429", "503", "400", "no answer at once"],
)
def test_a_quick_refusal_in_one_group_says_nothing_of_the_others(
    house: House,
    crowd: list[tuple[GroupId, Person, Person, Person]],
    trouble: Callable[[object], None],
) -> None:
    outside = Outside(house)
    outside.takes[DEAD] = SILENCE - 1
    trouble(house.world.queueing_services)
    house.sweep.sweep()
    for _ in range(GROUPS):
        house.world.clock.advance(SECOND)
        house.sweep.sweep()
    assert not house.fanout.posting.breaker.is_open(DEAD)
    assert outside.asked[DEAD] >= GROUPS, "each had its own try"


def test_what_is_delivered_here_never_pauses(house: House, crowd: list[tuple[GroupId, Person, Person, Person]]) -> None:
    outside = Outside(house)
    outside.kill(house.world.domain)
    for _ in range(GROUPS):
        house.world.clock.advance(MINUTE)
        house.sweep.sweep()
        assert not house.fanout.posting.breaker.is_open(house.world.domain)
    outside.revive(house.world.domain)
    for _ in range(3):
        house.world.clock.advance(10 * MINUTE)
        house.sweep.sweep()
    assert all(len(house.queue(here, group_id)) == 1 for group_id, _, _, here in crowd)


def test_what_is_too_large_is_not_kept_for_a_domain_that_pauses(
    house: House, alice: Person, carol: Person, group: GroupId, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[str] = []
    fit = Enclosures.fit

    def counted(enclosures: Enclosures, domain: str, request: EnqueueRequest) -> EnqueueRequest:
        fitted.append(domain)
        return fit(enclosures, domain, request)

    monkeypatch.setattr(Enclosures, "fit", counted)
    outside = Outside(house)
    outside.kill(US)
    alice.say(b"hello")
    house.deliver()
    before = fitted.count(US)
    house.world.clock.advance(10 * SECOND)
    house.sweep.sweep()
    assert fitted.count(US) == before == 1


def test_another_process_finds_out_for_itself(
    house: House, crowd: list[tuple[GroupId, Person, Person, Person]]
) -> None:
    outside = Outside(house)
    outside.kill(DEAD)
    outside.swept()
    house.restart()
    house.world.clock.advance(10 * SECOND)
    assert outside.swept()[DEAD] == 1
