"""The round over a user's groups: it takes as many turns as it needs, ends, and nothing that is spoiled stops it."""

from collections.abc import Callable

import pytest

from chalicelib.protocol.delivery.group_state import RemovalReason
from chalicelib.protocol.timestamps import HOUR, MINUTE, SECOND
from chalicelib.services.delivery.account_desk import LEASE, TURN
from chalicelib.services.delivery.removals import Removals, Unfinished
from chalicelib.services.delivery.state import GroupId, Head
from tests.services.delivery.accounts.user import PROVIDER, User, client_of, removals
from tests.services.delivery.house import GROUP, House

OWN = {GroupId(b"%d of bob's" % number) for number in range(1, 41)}

Loaded = tuple[Head | None, bytes | None]


class Killed(BaseException):
    """A function's time was up."""


class Looking:
    """Which groups are looked at; `before` is told of each first, and each takes three seconds."""

    def __init__(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at: list[GroupId] = []
        self.before: Callable[[GroupId], None] = lambda _: None
        load = house.world.groups.load

        def slow(group_id: GroupId, digest: bytes) -> Loaded:
            if digest == b"":
                house.world.clock.advance(3 * SECOND)
                self.at.append(group_id)
                self.before(group_id)
            return load(group_id, digest)

        monkeypatch.setattr(house.world.groups, "load", slow)


@pytest.fixture
def looking(group: House, bob: User, monkeypatch: pytest.MonkeyPatch) -> Looking:
    """Bob is in forty more groups than in the one of the house."""
    for group_id in OWN:
        group.world.memberships.add(bob.user, group_id)
    return Looking(group, monkeypatch)


def is_done(house: House) -> bool:
    return house.world.account_events.due(house.world.clock() + 2 * HOUR, 10) == []


def sweep_until_done(house: House, most: int, pause: int = MINUTE) -> None:
    for _ in range(most):
        house.world.clock.advance(pause)
        house.account_desk.sweep()
        if is_done(house):
            return
    pytest.fail("the event is not done")


def assert_gone(house: House, bob: User) -> None:
    assert removals(house) == {client_of(client): RemovalReason.USER_DELETED for client in bob.clients}


def test_a_round_that_takes_many_turns_looks_once_at_each_group_and_ends(
    group: House, bob: User, looking: Looking
) -> None:
    bob.tell()
    assert 3 * SECOND * len(looking.at) < TURN + 6 * SECOND, "a request waited for more than a turn"
    sweep_until_done(group, most=15)
    others = [group_id for group_id in looking.at if group_id != GROUP]
    assert sorted(others) == sorted(OWN)
    assert_gone(group, bob)


def test_a_turn_that_dies_costs_another_round_and_no_group(group: House, bob: User, looking: Looking) -> None:
    deaths = [5, 17, 18]

    def dies(_: GroupId) -> None:
        if len(looking.at) in deaths:
            raise Killed

    looking.before = dies
    for number in range(40):
        try:
            bob.tell() if number == 0 else group.account_desk.sweep()
        except Killed:
            assert not is_done(group)
        group.world.clock.advance(LEASE)
        if is_done(group):
            break
    assert is_done(group)
    assert max(looking.at.count(group_id) for group_id in OWN) <= 2
    assert min(looking.at.count(group_id) for group_id in OWN) >= 1
    assert_gone(group, bob)


def test_a_group_over_which_every_worker_dies_keeps_the_others_from_nothing(
    group: House, bob: User, looking: Looking
) -> None:
    deadly = sorted(OWN)[-1]  # It comes first.
    is_mended = False

    def dies(group_id: GroupId) -> None:
        if group_id == deadly and not is_mended:
            raise Killed

    looking.before = dies
    with pytest.raises(Killed):
        bob.tell()
    for _ in range(20):
        group.world.clock.advance(LEASE)
        try:
            group.account_desk.sweep()
        except Killed:
            continue
        assert not is_done(group)
    assert set(looking.at) >= OWN
    assert_gone(group, bob)
    is_mended = True
    sweep_until_done(group, most=40, pause=LEASE)


def test_a_group_that_always_fails_is_tried_each_round_and_the_event_waits_for_it(
    group: House, bob: User, looking: Looking
) -> None:
    failing = sorted(OWN)[-1]
    is_mended = False

    def fails(group_id: GroupId) -> None:
        if group_id == failing and not is_mended:
            raise ConnectionError

    looking.before = fails
    bob.tell()
    assert ("account-event-delayed", PROVIDER) in group.world.alarms.raised
    for _ in range(14):
        group.world.clock.advance(MINUTE)
        group.account_desk.sweep()
    assert {group_id: looking.at.count(group_id) for group_id in OWN} == dict.fromkeys(OWN, 1)
    assert_gone(group, bob)
    assert not is_done(group)
    group.world.clock.advance(HOUR)
    with pytest.raises(ConnectionError):
        group.account_desk.sweep()
    assert looking.at.count(failing) == 2
    is_mended = True
    sweep_until_done(group, most=40, pause=HOUR)
    assert looking.at.count(failing) == 3


def test_a_queue_that_cannot_be_deleted_does_not_keep_the_client_in_its_groups(group: House, bob: User) -> None:
    group.world.fail("queue_remover", "remove")
    bob.tell(queues=(b"q" * 16,))
    assert_gone(group, bob)
    assert not is_done(group)
    sweep_until_done(group, most=1, pause=HOUR)
    assert group.world.queue_remover.removed == {b"q" * 16}


def test_who_comes_to_a_group_that_the_round_has_passed_is_noticed_there(
    house: House, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    (creator,) = alice.clients
    creator.create()
    house.deliver()
    for group_id in (GROUP, *OWN):
        house.world.memberships.add(bob.user, group_id)
    looking = Looking(house, monkeypatch)
    bob.tell()
    assert looking.at[0] == GROUP
    assert len(looking.at) < len(OWN)
    creator.add(*bob.clients)
    house.deliver()
    assert_gone(house, bob)
    looking.at.clear()
    sweep_until_done(house, most=15)
    assert GROUP not in looking.at


def test_an_event_that_is_said_again_goes_on_and_makes_another_round(group: House, bob: User, looking: Looking) -> None:
    bob.tell()
    first = len(looking.at)
    bob.tell()
    assert len(set(looking.at)) > first, "it went on where it was"
    sweep_until_done(group, most=40, pause=HOUR)
    assert {looking.at.count(group_id) for group_id in OWN} == {2}


# Rows that cannot be opened.


def test_an_event_that_cannot_be_opened_is_told_and_holds_up_nobody(group: House, alice: User, bob: User) -> None:
    group.world.fail("directory", "remove", times=2)
    alice.tell()
    bob.tell()
    (spoiled,) = group.world.account_events.removed(alice.user, group.world.clock())
    group.world.account_events.spoil(spoiled)
    group.world.clock.advance(LEASE)
    assert group.account_desk.sweep() == 2
    assert ("account-event-unreadable", "") in group.world.alarms.raised
    assert_gone(group, bob)
    assert group.account_desk.sweep() == 0, "it is put off"
    group.world.clock.advance(LEASE)
    group.world.alarms.raised.clear()
    assert group.account_desk.sweep() == 1
    assert group.world.alarms.raised == [("account-event-unreadable", "")]


def test_saying_it_again_mends_an_event_that_cannot_be_opened(group: House, bob: User) -> None:
    phone, _ = bob.clients
    group.world.fail("directory", "remove")
    bob.tell(client=client_of(phone))
    (spoiled,) = group.world.account_events.removed(bob.user, group.world.clock())
    group.world.account_events.spoil(spoiled)
    bob.tell(client=client_of(phone))
    assert removals(group) == {client_of(phone): RemovalReason.CLIENT_REMOVED}
    assert is_done(group)


def test_a_mark_that_cannot_be_opened_is_told_and_the_others_count(house: House, alice: User, bob: User) -> None:
    phone, laptop = bob.clients
    bob.tell(client=client_of(phone))
    bob.tell(client=client_of(laptop))
    now = house.world.clock()
    (mark,) = [one for one in house.world.account_events.removed(bob.user, now) if one.client == client_of(phone)]
    house.world.account_events.spoil(mark)
    (creator,) = alice.clients
    creator.create()
    creator.add(phone, laptop)
    house.deliver()
    assert house.world.memberships.of(bob.user) == [GROUP]
    assert set(removals(house)) == {client_of(laptop)}
    assert ("account-event-unreadable", "") in house.world.alarms.raised


def test_who_is_noticed_in_a_group_that_takes_no_more_removals_is_removed_later(
    house: House, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    (creator,) = alice.clients
    creator.create()
    creator.add(*bob.clients)
    bob.tell()
    assert is_done(house)

    def full(*_: object) -> bool:
        raise Unfinished

    with monkeypatch.context() as patch:
        patch.setattr(Removals, "remove", full)
        house.deliver()
    assert ("removals-unfinished", "") in house.world.alarms.raised
    assert removals(house) == {}
    assert house.account_desk.sweep() == 1
    assert_gone(house, bob)
    assert is_done(house)
