"""create-group (-02 §3.1): a group of one is taken in, as real clients make it, and each check has its refusal."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.client.mls_member import Member
from chalicelib.protocol.crypto import UnsupportedCipherSuite
from chalicelib.protocol.delivery.creation import CannotCreate
from chalicelib.protocol.delivery.group_updates import CreateGroupRequest, DeleteGroupRequest
from chalicelib.protocol.delivery.messages import DSMessage, DSSenderID
from chalicelib.protocol.delivery.parts import LONGEST_GROUP_ID
from chalicelib.protocol.delivery.refusals import GroupExists
from chalicelib.protocol.delivery.responses import CreateGroupResponse, Ok
from chalicelib.protocol.mls.extensions import (
    BASIC,
    Credential,
    ExternalSender,
    external_senders_extension,
)
from chalicelib.protocol.mls.nodes import LeafNodeSource
from chalicelib.protocol.mls.plain_tree import encode_tree
from chalicelib.protocol.mls.welcome import Welcome
from chalicelib.services.delivery.senders import WrongSender
from chalicelib.services.delivery.state import GroupId
from tests.services.delivery.house import GROUP, SUITE, House, Person, done

DAY = 86_400_000


def request_of(message: DSMessage) -> CreateGroupRequest:
    assert isinstance(message.request.body, CreateGroupRequest)
    return message.request.body


def listed(house: House, group_id: GroupId = GROUP) -> Any:
    return (external_senders_extension((house.vault.signer(group_id, SUITE).public,)),)


def cannot(house: House, message: DSMessage, result: CreateGroupResponse, check: str) -> None:
    """Expect -02's word and the id of the check, and that the group id is still free."""
    with pytest.raises(CannotCreate) as caught:
        house.serve(message)
    assert (caught.value.result, caught.value.check) == (result, check)
    assert not house.world.tables.heads


def test_a_group_is_taken_in_at_epoch_0(house: House, alice: Person) -> None:
    alice.create()
    head, state = house.head(), house.state()
    assert (head.epoch, head.seq, head.shards, head.deleted, head.frozen) == (0, 1, 1, False, False)
    record = state.records.get(0)
    assert record is not None
    assert (record.config, record.quarantined) == (alice.queue, False)
    assert not state.no_ds_sender


def test_a_group_is_taken_in_at_the_epoch_that_its_creator_is_in(house: House, alice: Person, bob: Person) -> None:
    """As rine-mls does: it commits once when it creates a group."""
    offered = request_of(alice.creation()).key_package
    alice.group = alice.commit().accepted
    info = alice.member.group_info(with_tree=True)
    assert house.serve(alice.as_member(CreateGroupRequest(GROUP, offered, alice.queue, info))) == Ok()
    assert house.head().epoch == 1
    assert house.state().leaf(0) != offered.leaf_node
    alice.add(bob)
    assert bob.member.secrets == alice.member.secrets


def test_the_tree_may_be_the_key_packages_leaf(house: House, alice: Person, bob: Person) -> None:
    request = request_of(alice.creation())
    without = dataclasses.replace(request, group_info=alice.member.group_info())
    assert house.serve(alice.as_member(without)) == Ok()
    alice.add(bob)
    assert bob.member.secrets == alice.member.secrets


def test_the_leaf_must_be_that_tree(house: House, alice: Person) -> None:
    request = request_of(alice.creation())
    info = alice.member.group_info()
    other = dataclasses.replace(request, group_info=info, key_package=alice.key_package().public)
    cannot(house, alice.as_member(other), CreateGroupResponse.INVALID_GROUP_INFO, "mls-12.4.3.1-2")


def test_the_creator_may_sign_by_its_key_package(house: House, alice: Person) -> None:
    request = request_of(alice.creation())
    sender = DSSenderID.key_package(request.key_package.reference(alice.member_suite))
    assert house.serve(alice.sign(sender, request)) == Ok()


def test_a_group_without_this_service_as_sender_is_taken_in_where_the_stage_allows_it() -> None:
    house = House(may_lack_sender=True)
    Person(house, "alice").create(with_sender=False)
    assert house.state().no_ds_sender


def test_a_repeat_is_answered_as_the_first_was(house: House, alice: Person, bob: Person) -> None:
    message = alice.creation()
    first = house.desk.serve("create-group", message.encode())
    alice.add(bob)
    house.world.clock.advance(DAY // 2)
    assert house.desk.serve("create-group", message.encode()) == first
    assert house.head().epoch == 1


def test_two_who_create_one_group_at_once_leave_one_of_them(house: House, alice: Person, bob: Person) -> None:
    mine, theirs = alice.creation(), bob.creation()
    house.meanwhile("groups", "create", lambda: house.serve(theirs))
    with pytest.raises(GroupExists):
        house.serve(mine)
    assert house.state().leaf(0) == request_of(theirs).key_package.leaf_node


def test_a_group_id_that_is_in_use_is_refused(house: House, alice: Person, bob: Person) -> None:
    """[mds-create-1] The group ID is not already in use."""
    alice.create()
    with pytest.raises(GroupExists):
        house.serve(bob.creation())


def test_a_group_id_that_was_ever_in_use_is_refused(house: House, alice: Person, bob: Person) -> None:
    """[mds-create-1] A deleted group's id is not free again: those who were in it would take the new one for it."""
    alice.create()
    done(alice.removing(kind=DeleteGroupRequest), alice)
    house.world.clock.advance(100 * DAY)
    with pytest.raises(GroupExists):
        house.serve(bob.creation())


@pytest.mark.parametrize("group_id", [b"", b"x" * (LONGEST_GROUP_ID + 1)], ids=["empty", "too long"])
def test_a_group_id_is_neither_empty_nor_too_long(alice: Person, house: House, group_id: bytes) -> None:
    """[mds-create-1] The group ID is not empty."""
    request = request_of(alice.creation())
    other = dataclasses.replace(request, group_id=group_id)
    cannot(house, alice.as_member(other), CreateGroupResponse.INVALID_GROUP_ID, "mds-create-1")
    assert house.serve(alice.creation(GroupId(b"x" * LONGEST_GROUP_ID))) == Ok()


def test_the_group_id_is_the_group_infos(house: House, alice: Person) -> None:
    """[mds-create-2]"""
    other = dataclasses.replace(request_of(alice.creation()), group_id=b"another group")
    cannot(house, alice.as_member(other), CreateGroupResponse.INVALID_GROUP_ID, "mds-create-2")


def test_the_group_info_is_valid(house: House, alice: Person) -> None:
    """[mds-create-3] The GroupInfo is valid: here its signature is not."""
    request = request_of(alice.creation())
    info = dataclasses.replace(request.group_info, signature=bytes(64))
    other = dataclasses.replace(request, group_info=info)
    with pytest.raises(CannotCreate) as caught:
        house.serve(alice.as_member(other))
    assert caught.value.result == CreateGroupResponse.INVALID_GROUP_INFO
    assert caught.value.check == "mls-12.4.3-2"


def test_there_is_one_member(house: House, alice: Person, bob: Person) -> None:
    """[mds-create-4]"""
    offered = request_of(alice.creation()).key_package
    _, pending = alice.adding(bob)
    alice.group = pending.accepted
    request = CreateGroupRequest(GROUP, offered, alice.queue, alice.member.group_info(with_tree=True))
    cannot(house, alice.as_member(request), CreateGroupResponse.INVALID_GROUP_INFO, "mds-create-4")


def test_its_member_is_at_leaf_0(house: House, alice: Person, bob: Person) -> None:
    """[mds-create-4] Bob is alone, but at leaf 1: his tree is not one that a group begins with."""
    alice.creation()
    _, pending = alice.adding(bob)
    assert pending.welcome is not None
    assert isinstance(pending.welcome.body, Welcome)
    assert bob.offered is not None
    bob.group = Member.join(bob.offered, pending.welcome.body, encode_tree(pending.accepted.group.tree))
    alice.group = pending.accepted
    bob.group = bob.removing(alice)[1].accepted
    request = CreateGroupRequest(GROUP, bob.offered.public, bob.queue, bob.member.group_info(with_tree=True))
    sender = DSSenderID.key_package(bob.offered.public.reference(bob.member_suite))
    cannot(house, bob.sign(sender, request), CreateGroupResponse.INVALID_GROUP_INFO, "mds-create-4")


def with_leaf(alice: Person, change: Callable[[Any], Any]) -> CreateGroupRequest:
    """Return the request to create a group whose only leaf is not the one in the KeyPackage."""
    offered = alice.key_package()
    leaf = dataclasses.replace(change(offered.public.leaf_node), signed=b"")
    signed = leaf.to_be_signed(GROUP, 0)
    leaf = dataclasses.replace(leaf, signature=alice.identity.sign("LeafNodeTBS", signed))
    owner = dataclasses.replace(offered, public=dataclasses.replace(offered.public, leaf_node=leaf))
    alice.group = Member.create(owner, GROUP, alice.random, listed(alice.house))
    return CreateGroupRequest(GROUP, offered.public, alice.queue, alice.member.group_info(with_tree=True))


@pytest.mark.parametrize(
    ("source", "parent_hash"), [(LeafNodeSource.UPDATE, None), (LeafNodeSource.COMMIT, bytes(32))], ids=str
)
def test_the_leaf_is_one_that_a_group_of_one_can_have(
    house: House, alice: Person, source: LeafNodeSource, parent_hash: bytes | None
) -> None:
    """[mds-create-5]"""
    request = with_leaf(
        alice, lambda leaf: dataclasses.replace(leaf, source=source, lifetime=None, parent_hash=parent_hash)
    )
    cannot(house, alice.as_member(request), CreateGroupResponse.INVALID_GROUP_INFO, "mds-create-5")


@pytest.mark.parametrize("others", [False, True])
def test_the_group_lists_this_service_as_an_external_sender(house: House, alice: Person, others: bool) -> None:
    """[mds-create-6]"""
    owner = alice.key_package()
    someone = ExternalSender(alice.identity.signature_key, Credential(BASIC, b"somebody else"))
    alice.group = Member.create(owner, GROUP, alice.random, (external_senders_extension((someone,)),) if others else ())
    request = CreateGroupRequest(GROUP, owner.public, alice.queue, alice.member.group_info(with_tree=True))
    check = "mds-senders-1" if others else "mds-create-6"
    cannot(house, alice.as_member(request), CreateGroupResponse.INVALID_GROUP_INFO, check)


def test_the_key_package_is_the_creators(house: House, alice: Person, bob: Person) -> None:
    """[mds-create-7]"""
    request = dataclasses.replace(request_of(alice.creation()), key_package=bob.key_package().public)
    sender = DSSenderID.key_package(request.key_package.reference(bob.member_suite))
    cannot(house, bob.sign(sender, request), CreateGroupResponse.INVALID_KEY_PACKAGE, "mds-create-7")


def test_the_key_package_is_valid_now(house: House, alice: Person) -> None:
    message = alice.creation()
    house.world.clock.advance(60 * DAY)
    cannot(house, message, CreateGroupResponse.INVALID_KEY_PACKAGE, "mls-7.3-6")


@pytest.mark.parametrize(
    "sender", [DSSenderID.leaf(1), DSSenderID.user(bytes(32)), DSSenderID.key_package(bytes(32))], ids=str
)
def test_nobody_but_the_creator_creates(house: House, alice: Person, bob: Person, sender: DSSenderID) -> None:
    """[mds-create-8]"""
    request = request_of(alice.creation())
    with pytest.raises(WrongSender):
        house.serve(alice.sign(sender, request))
    with pytest.raises(WrongSender):
        house.serve(bob.sign(DSSenderID.leaf(0), request))
    assert not house.world.tables.heads


def test_a_suite_that_is_not_served_is_refused(house: House, alice: Person) -> None:
    request = request_of(alice.creation())
    context = dataclasses.replace(request.group_info.group_context, cipher_suite=0x0A0A)
    info = dataclasses.replace(request.group_info, group_context=context, signed=b"")
    with pytest.raises(UnsupportedCipherSuite):
        house.serve(alice.as_member(dataclasses.replace(request, group_info=info)))
