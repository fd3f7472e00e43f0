"""The operations that end an epoch (-02 §§3.2, 4–4.4): what each one is for is taken, and nothing else."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.client.mls_member import Pending
from chalicelib.protocol.delivery.group_updates import (
    AddClients,
    AddedClient,
    AddUsers,
    CommitRequest,
    DeleteGroupRequest,
    JoinByExternalCommit,
    RemoveClients,
    RemoveUsers,
    UpdateClient,
)
from chalicelib.protocol.delivery.messages import DSMessage, DSSenderID
from chalicelib.protocol.delivery.refusals import UnknownGroup
from chalicelib.protocol.delivery.responses import Ok
from chalicelib.protocol.mls.extensions import BASIC, Credential, Extension, external_senders_extension
from chalicelib.protocol.mls.proposals import Add, GroupContextExtensions, ReInit, Remove
from chalicelib.services.delivery.state import GroupId
from tests.services.delivery.house import House, Person, done
from tests.services.delivery.messages import update_of


def anew(person: Person, message: DSMessage, **changes: Any) -> DSMessage:
    """Return a request with parts replaced, signed again."""
    return person.as_member(dataclasses.replace(message.request.body, **changes))


@pytest.fixture
def phone(house: House) -> Person:
    """Another client of alice's."""
    return Person(house, "phone", user="alice")


# What each operation is for.


def test_users_are_added_and_removed_with_all_their_clients(
    house: House, alice: Person, bob: Person, group: GroupId
) -> None:
    dora, tablet = Person(house, "dora"), Person(house, "tablet", user="dora")
    message, pending = bob.adding(dora, tablet)
    assert house.serve(message) == Ok()
    bob.accepted(pending, [dora, tablet], [alice])
    assert dora.member.secrets == tablet.member.secrets == bob.member.secrets
    done(bob.removing(dora, tablet), bob, alice)
    assert (house.head().epoch, house.state().group.epoch) == (3, 3)
    assert [leaf for leaf, _ in house.state().records.all()] == [0, 1, 2]


def test_clients_are_added_and_removed_by_clients_of_the_same_user(
    house: House, alice: Person, phone: Person, group: GroupId
) -> None:
    alice.add(phone, kind=AddClients)
    done(phone.removing(alice, kind=RemoveClients), phone)
    assert [leaf for leaf, _ in house.state().records.all()] == [1, 2, 3]


def test_a_user_adds_and_removes_clients_by_its_own_key(
    house: House, alice: Person, phone: Person, group: GroupId
) -> None:
    """[mds-sender-2] The commit is still a member's: of one of that user's clients."""
    user = alice.registered()
    message, pending = alice.adding(phone, kind=AddClients)
    assert house.serve(alice.sign(user, message.request.body)) == Ok()
    alice.accepted(pending, [phone])
    message, _ = alice.removing(phone, kind=RemoveClients)
    assert house.serve(alice.sign(user, message.request.body)) == Ok()


def test_a_user_does_nothing_else_by_its_own_key_nor_with_others_clients(
    house: House, alice: Person, bob: Person, phone: Person, group: GroupId
) -> None:
    """[mds-sender-2]"""
    user, stranger = alice.registered(), bob.registered()
    house.refuses(alice.sign(user, alice.updating()[0].request.body), "mds-sender-1")
    adding = alice.adding(phone, kind=AddClients)[0].request.body
    house.refuses(bob.sign(stranger, adding), "mds-sender-1")
    house.refuses(bob.sign(user, adding), "mds-sender-1")
    house.refuses(alice.sign(type(user).user(bytes(32)), adding), "mds-sender-1")


def test_a_client_renews_its_leaf(house: House, alice: Person, bob: Person, carol: Person, group: GroupId) -> None:
    before = house.state().leaf(0)
    done(alice.updating(), alice, bob, carol)
    assert house.state().leaf(0) != before
    assert alice.member.secrets == bob.member.secrets == carol.member.secrets


def test_a_commit_of_any_kind_is_taken_where_it_is_called_one(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    dora = Person(house, "dora")
    package = dora.key_package().public
    pending = alice.commit(Remove(1), Add(package))
    assert pending.welcome is not None
    added = (AddedClient(package.reference(alice.member_suite), dora.queue),)
    request = CommitRequest(update_of(pending), (pending.welcome,), added)
    assert house.serve(alice.as_member(request)) == Ok()
    alice.accepted(pending, [dora], [carol])
    assert dora.member.leaf_index == bob.member.leaf_index
    record = house.state().records.get(1)
    assert record is not None
    assert record.config == dora.queue


def test_every_operation_carries_stored_proposals(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    """Those by reference are not the operation's own."""
    assert house.serve(bob.proposing(Remove(2))) == Ok()
    house.deliver()
    alice.catch_up()
    dora = Person(house, "dora")
    package = dora.key_package().public
    pending = alice.commit(*alice.member.group.proposals, Add(package))
    assert pending.welcome is not None
    added = (AddedClient(package.reference(alice.member_suite), dora.queue),)
    assert house.serve(alice.as_member(AddUsers(update_of(pending), (pending.welcome,), added))) == Ok()
    assert house.state().leaf(2) == package.leaf_node


def test_a_group_is_deleted_by_removing_everybody_else(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    done(alice.removing(bob, carol, kind=DeleteGroupRequest), alice)
    head = house.head()
    assert (head.deleted, head.root, head.epoch) == (True, b"", 2)
    for message in (alice.saying(b"?"), alice.moving("elsewhere"), alice.updating()[0], alice.asking_to_return()):
        with pytest.raises(UnknownGroup):
            house.serve(message)
    house.deliver()
    assert house.kinds(bob)[-1] == house.kinds(carol)[-1] == "commit"


def test_a_group_of_one_is_deleted_by_an_empty_commit(house: House, alice: Person) -> None:
    alice.create()
    done(alice.removing(kind=DeleteGroupRequest), alice)
    assert house.head().deleted


# What it is not for.


def test_members_and_new_members_commit_by_different_operations(
    house: House, alice: Person, bob: Person, group: GroupId
) -> None:
    """[mds-op-1]"""
    offered = alice.key_package().public
    joining = JoinByExternalCommit(update_of(alice.commit()), offered, alice.queue, alice.fresh())
    name = DSSenderID.key_package(offered.reference(alice.member_suite))
    house.refuses(alice.sign(name, joining), "mds-sender-1")
    answer = house.serve(alice.asking_to_return())
    _, pending = alice.returning(answer.group_info.body, answer.ratchet_tree, 0)
    for kind in (CommitRequest, UpdateClient):
        house.refuses(alice.as_member(kind(update_of(pending))), "mds-sender-1")
    house.refuses(bob.sign(bob.registered(), AddClients(update_of(pending))), "mds-sender-1")
    house.refuses(alice.sign(alice.registered(), AddClients(update_of(pending))), "mds-op-1")


@pytest.mark.parametrize(
    ("kind", "proposal"),
    [
        (AddUsers, Remove(1)),
        (AddClients, Remove(1)),
        (RemoveUsers, ReInit(b"the next", 1, 1, ())),
        (RemoveClients, GroupContextExtensions(())),
        (UpdateClient, Remove(1)),
        (DeleteGroupRequest, GroupContextExtensions(())),
    ],
)
def test_an_operations_own_proposals_are_of_its_kind(
    house: House, alice: Person, group: GroupId, kind: Any, proposal: Any
) -> None:
    """[mds-op-2]"""
    if isinstance(proposal, GroupContextExtensions):
        proposal = GroupContextExtensions((*alice.member.group.context.extensions,))
    message = alice.as_member(kind(update_of(alice.commit(proposal))))
    house.refuses(message, "mds-op-2")


@pytest.mark.parametrize("kind", [AddUsers, AddClients, RemoveUsers, RemoveClients])
def test_there_is_one_at_least(house: House, alice: Person, group: GroupId, kind: Any) -> None:
    """[mds-op-3]"""
    house.refuses(alice.as_member(kind(update_of(alice.commit()))), "mds-op-3")


def somebody_else(alice: Person, *proposals: Any) -> Pending:
    """Return alice's commit by which her credential names her phone."""
    return alice.renewing(alice.renewed(credential=Credential(BASIC, b"mimi://EXAMPLE.com/d/alice/alice")), *proposals)


@pytest.mark.parametrize("kind", [AddUsers, RemoveUsers, DeleteGroupRequest])
def test_a_credential_does_not_change_in_passing(house: House, alice: Person, group: GroupId, kind: Any) -> None:
    """[mds-op-4]"""
    dora = Person(house, "dora")
    package = dora.key_package().public
    proposals = [Add(package)] if kind is AddUsers else [Remove(1), Remove(2)][: 1 + (kind is DeleteGroupRequest)]
    pending = somebody_else(alice, *proposals)
    house.refuses(alice.as_member(kind(update_of(pending))), "mds-op-4")


def test_a_credential_changes_to_one_of_the_same_client(house: House, alice: Person, group: GroupId) -> None:
    """[mds-successor-1]"""
    after = alice.renewed(credential=Credential(BASIC, b"mimi://EXAMPLE.com/d/alice/alice"))
    assert house.serve(alice.as_member(UpdateClient(update_of(alice.renewing(after))))) == Ok()


@pytest.mark.parametrize(
    "name",
    [b"mimi://example.com/d/bob/alice", b"mimi://example.com/d/alice/phone", b"alice", b"mimi://example.com/u/alice"],
)
def test_a_credential_does_not_become_another_clients(house: House, alice: Person, group: GroupId, name: bytes) -> None:
    """[mds-successor-1]"""
    after = alice.renewed(credential=Credential(BASIC, name))
    house.refuses(alice.as_member(UpdateClient(update_of(alice.renewing(after)))), "mds-successor-1")


def test_the_external_senders_go_on_listing_this_service(house: House, alice: Person, group: GroupId) -> None:
    """[mds-senders-1]"""
    for extensions in ((), (external_senders_extension(()),)):
        message, _ = alice.committing(GroupContextExtensions(extensions))
        house.refuses(message, "mds-senders-1")
    own = house.vault.signer(group, 1).public
    done(alice.committing(GroupContextExtensions((external_senders_extension((own, own)),))), alice)


def test_a_client_of_a_user_who_is_there_is_not_added_as_a_user(
    house: House, alice: Person, phone: Person, group: GroupId
) -> None:
    """[mds-add-users-1]"""
    house.refuses(alice.adding(phone, kind=AddUsers)[0], "mds-add-users-1")


def test_a_client_of_a_user_who_is_not_there_is_added_as_a_user(house: House, alice: Person, group: GroupId) -> None:
    """[mds-add-clients-1]"""
    house.refuses(alice.adding(Person(house, "dora"), kind=AddClients)[0], "mds-add-clients-1")


def test_a_user_is_removed_with_all_clients(
    house: House, alice: Person, phone: Person, bob: Person, group: GroupId
) -> None:
    """[mds-remove-users-1] The remover's own are among them, so nobody removes clients of its own user so."""
    alice.add(phone, kind=AddClients)
    bob.house.deliver()
    bob.catch_up()
    house.refuses(bob.removing(phone, kind=RemoveUsers)[0], "mds-remove-users-1")
    house.refuses(alice.removing(phone, kind=RemoveUsers)[0], "mds-remove-users-1")


def test_clients_of_another_user_are_not_removed_as_clients(
    house: House, alice: Person, bob: Person, group: GroupId
) -> None:
    """[mds-remove-clients-1]"""
    house.refuses(alice.removing(bob, kind=RemoveClients)[0], "mds-remove-clients-1")


def test_a_group_is_not_deleted_while_others_are_in_it(
    house: House, alice: Person, bob: Person, group: GroupId
) -> None:
    """[mds-delete-1]"""
    house.refuses(alice.removing(bob, kind=DeleteGroupRequest)[0], "mds-delete-1")


def test_a_client_is_updated_by_a_commit_with_a_path(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    """[mds-update-1] A stored Add asks for none, and an empty commit for one that RFC 9420 would miss."""
    dora = Person(house, "dora")
    assert house.serve(bob.proposing(Add(dora.key_package().public))) == Ok()
    house.deliver()
    alice.catch_up()
    pending = alice.commit(*alice.member.group.proposals, path=False)
    house.refuses(alice.as_member(UpdateClient(update_of(pending))), "mds-update-1")


# What comes along with members who are added.

Change = Callable[[Any], dict[str, Any]]


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (lambda body: {"added": ()}, "mds-added-1"),
        (lambda body: {"added": body.added * 2}, "mds-added-1"),
        (lambda body: {"added": (dataclasses.replace(body.added[0], key_package_ref=bytes(32)),)}, "mds-added-1"),
        (lambda body: {"welcomes": ()}, "mls-12.4.2-15"),
        (lambda body: {"welcomes": body.welcomes * 2}, "mls-12.4.2-15"),
    ],
)
def test_each_new_member_has_a_queue_and_a_welcome(
    house: House, alice: Person, group: GroupId, change: Change, check: str
) -> None:
    """[mds-added-1]"""
    message, _ = alice.adding(Person(house, "dora"))
    house.refuses(anew(alice, message, **change(message.request.body)), check)
    assert house.serve(message) == Ok()


def test_the_group_info_is_the_next_epochs_byte_for_byte(house: House, alice: Person, group: GroupId) -> None:
    message, _ = alice.updating()
    update = message.request.body.group_update  # type: ignore[union-attr]
    info = update.partial_group_info
    more = dataclasses.replace(info, group_info_extensions=(Extension(0x0A0A, b""),))
    other = dataclasses.replace(update, partial_group_info=more)
    house.refuses(anew(alice, message, group_update=other), "mls-12.4.3-2")
