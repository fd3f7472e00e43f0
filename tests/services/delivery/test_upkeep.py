"""The round over all groups: who is inactive, what is unused, and which objects nothing refers to."""

import hashlib
from collections.abc import Mapping
from typing import Any

import pytest

from chalicelib.protocol.delivery.group_state import RemovalReason
from chalicelib.protocol.delivery.refusals import GroupExists, UnknownGroup
from chalicelib.protocol.delivery.responses import Ok
from chalicelib.protocol.mls.chunks import ATTEMPT_SIZE, Ref, reference
from chalicelib.protocol.timestamps import DAY, SECOND
from chalicelib.services.delivery import upkeep
from chalicelib.services.delivery.state import GroupId
from tests.services.delivery.house import GROUP, INACTIVE, UNUSED, House, Person


def later(house: House, milliseconds: int) -> None:
    """Let time go by, and everything be delivered meanwhile."""
    house.deliver()
    house.world.clock.advance(milliseconds)
    house.deliver()


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def alice(house: House) -> Person:
    person = Person(house, "alice")
    person.create()
    return person


def objects(house: House, group_id: GroupId = GROUP) -> int:
    return len(house.world.garbage.objects(group_id))


def test_a_client_that_has_not_committed_for_long_is_proposed_for_removal(house: House, alice: Person) -> None:
    bob = Person(house, "bob")
    alice.add(bob)
    later(house, INACTIVE - DAY)
    message, pending = bob.updating()
    assert house.serve(message) == Ok()
    bob.accepted(pending, others=[alice])
    later(house, DAY)
    house.upkeep.step()
    removals = house.vault.open(house.head()).removals
    assert [(one.leaf_index, one.reason) for one in removals] == [(alice.member.leaf_index, RemovalReason.INACTIVE)]


def test_nobody_is_removed_who_was_active_in_time(house: House, alice: Person) -> None:
    later(house, INACTIVE - DAY)
    house.upkeep.step()
    assert house.head().version == 1
    assert alice.member.epoch == 0


def test_a_group_that_nobody_uses_is_closed(house: House, alice: Person) -> None:
    later(house, UNUSED)
    house.upkeep.step()
    assert house.head().deleted
    with pytest.raises(UnknownGroup):
        house.serve(alice.saying(b"is anybody here"))


def test_a_message_counts_as_use(house: House, alice: Person) -> None:
    bob = Person(house, "bob")
    alice.add(bob)
    later(house, UNUSED - DAY)
    alice.say(b"still here")
    later(house, 2 * DAY)
    house.upkeep.step()
    assert not house.head().deleted


def test_objects_that_nothing_refers_to_go_after_a_day_and_the_group_lives_on(house: House, alice: Person) -> None:
    bob = Person(house, "bob")
    alice.add(bob)
    for _ in range(6):
        message, pending = alice.updating()
        assert house.serve(message) == Ok()
        alice.accepted(pending, others=[bob])
    later(house, 91 * DAY)  # The Welcome's epoch is over too.
    message, pending = bob.updating()
    house.world.clock.now -= 3 * DAY
    before = objects(house)
    house.upkeep.tend(GROUP)
    assert objects(house) < before
    house.restart()
    message, pending = alice.updating()
    assert house.serve(message) == Ok()


def test_what_was_written_within_a_day_is_left_alone(house: House, alice: Person) -> None:
    for _ in range(3):
        message, pending = alice.updating()
        assert house.serve(message) == Ok()
        alice.accepted(pending)
    later(house, DAY - 10 * SECOND - 120 * SECOND)
    before = objects(house)
    house.upkeep.tend(GROUP)
    assert objects(house) == before


def test_what_a_loser_wrote_is_collected(house: House, alice: Person) -> None:
    message, _ = alice.updating()
    house.world.fail("groups", "advance")
    with pytest.raises(ConnectionError):
        house.serve(message)
    orphans = objects(house)
    later(house, 2 * DAY)
    house.upkeep.tend(GROUP)
    assert objects(house) < orphans
    assert house.serve(message) == Ok()


def test_what_is_still_to_be_delivered_keeps_its_objects(house: House, alice: Person) -> None:
    bob = Person(house, "bob", "us.ds.example")
    alice.add(bob)
    house.deliver()
    house.world.queueing_services.down.add("us.ds.example")
    alice.say(b"hello")
    for _ in range(4):
        message, pending = alice.updating()
        assert house.serve(message) == Ok()
        alice.accepted(pending, others=[bob])
    later(house, 2 * DAY)
    house.upkeep.tend(GROUP)
    house.world.queueing_services.down.clear()
    later(house, DAY)
    assert len(house.world.queueing_services.delivered["us.ds.example"]) == 1 + 1 + 4


def test_a_round_that_is_done_begins_anew(house: House) -> None:
    for number in range(3):
        Person(house, f"person{number}").create(GroupId(b"group %d" % number))
    later(house, DAY)
    work = house.upkeep
    assert work.step() == 3
    assert house.world.rounds.load("groups") is None
    assert work.step() == 3


def test_a_round_goes_on_where_it_ended(house: House) -> None:
    for number in range(3):
        Person(house, f"person{number}").create(GroupId(b"group %d" % number))
    later(house, DAY)
    first, second, third = house.world.garbage.groups(None, 3)
    house.world.rounds.save("groups", second)
    assert house.upkeep.step() == 1
    assert {first, second, third} == {GroupId(b"group %d" % number) for number in range(3)}


def test_a_closed_group_is_purged_a_month_later_and_its_id_stays_used(house: House, alice: Person) -> None:
    house.world.clock.advance(UNUSED)
    alice.say(b"one last word")
    house.world.clock.advance(UNUSED)
    house.upkeep.step()
    assert house.head().deleted
    assert house.world.garbage.groups(None, 9) == [GROUP]
    later(house, 32 * DAY)
    house.upkeep.step()
    assert house.world.garbage.groups(None, 9) == []
    with pytest.raises(GroupExists):
        Person(house, "bob").create()
    assert alice.member.epoch == 0


def test_a_group_that_fails_does_not_keep_the_others_waiting(house: House) -> None:
    for number in range(3):
        Person(house, f"person{number}").create(GroupId(b"group %d" % number))
    later(house, UNUSED)
    house.world.fail("garbage", "objects")
    assert house.upkeep.step() == 3
    heads = [house.head(GroupId(b"group %d" % number)) for number in range(3)]
    assert all(head.deleted for head in heads)
    assert ("upkeep-failed", "") in house.world.alarms.raised


class Killed(BaseException):
    """A function's time was up, or its memory."""


def test_a_group_over_which_workers_die_does_not_keep_the_others_waiting(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [Person(house, f"person {number}") for number in range(3)]
    for number, person in enumerate(people):
        person.create(GroupId(b"group %d" % number))
    house.world.clock.advance(2 * SECOND)
    listed = house.world.garbage.objects
    looked_at: list[GroupId] = []

    def deadly(group_id: GroupId, *page: Any) -> Mapping[Ref, int]:
        if group_id not in looked_at[-1:]:
            looked_at.append(group_id)
        if len(looked_at) == 1:
            raise Killed
        return listed(group_id, *page)

    monkeypatch.setattr(house.world.garbage, "objects", deadly)
    with pytest.raises(Killed):
        house.upkeep.step()
    assert house.upkeep.step() == 2
    assert len(set(looked_at)) == 3
    house.upkeep.step()
    assert looked_at[3] == looked_at[0], "it is met again next round"


def test_a_step_ends_between_two_groups_when_its_time_is_up(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        Person(house, f"person {number}").create(GroupId(b"group %d" % number))
    house.world.clock.advance(2 * SECOND)
    listed = house.world.garbage.objects

    def slow(group_id: GroupId, *page: Any) -> Mapping[Ref, int]:
        house.world.clock.advance(upkeep.STEP // 2)
        return listed(group_id, *page)

    monkeypatch.setattr(house.world.garbage, "objects", slow)
    assert [house.upkeep.step() for _ in range(2)] == [2, 2]


def test_what_a_creation_that_failed_wrote_is_collected(house: House) -> None:
    message = Person(house, "alice").creation()
    house.world.fail("groups", "create")
    with pytest.raises(ConnectionError):
        house.serve(message)
    assert objects(house)
    house.world.clock.advance(2 * DAY)
    house.upkeep.step()
    assert not objects(house)
    assert house.world.alarms.raised == []


def flooded(house: House, monkeypatch: pytest.MonkeyPatch, garbage: int) -> None:
    """Let a group have more old garbage than one turn lists: it has time for one page of ten."""
    attempts = [hashlib.sha256(b"%d" % number).digest()[:ATTEMPT_SIZE] for number in range(garbage)]
    house.world.objects.put(GROUP, {reference(attempt, b"garbage"): b"garbage" for attempt in attempts})
    house.world.clock.advance(2 * DAY)
    listed = house.world.garbage.objects

    def slow(group_id: GroupId, *page: Any) -> Mapping[Ref, int]:
        house.world.clock.advance(upkeep.TURN)
        return listed(group_id, *page)

    monkeypatch.setattr(upkeep, "PAGE_OF_OBJECTS", 10)
    monkeypatch.setattr(house.world.garbage, "objects", slow)


def test_more_garbage_than_a_turn_lists_is_freed_turn_by_turn(
    house: House, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = set(house.world.tables.objects[GROUP])
    flooded(house, monkeypatch, 200)
    before = len(house.world.tables.objects[GROUP])
    house.upkeep.tend(GROUP)
    assert before - 10 <= len(house.world.tables.objects[GROUP]) < before
    for _ in range(200):
        house.upkeep.tend(GROUP)
    assert set(house.world.tables.objects[GROUP]) == used
    message, _ = alice.updating()
    assert house.serve(message) == Ok()


def test_what_stands_before_the_garbage_does_not_hide_it(
    house: House, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Young objects fill more pages than a turn has time for, and what is old comes after them."""
    flooded(house, monkeypatch, 60)
    old = set(house.world.tables.objects[GROUP])
    used = house.world.garbage.named(GROUP, house.world.clock())[0]
    young = [reference(bytes([0, number]) + bytes(ATTEMPT_SIZE - 2), b"young") for number in range(60)]
    house.world.objects.put(GROUP, dict.fromkeys(young, b"young"))
    for _ in range(100):
        house.upkeep.tend(GROUP)
        house.world.clock.now -= upkeep.TURN
        house.world.clock.advance(1)
    left = set(house.world.tables.objects[GROUP])
    assert left >= {*young, *used}
    assert len(left & old) <= len(old) - 60
