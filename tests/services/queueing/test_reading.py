"""Fetching and acknowledging: in order, without a gap, and never twice counted."""

import hashlib

import pytest

from chalicelib.errors import NoSuchEntry, NotFound, NotPermitted
from chalicelib.protocol.delivery.parts import Reference
from chalicelib.protocol.timestamps import DAY, HOUR, SECOND
from chalicelib.services.queueing.reading import Waiting
from chalicelib.services.queueing.state import LARGEST_ANSWER
from tests.fakes.queueing import QueueWorld
from tests.services.queueing.queues import GROUP, SOURCE, US, Hub, Owner, Qs

MEGABYTE = 1024 * 1024


def numbers(owner: Owner, after: int = 0, most: int = 500) -> list[int]:
    return [entry.number for entry in owner.fetch(after, most).entries]


def test_entries_come_in_order_and_say_what_they_are(world: QueueWorld, alice: Owner, hub: Hub) -> None:
    hub.send(b"one", alice)
    hub.send(b"two", alice)
    fetched = alice.fetch()
    assert (fetched.acknowledged, fetched.last) == (0, 2)
    first, second = fetched.entries
    assert (first.number, first.message, second.number, second.message) == (1, b"one", 2, b"two")
    assert (second.hub, second.group_id, second.seq, second.accepted_at_ms) == (US, GROUP, 2, world.clock())
    assert numbers(alice, after=1) == [2]


def test_an_answer_is_bounded_by_count(alice: Owner, hub: Hub) -> None:
    for number in range(4):
        hub.send(b"%d" % number, alice)
    assert numbers(alice, most=3) == [1, 2, 3]
    assert numbers(alice, most=0) == []
    assert alice.fetch(0, most=0).last == 4


def test_an_answer_is_bounded_by_bytes_and_nothing_is_skipped(alice: Owner, hub: Hub) -> None:
    for number in range(4):
        hub.send(bytes([number]) * MEGABYTE, alice)
    assert numbers(alice) == [1, 2]
    assert numbers(alice, after=2) == [3, 4]
    fetched = alice.fetch()
    assert len(fetched.encode()) <= LARGEST_ANSWER


def test_a_large_message_comes_as_a_reference(alice: Owner, hub: Hub) -> None:
    inline, large = bytes(LARGEST_ANSWER), bytes(LARGEST_ANSWER + 1)
    hub.send(inline, alice)
    hub.send(large, alice)
    hub.send(b"small", alice)
    assert alice.fetch().entries[0].message == inline
    fetched = alice.fetch(1)
    reference = fetched.entries[0].message
    assert isinstance(reference, Reference)
    assert (reference.sha256, reference.length) == (hashlib.sha256(large).digest(), len(large))
    assert fetched.entries[1].message == b"small"


def test_a_long_poll_ends_when_something_comes(world: QueueWorld, qs: Qs, alice: Owner) -> None:
    hub, began = Hub(qs), world.clock()

    def waiting() -> None:
        if world.clock() - began > 3 * SECOND and not hub.last:
            hub.send(b"at last", alice)

    world.waiting = waiting  # type: ignore[method-assign]
    fetched = alice.fetch(wait_ms=20_000)
    assert [entry.message for entry in fetched.entries] == [b"at last"]
    assert world.clock() - began < 5 * SECOND
    assert world.waits == sorted(world.waits), "looks become rarer"


def test_a_long_poll_ends_when_its_time_is_up(world: QueueWorld, alice: Owner) -> None:
    began = world.clock()
    assert alice.fetch(wait_ms=60_000).entries == ()
    assert world.clock() - began == 20 * SECOND
    assert len(world.waits) < 30
    began = world.clock()
    assert alice.fetch(wait_ms=0).entries == ()
    assert world.clock() == began


def test_what_is_there_is_not_waited_for(world: QueueWorld, alice: Owner, hub: Hub) -> None:
    hub.send(b"one", alice)
    assert alice.fetch(wait_ms=20_000).last == 1
    assert world.waits == []


def test_who_waits_at_a_queue_that_is_deleted_or_changes_hands_is_told(world: QueueWorld, qs: Qs) -> None:
    alice, bob = qs.owner("alice"), qs.owner("bob")
    world.waiting = alice.delete  # type: ignore[method-assign]
    with pytest.raises(NotFound):
        alice.fetch(wait_ms=5_000)
    update, _ = bob.rotation("bob's next")
    world.waiting = lambda: qs.owners.update(update, SOURCE)  # type: ignore[method-assign]
    with pytest.raises(NotPermitted):
        bob.fetch(wait_ms=5_000)


def test_a_number_that_was_not_given_yet_is_refused(alice: Owner, hub: Hub) -> None:
    hub.send(b"one", alice)
    with pytest.raises(NoSuchEntry) as refused:
        alice.fetch(after=2)
    assert refused.value.facts() == {"last": 1}
    with pytest.raises(NoSuchEntry):
        alice.acknowledge(2)


def test_what_is_acknowledged_is_gone_and_the_rest_is_not(world: QueueWorld, alice: Owner, hub: Hub) -> None:
    for size in (10, 20, 30):
        hub.send(bytes(size), alice)
    alice.acknowledge(2)
    assert (numbers(alice), alice.fetch().acknowledged) == ([3], 2)
    head = world.tables.heads[alice.queue_id]
    assert (head.seq - head.acknowledged, head.total - head.freed) == (1, 30)
    alice.acknowledge(1)
    assert world.tables.heads[alice.queue_id] == head, "an acknowledgement never goes back"
    alice.acknowledge(3)
    assert world.tables.entries[alice.queue_id] == {}
    head = world.tables.heads[alice.queue_id]
    assert head.total == head.freed == 60


@pytest.mark.parametrize("method", ["discard", "mark"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_acknowledgement_that_broke_off_is_finished_by_its_repeat(
    world: QueueWorld, alice: Owner, hub: Hub, method: str, when: str
) -> None:
    for size in (10, 20, 30):
        hub.send(bytes(size), alice)
    port = "entries" if method == "discard" else "heads"
    world.fail(port, method, when="before" if when == "before" else "after")
    with pytest.raises(ConnectionError):
        alice.acknowledge(2)
    hub.send(bytes(40), alice)
    alice.acknowledge(2)
    head = world.tables.heads[alice.queue_id]
    assert (head.acknowledged, head.freed, head.total) == (2, 30, 100)
    assert sorted(world.tables.entries[alice.queue_id]) == [3, 4]
    assert numbers(alice) == [3, 4]


def test_expired_entries_are_gone_whether_or_not_they_are_deleted(world: QueueWorld, alice: Owner, hub: Hub) -> None:
    hub.send(b"old", alice)
    world.clock.advance(20 * DAY)
    hub.send(b"newer", alice)
    world.clock.advance(10 * DAY + SECOND)
    assert alice.messages() == [b"newer"]
    world.vanish(alice.queue_id)
    assert alice.messages() == [b"newer"]
    alice.acknowledge(1)
    head = world.tables.heads[alice.queue_id]
    assert (head.freed, head.total) == (3, 8)


def test_who_waits_behind_expired_entries_gets_the_next_live_one(world: QueueWorld, qs: Qs, alice: Owner) -> None:
    hub = Hub(qs)
    hub.send(b"old", alice)
    world.clock.advance(30 * DAY + SECOND)

    def waiting() -> None:
        hub.send(b"new", alice)

    world.waiting = waiting  # type: ignore[method-assign]
    fetched = alice.fetch(wait_ms=5_000)
    assert [entry.message for entry in fetched.entries] == [b"new"]
    assert len(world.waits) == 1


def test_entries_are_not_looked_at_where_the_head_says_that_there_are_none(
    world: QueueWorld, alice: Owner, hub: Hub
) -> None:
    hub.send(b"old", alice)
    world.clock.advance(30 * DAY + SECOND)
    alice.fetch(wait_ms=5_000)
    assert world.faults.calls.count(("entries", "read")) == 1
    alice.acknowledge(1)
    world.faults.calls.clear()
    alice.fetch(wait_ms=5_000)
    alice.acknowledge(1)
    assert {port for port, _ in world.faults.calls} == {"heads"}
    assert {method for _, method in world.faults.calls} == {"load"}


def test_where_all_has_expired_last_says_how_far(world: QueueWorld, alice: Owner, hub: Hub) -> None:
    hub.send(b"old", alice)
    world.clock.advance(30 * DAY + SECOND)
    fetched = alice.fetch()
    assert (fetched.entries, fetched.last) == ((), 1)
    hub.send(b"new", alice)
    assert alice.messages(after=fetched.last) == [b"new"]


def test_an_entry_that_comes_while_one_reads_waits_for_the_next_read(
    world: QueueWorld, alice: Owner, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.send(b"one", alice)
    read = world.entries.read

    def late(queue_id: bytes, after: int, until: int, most: int, now: int) -> object:
        monkeypatch.undo()
        hub.send(b"two", alice)
        return read(alice.queue_id, after, until, most, now)

    monkeypatch.setattr(world.entries, "read", late)
    assert numbers(alice) == [1], "the head that was read bounds what is read"
    assert numbers(alice, after=1) == [2]


def test_being_there_is_noted_once_an_hour(world: QueueWorld, alice: Owner) -> None:
    def touches() -> int:
        return world.faults.calls.count(("heads", "touch"))

    alice.fetch()
    assert touches() == 0
    world.clock.advance(HOUR)
    for _ in range(3):
        alice.fetch()
    assert touches() == 1
    assert world.tables.heads[alice.queue_id].active_at == world.clock()


def test_one_fetch_waits_at_a_queue(world: QueueWorld, qs: Qs) -> None:
    """A second one is answered at once; whoever has waited makes room, whatever came of it."""
    alice, bob = qs.owner("alice"), qs.owner("bob")

    def meanwhile() -> None:
        world.waiting = lambda: None  # type: ignore[method-assign]
        before = len(world.waits)
        assert alice.fetch(wait_ms=5_000).entries == ()
        assert len(world.waits) == before
        assert bob.fetch(wait_ms=1_000).entries == ()
        assert len(world.waits) > before

    world.waiting = meanwhile  # type: ignore[method-assign]
    assert alice.fetch(wait_ms=20_000).entries == ()
    before = len(world.waits)
    alice.fetch(wait_ms=1_000)
    assert len(world.waits) > before


def test_so_many_fetches_wait_in_a_container() -> None:
    waiting = Waiting(most=2)
    assert waiting.enter(b"one", "192.0.2.1")
    assert not waiting.enter(b"one", "192.0.2.2")
    assert waiting.enter(b"two", "192.0.2.2")
    assert not waiting.enter(b"three", "192.0.2.3")
    waiting.leave(b"one")
    assert waiting.enter(b"three", "192.0.2.3")


def test_however_many_queues_somebody_waits_at_there_is_a_place_for_others() -> None:
    waiting = Waiting(most=8)
    for network, places in [(1, 4), (2, 2), (3, 1), (4, 1)]:
        taken = [waiting.enter(b"%d %d" % (network, one), f"2001:db8:0:{network}::{one}") for one in range(9)]
        assert taken == [True] * places + [False] * (9 - places)
    waiting.leave(b"1 0")
    assert not waiting.enter(b"1 0", "2001:db8:0:1::")
    assert waiting.enter(b"5 0", "2001:db8:0:5::")
