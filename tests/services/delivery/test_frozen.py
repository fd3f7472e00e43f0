"""Groups that were reinitialised (RFC 9420 §11.2): what they still take, what is still delivered, and how they end."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.protocol.delivery.group_state import RemovalReason
from chalicelib.protocol.delivery.group_updates import (
    AddClients,
    CommitRequest,
    DeleteGroupRequest,
    RemoveClients,
    RemoveUsers,
)
from chalicelib.protocol.delivery.info_requests import CloseGroup, WelcomeInfo
from chalicelib.protocol.delivery.messages import ROUTES, DSMessage, DSRequestType, DSSenderID
from chalicelib.protocol.delivery.queueing import QueueingServiceResponse as Result
from chalicelib.protocol.delivery.refusals import UnknownGroup
from chalicelib.protocol.delivery.responses import Ok
from chalicelib.protocol.mls.errors import GroupFrozen
from chalicelib.protocol.mls.proposals import ReInit, Remove
from chalicelib.protocol.timestamps import DAY, start_of_month
from chalicelib.services.delivery.commits import JOINABLE
from chalicelib.services.delivery.state import LOG_LIFE_DAYS, GroupId
from tests.services.delivery.house import GROUP, SUITE, UNUSED, House, Person, done
from tests.services.delivery.people import Adding, Removing
from tests.services.delivery.sealed.insiders import Cast, got, new_cast

MINUTE = 60_000
US = "us.ds.example"
TAKEN = {DSRequestType.UPDATE_QUEUE_INFO, DSRequestType.WELCOME_INFO, DSRequestType.CLOSE_GROUP}
OF_NO_GROUP = {
    DSRequestType.CREATE_GROUP,
    DSRequestType.REQUEST_GROUP_ID,
    DSRequestType.KEY_PACKAGES,
    DSRequestType.PUBLIC_KEY,
    DSRequestType.PUBLISH_KEY_PACKAGES,
    DSRequestType.UPLOAD,
}


def reinit(by: Person, *others: Person) -> None:
    done(by.committing(ReInit(b"the next", 1, SUITE, ()), path=False), by, *others)


class Frozen:
    """A group in which alice and bob are, dora is on her way by a Welcome, and which alice has reinitialised."""

    def __init__(self) -> None:
        self.house = house = House()
        self.alice, self.bob, self.dora = Person(house, "alice"), Person(house, "bob"), Person(house, "dora")
        self.phone = Person(house, "phone", user="bob")
        self.alice.create()
        self.alice.add(self.bob)
        message, self.pending = self.alice.adding(self.dora)
        assert house.serve(message) == Ok()
        self.alice.accepted(self.pending, others=[self.bob])
        self.info = house.serve(self.bob.asking_to_return())
        reinit(self.alice, self.bob)
        assert house.head().frozen
        # No honest client says anything more; these would.
        for person in (self.alice, self.bob):
            group = dataclasses.replace(person.member.group, reinit=None)
            person.group = dataclasses.replace(person.member, group=group)

    def asking(self, request_type: DSRequestType) -> DSMessage:
        """Return a request of this type from somebody who could ask it of a group that goes on."""
        alice, bob = self.alice, self.bob
        adding: dict[DSRequestType, type[Adding]] = {
            DSRequestType.ADD_CLIENTS: AddClients,
            DSRequestType.COMMIT: CommitRequest,
        }
        removing: dict[DSRequestType, type[Removing]] = {
            DSRequestType.REMOVE_USERS: RemoveUsers,
            DSRequestType.REMOVE_CLIENTS: RemoveClients,
            DSRequestType.DELETE_GROUP: DeleteGroupRequest,
        }
        if request_type in adding:
            return alice.adding(Person(self.house, "emil"), kind=adding[request_type])[0]
        if request_type in removing:
            return alice.removing(bob, kind=removing[request_type])[0]
        requests: dict[DSRequestType, Callable[[], DSMessage]] = {
            DSRequestType.ADD_USERS: lambda: alice.adding(Person(self.house, "emil"))[0],
            DSRequestType.UPDATE_CLIENT: lambda: alice.updating()[0],
            DSRequestType.UPDATE_QUEUE_INFO: lambda: bob.moving("elsewhere"),
            DSRequestType.WELCOME_INFO: self.welcomed,
            DSRequestType.EXTERNAL_COMMIT_INFO: lambda: bob.asking_to_return(),
            DSRequestType.RESYNC_CLIENT: lambda: self.from_outside(bob, 1),
            DSRequestType.JOIN_BY_EXTERNAL_COMMIT: lambda: self.from_outside(self.phone, None),
            DSRequestType.SEND_MESSAGE: lambda: alice.saying(b"hello?"),
            DSRequestType.SELF_REMOVE: lambda: bob.leaving(),
            DSRequestType.SUBMIT_PROPOSALS: lambda: bob.proposing(Remove(0)),
            DSRequestType.CLOSE_GROUP: lambda: bob.closing(),
        }
        return requests[request_type]()

    def welcomed(self) -> DSMessage:
        """Return what dora asks when her Welcome comes."""
        dora = self.dora
        assert dora.offered is not None
        request = WelcomeInfo(GROUP, dora.identity.signature_key, self.pending.staged.context.epoch, dora.fresh())
        return dora.sign(DSSenderID.key_package(dora.offered.public.reference(dora.member_suite)), request)

    def from_outside(self, person: Person, old_leaf: int | None) -> DSMessage:
        """Return an external commit: a member may tell others what it takes, whatever this service does."""
        return person.returning(self.alice.member.group_info(), self.info.ratchet_tree, old_leaf)[0]


@pytest.fixture
def frozen() -> Frozen:
    return Frozen()


@pytest.mark.parametrize("request_type", [one for one in DSRequestType if one not in OF_NO_GROUP])
def test_what_is_taken_and_what_is_not(frozen: Frozen, request_type: DSRequestType) -> None:
    """[mls-12.4.2-14] Everything that would be said to the group is refused."""
    message = frozen.asking(request_type)
    assert message.request.request_type == request_type
    before = frozen.house.head()
    if request_type in TAKEN:
        assert frozen.house.serve(message)
        return
    with pytest.raises(GroupFrozen):
        frozen.house.serve(message)
    assert frozen.house.head() == before


def test_the_table_is_of_every_operation() -> None:
    assert set(ROUTES.values()) == set(DSRequestType)
    assert not TAKEN & OF_NO_GROUP


def test_what_was_accepted_is_delivered_and_the_commit_last(frozen: Frozen) -> None:
    frozen.house.deliver()
    assert frozen.house.kinds(frozen.bob) == ["welcome", "commit", "commit"]
    assert frozen.house.kinds(frozen.dora) == ["welcome", "commit"]


def test_who_joins_by_a_welcome_that_was_under_way_reads_the_last_commit(frozen: Frozen) -> None:
    frozen.dora.join(frozen.pending)
    frozen.house.deliver()
    frozen.dora.catch_up()
    assert frozen.dora.member.secrets == frozen.alice.member.secrets
    assert frozen.dora.member.group.reinit is not None


def test_a_member_names_another_queue(frozen: Frozen) -> None:
    message = frozen.bob.moving("elsewhere")
    assert frozen.house.serve(message) == frozen.house.serve(message) == Ok()
    record = frozen.house.state().records.get(1)
    assert record is not None
    assert record.config != frozen.bob.queue
    assert frozen.house.head().frozen


def test_a_stranger_learns_nothing_of_it(frozen: Frozen) -> None:
    eve = Person(frozen.house, "eve")
    eve.group = frozen.alice.group
    for message in (eve.closing(), eve.moving("elsewhere")):
        with pytest.raises(UnknownGroup):
            frozen.house.serve(message)


# How it ends.


def test_a_member_closes_it_and_what_is_under_way_is_delivered_all_the_same(frozen: Frozen) -> None:
    house = frozen.house
    message = frozen.bob.closing()
    assert house.serve(message) == house.serve(message) == Ok()
    assert (house.head().deleted, house.head().root) == (True, b"")
    with pytest.raises(UnknownGroup):
        house.serve(frozen.alice.moving("elsewhere"))
    house.deliver()
    assert house.kinds(frozen.bob) == ["welcome", "commit", "commit"]
    assert not house.world.tables.wakes
    house.world.clock.advance((LOG_LIFE_DAYS + 2) * DAY)
    house.upkeep.tend(GROUP)
    assert house.world.garbage.objects(GROUP) == {}


def test_a_group_that_was_not_reinitialised_is_not_closed_so(
    house: House, alice: Person, bob: Person, group: GroupId
) -> None:
    """[mds-close-1] Its members hear of its end by the commit that removes them."""
    house.refuses(bob.closing(), "mds-close-1")
    house.refuses(bob.as_member(CloseGroup(GROUP, alice.identity.signature_key, bob.fresh())), "mds-sender-1")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_close_whose_reply_is_lost_is_repeated(frozen: Frozen, when: Any) -> None:
    message = frozen.bob.closing()
    frozen.house.world.fail("groups", "advance", when=when)
    with pytest.raises(ConnectionError):
        frozen.house.serve(message)
    assert frozen.house.serve(message) == Ok()
    assert frozen.house.head().deleted


def test_two_that_close_it_at_once(frozen: Frozen) -> None:
    house = frozen.house
    house.meanwhile("groups", "advance", lambda: house.serve(frozen.alice.closing()))
    with pytest.raises(UnknownGroup):
        house.serve(frozen.bob.closing())
    assert house.head().deleted


def test_one_that_moves_its_queue_meanwhile_does_not_stop_it(frozen: Frozen) -> None:
    house = frozen.house
    house.meanwhile("groups", "advance", lambda: house.serve(frozen.alice.moving("elsewhere")))
    assert house.serve(frozen.bob.closing()) == Ok()
    assert house.head().deleted


def test_one_that_nobody_closes_ends_when_no_welcome_can_be_joined_any_more(frozen: Frozen) -> None:
    house = frozen.house
    assert JOINABLE < UNUSED
    house.deliver()
    house.world.clock.advance(JOINABLE - DAY)
    house.upkeep.tend(GROUP)
    assert not house.head().deleted
    assert house.serve(frozen.bob.moving("elsewhere")) == Ok()
    house.world.clock.advance(DAY)
    house.upkeep.tend(GROUP)
    assert house.head().deleted, "a queue is no use of it"


def test_a_client_that_is_out_of_its_account_is_kept_out_at_once(frozen: Frozen) -> None:
    """There will be no commit to wait for."""
    house = frozen.house
    seq = house.head().seq
    assert house.want_removed(frozen.bob)
    assert not house.want_removed(frozen.bob)
    assert house.head().seq == seq, "nobody is told"
    assert (house.state().proposals, house.head().blocked_since) == ((), 0)
    for message in (frozen.bob.closing(), frozen.bob.moving("elsewhere")):
        house.refuses(message, "mds-remove-1")
    house.deliver()
    house.deliver()
    assert not house.world.tables.wakes


def test_what_was_given_up_before_is_not_proposed_to_it_again(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    house.want_removed(carol)
    house.world.clock.advance(60 * MINUTE)
    reinit(alice, bob)
    assert house.state().proposals == ()
    assert house.state().quarantined(2)


@pytest.mark.parametrize("reason", [RemovalReason.INACTIVE, RemovalReason.QUEUE_REJECTED])
def test_nobody_is_kept_out_for_a_queue_or_for_silence(frozen: Frozen, reason: RemovalReason) -> None:
    """Nobody can be active in it, and a client may say yet where its queue is."""
    assert not frozen.house.want_removed(frozen.bob, reason=reason)
    frozen.house.world.queueing_services.results[frozen.bob.queue] = Result.INVALID_CLIENT_QUEUE_INFORMATION
    frozen.house.deliver()
    assert frozen.house.state().removals == ()
    assert frozen.house.serve(frozen.bob.moving("elsewhere")) == Ok()


def test_when_all_accounts_are_gone_it_is_closed(frozen: Frozen) -> None:
    frozen.dora.join(frozen.pending)
    frozen.house.want_removed(frozen.alice, frozen.bob, frozen.dora, reason=RemovalReason.USER_DELETED)
    assert frozen.house.head().deleted


# In privacy mode.


def test_a_sealed_group_is_closed_too_and_its_head_says_no_more_than_the_month() -> None:
    cast: Cast = new_cast()
    house, alice, bob = cast.house, cast.alice, cast.bob
    reinit(alice, bob)
    before = len(got(house, bob))
    assert house.serve(bob.moving("elsewhere")) == Ok()
    with pytest.raises(GroupFrozen):
        house.serve(alice.saying(b"hello?"))
    assert house.serve(bob.closing()) == Ok()
    head = house.head()
    assert (head.deleted, head.root, head.used_at) == (True, b"", start_of_month(house.world.clock()))
    house.deliver()
    assert len(got(house, bob)) == before + 1


def test_a_sealed_group_is_not_closed_without_its_key() -> None:
    cast: Cast = new_cast()
    reinit(cast.alice, cast.bob)
    cast.bob.key = None
    with pytest.raises(UnknownGroup):
        cast.house.serve(cast.bob.closing())
    assert not cast.house.head().deleted
