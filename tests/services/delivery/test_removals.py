"""Clients that this service wants out (-02 §§2.2, 6): proposed, mandatory, given up after an hour, quarantined."""

from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.protocol.delivery.group_state import RemovalReason
from chalicelib.protocol.delivery.group_updates import AddClients, AddUsers, RemoveClients
from chalicelib.protocol.delivery.messages import DSMessage
from chalicelib.protocol.delivery.refusals import MustCover, UnknownGroup
from chalicelib.protocol.delivery.responses import Ok
from chalicelib.protocol.mls.framing import Sender, SenderType, decode_message
from chalicelib.protocol.mls.proposals import Remove, SelfRemove
from chalicelib.services.delivery.state import GroupId
from tests.services.delivery.house import House, Person, done, settled

HOUR = 3_600_000


def must_cover(house: House, message: DSMessage) -> MustCover:
    with pytest.raises(MustCover) as caught:
        house.serve(message)
    assert caught.value.facts() == {"check": "mds-cover-1", "current_epoch": house.head().epoch}
    return caught.value


def targets(required: tuple[bytes, ...]) -> list[Any]:
    """Return what the proposals of a refusal are."""
    return [decode_message(message).body.content.content for message in required]  # type: ignore[union-attr]


@pytest.mark.parametrize("reason", RemovalReason)
def test_a_removal_is_proposed_to_everybody_once(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId, reason: RemovalReason
) -> None:
    assert house.want_removed(carol, reason=reason)
    assert not house.want_removed(carol, reason=reason)
    house.deliver()
    for person in (alice, bob, carol):
        (message,) = [one for one in house.queue(person) if "Remove" in repr(one)]
        assert message.body.content.sender == Sender(SenderType.EXTERNAL, 0)  # type: ignore[union-attr]
        assert message.body.content.content == Remove(2)  # type: ignore[union-attr]
    assert house.head().blocked_since == house.state().removals[0].issued_at


def test_until_it_is_covered_no_commit_and_no_message_is_taken(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    """[mds-cover-1] The refusal carries the proposals, so that who has not heard of them can commit them."""
    house.want_removed(carol)
    dora = Person(house, "dora")
    for message in (alice.updating()[0], alice.saying(b"hello"), alice.adding(dora, kind=AddUsers)[0]):
        required = must_cover(house, message).required
        assert targets(required) == [Remove(2)]
    for proposal in must_cover(house, alice.saying(b"hello")).required:
        alice.receive(proposal)
    done(alice.covering(), alice)
    alice.say(b"hello")
    assert house.head().blocked_since == 0
    assert house.state().removals == ()


def test_any_commit_covers_it_that_removes_the_client(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    """By value too: who removes it does not matter."""
    house.want_removed(carol)
    done(alice.removing(carol), alice, bob)
    assert house.state().removals == ()
    house.deliver()
    assert house.kinds(carol)[-2:] == ["proposal", "commit"], "it hears of its removal"


def test_several_are_required_together(house: House, alice: Person, bob: Person, carol: Person, group: GroupId) -> None:
    house.want_removed(carol)
    house.want_removed(bob)
    assert targets(must_cover(house, alice.removing(carol)[0]).required) == [Remove(1)]
    assert targets(must_cover(house, alice.updating()[0]).required) == [Remove(2), Remove(1)]
    done(alice.removing(bob, carol), alice)


def test_proposals_and_queues_are_taken_meanwhile(house: House, alice: Person, carol: Person, group: GroupId) -> None:
    house.want_removed(carol)
    assert house.serve(alice.moving("elsewhere")) == Ok()
    assert house.serve(alice.proposing(Remove(1))) == Ok()
    assert house.head().blocked_since


def test_an_external_commit_leaves_them_to_the_next_epoch(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    """It may hold no Remove by reference (RFC 9420 §12.4.3.2): the removal is proposed anew, in the transaction."""
    house.want_removed(carol)
    since = house.head().blocked_since
    phone = Person(house, "phone", user="bob")
    house.world.clock.advance(HOUR // 2)
    answer = house.serve(phone.asking_to_return())
    assert targets(tuple(message.encode() for message in answer.proposals)) == [Remove(2)]
    message, pending = phone.returning(answer.group_info.body, answer.ratchet_tree, None)
    assert house.serve(message) == Ok()
    phone.accepted(pending, others=[alice, bob])
    assert house.head().blocked_since == since, "coming in does not put it off"
    assert targets(must_cover(house, phone.saying(b"hello")).required) == [Remove(2)]
    house.deliver()
    assert [house.kinds(person)[-2:] for person in (alice, bob)] == [["commit", "proposal"]] * 2
    assert house.kinds(phone) == ["proposal"]
    phone.catch_up()
    done(phone.covering(), phone)
    assert house.state().leaf(2) is None


def test_who_leaves_by_itself_is_not_removed(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    """No Remove stands beside a SelfRemove: a commit could not hold both (draft-ietf-mls-extensions)."""
    assert house.serve(carol.leaving()) == Ok()
    assert house.want_removed(carol)
    assert [type(one.proposal) for one in house.state().group.proposals.values()] == [SelfRemove]
    assert house.head().blocked_since == house.world.clock()
    house.deliver()
    alice.catch_up()
    for message in (alice.updating()[0], alice.saying(b"hello")):
        assert targets(must_cover(house, message).required) == [SelfRemove()]
    done(alice.covering(), alice)
    assert house.state().removals == ()


def test_who_wanted_to_leave_first_is_quarantined_like_any_other(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    """A SelfRemove that nobody commits is no way to stay."""
    assert house.serve(carol.leaving()) == Ok()
    assert house.want_removed(carol, reason=RemovalReason.USER_DELETED)
    must_cover(house, carol.saying(b"still here"))
    house.world.clock.advance(HOUR)
    alice.say(b"without carol")
    house.refuses(carol.saying(b"still here"), "mds-remove-1")
    house.deliver()
    assert house.kinds(bob)[-1] == "application"
    assert "application" not in house.kinds(carol)
    assert house.head().blocked_since == 0


def test_who_is_being_removed_does_not_leave_by_itself_beside_it(
    house: House, bob: Person, carol: Person, group: GroupId
) -> None:
    """[mds-propose-6] Else the proposal that is required could never be committed."""
    house.want_removed(carol)
    house.refuses(carol.leaving(), "mds-propose-6")


def test_a_self_remove_that_an_external_commit_passes_by_gives_way_to_the_removal(
    house: House, bob: Person, carol: Person, group: GroupId
) -> None:
    assert house.serve(carol.leaving()) == Ok()
    house.want_removed(carol)
    phone = Person(house, "phone", user="bob")
    answer = house.serve(phone.asking_to_return())
    message, pending = phone.returning(answer.group_info.body, answer.ratchet_tree, None)
    assert house.serve(message) == Ok()
    phone.accepted(pending)
    assert targets(must_cover(house, phone.updating()[0]).required) == [Remove(2)]


# An hour later.


def test_a_removal_that_nobody_commits_is_given_up_after_an_hour(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    """Nobody can hold up a group for ever by doing nothing: the client is quarantined instead."""
    house.want_removed(carol)
    house.world.clock.advance(HOUR - 1)
    message = alice.saying(b"hello")
    must_cover(house, message)
    house.world.clock.advance(1)
    assert house.serve(message) == Ok()
    head = house.head()
    assert (head.blocked_since, head.epoch, head.deleted) == (0, 1, False)
    house.deliver()
    assert house.kinds(bob)[-1] == "application"
    assert house.kinds(carol)[-1] == "proposal", "the last that it gets is the proposal to remove it"


@pytest.mark.parametrize(
    "ask",
    [
        lambda carol: carol.saying(b"hello"),
        lambda carol: carol.updating()[0],
        lambda carol: carol.moving("elsewhere"),
        lambda carol: carol.proposing(Remove(0)),
        lambda carol: carol.leaving(),
        lambda carol: carol.asking_to_return(),
        lambda carol: carol.sign(carol.registered(), carol.adding(carol.phone, kind=AddClients)[0].request.body),
        lambda carol: carol.sign(carol.registered(), carol.removing(carol.tablet, kind=RemoveClients)[0].request.body),
    ],
    ids=["send", "update", "move", "propose", "leave", "ask", "add by the user's key", "remove by the user's key"],
)
def test_who_is_quarantined_may_do_nothing_more(
    house: House, alice: Person, bob: Person, ask: Callable[[Any], DSMessage]
) -> None:
    """[mds-remove-1]"""
    carol: Any = Person(house, "carol")
    carol.phone, carol.tablet = Person(house, "phone", user="carol"), Person(house, "tablet", user="carol")
    settled(alice, bob, carol, carol.tablet)
    quarantine(house, carol)
    house.refuses(ask(carol), "mds-remove-1")


def quarantine(house: House, *people: Person) -> None:
    """Want some members removed, and let the hour pass."""
    house.want_removed(*people)
    house.world.clock.advance(HOUR)
    house.removals.settle(house.vault.unlock(house.head(), None), house.world.clock())


def test_what_was_given_up_is_proposed_again_in_each_epoch_and_holds_up_nothing(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    quarantine(house, carol)
    for _ in range(2):
        done(alice.updating(), alice, bob)
        assert targets(tuple(one.message for one in house.state().proposals)) == [Remove(2)]
        alice.say(b"hello")
    house.deliver()
    assert house.kinds(bob)[-3:] == ["commit", "proposal", "application"]
    alice.catch_up()
    assert len(alice.member.group.proposals) == 1
    done(alice.covering(), alice)
    assert house.state().removals == ()
    assert house.state().records.get(2) is None


def test_a_group_in_which_everybody_is_quarantined_is_closed(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    house.want_removed(alice, bob)
    house.world.clock.advance(HOUR // 2)
    house.want_removed(carol)
    house.world.clock.advance(HOUR // 2)
    message = carol.saying(b"alone?")
    must_cover(house, message)
    house.world.clock.advance(HOUR // 2)
    with pytest.raises(UnknownGroup):
        house.serve(carol.saying(b"alone?"))
    assert (house.head().deleted, house.head().root, house.head().blocked_since) == (True, b"", 0)
    house.deliver()
    assert house.kinds(carol) == ["welcome", "proposal", "proposal", "proposal"]


def test_a_commit_too_finds_the_hour_over(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    house.want_removed(carol)
    house.world.clock.advance(HOUR)
    done(alice.updating(), alice, bob)
    record = house.state().records.get(2)
    assert record is not None
    assert record.quarantined


# Groups that do not list this service.


@pytest.fixture
def unlisted() -> House:
    house = House(may_lack_sender=True)
    house.world.queueing_services.known.add("us.ds.example")
    return house


def test_without_this_service_as_sender_a_client_is_quarantined_at_once(unlisted: House) -> None:
    alice, bob, carol = (Person(unlisted, name) for name in ("alice", "bob", "carol"))
    alice.create(with_sender=False)
    alice.add(bob, carol)
    assert unlisted.want_removed(carol)
    assert not unlisted.want_removed(carol)
    assert unlisted.state().proposals == ()
    alice.say(b"hello")
    unlisted.deliver()
    assert (unlisted.kinds(bob)[-1], unlisted.kinds(carol)) == ("application", ["welcome"])
    unlisted.refuses(carol.saying(b"hello?"), "mds-remove-1")
    done(alice.updating(), alice, bob)
    record = unlisted.state().records.get(2)
    assert record is not None
    assert record.quarantined
    done(alice.removing(carol), alice, bob)
    assert unlisted.state().removals == ()


def test_such_a_group_is_closed_when_its_last_client_goes(unlisted: House) -> None:
    alice = Person(unlisted, "alice")
    alice.create(with_sender=False)
    assert unlisted.want_removed(alice)
    assert unlisted.head().deleted
    with pytest.raises(UnknownGroup):
        unlisted.serve(alice.saying(b"hello?"))
