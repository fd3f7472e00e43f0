"""Who may come into a group by itself: a credential is only a name, so somebody must vouch for the client."""

import pytest

from chalicelib.errors import Refusal, Unavailable
from chalicelib.protocol.delivery.messages import DSSenderID
from chalicelib.protocol.delivery.refusals import UnknownGroup
from chalicelib.protocol.delivery.responses import ExternalCommitInfoAnswer, Ok
from chalicelib.protocol.mls.errors import GroupFrozen
from chalicelib.protocol.mls.group_info import GroupInfo
from chalicelib.protocol.mls.proposals import ReInit, SelfRemove
from chalicelib.services.delivery.state import DsPeer, GroupId
from tests.services.delivery.house import SUITE, House, Person, settled


def learned(house: House, member: Person) -> tuple[GroupInfo, bytes]:
    """Return what a member can tell anybody: GroupInfo and tree."""
    answer = house.serve(member.asking_to_return())
    assert isinstance(answer, ExternalCommitInfoAnswer)
    assert isinstance(answer.ratchet_tree, bytes)
    assert isinstance(answer.group_info.body, GroupInfo)
    return answer.group_info.body, answer.ratchet_tree


def test_a_stranger_with_a_members_name_learns_nothing(house: House, group: GroupId, alice: Person) -> None:
    """[mds-vouch-1]"""
    eve = Person(house, "evil", user="alice")
    with pytest.raises(UnknownGroup):
        house.serve(eve.asking_to_return(published=False))


def test_a_stranger_with_a_members_name_does_not_come_in(house: House, group: GroupId, alice: Person) -> None:
    info, tree = learned(house, alice)
    eve = Person(house, "evil", user="alice")
    message, _ = eve.returning(info, tree, None, published=False)
    with pytest.raises(UnknownGroup):
        house.serve(message)
    assert house.head().epoch == 1


def test_a_stranger_does_not_take_the_place_of_a_member(house: House, group: GroupId, alice: Person) -> None:
    info, tree = learned(house, alice)
    eve = Person(house, "alice")
    eve.identity = Person(house, "eve").identity
    eve.identity = type(eve.identity).basic(1, alice.identity.credential.content, eve.random)
    message, _ = eve.returning(info, tree, alice.member.leaf_index, published=False)
    with pytest.raises(UnknownGroup):
        house.serve(message)


def test_a_published_client_of_a_member_comes_in(house: House, group: GroupId, alice: Person) -> None:
    phone = Person(house, "phone", user="alice")
    answer = house.serve(phone.asking_to_return())
    message, _ = phone.returning(answer.group_info.body, answer.ratchet_tree, None)
    assert house.serve(message) == Ok()


def test_the_service_that_has_the_users_queues_is_asked(house: House, group: GroupId, carol: Person) -> None:
    tablet = Person(house, "tablet", "us.ds.example", user="carol")
    answer = house.serve(tablet.asking_to_return())
    message, _ = tablet.returning(answer.group_info.body, answer.ratchet_tree, None)
    assert house.serve(message) == Ok()


def test_another_services_word_counts_for_nothing(house: House, group: GroupId, alice: Person, carol: Person) -> None:
    """Alice's queues are ours; that us.ds.example has published a client of hers does not help it."""
    info, tree = learned(house, alice)
    eve = Person(house, "evil", "us.ds.example", user="alice")
    message, _ = eve.returning(info, tree, None)
    with pytest.raises(UnknownGroup):
        house.serve(message)


def test_while_the_service_that_knows_is_down_nobody_comes_in(house: House, group: GroupId, carol: Person) -> None:
    info, tree = learned(house, carol)
    tablet = Person(house, "tablet", "us.ds.example", user="carol")
    message, _ = tablet.returning(info, tree, None)
    house.world.peer_calls.answers.clear()
    with pytest.raises(Unavailable):
        house.serve(message)
    assert house.head().epoch == 1


def test_a_member_that_lost_its_state_comes_back_by_its_own_key(house: House, group: GroupId, bob: Person) -> None:
    answer = house.serve(bob.asking_to_return(published=False))
    leaf = bob.member.leaf_index
    message, _ = bob.returning(answer.group_info.body, answer.ratchet_tree, leaf, published=False)
    assert house.serve(message) == Ok()


# What strangers hear.


def answers(house: House, person: Person, info: GroupInfo, tree: bytes) -> list[type[Refusal]]:
    """Ask as a stranger in all ways: for information, and to come in by a commit over some group's context."""
    told = []
    message, _ = person.returning(info, tree, None, published=False)
    for request in (person.asking_to_return(published=False), message):
        with pytest.raises(Refusal) as caught:
            house.serve(request)
        told.append(type(caught.value))
    return told


def test_strangers_do_not_hear_who_is_a_member(house: House, group: GroupId, alice: Person, carol: Person) -> None:
    """[mds-vouch-4] Whether they name somebody in the group, or whose service is down, or nobody: all the same."""
    other = House()
    founder = Person(other, "founder")
    settled(founder, Person(other, "second"))
    info, tree = learned(other, founder)
    told = {
        user: answers(house, Person(house, "evil", user=user), info, tree) for user in ("alice", "bob", "carol", "zoe")
    }
    assert set(map(tuple, told.values())) == {(UnknownGroup, UnknownGroup)}
    assert house.world.calls("peer_calls") == [("peer_calls", "post")], "for who asks as carol; no commit verified"


def test_strangers_do_not_hear_that_a_peer_is_down(house: House, group: GroupId, carol: Person) -> None:
    """[mds-vouch-4]"""
    house.world.ds_peers.put(DsPeer(carol.domain, f"https://{carol.domain}", frozenset({"t"})))
    with pytest.raises(UnknownGroup):
        house.serve(Person(house, "evil", user="carol").asking_to_return(published=False))
    assert len(house.world.calls("peer_calls")) == 1


def test_strangers_make_us_ask_a_peer_so_often_and_no_more(house: House, group: GroupId, carol: Person) -> None:
    """[mds-vouch-3]"""
    house.world.ds_peers.put(DsPeer(carol.domain, f"https://{carol.domain}", frozenset({"t"})))
    for number in range(70):
        with pytest.raises(UnknownGroup):
            house.serve(Person(house, f"evil{number}", user="carol").asking_to_return(published=False))
    assert len(house.world.calls("peer_calls")) == 60


def test_strangers_hear_neither_epoch_nor_state(house: House, group: GroupId, alice: Person, bob: Person) -> None:
    """[mds-vouch-4] Who signs as no leaf does hears of no epoch that has ended, nor that the group is frozen."""
    eve = Person(house, "eve")
    old = bob.saying(b"x").request.body, bob.proposing(SelfRemove()).request.body
    message, pending = alice.committing(ReInit(b"new", 1, SUITE, ()), path=False)
    assert house.serve(message) == Ok()
    alice.accepted(pending)
    for body in old:
        for leaf in (bob.member.leaf_index, 77):
            with pytest.raises(UnknownGroup):
                house.serve(eve.sign(DSSenderID.leaf(leaf), body))
        with pytest.raises(GroupFrozen):
            house.serve(bob.as_member(body))
