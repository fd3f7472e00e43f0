"""Who may ask what it takes to join or to come back (-02 §§3.4, 3.5, 4.5), and who may then come in."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.protocol.crypto import UnsupportedCipherSuite, cipher_suite
from chalicelib.protocol.delivery.directory import AddPackage, PublicKey, RequestGroupId
from chalicelib.protocol.delivery.group_updates import JoinByExternalCommit, ResyncClient
from chalicelib.protocol.delivery.info_requests import ExternalCommitInfo, WelcomeInfo
from chalicelib.protocol.delivery.messages import DSMessage, DSSenderID
from chalicelib.protocol.delivery.parts import Reference
from chalicelib.protocol.delivery.refusals import UnknownGroup
from chalicelib.protocol.delivery.responses import Ok
from chalicelib.protocol.mls.proposals import Remove
from chalicelib.services.delivery import information
from chalicelib.services.delivery.state import GroupId
from tests.services.delivery.house import House, Person, done

DAY = 86_400_000


def welcome_info(person: Person, epoch: int, **changes: Any) -> DSMessage:
    assert person.offered is not None
    request = WelcomeInfo(b"a group", person.identity.signature_key, epoch, person.fresh())
    sender = DSSenderID.key_package(person.offered.public.reference(person.member_suite))
    return person.sign(sender, dataclasses.replace(request, **changes))


def external_info(person: Person, **changes: Any) -> DSMessage:
    person.publish()
    assert person.offered is not None
    offered = person.offered.public
    request = ExternalCommitInfo(b"a group", person.identity.signature_key, offered, person.fresh())
    sender = DSSenderID.key_package(offered.reference(person.member_suite))
    return person.sign(sender, dataclasses.replace(request, **changes))


def come_in(house: House, person: Person, old_leaf: int | None) -> DSMessage:
    answer = house.serve(external_info(person))
    return person.returning(answer.group_info.body, answer.ratchet_tree, old_leaf)[0]


# Welcomes.


def test_who_was_added_joins_also_when_the_group_is_further_on(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    """Its epoch is kept; what it missed since lies in its queue."""
    dora = Person(house, "dora")
    message, pending = alice.adding(dora)
    assert house.serve(message) == Ok()
    alice.accepted(pending, others=[bob, carol])
    done(bob.updating(), bob, alice, carol)
    done(alice.removing(carol), alice, bob)
    dora.join(pending)
    assert dora.member.epoch == 2
    house.deliver()
    dora.catch_up()
    assert dora.member.secrets == alice.member.secrets


def test_the_tree_and_group_info_are_those_of_the_epoch(house: House, alice: Person, bob: Person) -> None:
    alice.create()
    alice.add(bob)
    first = house.serve(welcome_info(bob, 1))
    done(alice.updating(), alice)
    assert house.serve(alice.moving("elsewhere")) == Ok()
    assert house.serve(welcome_info(bob, 1)) == first
    assert first.group_info.body.group_context.epoch == 1


def test_only_who_was_added_asks_for_an_epoch(house: House, alice: Person, bob: Person, carol: Person) -> None:
    """[mds-welcome-info-1]"""
    alice.create()
    alice.add(bob)
    alice.add(carol)
    mallory = Person(house, "mallory")
    mallory.key_package()
    for message in (
        welcome_info(bob, 2),
        welcome_info(bob, 0),
        welcome_info(carol, 1),
        welcome_info(mallory, 1),
        welcome_info(bob, 1, sender=carol.identity.signature_key),
        dataclasses.replace(welcome_info(bob, 1), signature=bytes(64)),
        carol.sign(welcome_info(bob, 1).sender_id, welcome_info(bob, 1).request.body),
        bob.sign(DSSenderID.leaf(1), welcome_info(bob, 1).request.body),
    ):
        with pytest.raises(UnknownGroup):
            house.serve(message)
    assert house.serve(welcome_info(bob, 1)).group_info.body.group_context.epoch == 1


def test_an_epoch_is_kept_until_its_key_packages_end(house: House, alice: Person, bob: Person) -> None:
    alice.create()
    alice.add(bob)
    house.world.clock.advance(29 * DAY)
    assert house.serve(welcome_info(bob, 1))
    house.world.clock.advance(2 * DAY)
    with pytest.raises(UnknownGroup):
        house.serve(welcome_info(bob, 1))


def test_a_large_tree_is_fetched(house: House, alice: Person, bob: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    alice.create()
    alice.add(bob)
    inline = house.serve(welcome_info(bob, 1)).ratchet_tree
    monkeypatch.setattr(information, "INLINE_TREE", 100)
    option = house.serve(welcome_info(bob, 1)).ratchet_tree
    assert isinstance(option, Reference)
    assert house.world.uploads.follow(option.url) == inline
    assert option.length == len(inline)


# From outside.


def test_a_client_of_a_user_who_is_there_joins_by_itself(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    phone = Person(house, "phone", user="bob")
    answer = house.serve(external_info(phone))
    message, pending = phone.returning(answer.group_info.body, answer.ratchet_tree, None)
    assert house.serve(message) == house.serve(message) == Ok()
    phone.accepted(pending, others=[alice, bob, carol])
    alice.say(b"welcome")
    house.deliver()
    assert phone.catch_up() == bob.catch_up() == [b"welcome"]


@pytest.mark.parametrize("name", ["leaf", "published", "user"])
def test_members_clients_and_users_of_members_may_ask(house: House, bob: Person, group: GroupId, name: str) -> None:
    request: Any = external_info(bob).request.body
    if name == "leaf":
        message = bob.as_member(dataclasses.replace(request, key_package=None))
    elif name == "user":
        message = bob.sign(bob.registered(), dataclasses.replace(request, key_package=None))
    else:
        package = bob.key_package().public
        reference = package.reference(bob.member_suite)
        offer = AddPackage(package, bob.queue, False, b"")
        house.world.directory.publish(b"bob", b"bob", 1, [(reference, offer)])
        message = bob.sign(DSSenderID.key_package(reference), dataclasses.replace(request, key_package=None))
    assert house.serve(message).group_info.body.group_context.epoch == 1


def test_nobody_else_may_ask(house: House, alice: Person, group: GroupId) -> None:
    """[mds-external-info-1]"""
    dora = Person(house, "dora")
    for message in (
        external_info(dora),
        external_info(alice, sender=bytes(32)),
    ):
        with pytest.raises(UnknownGroup):
            house.serve(message)
    with pytest.raises(UnknownGroup):
        house.serve(dora.sign(dora.registered(), external_info(dora).request.body))


def test_who_asks_hears_what_waits_for_a_commit(house: House, alice: Person, bob: Person, group: GroupId) -> None:
    proposed = bob.proposing(Remove(2))
    assert house.serve(proposed) == Ok()
    answer = house.serve(external_info(Person(house, "phone", user="alice")))
    assert answer.proposals == proposed.request.body.proposals  # type: ignore[union-attr]


def test_who_joins_by_itself_is_of_a_user_who_is_there(house: House, bob: Person, group: GroupId) -> None:
    """[mds-join-1] Knowing the tree and the GroupInfo is not enough."""
    answer = house.serve(external_info(bob))
    dora = Person(house, "dora")
    message, _ = dora.returning(answer.group_info.body, answer.ratchet_tree, None)
    house.refuses(message, "mds-join-1")


def test_who_comes_in_is_who_asks(house: House, alice: Person, bob: Person, group: GroupId) -> None:
    """[mds-sender-4] The path's leaf has the signature key and the credential of the KeyPackage that signs."""
    phone = Person(house, "phone", user="bob")
    message = come_in(house, phone, None)
    body = message.request.body
    other = bob.key_package().public
    assert isinstance(body, JoinByExternalCommit)
    by_other = DSSenderID.key_package(other.reference(bob.member_suite))
    house.refuses(bob.sign(by_other, dataclasses.replace(body, key_package=other)), "mds-sender-1")
    for sender in (by_other, DSSenderID.leaf(1)):
        with pytest.raises(UnknownGroup):
            house.serve(phone.sign(sender, body))
    with pytest.raises(UnknownGroup):
        house.serve(dataclasses.replace(message, signature=bytes(64)))
    assert house.serve(message) == Ok()


# Back again.


def test_a_client_that_lost_its_state_comes_back_with_its_queue(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    """The leaf may be another one than before; the delivery record moves with it."""
    done(alice.removing(bob), alice, carol)
    answer = house.serve(external_info(carol))
    message, pending = carol.returning(answer.group_info.body, answer.ratchet_tree, 2)
    assert house.serve(message) == Ok()
    carol.accepted(pending, others=[alice])
    assert carol.member.leaf_index == 1
    assert [(leaf, record.config) for leaf, record in house.state().records.all()] == [
        (0, alice.queue),
        (1, carol.queue),
    ]
    alice.say(b"again")
    house.deliver()
    assert carol.catch_up() == [b"again"]


def test_it_may_name_another_queue(house: House, bob: Person, group: GroupId) -> None:
    body = come_in(house, bob, 1).request.body
    assert isinstance(body, ResyncClient)
    moved = Person(house, "moved").queue
    other = dataclasses.replace(body, client_queue_config=moved)
    assert body.key_package is not None
    assert house.serve(bob.sign(DSSenderID.key_package(body.key_package.reference(bob.member_suite)), other)) == Ok()
    record = house.state().records.get(1)
    assert record is not None
    assert record.config == moved


def test_it_may_sign_as_the_member_that_it_was(house: House, bob: Person, group: GroupId) -> None:
    body = come_in(house, bob, 1).request.body
    assert house.serve(bob.sign(DSSenderID.leaf(1), body)) == Ok()


def test_it_may_have_lost_its_keys_too(house: House, bob: Person, group: GroupId) -> None:
    """Who it is then, the succession of credentials says."""
    bob.identity = bob.renewed()
    assert house.serve(come_in(house, bob, 1)) == Ok()


def test_it_takes_nobody_elses_place(house: House, alice: Person, bob: Person, carol: Person, group: GroupId) -> None:
    """[mds-sender-4] Nor can its other clients: they are clients of their own."""
    phone = Person(house, "phone", user="bob")
    house.refuses(come_in(house, phone, 1), "mds-successor-1")
    body = come_in(house, bob, 1).request.body
    assert isinstance(body, ResyncClient)
    house.refuses(bob.sign(DSSenderID.leaf(1), dataclasses.replace(body, sender=bytes(32))), "mds-sender-1")
    theirs = come_in(house, carol, 2).request.body
    house.refuses(bob.sign(DSSenderID.leaf(1), theirs), "mds-sender-1")


def test_coming_back_removes_the_old_leaf(house: House, bob: Person, group: GroupId) -> None:
    """[mds-resync-1] Without it the commit is another client's first one."""
    phone = Person(house, "phone", user="bob")
    answer = house.serve(external_info(phone))
    joining = phone.returning(answer.group_info.body, answer.ratchet_tree, None)[0].request.body
    assert isinstance(joining, JoinByExternalCommit)
    key = phone.identity.signature_key
    resync = ResyncClient(b"a group", key, joining.group_update, joining.key_package, phone.queue, phone.fresh())
    assert phone.offered is not None
    sender = DSSenderID.key_package(phone.offered.public.reference(phone.member_suite))
    house.refuses(phone.sign(sender, resync), "mds-resync-1")
    # And joining removes nothing.
    body = come_in(house, bob, 1).request.body
    assert isinstance(body, ResyncClient)
    other = JoinByExternalCommit(body.group_update, body.key_package, bob.queue, bob.fresh())
    assert bob.offered is not None
    sender = DSSenderID.key_package(bob.offered.public.reference(bob.member_suite))
    house.refuses(bob.sign(sender, other), "mds-op-2")


def test_a_joiner_whose_record_is_missing_names_a_queue(house: House, bob: Person, group: GroupId) -> None:
    """A resync without a queue of its own keeps the old one."""
    assert house.serve(come_in(house, bob, 1)) == Ok()
    record = house.state().records.get(1)
    assert record is not None
    assert record.config == bob.queue
    assert record.joined_epoch == 2


# Before a group.


def test_a_user_gets_a_group_id_and_this_service_as_its_sender(house: House, alice: Person) -> None:
    user = alice.registered()
    message = alice.sign(user, RequestGroupId(1, alice.fresh()))
    answer = house.serve(message)
    assert answer.external_sender == house.vault.signer(answer.group_id, 1).public
    assert house.serve(message) == answer
    assert house.serve(alice.sign(user, RequestGroupId(1, alice.fresh()))).group_id != answer.group_id
    assert house.serve(alice.creation(answer.group_id)) == Ok()
    assert house.state(answer.group_id).group.suite == cipher_suite(1)


def test_a_user_gets_the_key_for_a_group_that_it_names(house: House, alice: Person) -> None:
    asking = alice.sign(alice.registered(), PublicKey(b"mine", 2, alice.fresh()))
    assert house.serve(asking).external_sender == house.vault.signer(GroupId(b"mine"), 2).public
    house.refuses(alice.sign(alice.registered(), PublicKey(b"", 1, alice.fresh())), "mds-create-1")


@pytest.mark.parametrize("body", [lambda fresh: RequestGroupId(1, fresh), lambda fresh: PublicKey(b"g", 1, fresh)])
def test_only_registered_users_may_ask(house: House, alice: Person, bob: Person, body: Callable[[Any], Any]) -> None:
    """[mds-sender-1]"""
    user = alice.registered()
    for message in (
        alice.sign(DSSenderID.leaf(0), body(alice.fresh())),
        alice.sign(DSSenderID.user(bytes(32)), body(alice.fresh())),
        bob.sign(user, body(bob.fresh())),
    ):
        house.refuses(message, "mds-sender-1")


def test_a_suite_that_is_not_served_has_no_key(house: House, alice: Person) -> None:
    with pytest.raises(UnsupportedCipherSuite):
        house.serve(alice.sign(alice.registered(), RequestGroupId(0x0A0A, alice.fresh())))
