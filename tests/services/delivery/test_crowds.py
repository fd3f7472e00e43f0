"""So many removals at once that they are proposed and committed in parts (-02 §2.2)."""

from typing import Any

import pytest

from chalicelib.protocol.delivery.group_state import RemovalReason
from chalicelib.protocol.delivery.group_updates import AddClients
from chalicelib.protocol.delivery.queueing import QueueingServiceResponse as Result
from chalicelib.protocol.delivery.removals import MOST_AT_ONCE, MOST_PENDING, want_removed
from chalicelib.protocol.delivery.responses import Ok
from chalicelib.services.delivery import removals
from chalicelib.services.delivery.state import MEMBERSHIPS, GroupId, Kind
from tests.services.delivery.house import GROUP, House, Person, done

HOUR = 3_600_000


def crowd(house: House, owner: Person, count: int, *others: Person) -> list[Person]:
    """Let a member add so many clients of its own, whose queues are gone."""
    people = [Person(house, f"{owner.name}.{owner.member.epoch}.{number}", user=owner.user) for number in range(count)]
    for person in people:
        house.world.queueing_services.results[person.queue] = Result.INVALID_CLIENT_QUEUE_INFORMATION
    message, pending = owner.adding(*people, kind=AddClients)
    assert house.serve(message) == Ok()
    owner.accepted(pending, others=others)
    return people


def wanting(house: House, first: int, count: int) -> bool:
    return house.removals.remove(
        GROUP, lambda _: [(leaf_index, RemovalReason.USER_DELETED) for leaf_index in range(first, first + count)]
    )


def test_a_hundred_dead_queues_hold_up_nobody(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    crowd(house, bob, 100, alice, carol)
    alice.say(b"does anybody hear me?")
    for _ in range(3):
        house.deliver()
    assert len(house.state().pending()) == 100
    assert b"does anybody hear me?" in bob.catch_up()
    assert house.kinds(bob).count("proposal") == 100
    assert {house.world.tables.shards[GROUP, number].cursor for number in (0, MEMBERSHIPS)} == {house.head().seq}
    assert house.world.tables.wakes[GROUP].waiting, "for the removals, and for nothing else"
    rows = [row for row in house.world.groups.rows(GROUP) if row.kind is Kind.PROPOSALS]
    assert [row.count for row in rows] == [MOST_AT_ONCE, 100 - MOST_AT_ONCE]


def test_they_are_committed_together_and_proposed_again_together(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    """By an external commit, which cannot hold them, and by one that comes after they were given up."""
    crowd(house, bob, 120, alice, carol)
    assert wanting(house, 3, 120)
    answer = house.serve(carol.asking_to_return())
    message, pending = carol.returning(answer.group_info.body, answer.ratchet_tree, carol.member.leaf_index)
    assert house.serve(message) == Ok()
    carol.accepted(pending, others=[alice, bob])
    assert len(house.state().pending()) == 120
    house.world.clock.advance(HOUR)
    done(alice.updating(), alice, bob, carol)
    assert len(house.state().proposals) == 120
    house.deliver()
    alice.catch_up()
    done(alice.covering(), alice)
    assert house.state().removals == ()


def test_what_may_be_pending_is_bounded_and_the_rest_is_asked_for_again(
    house: House, alice: Person, bob: Person, group: GroupId
) -> None:
    crowd(house, bob, 200, alice)
    crowd(house, alice, 100, bob)
    with pytest.raises(removals.Unfinished):
        wanting(house, 3, 300)
    assert len(house.state().pending()) == MOST_PENDING
    house.deliver()
    alice.catch_up()
    done(alice.covering(), alice)
    assert wanting(house, 3, 300)
    assert len(house.state().pending()) == 300 - MOST_PENDING


def test_one_change_takes_so_many_and_says_that_there_are_more(house: House, bob: Person, group: GroupId) -> None:
    crowd(house, bob, 100)
    state = house.state()
    signer = house.vault.signer(GROUP, state.group.suite.number)
    targets = [(leaf_index, RemovalReason.INACTIVE) for leaf_index in range(3, 103)]
    wanted = want_removed(state, targets, house.world.clock(), signer)
    assert (len(wanted.proposals), wanted.more) == (MOST_AT_ONCE, True)
    wanted = want_removed(state, targets[:MOST_AT_ONCE], house.world.clock(), signer)
    assert (len(wanted.proposals), wanted.more) == (MOST_AT_ONCE, False)


def test_a_removal_that_fails_does_not_hold_up_delivery_and_comes_with_the_next_row(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    house.world.queueing_services.results[carol.queue] = Result.INVALID_CLIENT_QUEUE_INFORMATION
    house.world.fail("groups", "advance", times=2)
    for number in range(2):
        alice.say(b"%d" % number)
    house.world.clock.advance(60_000)
    house.sweep.sweep()
    assert ("removal-failed", "us.ds.example") in house.world.alarms.raised
    assert bob.catch_up() == [b"0", b"1"]
    assert len(house.state().pending()) == 1


def test_a_domain_that_goes_down_between_two_proposals_goes_on_from_there(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    """Each proposal has a number of its own, though all stand in one row."""
    people = crowd(house, bob, 5, alice, carol)
    for person in people:
        house.world.queueing_services.results.pop(person.queue)
    house.deliver()
    assert wanting(house, 3, 5)
    services, enqueue = house.world.queueing_services, house.world.queueing_services.enqueue
    calls: list[int] = []

    def failing(domain: str, request: Any) -> Any:
        if domain == carol.domain:
            calls.append(request.seq)
            if len(calls) == 3:
                services.down.add(domain)
        return enqueue(domain, request)

    services.enqueue = failing  # type: ignore[method-assign]
    house.deliver()
    assert house.kinds(carol).count("proposal") == 2
    assert house.kinds(bob).count("proposal") == 5
    services.down.clear()
    house.deliver()
    assert house.queue(carol)[-5:] == house.queue(bob)[-5:]
    assert not house.world.tables.shards[GROUP, 0].behind
