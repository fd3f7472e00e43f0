"""What the schedule finds by itself: groups that are no more, and removals that nobody covers in a silent group."""

import contextlib
import dataclasses
from typing import Any

import pytest

from chalicelib.protocol.delivery.group_state import RemovalReason
from chalicelib.protocol.delivery.removals import LAPSE
from chalicelib.protocol.delivery.responses import Ok
from chalicelib.protocol.timestamps import DAY
from chalicelib.services.delivery.state import LOG_LIFE_DAYS, GroupId, Shard
from tests.fakes.groups import Wake
from tests.services.delivery.house import GROUP, UNUSED, House, Person, done
from tests.services.delivery.messages import refused
from tests.services.delivery.sealed.insiders import new_cast

MINUTE = 60_000
US = "us.ds.example"
NOBODY = GroupId(b"no group")


def retired(house: House) -> int:
    return house.world.alarms.raised.count(("wake-without-group", ""))


# Groups that are no more.


def orphan(house: House, group_id: GroupId = NOBODY) -> None:
    """Leave a wake-up whose group is not there, as a table that was restored may have it."""
    house.world.tables.wakes[group_id] = Wake(50, house.world.clock(), house.world.clock())


def test_a_wake_up_without_a_group_is_counted_once_and_gone(
    house: House, alice: Person, bob: Person, group: GroupId
) -> None:
    orphan(house)
    alice.say(b"hello")
    house.deliver()
    assert bob.catch_up() == [b"hello"]
    for _ in range(5):
        house.deliver()
    assert retired(house) == 1
    assert not house.world.tables.wakes


@pytest.mark.parametrize("when", ["before", "after"])
def test_if_that_fails_it_is_done_by_the_next_sweep(house: House, when: Any) -> None:
    orphan(house)
    house.world.fail("wakes", "retire", when=when)
    house.world.clock.advance(MINUTE)
    with pytest.raises(ConnectionError):
        house.sweep.sweep()
    house.deliver()
    house.deliver()
    assert not house.world.tables.wakes
    assert retired(house) == (2 if when == "before" else 1)


def test_a_group_that_is_created_at_that_moment_keeps_its_own(house: House, alice: Person) -> None:
    """Its log is shorter than what the old one speaks of, so no number tells the two apart."""
    orphan(house, GROUP)
    house.world.clock.advance(MINUTE)
    house.meanwhile("wakes", "retire", alice.create)
    house.sweep.sweep()
    assert house.world.tables.wakes[GROUP].seq == 1
    house.deliver()
    assert house.world.memberships.of(b"mimi://example.com/u/alice") == [GROUP]
    assert not house.world.tables.wakes


@pytest.mark.parametrize("sealed", [False, True])
def test_a_group_that_was_purged_is_not_delivered_any_more(sealed: bool) -> None:
    """A wake-up that came back with a table, or that was left by a program that did not purge it."""
    house = new_cast().house if sealed else House()
    if not sealed:
        Person(house, "alice").create()
    house.deliver()
    house.world.clock.advance(UNUSED + 31 * DAY)
    house.upkeep.tend(GROUP)
    house.world.clock.advance((LOG_LIFE_DAYS + 62) * DAY)
    house.upkeep.tend(GROUP)
    assert house.world.shards.of(GROUP) == []
    house.world.tables.wakes[GROUP] = Wake(house.head().seq, house.world.clock(), house.world.clock())
    house.deliver()
    assert not house.world.tables.wakes
    assert house.head().deleted


def test_a_group_whose_log_was_restored_to_before_is_delivered_and_rests(
    house: House, alice: Person, bob: Person, group: GroupId
) -> None:
    """Else it would be the first of those that are due, for ever."""
    alice.say(b"hello")
    wake = house.world.tables.wakes[GROUP]
    wake.seq += 50
    house.deliver()
    assert bob.catch_up() == [b"hello"]
    assert not house.world.tables.wakes
    assert house.world.alarms.raised.count(("wake-without-rows", "")) == 1


def test_a_row_that_comes_at_that_moment_keeps_its_group_awake(
    house: House, alice: Person, bob: Person, group: GroupId
) -> None:
    alice.say(b"one")
    house.world.hints.lost = True
    house.world.tables.wakes[GROUP].seq += 50
    house.meanwhile("wakes", "retire", lambda: alice.say(b"two"))
    house.deliver()
    assert house.world.tables.wakes[GROUP].seq == house.head().seq
    house.deliver()
    assert bob.catch_up() == [b"one", b"two"]
    assert house.world.alarms.raised.count(("wake-without-rows", "")) == 0


# Removals that nobody covers.


def silent(house: House, milliseconds: int = LAPSE) -> None:
    """Let time go by in which nobody asks anything: only the schedule runs."""
    for _ in range(milliseconds // MINUTE):
        house.deliver()


@pytest.mark.parametrize("leaves", [False, True], ids=["stays", "leaves by itself"])
def test_in_a_silent_group_a_removal_lapses_by_itself(
    house: House,
    alice: Person,
    bob: Person,
    carol: Person,
    group: GroupId,
    leaves: bool,
) -> None:
    """Also where its client has proposed to leave, so that this service has nothing to propose."""
    if leaves:
        assert house.serve(carol.leaving()) == Ok()
    silent(house, 5 * MINUTE)
    assert house.want_removed(carol)
    since = house.head().blocked_since
    silent(house, LAPSE - MINUTE)
    assert house.head().blocked_since == since
    asked = len(house.world.calls("groups"))
    silent(house, 2 * MINUTE)
    assert len(house.world.calls("groups")) > asked
    assert (house.head().blocked_since, house.state().quarantined(2)) == (0, True)
    with refused("mds-remove-1"):
        house.serve(carol.moving("elsewhere"))
    assert not house.world.tables.wakes, "and the group rests"
    alice.say(b"without carol")
    house.deliver()
    assert "application" not in house.kinds(carol)


def test_a_group_of_one_that_is_to_go_is_closed_by_itself(house: House, alice: Person) -> None:
    alice.create()
    house.want_removed(alice, reason=RemovalReason.USER_DELETED)
    silent(house, LAPSE + 2 * MINUTE)
    assert (house.head().deleted, house.head().root) == (True, b"")
    assert not house.world.tables.wakes


def test_what_is_covered_in_time_does_not_lapse(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    house.want_removed(carol)
    silent(house, LAPSE // 2)
    done(alice.removing(carol), alice, bob)
    silent(house, LAPSE)
    assert house.state().removals == ()
    assert not house.world.tables.wakes


def test_one_that_came_later_has_its_own_hour(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    house.want_removed(bob)
    silent(house, LAPSE // 2)
    house.want_removed(carol)
    silent(house, LAPSE // 2 + 2 * MINUTE)
    assert [house.state().quarantined(leaf) for leaf in range(3)] == [False, True, False]
    silent(house, LAPSE // 2)
    assert [house.state().quarantined(leaf) for leaf in range(3)] == [False, True, True]


def test_a_row_that_comes_while_a_group_is_put_off_for_an_hour_does_not_wait_for_it(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    """Its hint may have been lost."""
    house.want_removed(carol)
    house.world.hints.lost = True
    house.meanwhile("wakes", "postpone", lambda: house.serve(alice.leaving()))
    house.deliver()
    house.deliver()
    assert house.kinds(bob)[-1] == house.kinds(bob)[-2] == "proposal"


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("port", "method"), [("objects", "put"), ("groups", "advance"), ("wakes", "settle")])
def test_a_worker_that_dies_over_it_leaves_it_to_the_next(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId, port: str, method: str, when: Any
) -> None:
    house.want_removed(carol)
    silent(house, LAPSE - MINUTE)
    house.world.fail(port, method, when=when)
    house.world.clock.advance(2 * MINUTE)
    with pytest.raises(ConnectionError):
        house.sweep.sweep()
    house.restart()
    silent(house, 5 * MINUTE)
    assert (house.head().blocked_since, house.state().quarantined(2)) == (0, True)
    assert not house.world.tables.wakes


def test_two_that_notice_at_once_do_it_once(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    house.want_removed(carol)
    silent(house, LAPSE - MINUTE)
    house.world.clock.advance(2 * MINUTE)
    version = house.head().version
    house.meanwhile("groups", "advance", House(house.world).sweep.sweep)
    house.sweep.sweep()
    assert house.head().version == version + 1
    assert house.state().quarantined(2)


def test_a_group_that_cannot_be_looked_into_is_delivered_all_the_same(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    house.world.queueing_services.down.add(US)
    house.want_removed(carol)
    silent(house, LAPSE - 5 * MINUTE)
    head = house.head()
    house.world.tables.heads[GROUP] = dataclasses.replace(head, root=type(head.root)(bytes(24)))
    house.world.queueing_services.down.clear()
    house.world.clock.advance(10 * MINUTE)
    with pytest.raises(LookupError):
        house.deliver()
    assert house.kinds(carol) == ["welcome", "proposal"]


# A group over which workers die.


class Killed(BaseException):
    """A function's time was up, or its memory."""


def test_a_group_that_kills_whoever_works_at_it_holds_up_no_other(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    """Only the schedule tries a domain again, so nobody else may be missed for it."""
    house.deliver()
    other, take = GroupId(b"other"), house.world.shards.take

    def deadly(group_id: GroupId, shard: int, now: int, until: int) -> Shard | None:
        if group_id == GROUP:
            raise Killed
        return take(group_id, shard, now, until)

    house.world.hints.lost = True
    alice.say(b"hello")
    house.world.clock.advance(1)
    Person(house, "dora").create(other)
    house.world.clock.advance(MINUTE)
    assert house.world.wakes.due(house.world.clock(), 9) == [GROUP, other]
    house.world.shards.take = deadly  # type: ignore[method-assign]
    for _ in range(3):
        with contextlib.suppress(Killed):
            house.sweep.sweep()
        house.world.clock.advance(MINUTE)
    assert house.world.tables.wakes.keys() == {GROUP}, "it is tried again, and the other was looked after"
    house.world.shards.take = take  # type: ignore[method-assign]
    house.deliver()
    house.deliver()
    assert bob.catch_up() == [b"hello"]
    assert not house.world.tables.wakes
