"""A client that is being removed tries to slip away: by a new key, by another leaf, by a friend's help.

Where a credential names its user only, a client is known by its key, and can draw a new one at any time. So what
counts is that its leaf is removed, not what stands there afterwards.
"""

import dataclasses

import pytest

from chalicelib.protocol.delivery.group_state import RemovalReason
from chalicelib.protocol.delivery.group_updates import AddedClient, CommitRequest
from chalicelib.protocol.delivery.responses import Ok
from chalicelib.protocol.mls.proposals import Add, Proposal, Remove
from tests.services.delivery.house import House, Person, done, settled
from tests.services.delivery.messages import Renewing, refused, update_of

HOUR = 3_600_000


@pytest.fixture(params=[False, True], ids=["named", "known by its key"])
def target(request: pytest.FixtureRequest, house: House) -> Person:
    return Person(house, "target", keyed=request.param)


@pytest.fixture
def group(alice: Person, target: Person, carol: Person) -> None:
    settled(alice, target, carol)


def proposed_update(house: House, target: Person, *friends: Person) -> bytes:
    """Let the target propose a leaf with another signature key, and return the reference."""
    renewing = Renewing(**vars(target.identity), after=target.renewed())
    message, _ = dataclasses.replace(target.member, identity=renewing).propose_update(target.random)
    assert house.serve(target.proposing(message)) == Ok()
    house.deliver()
    for friend in friends:
        friend.catch_up()
    reference: bytes = house.state().proposals[-1].reference
    return reference


def test_its_own_commit_covers_nothing(house: House, target: Person, group: None) -> None:
    house.want_removed(target)
    house.refuses(target.updating()[0], "mds-cover-1")
    message = target.as_member(CommitRequest(update_of(target.renewing(target.renewed()))))
    house.refuses(message, "mds-cover-1")


def test_its_update_that_a_friend_commits_covers_nothing(
    house: House, alice: Person, target: Person, group: None
) -> None:
    """Also if it gives it another key, and was proposed before the removal was."""
    reference = proposed_update(house, target, alice)
    house.want_removed(target)
    house.refuses(alice.committing(reference)[0], "mds-cover-1")


def test_its_update_after_the_hour_does_not_end_the_quarantine(
    house: House, alice: Person, carol: Person, target: Person, group: None
) -> None:
    reference = proposed_update(house, target, alice)
    house.want_removed(target)
    house.world.clock.advance(HOUR)
    assert house.serve(alice.committing(reference)[0]) == Ok()
    state = house.state()
    record, leaf = state.records.get(1), state.leaf(1)
    assert record is not None
    assert leaf is not None
    assert record.quarantined
    (removal,) = state.removals
    assert (removal.leaf_index, removal.client) == (1, state.group.policy.client(leaf))
    assert len(state.proposals) == 1, "its removal is proposed again"


def test_it_does_not_come_back_from_outside(house: House, target: Person, group: None) -> None:
    """[mds-remove-1] It may have asked for what that takes in time."""
    answer = house.serve(target.asking_to_return())
    house.want_removed(target)
    message, _ = target.returning(answer.group_info.body, answer.ratchet_tree, 1)
    house.refuses(message, "mds-remove-1")
    house.refuses(target.asking_to_return(), "mds-remove-1")
    target.identity = target.renewed()
    message, _ = target.returning(answer.group_info.body, answer.ratchet_tree, 1)
    house.refuses(message, "mds-remove-1")
    house.world.clock.advance(HOUR)
    message, _ = target.returning(answer.group_info.body, answer.ratchet_tree, 1)
    with refused("mds-remove-1"):
        house.serve(message)


def adding_back(house: House, alice: Person, target: Person, *others: Proposal | bytes) -> CommitRequest:
    package = target.key_package().public
    pending = alice.commit(*others, Add(package))
    assert pending.welcome is not None
    added = (AddedClient(package.reference(alice.member_suite), target.queue),)
    return CommitRequest(update_of(pending), (pending.welcome,), added)


@pytest.mark.parametrize("vacant", [False, True], ids=["at its leaf", "at another leaf"])
def test_it_is_not_removed_and_added_back_in_one_commit(
    house: House, alice: Person, carol: Person, target: Person, vacant: bool
) -> None:
    """The removal would be covered and the client be where it was."""
    people = [carol, target] if vacant else [target, carol]
    settled(alice, *people)
    house.want_removed(target)
    house.deliver()
    alice.catch_up()
    others: list[Proposal | bytes] = [*alice.member.group.proposals]
    if vacant:
        others.append(Remove(carol.member.leaf_index))
    house.refuses(alice.as_member(adding_back(house, alice, target, *others)), "mds-cover-1")


def test_another_client_may_take_its_leaf(house: House, alice: Person, target: Person, group: None) -> None:
    """That the leaf is filled again does not mean that nobody was removed."""
    house.want_removed(target)
    house.deliver()
    alice.catch_up()
    dora = Person(house, "dora")
    request = adding_back(house, alice, dora, *alice.member.group.proposals)
    assert house.serve(alice.as_member(request)) == Ok()
    assert house.state().removals == ()
    record = house.state().records.get(1)
    assert record is not None
    assert (record.config, record.quarantined) == (dora.queue, False)


def test_once_it_was_removed_it_may_be_added_again(
    house: House, alice: Person, carol: Person, target: Person, group: None
) -> None:
    """With a queue that works, say. Who is no member of its user's account any more, account events see to."""
    house.want_removed(target, reason=RemovalReason.QUEUE_REJECTED)
    done(alice.removing(target), alice, carol)
    alice.add(target)
    target.say(b"hello")
