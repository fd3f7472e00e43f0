"""Delivering the log (-02 §6): who gets which row, in which order, and what becomes of queues that refuse."""

import dataclasses

import pytest

from chalicelib.protocol.delivery.group_state import RemovalReason
from chalicelib.protocol.delivery.group_updates import AddClients, AddUsers, DeleteGroupRequest, RemoveClients
from chalicelib.protocol.delivery.queueing import QueueingServiceResponse as Result
from chalicelib.protocol.delivery.responses import Ok
from chalicelib.protocol.mls.proposals import SelfRemove
from chalicelib.protocol.mls.welcome import Welcome
from chalicelib.services.delivery.state import MEMBERSHIPS, GroupId
from tests.services.delivery.house import GROUP, House, Person, done

HOUR = 3_600_000


def test_every_queue_gets_the_rows_in_the_groups_order(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    for number in range(70):
        (alice, bob)[number % 2].say(b"%d" % number)
    done(carol.updating(), carol)
    house.deliver()
    assert house.kinds(carol) == ["welcome"] + ["application"] * 70
    assert house.kinds(alice) == ["application"] * 35 + ["commit"]
    said = [b"%d" % number for number in range(70)]
    assert (alice.catch_up(), bob.catch_up()) == (said[1::2], said[0::2])


def test_the_sender_gets_nothing_of_its_own(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    alice.say(b"hello")
    assert house.serve(alice.leaving()) == Ok()
    house.deliver()
    bob.catch_up()
    answer = house.serve(bob.asking_to_return())
    message, _ = bob.returning(answer.group_info.body, answer.ratchet_tree, 1)
    assert house.serve(message) == Ok()
    house.deliver()
    assert house.kinds(alice) == ["commit"]
    assert house.kinds(bob) == ["welcome", "application", "proposal"]
    assert house.kinds(carol) == ["welcome", "application", "proposal", "commit"]


def test_the_index_of_memberships_is_hurried_where_it_changes_and_only_there(
    house: House, alice: Person, bob: Person
) -> None:
    """An account event finds groups by it, and a busy group must not keep it waiting for the sweep."""
    alice.create()
    assert house.world.hints.take() == [(GROUP, 0), (GROUP, MEMBERSHIPS)]
    alice.add(bob)
    assert house.world.hints.take() == [(GROUP, 0), (GROUP, MEMBERSHIPS)]
    alice.say(b"hello")
    done(alice.updating(), alice, bob)
    assert house.world.hints.take() == [(GROUP, 0), (GROUP, 0)]
    done(alice.removing(bob), alice)
    assert house.world.hints.take() == [(GROUP, 0), (GROUP, MEMBERSHIPS)]


def test_who_is_removed_gets_the_commit_and_nothing_after(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    done(alice.removing(bob), alice, carol)
    alice.say(b"without bob")
    house.deliver()
    assert house.kinds(bob) == ["welcome", "commit"]
    assert house.kinds(carol) == ["welcome", "commit", "application"]


def test_who_leaves_while_another_comes_back_gets_the_commit_too(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    """An external commit may carry SelfRemoves by reference: it is not the one who left that made it."""
    assert house.serve(carol.leaving()) == Ok()
    answer = house.serve(bob.asking_to_return())
    (proposal,) = house.state().group.proposals.values()
    assert isinstance(proposal.proposal, SelfRemove)
    message, pending = bob.returning(answer.group_info.body, answer.ratchet_tree, 1, leaving=(proposal,))
    assert house.serve(message) == Ok()
    assert pending.staged.removed == (2, 1)
    house.deliver()
    assert house.kinds(carol) == ["welcome", "commit"]
    assert house.kinds(bob) == ["welcome", "proposal"]


def test_each_joiner_gets_its_own_welcome_and_nothing_older(house: House, alice: Person, bob: Person) -> None:
    alice.create()
    alice.add(bob)
    alice.say(b"before dora")
    dora, emil = Person(house, "dora"), Person(house, "emil")
    alice.add(dora, emil)
    alice.say(b"hello")
    house.deliver()
    assert house.kinds(bob) == ["welcome", "application", "commit", "application"]
    for person in (dora, emil):
        assert house.kinds(person) == ["welcome", "application"]
        (welcome, _) = house.queue(person)
        assert isinstance(welcome.body, Welcome)
        assert person.catch_up() == [b"hello"]


def test_of_several_welcomes_each_goes_to_those_whom_it_names(house: House, alice: Person) -> None:
    alice.create()
    bob, dora = Person(house, "bob"), Person(house, "dora")
    message, _ = alice.adding(bob, dora)
    body = message.request.body
    assert isinstance(body, AddUsers)
    (whole,) = body.welcomes
    assert isinstance(whole.body, Welcome)
    parts = tuple(
        dataclasses.replace(whole, body=dataclasses.replace(whole.body, secrets=(secret,)))
        for secret in whole.body.secrets
    )
    assert house.serve(alice.as_member(dataclasses.replace(body, welcomes=parts))) == Ok()
    house.deliver()
    for person in (bob, dora):
        assert person.offered is not None
        (got,) = house.queue(person)
        assert isinstance(got.body, Welcome)
        (secret,) = got.body.secrets
        assert secret.new_member == person.offered.public.reference(person.member_suite)


def test_nothing_is_due_twice(house: House, alice: Person, group: GroupId) -> None:
    alice.say(b"hello")
    house.deliver()
    assert not house.world.tables.wakes
    calls = len(house.world.calls("queueing_services"))
    house.deliver()
    for number in (0, MEMBERSHIPS):
        house.fanout.deliver(GROUP, number)
    assert len(house.world.calls("queueing_services")) == calls


def test_a_hint_is_enough_and_none_is_needed(house: House, alice: Person, bob: Person, group: GroupId) -> None:
    house.world.hints.take()
    alice.say(b"with a hint")
    for group_id, number in house.world.hints.take():
        house.fanout.deliver(group_id, number)
    assert house.kinds(bob)[-1] == "application"
    house.world.hints.lost = True
    alice.say(b"without")
    assert house.world.hints.take() == []
    house.deliver()
    assert bob.catch_up() == [b"with a hint", b"without"]


def test_one_group_that_fails_holds_up_no_other(house: House, alice: Person, bob: Person, group: GroupId) -> None:
    """And it is looked at again, but not before the others."""
    dora = Person(house, "dora")
    assert house.serve(dora.creation(GroupId(b"another"))) == Ok()
    alice.say(b"hello")
    house.world.fail("groups", "log", times=1)
    house.world.clock.advance(60_000)
    with pytest.raises(ConnectionError):
        house.sweep.sweep()
    waiting = set(house.world.tables.wakes)
    assert len(waiting) == 1
    assert house.world.tables.wakes[waiting.pop()].next_at > house.world.clock()
    house.world.clock.advance(180_000)
    house.sweep.sweep()
    assert not house.world.tables.wakes
    assert bob.catch_up() == [b"hello"]


# Users and their groups.


def test_the_index_of_users_follows_the_log(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    house.deliver()

    def groups(person: Person) -> list[GroupId]:
        return house.world.memberships.of(f"mimi://example.com/u/{person.user}".encode())

    assert groups(alice) == groups(bob) == groups(carol) == [GROUP]
    assert {user for user, _ in house.noticed} == {b"mimi://example.com/u/" + n for n in (b"alice", b"bob", b"carol")}
    phone = Person(house, "phone", user="alice")
    alice.add(phone, kind=AddClients)
    message, pending = alice.removing(bob)
    assert house.serve(message) == Ok()
    alice.accepted(pending, others=[phone])
    house.deliver()
    assert (groups(bob), groups(alice)) == ([], [GROUP])
    done(phone.removing(alice, kind=RemoveClients), phone)
    house.deliver()
    assert groups(alice) == [GROUP], "a user is there as long as one of its clients is"
    done(phone.removing(carol, kind=DeleteGroupRequest), phone)
    house.deliver()
    assert groups(alice) == groups(carol) == [], "nobody is in a group that was deleted"


# Queues that refuse.


def test_a_queue_that_is_gone_leads_to_a_removal(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    house.world.queueing_services.results[carol.queue] = Result.INVALID_CLIENT_QUEUE_INFORMATION
    alice.say(b"hello")
    house.deliver()
    (removal,) = house.state().removals
    assert (removal.leaf_index, removal.reason) == (2, RemovalReason.QUEUE_REJECTED)
    house.deliver()
    assert house.kinds(bob) == ["welcome", "application", "proposal"]
    house.refuses(alice.saying(b"hello?"), "mds-cover-1")


def test_a_client_that_has_named_another_queue_since_stays(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    house.world.queueing_services.results[carol.queue] = Result.INVALID_CLIENT_QUEUE_INFORMATION
    alice.say(b"to the old queue")
    assert house.serve(carol.moving("elsewhere")) == Ok()
    house.deliver()
    assert house.state().removals == ()
    assert house.head().blocked_since == 0


@pytest.mark.parametrize("result", [Result.QUEUE_FULL, Result.MESSAGE_TOO_LARGE, Result.SENDER_LIMITED])
def test_a_queue_that_is_full_holds_up_nobody_and_costs_nobody_its_place(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId, result: Result
) -> None:
    house.world.queueing_services.results[carol.queue] = result
    alice.say(b"hello")
    house.deliver()
    assert house.state().removals == ()
    assert bob.catch_up() == [b"hello"]
    assert house.world.alarms.raised[-1] == ("queue-refused", result.name.lower())
    assert not house.world.tables.wakes


def test_who_is_quarantined_gets_nothing(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    house.want_removed(carol)
    house.deliver()
    before = house.kinds(carol)
    house.world.clock.advance(HOUR)
    alice.say(b"hello")
    done(alice.updating(), alice, bob)
    assert house.serve(alice.leaving()) == Ok()
    done(bob.removing(carol), bob)
    house.deliver()
    assert house.kinds(carol) == before, "not even the commit that removes it"
