"""The port `QueueEntries`: what lies in queues, put there together with their heads' counts."""

import dataclasses
from functools import partial

from chalicelib.protocol.timestamps import DAY, SECOND
from chalicelib.services.queueing.shares import ENTRY_COST, MOST_GROUPS, MOST_HUBS, Sender
from chalicelib.services.queueing.state import StreamKey
from tests.contracts.queueing import QueuePorts
from tests.contracts.queueing.rows import (
    OTHER_STREAM,
    STREAM,
    append_to,
    head,
    load,
    lost,
    made,
    store,
)
from tests.contracts.races import race
from tests.fakes.clock import START


def test_an_entry_is_read_as_it_was_put_and_counted(ports: QueuePorts) -> None:
    store(ports)
    before = made(ports)
    append = append_to(before, 5, 6, seq=9)
    assert ports.entries.append([append]) == frozenset()
    after = load(ports)
    assert after == dataclasses.replace(before, seq=2, total=11, last_stream=STREAM, last_seq=9, shares=append.shares)
    found = ports.entries.read(before.queue_id, 0, 2, 10, START)
    assert [dataclasses.replace(entry, gone_at=0) for entry in found] == [
        dataclasses.replace(entry, gone_at=0) for entry in append.entries
    ]
    assert all(0 <= entry.gone_at - (START + 30 * DAY) <= SECOND for entry in found)


def test_shares_are_as_they_were_appended_with_all_counters_in_use(ports: QueuePorts) -> None:
    store(ports)
    made(ports)
    for seq in range(1, MOST_HUBS + MOST_GROUPS):
        sender = Sender(bytes([seq % (MOST_HUBS + 1)]) * 8, bytes([seq]) * 8)
        standing = load(ports)
        shares = standing.shares_with(sender, ENTRY_COST + seq)
        assert shares is not None
        append = dataclasses.replace(append_to(standing, seq, seq=seq), shares=shares)
        assert ports.entries.append([append]) == frozenset()
        assert load(ports).shares == shares
        if seq == MOST_GROUPS:
            ports.heads.mark(standing.queue_id, 1, 1, 0, 1)
            assert load(ports).shares == shares, "what lets go of entries counts nothing"
    kept = load(ports).shares
    assert (len(kept.older.groups.counts), len(kept.newer.hubs.counts)) == (MOST_GROUPS, MOST_HUBS - 1)


def test_of_two_appends_at_once_the_shares_have_the_one_that_won(ports: QueuePorts) -> None:
    store(ports)
    before = made(ports)
    senders = [Sender(bytes([one]) * 8, b"a group.") for one in range(4)]
    appends = []
    for sender in senders:
        shares = before.shares_with(sender, ENTRY_COST + 5)
        assert shares is not None
        appends.append(dataclasses.replace(append_to(before, 5), shares=shares))
    outcomes = race(*(partial(ports.entries.append, [append]) for append in appends))
    (won,) = [append for append, outcome in zip(appends, outcomes, strict=True) if outcome == frozenset()]
    assert load(ports).shares == won.shares


def test_reads_are_bounded_on_every_side(ports: QueuePorts) -> None:
    store(ports)
    queue_id = made(ports).queue_id
    ports.entries.append([append_to(head(), *[1] * 20)])

    def numbers(after: int, until: int, most: int) -> list[int]:
        return [entry.number for entry in ports.entries.read(queue_id, after, until, most, START)]

    assert numbers(0, 20, 100) == list(range(1, 21))
    assert numbers(15, 17, 100) == [16, 17]
    assert numbers(9, 20, 2) == [10, 11]
    assert numbers(20, 20, 5) == []


def test_expired_entries_do_not_count_as_read(ports: QueuePorts) -> None:
    store(ports)
    before = made(ports)
    ports.entries.append([append_to(before, 1, 1, gone_at=START + 5 * SECOND)])
    ports.entries.append([append_to(load(ports), 1, seq=2)])
    later = START + 7 * SECOND
    assert [entry.number for entry in ports.entries.read(before.queue_id, 0, 3, 1, START)] == [1]
    assert [entry.number for entry in ports.entries.read(before.queue_id, 0, 3, 1, later)] == [3]


def test_appends_go_together_or_not_at_all(ports: QueuePorts) -> None:
    store(ports)
    heads = [made(ports, name) for name in "abc"]
    ports.entries.append([append_to(heads[1], 1, stream=OTHER_STREAM)])
    appends = [append_to(one, 5) for one in heads]
    assert ports.entries.append(appends) == {heads[1].queue_id}
    assert [load(ports, name).seq for name in "abc"] == [0, 1, 0]
    assert ports.entries.append([appends[0], append_to(load(ports, "b"), 5), appends[2]]) == frozenset()
    assert [load(ports, name).seq for name in "abc"] == [1, 2, 1]
    assert [entry.size for entry in ports.entries.read(heads[1].queue_id, 0, 2, 9, START)] == [1, 5]


def test_an_append_to_no_queue_says_so(ports: QueuePorts) -> None:
    store(ports)
    made(ports)
    assert ports.entries.append([append_to(head(), 5), append_to(head("nobody"), 5)]) == {head("nobody").queue_id}
    assert load(ports).seq == 0


def test_fifty_queues_take_one_entry_each_together(ports: QueuePorts) -> None:
    store(ports)
    heads = [made(ports, f"queue {number}") for number in range(50)]
    assert ports.entries.append([append_to(one, 5) for one in heads]) == frozenset()
    assert {one.seq for one in ports.heads.load([one.queue_id for one in heads]) if one} == {1}


def test_of_many_appends_to_one_head_one_wins(ports: QueuePorts) -> None:
    store(ports)
    before = made(ports)
    streams = [StreamKey(bytes([number]) * 32) for number in range(4)]
    outcomes = race(*(partial(ports.entries.append, [append_to(before, 5, stream=one)]) for one in streams))
    assert sorted(map(len, (one for one in outcomes if isinstance(one, frozenset)))) == [0, 1, 1, 1]
    assert load(ports).seq == 1


def test_an_append_whose_reply_was_lost_happened_once(ports: QueuePorts) -> None:
    store(ports)
    before = made(ports)
    with lost(ports, "entries", "append"):
        ports.entries.append([append_to(before, 5)])
    assert load(ports).seq == 1
    assert ports.entries.append([append_to(before, 5)]) == {before.queue_id}


def test_what_is_discarded_is_gone_however_often(ports: QueuePorts) -> None:
    store(ports)
    before = made(ports)
    ports.entries.append([append_to(before, *[1] * 60)])
    for _ in range(2):
        ports.entries.discard(before.queue_id, 2, 58)
        assert [entry.number for entry in ports.entries.read(before.queue_id, 0, 60, 99, START)] == [1, 2, 59, 60]
    assert load(ports).seq == 60
