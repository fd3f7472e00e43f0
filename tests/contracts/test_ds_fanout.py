"""`Shards`, `Wakes` and `FanoutHints`: one worker at a time delivers, nothing waits for ever, hints never fail."""

import dataclasses

import pytest

from chalicelib.protocol.timestamps import MINUTE, SECOND
from chalicelib.services.delivery.state import MEMBERSHIPS, Behind, GroupId, Shard
from chalicelib.services.ports import Lost
from tests.contracts.delivery import GROUP, HEAD, DsPorts, commit, following
from tests.contracts.races import race
from tests.fakes.clock import START

OTHER = GroupId(b"another")


def taken(ds: DsPorts, shard: int = 0, now: int = START) -> Shard:
    lease = ds.shards.take(GROUP, shard, now, now + MINUTE)
    assert lease is not None
    return lease


# --- shards


def test_a_new_groups_shards_begin_with_its_log(ds: DsPorts) -> None:
    ds.create(dataclasses.replace(HEAD, shards=3))
    numbers = [0, 1, 2, MEMBERSHIPS]
    assert [(shard.shard, shard.cursor) for shard in ds.shards.of(GROUP)] == [(number, 0) for number in numbers]
    assert ds.shards.of(OTHER) == []


def test_shards_that_come_later_begin_behind_what_stood_already(ds: DsPorts) -> None:
    ds.create()
    head = ds.say(b"one", b"two")
    taken(ds)
    ds.groups.advance(head, following(head, shards=120), [commit(head)])
    cursors = {shard.shard: shard.cursor for shard in ds.shards.of(GROUP)}
    assert cursors == {0: 0, MEMBERSHIPS: 0, **dict.fromkeys(range(1, 120), head.seq)}
    assert taken(ds, 119).cursor == head.seq
    assert [shard.shard for shard in ds.shards.of(GROUP)] == [*range(120), MEMBERSHIPS]


def test_a_shard_is_leased_to_one_worker(ds: DsPorts) -> None:
    ds.create()
    lease = taken(ds)
    assert (lease.group_id, lease.shard, lease.leased_until) == (GROUP, 0, START + MINUTE)
    assert ds.shards.take(GROUP, 0, START + MINUTE - 1, START + 2 * MINUTE) is None
    assert taken(ds, MEMBERSHIPS).shard == MEMBERSHIPS
    again = taken(ds, now=START + MINUTE)
    assert again.version > lease.version


def test_a_shard_that_is_not_there_is_not_taken(ds: DsPorts) -> None:
    ds.create()
    assert ds.shards.take(GROUP, 1, START, START + MINUTE) is None
    assert ds.shards.take(OTHER, 0, START, START + MINUTE) is None


def test_what_a_worker_saves_is_what_the_next_one_takes(ds: DsPorts) -> None:
    ds.create()
    ds.say(b"one", b"two")
    lease = taken(ds)
    behind = {"us.ds.example": Behind(seq=1, attempts=3, next_at=START + SECOND, since=START)}
    saved = ds.shards.save(dataclasses.replace(lease, cursor=2, sent={"eu.ds.example": 2}, behind=behind))
    saved = ds.shards.save(dataclasses.replace(saved, cursor=3, leased_until=0))
    lease = taken(ds)
    assert (lease.cursor, lease.sent, lease.behind) == (3, {"eu.ds.example": 2}, behind)
    assert next(shard for shard in ds.shards.of(GROUP) if shard.shard == 0) == lease


def test_a_shard_remembers_which_rows_could_not_be_read(ds: DsPorts) -> None:
    ds.create()
    unread = {1: START, 1 << 40: START + SECOND}
    saved = ds.shards.save(dataclasses.replace(taken(ds), unread=unread, leased_until=0))
    assert saved.unread == unread
    assert taken(ds).unread == unread


def test_a_worker_whose_shard_was_taken_since_saves_nothing(ds: DsPorts) -> None:
    ds.create()
    ds.say(b"one")
    late = taken(ds)
    with pytest.raises(Lost):
        ds.shards.save(dataclasses.replace(late, version=late.version - 1 or 7))
    successor = taken(ds, now=START + MINUTE)
    with pytest.raises(Lost):
        ds.shards.save(dataclasses.replace(late, cursor=2))
    assert ds.shards.save(successor).cursor == 0


def test_a_worker_that_is_late_but_alone_may_save(ds: DsPorts) -> None:
    ds.create()
    lease = taken(ds)
    ds.clock.advance(2 * MINUTE)
    assert ds.shards.save(dataclasses.replace(lease, cursor=1)).cursor == 1


def test_a_save_whose_reply_was_lost_is_not_taken_for_anothers(ds: DsPorts) -> None:
    ds.create()
    lease = taken(ds)
    ds.lose_reply("shards", "save")
    (outcome,) = race(lambda: ds.shards.save(dataclasses.replace(lease, cursor=1, sent={"eu.ds.example": 1})))
    assert not isinstance(outcome, Lost)
    (shard, _) = ds.shards.of(GROUP)
    assert (shard.cursor, shard.sent) == (1, {"eu.ds.example": 1})


# --- wakes


def due(ds: DsPorts, now: int) -> list[GroupId]:
    ds.clock.advance(2 * SECOND)
    return ds.wakes.due(now, 10)


def test_a_change_of_the_log_wakes_its_group_a_little_later(ds: DsPorts) -> None:
    ds.create()
    assert due(ds, START) == []
    assert due(ds, START + 10 * SECOND) == [GROUP]


def test_a_change_of_state_alone_wakes_nobody(ds: DsPorts) -> None:
    head = ds.create()
    ds.wakes.settle(GROUP, 1)
    ds.groups.advance(head, dataclasses.replace(head, version=2))
    assert due(ds, START + MINUTE) == []


def test_a_settled_group_sleeps_until_its_log_grows(ds: DsPorts) -> None:
    ds.create()
    for _ in range(2):
        ds.wakes.settle(GROUP, 1)
    assert due(ds, START + MINUTE) == []
    ds.say(b"hello")
    assert due(ds, START + MINUTE) == [GROUP]
    ds.wakes.settle(GROUP, 1)
    assert due(ds, START + MINUTE) == [GROUP]
    ds.wakes.settle(GROUP, 2)
    assert due(ds, START + MINUTE) == []


def test_a_postponed_group_is_due_when_it_was_postponed_to(ds: DsPorts) -> None:
    ds.create()
    for _ in range(2):
        ds.wakes.postpone(GROUP, START + 5 * MINUTE)
    assert due(ds, START + 5 * MINUTE - 1) == []
    assert due(ds, START + 5 * MINUTE) == [GROUP]
    ds.say(b"hello")
    assert due(ds, START + MINUTE) == [GROUP]


def test_a_group_that_was_settled_is_not_postponed_into_being_due(ds: DsPorts) -> None:
    ds.create()
    ds.wakes.settle(GROUP, 1)
    ds.wakes.postpone(GROUP, START)
    assert due(ds, START + MINUTE) == []


def test_a_group_whose_log_has_grown_since_is_not_put_off(ds: DsPorts) -> None:
    ds.create()
    ds.say(b"hello")
    ds.wakes.postpone(GROUP, START + 5 * MINUTE, 1)
    assert due(ds, START + MINUTE) == [GROUP]
    ds.wakes.postpone(GROUP, START + 5 * MINUTE, 2)
    assert due(ds, START + MINUTE) == []


def test_a_group_is_retired_only_where_it_has_no_head(ds: DsPorts) -> None:
    ds.create()
    for _ in range(2):
        assert not ds.wakes.retire(GROUP, None)
        assert ds.wakes.retire(OTHER, None)
    assert due(ds, START + MINUTE) == [GROUP]


def test_or_where_its_log_ends_so(ds: DsPorts) -> None:
    ds.create()
    ds.say(b"hello")
    assert not ds.wakes.settle(GROUP, 1)
    for seq in (1, 3):
        assert not ds.wakes.retire(GROUP, seq)
    assert not ds.wakes.retire(OTHER, 0)
    assert due(ds, START + MINUTE) == [GROUP]
    for _ in range(2):
        assert ds.wakes.retire(GROUP, 2)
    assert due(ds, START + MINUTE) == []
    assert ds.wakes.settle(GROUP, 2), "it is gone"


def test_those_that_have_been_due_longest_come_first(ds: DsPorts) -> None:
    groups = [GroupId(f"group {number}".encode()) for number in range(12)]
    for place, group_id in enumerate(groups):
        ds.create(dataclasses.replace(HEAD, group_id=group_id))
        ds.wakes.postpone(group_id, START + 100 - place)
    ds.clock.advance(2 * SECOND)
    assert ds.wakes.due(START + 100, 5) == groups[:-6:-1]


def test_a_message_in_the_middle_of_settling_keeps_its_group_awake(ds: DsPorts) -> None:
    ds.create()
    race(lambda: ds.wakes.settle(GROUP, 1), lambda: ds.say(b"hello"))
    assert due(ds, START + MINUTE) == [GROUP]


# --- hints


def test_a_hint_for_many_shards_raises_nothing(ds: DsPorts) -> None:
    ds.create(dataclasses.replace(HEAD, shards=25))
    ds.hints.fan_out(GROUP, range(25))
    ds.hints.fan_out(GROUP, [])
