"""Rows come in: in the hub's order, each recipient with an answer, within the limits."""

import dataclasses

import pytest

from chalicelib.errors import InvalidValue, NotPermitted, StreamGap, TooManyRequests, Unavailable
from chalicelib.protocol.delivery.queueing import ClientQueueConfig, QueueConfig
from chalicelib.protocol.delivery.queueing import QueueingServiceResponse as Result
from chalicelib.protocol.timestamps import DAY, SECOND
from chalicelib.services.ports import Lost, Unreachable
from chalicelib.services.queueing import enqueueing
from chalicelib.services.queueing.shares import LARGEST_MESSAGE
from chalicelib.services.queueing.state import Stream, StreamKey
from tests.fakes.queueing import QueueWorld
from tests.services.queueing.queues import EU, US, Hub, Owner, Qs

MEGABYTE = 1024 * 1024
OK, INVALID = Result.OK, Result.INVALID_CLIENT_QUEUE_INFORMATION


@pytest.fixture
def bob(qs: Qs) -> Owner:
    return qs.owner("bob")


# --- streams


def test_a_repeat_of_the_last_row_is_answered_as_the_first_time(
    world: QueueWorld, qs: Qs, alice: Owner, bob: Owner, hub: Hub
) -> None:
    bob.delete()
    row = hub.row((b"one", [alice.config, bob.config]))
    assert hub.give(row) == hub.give(row) == [OK, INVALID]
    assert alice.messages() == [b"one"]


def test_older_rows_are_answered_ok_and_not_delivered_again(alice: Owner, bob: Owner, hub: Hub) -> None:
    bob.delete()
    row = hub.row((b"one", [alice.config, bob.config]))
    hub.give(row)
    hub.send(b"two", alice)
    assert hub.give(row) == [OK, OK]
    assert alice.messages() == [b"one", b"two"]


def test_a_repeat_that_names_others_than_the_first_time_is_answered_ok(alice: Owner, bob: Owner, hub: Hub) -> None:
    row = hub.row((b"one", [alice.config, bob.config]))
    hub.give(row)
    fewer = dataclasses.replace(row, deliveries=hub.row((b"one", [alice.config])).deliveries)
    assert hub.give(fewer) == [OK]
    assert alice.messages() == [b"one"]


def test_a_gap_is_refused_with_what_is_expected(alice: Owner, hub: Hub) -> None:
    hub.last = 4
    with pytest.raises(StreamGap) as refused:
        hub.send(b"five", alice)
    assert refused.value.facts() == {"expected": 0}
    hub.last = 0
    hub.give(hub.row((b"five", [alice.config]), seq=5))
    hub.last = 6
    with pytest.raises(StreamGap) as refused:
        hub.send(b"seven", alice)
    assert refused.value.facts() == {"expected": 5}
    assert alice.messages() == [b"five"]


def test_streams_of_other_hubs_groups_and_shards_are_others(qs: Qs, alice: Owner) -> None:
    hubs = [Hub(qs), Hub(qs, shard=1), Hub(qs, group_id=b"group 2"), Hub(qs, domain=EU)]
    for number, hub in enumerate(hubs):
        assert hub.send(b"%d" % number, alice) == [OK]
    assert alice.messages() == [b"0", b"1", b"2", b"3"]


@pytest.mark.parametrize(("last", "refused"), [(4, StreamGap), (0, Unavailable)])
def test_a_stream_that_moved_elsewhere_meanwhile_is_not_moved_on(
    world: QueueWorld, alice: Owner, hub: Hub, monkeypatch: pytest.MonkeyPatch, last: int, refused: type[Exception]
) -> None:
    """Two workers disagree about what comes next; the later one's row is not counted."""
    advance = world.streams.advance

    def late(key: StreamKey, before: Stream | None, after: Stream) -> None:
        if last:
            advance(key, before, dataclasses.replace(after, last_seq=last))
        raise Lost

    monkeypatch.setattr(world.streams, "advance", late)
    with pytest.raises(refused):
        hub.give(hub.row((b"one", [alice.config]), seq=7))
    assert [stream.last_seq for stream in world.tables.streams.values()] == ([last] if last else [])


def test_a_hub_sends_in_its_own_name_only(qs: Qs, alice: Owner, hub: Hub) -> None:
    with pytest.raises(NotPermitted):
        qs.enqueueing.enqueue(hub.row((b"one", [alice.config])), EU)
    assert alice.messages() == []


# --- recipients


def test_each_recipient_has_an_answer_in_its_place(qs: Qs, alice: Owner, bob: Owner, hub: Hub) -> None:
    unknown = Owner(qs, "unknown")
    wrong_token = Owner(qs, "alice")
    wrong_token.token = bytes(16)
    epoch, public = qs.configs.public()
    other_service = dataclasses.replace(alice.config, ds_domain=US)
    sealed = alice.config.sealed_config
    broken = dataclasses.replace(
        alice.config, sealed_config=dataclasses.replace(sealed, ciphertext=sealed.ciphertext[:-1] + b"\x00")
    )
    strange_epoch = dataclasses.replace(alice.config, sealed_config=dataclasses.replace(sealed, key_epoch=9))
    for_another = ClientQueueConfig.seal(US, epoch, public, QueueConfig(alice.queue_id, alice.token))
    renamed = dataclasses.replace(for_another, ds_domain=EU)
    bad = [unknown.config, wrong_token.config, other_service, broken, strange_epoch, for_another, renamed]
    row = hub.row((b"one", [bad[0], alice.config, *bad[1:]]), (b"two", [bob.config, bad[0]]))
    assert hub.give(row) == [INVALID, OK, *[INVALID] * 6, OK, INVALID]
    assert (alice.messages(), bob.messages()) == ([b"one"], [b"two"])


def test_configs_of_former_keys_open_until_they_are_retired(world: QueueWorld, qs: Qs, alice: Owner, hub: Hub) -> None:
    old = alice.config
    world.config_keys.newest = 2
    assert alice.config.sealed_config.key_epoch == 2
    assert hub.give(hub.row((b"one", [old]))) == [OK]
    assert hub.send(b"two", alice) == [OK]
    world.config_keys.retired = {1}
    fresh = Qs.in_memory(world)
    assert Hub(fresh, group_id=b"other").give(Hub(fresh, group_id=b"other").row((b"three", [old]))) == [INVALID]
    assert alice.messages() == [b"one", b"two"]


def test_a_queue_that_a_row_names_twice_gets_each_message_once(alice: Owner, hub: Hub) -> None:
    row = hub.row((b"commit", [alice.config, alice.config]), (b"welcome", [alice.config]))
    assert hub.give(row) == [OK, OK, OK]
    assert [(entry.number, entry.message) for entry in alice.all()] == [(1, b"commit"), (2, b"welcome")]


def test_a_row_names_so_many_and_no_more(qs: Qs, alice: Owner, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    config = alice.config
    with pytest.raises(InvalidValue):
        hub.give(hub.row((b"one", [config] * 2001)))
    hub.group_id = bytes(1025)
    with pytest.raises(InvalidValue):
        hub.send(b"one", alice)
    hub.group_id = bytes(1024)
    assert hub.give(hub.row(*((b"%d" % number, [config]) for number in range(32)))) == [OK] * 32
    assert len(alice.messages()) == 32


def test_a_queue_that_is_named_too_often_costs_the_others_of_the_row_nothing(
    qs: Qs, alice: Owner, bob: Owner, hub: Hub
) -> None:
    """A hub cannot see whose the queues are, so a refusal of the row would be one for ever, and for everybody."""
    row = hub.row(*((b"%d" % number, [alice.config]) for number in range(33)), (b"hello", [bob.config]))
    assert hub.give(row) == [OK] * 32 + [Result.QUEUE_FULL, OK]
    assert len(alice.messages()) == 32
    assert len(bob.messages()) == 1


def test_a_row_for_nobody_moves_the_stream_on(world: QueueWorld, alice: Owner, hub: Hub) -> None:
    assert hub.give(hub.row()) == []
    assert hub.send(b"two", alice) == [OK]
    assert hub.last == 2


# --- lots, and queues that are in the way


def test_many_recipients_go_fifty_together(world: QueueWorld, qs: Qs, hub: Hub) -> None:
    owners = [Owner(qs, f"client {number}") for number in range(120)]
    for number, owner in enumerate(owners):
        owner.create(f"192.0.2.{number}")
    assert hub.send(b"one", *owners) == [OK] * 120
    assert world.entries.lots == [50, 50, 20]
    assert all(owner.messages() == [b"one"] for owner in owners)


def test_a_busy_queue_holds_up_no_other_and_gets_the_row_in_the_end(world: QueueWorld, qs: Qs, hub: Hub) -> None:
    owners = [qs.owner(f"client {number}") for number in range(8)]
    world.entries.busy.update({owners[3].queue_id: 3, owners[5].queue_id: 1})

    def loads() -> int:
        return world.faults.calls.count(("heads", "load"))

    before = loads()
    assert hub.send(b"one", *owners) == [OK] * 8
    assert world.entries.lots[:2] == [8, 6], "the others go at once"
    assert loads() - before == 5, "and only what was in the way is looked at again"
    assert all(owner.messages() == [b"one"] for owner in owners)


def test_a_queue_that_stays_busy_keeps_the_row_open_and_the_others_have_it(world: QueueWorld, qs: Qs, hub: Hub) -> None:
    owners = [qs.owner(f"client {number}") for number in range(60)]
    world.entries.busy[owners[3].queue_id] = 8
    with pytest.raises(Unavailable):
        hub.send(b"one", *owners)
    assert [owner.messages() for owner in owners].count([b"one"]) == 59
    assert hub.send(b"one", *owners) == [OK] * 60
    assert all(owner.messages() == [b"one"] for owner in owners)


def test_a_head_that_moved_is_read_again(
    world: QueueWorld, qs: Qs, alice: Owner, bob: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, other = Hub(qs), Hub(qs, group_id=b"other")
    append = world.entries.append

    def late(appends: object) -> object:
        monkeypatch.undo()
        other.send(b"between", alice)
        return append(appends)  # type: ignore[arg-type]

    monkeypatch.setattr(world.entries, "append", late)
    assert hub.send(b"one", alice, bob) == [OK, OK]
    assert (alice.messages(), bob.messages()) == ([b"between", b"one"], [b"one"])


def test_a_queue_that_is_deleted_meanwhile_is_invalid(
    world: QueueWorld, alice: Owner, bob: Owner, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = world.entries.append

    def late(appends: object) -> object:
        monkeypatch.undo()
        alice.delete()
        return append(appends)  # type: ignore[arg-type]

    monkeypatch.setattr(world.entries, "append", late)
    assert hub.send(b"one", alice, bob) == [INVALID, OK]
    assert bob.messages() == [b"one"]


# --- limits


def test_a_message_is_too_large_for_any_queue(world: QueueWorld, alice: Owner, hub: Hub) -> None:
    large = b"x" * (LARGEST_MESSAGE + 1)
    assert hub.give(hub.row((large, [alice.config]), (b"y", [alice.config]))) == [Result.MESSAGE_TOO_LARGE, OK]
    assert alice.messages() == [b"y"]
    assert len(world.tables.bodies) == 1


def test_a_group_that_is_too_fast_waits_with_the_whole_row(world: QueueWorld, qs: Qs, alice: Owner, bob: Owner) -> None:
    hub = Hub(qs, domain=EU)
    for _ in range(600):
        assert hub.send(b"flood", alice) == [OK]
    before = dict(world.tables.heads), dict(world.tables.streams)
    row = hub.row((b"late", [alice.config, bob.config]))
    with pytest.raises(TooManyRequests) as refused:
        hub.give(row)
    assert (refused.value.limit, refused.value.retry_after_seconds) == ("rows-by-group", 0.05)
    assert (world.tables.heads, world.tables.streams) == before
    assert Hub(qs, group_id=b"other").send(b"other group", alice) == [OK]
    world.clock.advance(50)
    assert hub.give(row) == [OK, OK]
    assert bob.messages() == [b"late"]
    with pytest.raises(TooManyRequests):
        hub.send(b"again", alice)


def test_a_row_counts_as_often_as_it_fills_one_queue(qs: Qs, alice: Owner) -> None:
    hub = Hub(qs, domain=EU)
    config = alice.config
    for _ in range(600 // 30):
        assert OK in hub.give(hub.row(*((b"%d" % number, [config]) for number in range(30))))
    with pytest.raises(TooManyRequests):
        hub.send(b"more", alice)


def test_a_hub_that_is_too_fast_is_refused_and_our_own_worker_is_not(world: QueueWorld, qs: Qs, alice: Owner) -> None:
    rows = [Hub(qs, shard=shard).row() for shard in range(4_001)]
    for row in rows[:4_000]:
        qs.enqueueing.enqueue(row, US)
    with pytest.raises(TooManyRequests) as refused:
        qs.enqueueing.enqueue(rows[4_000], US)
    assert refused.value.limit == "rows-by-hub"
    takes = world.faults.calls.count(("buckets", "take"))
    assert takes < 60, "tokens are leased"
    assert Hub(qs, domain=EU).send(b"ours", alice) == [OK]
    assert world.faults.calls.count(("buckets", "take")) == takes


def test_rows_are_taken_when_the_limiter_is_down(
    world: QueueWorld, alice: Owner, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object) -> None:
        raise Unreachable("down")

    monkeypatch.setattr(world.buckets, "take", down)
    assert hub.send(b"one", alice) == [OK]
    assert world.alarms.raised == [("hub-limiter-down", US)]


def test_time_runs_from_when_the_hub_took_the_row_and_not_from_the_future(
    world: QueueWorld, alice: Owner, hub: Hub
) -> None:
    now = world.clock()
    late = dataclasses.replace(hub.row((b"late", [alice.config])), accepted_at_ms=now - 29 * DAY)
    hub.give(late)
    hub.give(dataclasses.replace(hub.row((b"future", [alice.config])), accepted_at_ms=now + 1_000 * DAY))
    hub.send(b"now", alice)
    assert [entry.accepted_at_ms for entry in alice.all()] == [now - 29 * DAY, now + 1_000 * DAY, now]
    world.clock.advance(DAY + SECOND)
    assert alice.messages() == [b"future", b"now"]
    world.clock.advance(30 * DAY)
    assert alice.messages() == []


def test_lots_never_exceed_a_transaction(world: QueueWorld, qs: Qs, hub: Hub) -> None:
    owners = [qs.owner(f"client {number}") for number in range(40)]
    configs = [owner.config for owner in owners]
    row = hub.row((b"commit", configs), (b"welcome", configs[:30]), (b"more", configs[10:20]))
    assert set(hub.give(row)) == {OK}
    assert len(world.entries.lots) == 2  # The fake refuses one of more than a hundred items.
    assert enqueueing.MOST_TOGETHER == 100
    assert owners[15].messages() == [b"commit", b"welcome", b"more"]
