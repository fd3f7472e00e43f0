"""What sealed groups ask of storage: rows that go once they are delivered, times in months, and the inbox."""

import dataclasses

import pytest

from chalicelib.protocol.mls.chunks import Ref
from chalicelib.protocol.timestamps import DAY, start_of_month
from chalicelib.services.delivery.ports import MOST_NOTES
from chalicelib.services.delivery.state import Head, Kind, LogRow
from tests.contracts.delivery import ANSWER, CONTENT, GROUP, HEAD, DsPorts, answer
from tests.contracts.races import race
from tests.fakes.clock import START

NOTES = [b"note %d" % number for number in range(3)]


@pytest.fixture
def sealed(ds: DsPorts) -> Head:
    """Return the head of a sealed group, which begins without a row."""
    month = start_of_month(START)
    head = dataclasses.replace(HEAD, seq=0, created_at=month, used_at=month, sealed=True)
    ds.store(CONTENT)
    ds.groups.create(head, [], ANSWER)
    return head


def rows(before: Head, *recipients: bytes) -> list[LogRow]:
    return [
        LogRow(before.seq + place, Kind.SEALED, before.epoch, Ref(b""), START, b"", recipients=one)
        for place, one in enumerate(recipients, 1)
    ]


def test_a_sealed_group_begins_with_its_one_shard(ds: DsPorts, sealed: Head) -> None:
    assert ds.head() == sealed
    assert [shard.shard for shard in ds.shards.of(GROUP)] == [0]


def test_rows_that_are_forgotten_are_gone(ds: DsPorts, sealed: Head) -> None:
    stored = rows(sealed, b"one", b"two" * 50_000, b"three")
    ds.groups.append(sealed, stored, answer(b"a" * 32))
    assert ds.groups.log(GROUP, 0, 9) == stored
    shard = ds.shards.take(GROUP, 0, START, START + 1_000)
    assert shard is not None
    ds.shards.save(dataclasses.replace(shard, cursor=2))
    ds.lose_reply("groups", "forget")
    race(lambda: ds.groups.forget(GROUP, 2))
    ds.groups.forget(GROUP, 2)
    assert ds.groups.log(GROUP, 0, 9) == stored[2:]
    assert ds.head().seq == 3


def test_the_head_of_a_sealed_group_says_the_month_alone(ds: DsPorts, sealed: Head) -> None:
    later = dataclasses.replace(rows(sealed, b"one")[0], accepted_at=START + 40 * DAY)
    ds.groups.append(sealed, [later], answer(b"a" * 32))
    assert ds.head().used_at == start_of_month(START + 40 * DAY) > sealed.used_at


def test_an_inbox_keeps_notes_until_it_is_cleared_of_them(ds: DsPorts, sealed: Head) -> None:
    assert list(ds.inboxes.of(sealed.group_id)) == []
    ds.lose_reply("inboxes", "add")
    race(lambda: ds.inboxes.add(GROUP, NOTES[:2]))
    ds.inboxes.add(GROUP, NOTES[:1])
    seen = ds.inboxes.of(GROUP)
    assert sorted(seen) == NOTES[:2]
    ds.inboxes.add(GROUP, NOTES[2:])
    ds.inboxes.clear(GROUP, seen)
    assert sorted(ds.inboxes.of(GROUP)) == NOTES
    ds.lose_reply("inboxes", "clear")
    race(lambda: ds.inboxes.clear(GROUP, NOTES))
    ds.inboxes.clear(GROUP, NOTES)
    assert list(ds.inboxes.of(GROUP)) == []


def test_an_inbox_has_a_limit(ds: DsPorts, sealed: Head) -> None:
    ds.inboxes.add(sealed.group_id, [b"note %d" % number for number in range(2 * MOST_NOTES)])
    assert len(ds.inboxes.of(GROUP)) == MOST_NOTES
    ds.inboxes.add(GROUP, [b"one more"])
    assert b"one more" not in ds.inboxes.of(GROUP)


def test_purging_a_group_empties_its_inbox(ds: DsPorts, sealed: Head) -> None:
    ds.inboxes.add(GROUP, NOTES)
    after = dataclasses.replace(sealed, version=2, root=Ref(b""), deleted=True)
    ds.groups.advance(sealed, after)
    ds.garbage.purge(GROUP)
    assert list(ds.inboxes.of(GROUP)) == []
