"""Letting go of very many entries: at once for their owner and for who puts more in, however slowly the rows go."""

import pytest

from chalicelib.protocol.delivery.queueing import QueueingServiceResponse as Result
from chalicelib.services.queueing import owners, reading
from chalicelib.services.queueing.shares import CAPACITY, ENTRY_COST
from tests.fakes.queueing import QueueWorld
from tests.services.queueing.queues import Hub, Owner, Qs

AT_ONCE = 10


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (reading, owners):
        monkeypatch.setattr(module, "MOST_DISCARDED", AT_ONCE)


def fill(hub: Hub, alice: Owner, count: int) -> None:
    for number in range(count):
        hub.send(b"%d" % number, alice)


def left(world: QueueWorld, alice: Owner) -> list[int]:
    return sorted(world.tables.entries[alice.queue_id])


def test_of_very_many_entries_some_rows_are_removed_and_all_count_as_gone(
    world: QueueWorld, alice: Owner, hub: Hub
) -> None:
    fill(hub, alice, 35)
    alice.acknowledge(33)
    head = world.tables.heads[alice.queue_id]
    assert (head.acknowledged, head.end - head.beginning) == (33, 4 + 2 * ENTRY_COST)
    assert left(world, alice) == list(range(AT_ONCE + 1, 36))
    assert alice.messages() == [b"33", b"34"]


def test_acknowledgements_that_come_later_remove_more_until_nothing_is_left(
    world: QueueWorld, alice: Owner, hub: Hub
) -> None:
    fill(hub, alice, 35)
    alice.acknowledge(32)
    alice.acknowledge(33)
    assert left(world, alice) == list(range(21, 36))
    alice.acknowledge(33)
    alice.acknowledge(1)
    assert left(world, alice) == [34, 35]
    world.faults.calls.clear()
    alice.acknowledge(33)
    assert {method for _, method in world.faults.calls} == {"load"}, "nothing is left to be done"
    assert alice.messages() == [b"33", b"34"]


@pytest.mark.parametrize(
    ("port", "method", "skip"), [("heads", "mark", 0), ("entries", "discard", 0), ("heads", "mark", 1)]
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_large_acknowledgement_that_broke_off_is_finished_by_its_repeats(
    world: QueueWorld, alice: Owner, hub: Hub, port: str, method: str, skip: int, when: str
) -> None:
    fill(hub, alice, 25)
    world.fail(port, method, when="before" if when == "before" else "after", skip=skip)
    with pytest.raises(ConnectionError):
        alice.acknowledge(24)
    if (method, skip, when) != ("mark", 0, "before"):
        assert alice.messages() == [b"24"], "what was acknowledged does not come again"
    for _ in range(3):
        alice.acknowledge(24)
    head = world.tables.heads[alice.queue_id]
    assert (head.acknowledged, head.discarded, head.end - head.beginning) == (24, 24, 2 + ENTRY_COST)
    assert left(world, alice) == [25]


def test_an_acknowledgement_that_another_overtakes_takes_nothing_back(
    world: QueueWorld, alice: Owner, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(hub, alice, 35)
    discard = world.entries.discard

    def late(queue_id: bytes, after: int, up_to: int) -> None:
        monkeypatch.setattr(world.entries, "discard", discard)
        alice.acknowledge(34)
        alice.acknowledge(34)
        discard(alice.queue_id, after, up_to)

    monkeypatch.setattr(world.entries, "discard", late)
    alice.acknowledge(20)
    assert world.tables.heads[alice.queue_id].acknowledged == 34
    assert alice.messages() == [b"34"]
    for _ in range(4):
        alice.acknowledge(34)
    assert left(world, alice) == [35]


def test_the_room_of_what_was_acknowledged_is_there_at_once(world: QueueWorld, qs: Qs, alice: Owner) -> None:
    large = bytes((CAPACITY // 64) - ENTRY_COST)
    hub = Hub(qs)
    while hub.send(large, alice) == [Result.OK]:
        pass
    alice.acknowledge(hub.last - 1)
    assert len(left(world, alice)) > 1
    taken = 0
    while hub.send(large, alice) == [Result.OK]:
        taken += 1
    assert taken == 16, "a quarter of the queue, as of an empty one"


def test_a_deleted_queue_is_cleared_from_where_acknowledging_came_to(world: QueueWorld, alice: Owner, hub: Hub) -> None:
    fill(hub, alice, 18)
    alice.acknowledge(17)
    assert left(world, alice) == list(range(AT_ONCE + 1, 19))
    alice.delete()
    assert left(world, alice) == []


def test_rows_of_what_expired_are_left_to_expire(world: QueueWorld, qs: Qs, alice: Owner) -> None:
    """Who empties a queue that was full of them is not made to remove what goes by itself."""
    large = bytes((CAPACITY // 64) - ENTRY_COST)
    hub = Hub(qs)
    while hub.send(large, alice) == [Result.OK]:
        pass
    full = world.tables.heads[alice.queue_id].seq
    world.clock.advance(31 * 86_400_000)
    world.vanish(alice.queue_id)
    assert hub.send(large, alice) == [Result.OK]
    head = world.tables.heads[alice.queue_id]
    assert (head.acknowledged, head.discarded) == (full, full)
    alice.acknowledge(full + 1)
    assert left(world, alice) == []
