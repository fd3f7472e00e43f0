"""Rows that a domain refuses for good: they would hold up all that come after them there."""

from typing import Any

import pytest

from chalicelib.protocol.delivery.group_updates import AddClients
from chalicelib.protocol.delivery.queueing import EnqueueRequest, EnqueueResponse
from chalicelib.services.delivery import fanout
from chalicelib.services.delivery.state import GroupId
from chalicelib.services.ports import Refused
from tests.services.delivery.house import House, Person

MINUTE, HOUR = 60_000, 3_600_000
US = "us.ds.example"


def refusing(house: House, seq: int, error: Exception) -> list[int]:
    """Let a domain refuse one row, and return when it was asked to take it."""
    services, enqueue = house.world.queueing_services, house.world.queueing_services.enqueue
    asked: list[int] = []

    def picky(domain: str, request: EnqueueRequest) -> EnqueueResponse:
        if domain == US and request.seq == seq:
            asked.append(house.world.clock())
            raise error
        return enqueue(domain, request)

    services.enqueue = picky  # type: ignore[method-assign]
    return asked


@pytest.mark.parametrize(
    "error",
    [Refused(status, "for good") for status in (400, 403, 413, 422)],
    ids=["400", "403", "413", "422"],
)
def test_a_row_that_is_refused_for_good_is_passed_over(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId, error: Exception
) -> None:
    asked = refusing(house, house.head().seq + 1, error)
    for data in (b"bad", b"good"):
        alice.say(data)
    for _ in range(30):
        house.deliver()
    assert len(asked) == fanout.REFUSALS
    assert asked[-1] - asked[0] > 5 * MINUTE
    assert bob.catch_up() == [b"bad", b"good"]
    assert carol.catch_up() == [b"good"]
    assert house.world.alarms.raised.count(("row-skipped", US)) == 1
    assert not house.world.tables.wakes


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_domain_that_is_in_trouble_loses_nothing(
    house: House, alice: Person, carol: Person, group: GroupId, status: int
) -> None:
    asked = refusing(house, house.head().seq + 1, Refused(status, "later"))
    alice.say(b"hello")
    for _ in range(180):
        house.deliver()
    assert len(asked) > fanout.REFUSALS
    assert "application" not in house.kinds(carol)
    house.world.queueing_services.__dict__.pop("enqueue")
    house.world.clock.advance(10 * MINUTE)
    house.deliver()
    assert carol.catch_up() == [b"hello"]


def test_two_new_members_do_not_share_a_queue(house: House, alice: Person, bob: Person, group: GroupId) -> None:
    """[mds-added-2]"""
    people: list[Any] = [Person(house, name, user="alice") for name in ("phone", "tablet")]
    people[1].queue = people[0].queue
    house.refuses(alice.adding(*people, kind=AddClients)[0], "mds-added-2")
