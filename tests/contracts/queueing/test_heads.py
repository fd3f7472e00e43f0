"""The port `QueueHeads`: one row for each queue, which counts."""

import dataclasses
from functools import partial

import pytest

from chalicelib.errors import AlreadyExists
from chalicelib.services.ports import Lost
from chalicelib.services.queueing.state import Head
from tests.contracts.queueing import QueuePorts
from tests.contracts.queueing.rows import (
    STREAM,
    append_to,
    head,
    load,
    lost,
    made,
    store,
)
from tests.contracts.races import race, winners
from tests.fakes.clock import START


def test_queues_are_loaded_in_the_order_asked_for(ports: QueuePorts) -> None:
    ports.heads.create(head("a"))
    ports.heads.create(head("b"))
    ids = [head(name).queue_id for name in "bxa"]
    assert ports.heads.load(ids) == [head("b"), None, head("a")]


def test_creating_again_changes_nothing_and_another_is_refused(ports: QueuePorts) -> None:
    store(ports)
    before = made(ports)
    assert ports.entries.append([append_to(before, 5)]) == frozenset()
    standing = load(ports)
    ports.heads.create(head())
    assert load(ports) == standing
    for other in (
        head(key=b"another"),
        dataclasses.replace(head(), token=b"u" * 32),
        dataclasses.replace(head(), cipher_suite=2),
    ):
        with pytest.raises(AlreadyExists):
            ports.heads.create(other)
    assert load(ports) == standing


def test_a_creation_whose_reply_was_lost_stands(ports: QueuePorts) -> None:
    with lost(ports, "heads", "create"):
        ports.heads.create(head())
    assert load(ports) == head()


def rotated(before: Head, key: bytes, at: int) -> Head:
    return dataclasses.replace(
        before, cipher_suite=2, signature_key=key, token=key.ljust(32), updated_at=at, update=key.ljust(32)
    )


def test_keys_change_and_nothing_else(ports: QueuePorts) -> None:
    store(ports)
    before = made(ports)
    append = append_to(before, 5)
    ports.entries.append([append])
    ports.heads.rotate(before, rotated(before, b"new", START))
    assert load(ports) == dataclasses.replace(
        rotated(before, b"new", START), seq=1, total=5, last_stream=STREAM, last_seq=1, shares=append.shares
    )


def test_of_many_rotations_one_wins(ports: QueuePorts) -> None:
    before = made(ports)
    keys = [b"one", b"two", b"three"]
    calls = [partial(ports.heads.rotate, before, rotated(before, key, START)) for key in keys]
    assert winners(race(*calls), Lost) == 1
    assert load(ports).signature_key in keys


def test_a_rotation_whose_reply_was_lost_stands_and_a_deleted_queue_has_none(ports: QueuePorts) -> None:
    before = made(ports)
    with lost(ports, "heads", "rotate"):
        ports.heads.rotate(before, rotated(before, b"new", START))
    after = load(ports)
    assert after.signature_key == b"new"
    assert ports.heads.bury(before.queue_id, START)
    with pytest.raises(Lost):
        ports.heads.rotate(after, rotated(after, b"newer", START + 1))


def test_marks_go_forward_only(ports: QueuePorts) -> None:
    store(ports)
    ports.entries.append([append_to(made(ports), 5, 6, 7)])
    for up_to, freed, expected in [(2, 11, (2, 11)), (1, 5, (2, 11)), (2, 11, (2, 11)), (3, 18, (3, 18))]:
        ports.heads.mark(head().queue_id, up_to, freed, up_to, up_to - 1)
        found = load(ports)
        assert (found.acknowledged, found.freed, found.look_again_at) == (*expected, expected[0])
        assert found.discarded == expected[0] - 1
    assert (found.seq, found.total) == (3, 18)


def test_touches_go_forward_only(ports: QueuePorts) -> None:
    made(ports)
    for now, expected in [(START + 5, START + 5), (START + 3, START + 5)]:
        ports.heads.touch(head().queue_id, now)
        assert load(ports).active_at == expected


def test_a_buried_queue_is_left_alone_and_its_name_is_not_given_again(ports: QueuePorts) -> None:
    store(ports)
    before = made(ports)
    queue_id = before.queue_id
    assert ports.heads.bury(queue_id, START)
    buried = load(ports)
    assert buried == dataclasses.replace(before, deleted=True)
    assert not ports.heads.bury(queue_id, START)
    ports.heads.touch(queue_id, START + 1)
    ports.heads.mark(queue_id, 0, 0, 1, 0)
    assert ports.entries.append([append_to(before, 5)]) == {queue_id}
    assert load(ports) == buried
    with pytest.raises(AlreadyExists):
        ports.heads.create(head())


def test_what_never_was_is_not_made_by_touching_it(ports: QueuePorts) -> None:
    queue_id = head().queue_id
    ports.heads.touch(queue_id, START)
    ports.heads.mark(queue_id, 0, 0, 0, 0)
    assert not ports.heads.bury(queue_id, START)
    assert ports.heads.load([queue_id]) == [None]


def test_unused_queues_are_found_oldest_first_and_buried_unless_they_are_used(ports: QueuePorts) -> None:
    names = [f"queue {number}" for number in range(12)]
    for number, name in enumerate(names):
        made(ports, name)
        ports.heads.touch(head(name).queue_id, START + number)
    ids = [head(name).queue_id for name in names]
    assert ports.heads.unused(START + 5, 100) == ids[:6]
    assert ports.heads.unused(START + 5, 4) == ids[:4]
    assert not ports.heads.bury(ids[5], START + 100, unless_active_after=START + 4)
    assert ports.heads.bury(ids[4], START + 100, unless_active_after=START + 4)
    assert ports.heads.unused(START + 5, 100) == [*ids[:4], ids[5]]
