"""A queue has room for everybody: who fills it is refused, and its client gets what the others send."""

import dataclasses
import hashlib

import pytest

from chalicelib.errors import TooManyRequests
from chalicelib.protocol.delivery.parts import Domain
from chalicelib.protocol.delivery.queueing import QueueingServiceResponse as Result
from chalicelib.protocol.timestamps import DAY, SECOND
from chalicelib.services.queueing.shares import CAPACITY, ENTRY_COST, LARGEST_MESSAGE
from tests.fakes.queueing import QueueWorld
from tests.services.queueing.queues import Hub, Owner, Qs

MEGABYTE = 1 << 20
OK, FULL, LIMITED = Result.OK, Result.QUEUE_FULL, Result.SENDER_LIMITED
COST = 4 * MEGABYTE  # Of which a quarter of a queue has room for 16.
LARGE = bytes(COST - ENTRY_COST)
ATTACKER, HONEST = Domain("attacker.example"), Domain("honest.example")


@pytest.fixture
def bob(qs: Qs) -> Owner:
    return qs.owner("bob")


def fill(hub: Hub, owner: Owner, message: bytes = LARGE) -> int:
    """Send until it is refused, and return how many were taken."""
    count = 0
    while hub.send(message, owner) == [OK]:
        count += 1
    return count


def held(world: QueueWorld, owner: Owner) -> int:
    head = world.tables.heads[owner.queue_id]
    return head.end - head.beginning


def test_a_group_alone_has_a_quarter_of_a_queue_and_leaves_the_rest(
    world: QueueWorld, qs: Qs, alice: Owner, bob: Owner, hub: Hub
) -> None:
    assert fill(hub, alice) == 16
    assert hub.send(LARGE, alice, bob) == [LIMITED, OK], "who has room gets it"
    assert fill(Hub(qs, group_id=b"another"), alice) >= 5
    assert Hub(qs, domain=HONEST).send(LARGE, alice) == [OK]


def test_ten_thousand_small_messages_of_one_group_find_room(world: QueueWorld, qs: Qs, alice: Owner) -> None:
    """As many as ever lay in a queue. Thirty-two go in a row, and a stream takes so many rows a second."""
    hub, config = Hub(qs), alice.config
    for _ in range(10_000 // 32 + 1):
        world.clock.advance(2 * SECOND)
        assert hub.give(hub.row(*((b"%d" % number, [config]) for number in range(32)))) == [OK] * 32
    assert world.tables.heads[alice.queue_id].seq > 10_000
    assert held(world, alice) < CAPACITY // 4


def test_a_hub_with_however_many_groups_leaves_another_its_share(world: QueueWorld, qs: Qs, alice: Owner) -> None:
    for number in range(80):
        fill(Hub(qs, domain=ATTACKER, group_id=b"group %d" % number), alice)
    assert held(world, alice) <= CAPACITY // 2
    one_group = fill(Hub(qs, domain=HONEST), alice)
    assert one_group >= 8
    others = sum(fill(Hub(qs, domain=HONEST, group_id=b"group %d" % number), alice) for number in range(9))
    assert one_group + others >= 13, "of 16 in a quarter"
    assert Hub(qs, domain=ATTACKER, group_id=b"one more").send(LARGE, alice) == [LIMITED]


def test_a_group_is_one_sender_over_all_its_shards_and_names_of_groups_are_their_hubs(qs: Qs, alice: Owner) -> None:
    assert fill(Hub(qs, domain=ATTACKER), alice) == 16
    assert Hub(qs, domain=ATTACKER, shard=1).send(LARGE, alice) == [LIMITED]
    for number, count in [(2, 8), (3, 4)]:
        hub = Hub(qs, domain=HONEST, group_id=b"group %d" % number)
        assert [hub.send(LARGE, alice) for _ in range(count)] == [[OK]] * count
    assert Hub(qs, domain=HONEST).send(LARGE, alice) == [OK], "the same id at another hub is another group"


def test_the_largest_message_finds_room_in_an_empty_queue_and_none_in_a_full_one(qs: Qs, alice: Owner) -> None:
    largest = bytes(LARGEST_MESSAGE)
    assert Hub(qs).send(largest, alice) == [OK]
    for number in range(3):
        hub = Domain(f"hub{number}.example")
        for group in range(12):
            fill(Hub(qs, domain=hub, group_id=b"%d" % group), alice)
    honest = Hub(qs, domain=HONEST)
    assert honest.send(largest, alice) == [FULL], "whoever sends it"
    assert honest.send(LARGE, alice) == [OK]


# --- what makes room again


def test_what_is_acknowledged_counts_for_nobody_any_more(world: QueueWorld, qs: Qs, alice: Owner, hub: Hub) -> None:
    fill(hub, alice)
    alice.acknowledge(16)
    assert fill(hub, alice) == 16
    alice.acknowledge(24)
    assert hub.send(LARGE, alice) == [OK], "one came in between: the rest is the older part"
    assert held(world, alice) == 9 * COST
    assert fill(hub, alice) == 7


def test_a_client_that_always_lags_a_little_is_counted_right(world: QueueWorld, qs: Qs, alice: Owner) -> None:
    hub, other = Hub(qs), Hub(qs, domain=HONEST)
    for number in range(1, 60):
        assert hub.send(LARGE, alice) == [OK]
        assert other.send(LARGE, alice) == [OK]
        alice.acknowledge(max(0, 2 * number - 5))
    assert len(world.tables.entries[alice.queue_id]) == 5
    assert 12 <= fill(hub, alice) <= 14
    assert other.send(LARGE, alice) == [OK]


def test_a_client_that_stays_away_gets_what_is_less_than_a_month_old(
    world: QueueWorld, qs: Qs, alice: Owner, hub: Hub
) -> None:
    half = bytes(LARGEST_MESSAGE // 2 - ENTRY_COST)
    hub.send(half, alice)
    world.clock.advance(10 * DAY)
    hub.send(b"y" * len(half), alice)
    assert hub.send(LARGE, alice) == [LIMITED]
    world.faults.calls.clear()
    for _ in range(5):
        assert hub.send(LARGE, alice) == [LIMITED]
    assert ("entries", "read") not in world.faults.calls, "a queue is not looked into each time"
    world.clock.advance(20 * DAY + SECOND)
    assert hub.send(LARGE, alice) == [OK]
    head = world.tables.heads[alice.queue_id]
    assert (head.acknowledged, head.total - head.freed) == (1, len(half) + len(LARGE))
    world.clock.advance(11 * DAY)
    world.vanish(alice.queue_id)
    assert hub.send(bytes(LARGEST_MESSAGE - 5 * MEGABYTE), alice) == [OK]
    assert [entry.number for entry in alice.all()] == [3, 4]
    world.clock.advance(31 * DAY)
    assert hub.send(b"after all that", alice) == [OK]
    assert alice.messages() == [b"after all that"]


# --- whatever happens, what is counted is what lies there


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("port", "method"), [("entries", "append"), ("streams", "advance"), ("heads", "mark")])
def test_a_row_that_comes_again_counts_once(
    world: QueueWorld, alice: Owner, bob: Owner, hub: Hub, port: str, method: str, when: str
) -> None:
    hub.send(b"first", alice, bob)
    row = hub.row((LARGE, [alice.config, bob.config]))
    world.fail(port, method, when="before" if when == "before" else "after")
    if port == "heads":
        with pytest.raises(ConnectionError):
            alice.acknowledge(1)
    else:
        with pytest.raises(ConnectionError):
            hub.give(row)
    assert hub.give(row) == hub.give(row) == [OK, OK]
    alice.acknowledge(1)
    for owner in (alice, bob):
        head, entries = world.tables.heads[owner.queue_id], world.tables.entries[owner.queue_id]
        (counted,) = head.shares.newer.hubs.counts.values()
        older = sum(head.shares.older.hubs.counts.values())
        in_queue = sum(entry.size + ENTRY_COST for entry in entries.values())
        assert min(older, max(0, head.shares.border - head.beginning)) + counted - in_queue in {0, 5 + ENTRY_COST}
        assert len([entry for entry in entries.values() if entry.size == len(LARGE)]) == 1


def test_who_comes_between_reading_a_queue_and_writing_it_is_counted(
    world: QueueWorld, qs: Qs, alice: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers at once: the later one judges again, and finds its share in use."""
    hub, append = Hub(qs), world.entries.append
    for _ in range(15):
        hub.send(LARGE, alice)

    def late(appends: object) -> object:
        monkeypatch.undo()
        assert Hub(qs, shard=1).send(LARGE, alice) == [OK]
        return append(appends)  # type: ignore[arg-type]

    monkeypatch.setattr(world.entries, "append", late)
    assert hub.send(LARGE, alice) == [LIMITED]
    assert len(world.tables.entries[alice.queue_id]) == 16


def test_what_is_acknowledged_between_reading_a_queue_and_writing_it_is_not_lost(
    world: QueueWorld, alice: Owner, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = world.entries.append
    for _ in range(10):
        hub.send(LARGE, alice)

    def late(appends: object) -> object:
        monkeypatch.undo()
        alice.acknowledge(10)
        return append(appends)  # type: ignore[arg-type]

    monkeypatch.setattr(world.entries, "append", late)
    assert hub.send(LARGE, alice) == [OK]
    assert held(world, alice) == COST
    alice.acknowledge(11)
    assert fill(hub, alice) == 16


def test_a_row_that_was_limited_is_answered_so_again_and_the_stream_goes_on(qs: Qs, alice: Owner, hub: Hub) -> None:
    """The hub's other rows must not wait for one client that does not fetch."""
    fill(hub, alice)
    row = hub.row((LARGE, [alice.config]))
    assert hub.give(row) == [LIMITED]
    alice.acknowledge(16)
    assert hub.give(row) == [LIMITED], "the answer was final"
    assert hub.send(b"next", alice) == [OK]


def test_queues_name_those_who_fill_them_each_in_its_own_way(
    world: QueueWorld, alice: Owner, bob: Owner, hub: Hub
) -> None:
    hub.send(b"hello", alice, bob)
    names = []
    for owner in (alice, bob):
        part = world.tables.heads[owner.queue_id].shares.newer
        names += [*part.hubs.counts, *part.groups.counts]
    assert len(set(names)) == 4
    plain = [hub.domain.encode(), hub.group_id]
    assert not {hashlib.sha256(one).digest()[:8] for one in plain} & set(names)


def test_a_group_that_is_too_fast_is_no_group_that_has_too_much(world: QueueWorld, qs: Qs, alice: Owner) -> None:
    hub = Hub(qs)
    for _ in range(600):
        assert hub.send(b"flood", alice) == [OK]
    with pytest.raises(TooManyRequests):
        hub.send(b"flood", alice)
    counted = dataclasses.replace(world.tables.heads[alice.queue_id])
    assert counted.seq == 600
