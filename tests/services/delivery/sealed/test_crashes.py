"""A sealed group wherever somebody crashed: the same answer, nothing lost, nothing twice."""

from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.protocol.delivery.messages import DSMessage
from chalicelib.protocol.delivery.refusals import MustCover
from chalicelib.protocol.delivery.responses import Ok
from chalicelib.protocol.mls.proposals import SelfRemove
from tests.services.delivery.house import GROUP, House
from tests.services.delivery.sealed.insiders import Cast, Insider, got, new_cast, reject, requests, traces


def adding(cast: Cast) -> DSMessage:
    return cast.alice.adding(cast.carol)[0]


STORIES: dict[str, Callable[[Cast], DSMessage]] = {
    "add": adding,
    "send": lambda cast: cast.bob.saying(b"hello"),
    "propose": lambda cast: cast.bob.proposing(SelfRemove()),
    "queue": lambda cast: dict(requests(cast))["queue"](),
}


def calls_of(story: Callable[[Cast], DSMessage]) -> list[tuple[str, str, int]]:
    """Return each call that a request makes of a port that can fail, with how many of its kind came before."""
    cast = new_cast()
    message = story(cast)
    before = len(cast.house.world.calls())
    cast.house.serve(message)
    made = [call for call in cast.house.world.calls()[before:] if call[0] not in {"hints", "alarms"}]
    return [(port, method, made[:place].count((port, method))) for place, (port, method) in enumerate(made)]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("story", STORIES)
def test_a_request_is_done_once_wherever_it_crashed(story: str, when: Any) -> None:
    made = calls_of(STORIES[story])
    assert ("objects", "load", 0) in made
    for port, method, skip in made:
        cast = new_cast()
        message = STORIES[story](cast)
        before = cast.house.head()
        cast.house.world.fail(port, method, when, skip=skip)
        with pytest.raises(ConnectionError):
            cast.house.serve(message)
        cast.house.restart()
        assert cast.house.serve(message) == Ok()
        assert cast.house.world.faults.armed == []
        after = cast.house.head()
        assert after.version - before.version == (story != "send")
        assert after.seq - before.seq == {"add": 2, "send": 1, "propose": 1, "queue": 0}[story]
        assert traces(cast.house, cast.alice, cast.bob, cast.carol) == set()
        cast.house.deliver()
        assert cast.house.world.tables.logs[GROUP] == {}


@pytest.mark.parametrize("when", ["before", "after"])
def test_removals_are_proposed_once_wherever_it_crashed(when: Any) -> None:
    def rejected() -> Cast:
        cast = new_cast()
        reject(cast, cast.bob)
        cast.alice.say(b"hello")
        cast.house.deliver()
        return cast

    def refuse(cast: Cast) -> None:
        with pytest.raises(MustCover) as refused:
            cast.alice.say(b"are you there?")
        assert len(refused.value.required) == 1

    cast = rejected()
    start = len(cast.house.world.calls())
    refuse(cast)
    made = [call for call in cast.house.world.calls()[start:] if call[0] not in {"hints", "alarms"}]
    assert ("inboxes", "clear") in made
    for place, (port, method) in enumerate(made):
        cast = rejected()
        before = cast.house.head()
        cast.house.world.fail(port, method, when, skip=made[:place].count((port, method)))
        with pytest.raises(ConnectionError):
            cast.alice.say(b"are you there?")
        refuse(cast)
        assert cast.house.head().version - before.version == 1
        assert cast.house.world.tables.inboxes == {}


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_sealed_group_is_created_once_wherever_it_crashed(when: Any) -> None:
    house = House()
    message = Insider(house, "alice").creation()
    start = len(house.world.calls())
    house.serve(message)
    made = [call for call in house.world.calls()[start:] if call[0] not in {"hints", "alarms"}]
    for place, (port, method) in enumerate(made):
        house = House()
        alice = Insider(house, "alice")
        message = alice.creation()
        house.world.fail(port, method, when, skip=made[:place].count((port, method)))
        with pytest.raises(ConnectionError):
            house.serve(message)
        assert house.serve(message) == Ok()
        alice.say(b"alone")


def test_delivery_goes_on_wherever_it_crashed(cast: Cast) -> None:
    house, alice, bob = cast.house, cast.alice, cast.bob
    alice.say(b"hello")
    start = len(house.world.calls())
    house.deliver()
    made = [call for call in house.world.calls()[start:] if call[0] not in {"hints", "alarms"}]
    assert ("groups", "forget") in made
    for place, (port, method) in enumerate(made):
        for when in ("before", "after"):
            cast = new_cast()
            house, alice, bob = cast.house, cast.alice, cast.bob
            alice.say(b"hello")
            house.world.fail(port, method, when, skip=made[:place].count((port, method)))
            with pytest.raises(ConnectionError):
                house.deliver()
            house.restart()
            for _ in range(4):
                house.deliver()
            assert len(got(house, bob)) == 2
            assert house.world.tables.logs[GROUP] == {}
