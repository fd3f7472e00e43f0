"""In which order a request is judged, who may send it, and what a repeat is answered."""

import dataclasses
from collections.abc import Callable

import pytest

from chalicelib.errors import DecodeError, Refusal
from chalicelib.protocol.delivery.directory import PublicKey, RequestGroupId
from chalicelib.protocol.delivery.group_messages import SendMessage
from chalicelib.protocol.delivery.group_updates import DeleteGroupRequest, UpdateClient
from chalicelib.protocol.delivery.info_requests import CloseGroup, ExternalCommitInfo, UpdateQueueInfo, WelcomeInfo
from chalicelib.protocol.delivery.messages import DSMessage, DSSenderID
from chalicelib.protocol.delivery.parts import Domain
from chalicelib.protocol.delivery.refusals import UnknownGroup
from chalicelib.protocol.delivery.responses import Ok
from chalicelib.protocol.mls.errors import StaleEpoch
from chalicelib.protocol.mls.proposals import ReInit, Remove
from chalicelib.services.delivery.senders import WrongSender
from chalicelib.services.delivery.state import GroupId, Kind
from tests.services.delivery.house import House, Person, done
from tests.services.delivery.messages import update_of

MINUTE, HOUR = 60_000, 3_600_000


def forged(message: DSMessage) -> DSMessage:
    return dataclasses.replace(message, signature=bytes(64))


def outcome(house: House, message: DSMessage) -> tuple[type, str]:
    """Return what a refusal says: nothing more must tell one case from another."""
    with pytest.raises(Refusal) as caught:
        house.serve(message)
    return type(caught.value), f"{caught.value} {caught.value.facts()}"


def at(person: Person, group_id: GroupId) -> list[DSMessage]:
    """Return a request of each kind that names a group in clear and is about no epoch."""
    key, offered = person.identity.signature_key, person.key_package().public
    by_package = DSSenderID.key_package(offered.reference(person.member_suite))
    info = ExternalCommitInfo(group_id, key, offered, person.fresh())
    return [
        person.sign(DSSenderID.leaf(0), UpdateQueueInfo(group_id, key, person.queue, person.fresh())),
        person.sign(by_package, UpdateQueueInfo(group_id, key, person.queue, person.fresh())),
        person.sign(DSSenderID.leaf(0), CloseGroup(group_id, key, person.fresh())),
        person.sign(by_package, CloseGroup(group_id, key, person.fresh())),
        person.sign(by_package, WelcomeInfo(group_id, key, 1, person.fresh())),
        person.sign(DSSenderID.leaf(0), WelcomeInfo(group_id, key, 1, person.fresh())),
        person.sign(by_package, info),
        person.sign(DSSenderID.key_package(bytes(32)), info),
        person.sign(by_package, dataclasses.replace(info, sender=bytes(32))),
        person.sign(DSSenderID.leaf(0), info),
        person.sign(DSSenderID.leaf(99), info),
        person.sign(DSSenderID.user(bytes(32)), info),
        person.sign(person.registered(), info),
    ]


def test_a_request_goes_by_its_own_route(house: House, alice: Person) -> None:
    with pytest.raises(DecodeError):
        house.desk.serve("delete-group", alice.creation().encode())
    with pytest.raises(DecodeError):
        house.desk.serve("no-such-operation", alice.creation().encode())


# A repeat.


def test_a_repeat_is_answered_as_the_first_was_though_the_senders_key_is_another_now(
    house: House, alice: Person, group: GroupId
) -> None:
    after = alice.renewed()
    message = alice.as_member(UpdateClient(update_of(alice.renewing(after))))
    assert house.serve(message) == Ok()
    leaf = house.state().leaf(0)
    assert leaf is not None
    assert leaf.signature_key == after.signature_key != alice.identity.signature_key
    assert house.serve(message) == Ok()
    assert house.head().epoch == 2


def test_a_repeat_is_answered_for_a_day_whatever_its_time_says(house: House, alice: Person, group: GroupId) -> None:
    message = alice.saying(b"once")
    first = house.desk.serve("send-message", message.encode())
    house.world.clock.advance(23 * HOUR)
    assert house.desk.serve("send-message", message.encode()) == first
    house.world.clock.advance(2 * HOUR)
    house.refuses(message, "mds-fresh-1")
    assert house.head().seq == 4


def test_a_repeat_is_answered_in_a_later_epoch_and_after_the_group_is_gone(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    said, (updated, pending) = bob.saying(b"before"), alice.updating()
    assert house.serve(said) == Ok()
    assert house.serve(updated) == Ok()
    alice.accepted(pending, others=[bob, carol])
    deleted, pending = alice.removing(bob, carol, kind=DeleteGroupRequest)
    assert house.serve(deleted) == Ok()
    for message in (said, updated, deleted):
        assert house.serve(message) == Ok()
    with pytest.raises(UnknownGroup):
        house.serve(alice.saying(b"after"))


# The epoch, then the sender.


def test_a_stale_commit_hears_so_whoever_sends_it(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    late, _ = bob.updating()
    done(alice.removing(bob), alice, carol)
    for message in (late, forged(late)):
        with pytest.raises(StaleEpoch) as caught:
            house.serve(message)
        assert caught.value.facts() == {"current_epoch": 2, "check": "mls-12.4.2-1"}


def test_a_message_of_another_epoch_is_refused(house: House, alice: Person, bob: Person, group: GroupId) -> None:
    """[mds-send-2]"""
    late, proposed = bob.saying(b"late"), bob.proposing(Remove(2))
    done(alice.updating(), alice)
    house.refuses(late, "mls-12.4.2-1")
    house.refuses(proposed, "mls-12.4.2-1")
    ahead = alice.saying(b"early")
    done(alice.updating(), alice)
    house.refuses(ahead, "mls-12.4.2-1")


@pytest.mark.parametrize(
    "ask",
    [
        lambda person: person.saying(b"hello"),
        lambda person: person.proposing(Remove(2)),
        lambda person: person.leaving(),
        lambda person: person.moving("elsewhere"),
        lambda person: person.updating()[0],
    ],
    ids=["send-message", "submit-proposals", "self-remove", "update-queue-info", "update-client"],
)
def test_nobody_speaks_for_a_member(
    house: House, alice: Person, bob: Person, group: GroupId, ask: Callable[[Person], DSMessage]
) -> None:
    """[mds-sender-1] [mds-sender-3] The key is that of the leaf that is named, and it is the leaf that MLS names."""
    message = ask(bob)
    body = message.request.body
    for other in (forged(message), alice.sign(DSSenderID.leaf(1), body), bob.sign(DSSenderID.leaf(99), body)):
        with pytest.raises((UnknownGroup, WrongSender)):
            house.serve(other)
    house.refuses(bob.sign(DSSenderID.key_package(bytes(32)), body), "mds-sender-1")
    if not isinstance(body, SendMessage):  # Whose an encrypted message is, only members can tell.
        house.refuses(alice.as_member(body), "mds-sender-1")
    assert house.serve(message) == Ok()


def test_a_queue_is_named_by_the_member_whose_it_is(house: House, alice: Person, bob: Person, group: GroupId) -> None:
    """[mds-sender-1] The request names the key that it is signed with."""
    request = UpdateQueueInfo(group, bob.identity.signature_key, alice.queue, alice.fresh())
    house.refuses(alice.as_member(request), "mds-sender-1")


def test_who_is_no_member_learns_no_more_than_of_a_group_that_is_not_there(house: House, group: GroupId) -> None:
    mallory = Person(house, "mallory")
    here = [outcome(house, message) for message in at(mallory, group)]
    nowhere = [outcome(house, message) for message in at(mallory, GroupId(b"no group"))]
    assert here == nowhere


def test_of_a_frozen_group_outsiders_learn_nothing_either(house: House, alice: Person, group: GroupId) -> None:
    done(alice.committing(ReInit(b"the next", 1, 1, ()), path=False), alice)
    assert house.head().frozen
    mallory = Person(house, "mallory")
    here = [outcome(house, message) for message in at(mallory, group)]
    assert here == [outcome(house, message) for message in at(mallory, GroupId(b"no group"))]


@pytest.mark.parametrize("group_id", [b"", b"x" * 1_025], ids=["empty", "too long"])
def test_a_group_that_cannot_be_here_is_not_looked_for(house: House, alice: Person, group_id: bytes) -> None:
    key = alice.identity.signature_key
    house.world.fail("groups", "load")
    with pytest.raises(UnknownGroup):
        house.serve(alice.sign(DSSenderID.leaf(0), UpdateQueueInfo(group_id, key, alice.queue, alice.fresh())))


# The present.


def every_fresh_request(alice: Person, bob: Person) -> list[DSMessage]:
    alice.key_package()
    answer = alice.house.serve(bob.asking_to_return())
    returning, _ = bob.returning(answer.group_info.body, answer.ratchet_tree, 1)
    user = alice.registered()
    assert alice.offered is not None
    by_package = DSSenderID.key_package(alice.offered.public.reference(alice.member_suite))
    return [
        alice.saying(b"hello"),
        alice.proposing(Remove(1)),
        alice.leaving(),
        alice.moving("elsewhere"),
        alice.asking_to_return(),
        alice.sign(by_package, WelcomeInfo(b"a group", alice.identity.signature_key, 1, alice.fresh())),
        alice.sign(user, RequestGroupId(1, alice.fresh())),
        alice.sign(user, PublicKey(b"a group", 1, alice.fresh())),
        returning,
    ]


@pytest.mark.parametrize("later", [-5 * MINUTE - 1, 5 * MINUTE + 1, 24 * HOUR])
def test_a_request_is_of_the_present(house: House, alice: Person, bob: Person, group: GroupId, later: int) -> None:
    """[mds-fresh-1] So that what was once said cannot be said again by somebody who has overheard it."""
    messages = every_fresh_request(alice, bob)
    house.world.clock.advance(later)
    for message in messages:
        house.refuses(message, "mds-fresh-1")


def test_a_clock_may_differ_a_little(house: House, alice: Person, group: GroupId) -> None:
    for later in (5 * MINUTE, -5 * MINUTE):
        message = alice.saying(b"%d" % later)
        house.world.clock.advance(later)
        assert house.serve(message) == Ok()
        house.world.clock.advance(-later)


def test_a_request_is_for_this_delivery_service(house: House, alice: Person, group: GroupId) -> None:
    """[mds-fresh-1]"""
    elsewhere = dataclasses.replace(alice.fresh(), ds_domain=Domain("us.ds.example"))
    key = alice.identity.signature_key
    house.refuses(alice.as_member(UpdateQueueInfo(group, key, alice.queue, elsewhere)), "mds-fresh-1")


def test_another_signature_on_the_same_request_makes_no_second_message(
    house: House, alice: Person, bob: Person, group: GroupId
) -> None:
    """Who overhears an ECDSA signature can make another one of it, which verifies as well."""
    message = alice.saying(b"pay bob")
    assert house.serve(message) == Ok()
    assert house.serve(dataclasses.replace(message, signature=bytes(64))) == Ok()
    house.deliver()
    bob.catch_up()
    assert [row.kind for row in house.world.groups.rows(group)].count(Kind.APPLICATION) == 1
