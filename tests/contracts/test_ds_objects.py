"""`GroupObjects`, `Garbage` and `Rounds`: objects that never change, and what becomes of those nobody names."""

import dataclasses
from functools import partial

import pytest

from chalicelib.protocol.mls.chunks import Ref, reference
from chalicelib.protocol.timestamps import DAY, SECOND
from chalicelib.services.delivery.ports import NO_REF
from chalicelib.services.delivery.state import MEMBERSHIPS, Behind, GroupId, Kind, PastEpoch
from tests.contracts.delivery import (
    ANSWER,
    CONTENT,
    CREATED,
    GROUP,
    HEAD,
    ROOT,
    DsPorts,
    answer,
    commit,
    following,
    message,
)
from tests.contracts.races import race
from tests.fakes.clock import START

OTHER = GroupId(b"another")
NONE: frozenset[Ref] = frozenset()


@pytest.mark.parametrize("size", [0, 1, 340_000, 360_000, 2_000_000])
def test_an_object_of_any_size_is_read_as_it_was_written(ds: DsPorts, size: int) -> None:
    ref = ds.store(b"x" * size)
    assert ds.objects.of(GROUP).load([ref]) == {ref: b"x" * size}


def test_many_objects_are_read_at_once(ds: DsPorts) -> None:
    contents = [f"object {number}".encode() for number in range(230)] + [b"y" * 400_000, b"z" * 400_000]
    written = {reference(b"attempt0", content): content for content in contents}
    ds.objects.put(GROUP, written)
    assert ds.objects.of(GROUP).load(written) == written
    some = list(written)[100:110]
    assert set(ds.objects.of(GROUP).load(some)) == set(some)
    assert ds.objects.of(GROUP).load([]) == {}


def test_an_object_asked_for_twice_is_answered_once(ds: DsPorts) -> None:
    ref = ds.store(b"content")
    assert ds.objects.of(GROUP).load([ref, ref]) == {ref: b"content"}


def test_an_object_that_is_not_there_is_a_lookup_error(ds: DsPorts) -> None:
    ref = ds.store(b"content")
    with pytest.raises(LookupError):
        ds.objects.of(GROUP).load([ref, reference(b"attempt0", b"never written")])
    with pytest.raises(LookupError):
        ds.objects.of(OTHER).load([ref])


def test_writing_an_object_again_writes_the_same(ds: DsPorts) -> None:
    ref = reference(b"attempt0", b"content")
    ds.lose_reply("objects", "put")
    race(partial(ds.objects.put, GROUP, {ref: b"content"}))
    ds.objects.put(GROUP, {ref: b"content"})
    ds.objects.put(GROUP, {})
    assert ds.objects.of(GROUP).load([ref]) == {ref: b"content"}


# --- what is there


def test_a_groups_objects_are_listed_with_the_times_they_were_written(ds: DsPorts) -> None:
    first = ds.store(b"first")
    ds.clock.advance(1000)
    second = ds.store(b"s" * 400_000)
    ds.store(b"first", group_id=OTHER)
    assert ds.garbage.objects(GROUP) == {first: START, second: START + 1000}
    assert ds.garbage.objects(GroupId(b"no group")) == {}


def test_a_groups_objects_come_by_the_page_in_their_order(ds: DsPorts) -> None:
    refs = sorted(ds.store(b"object %d" % number) for number in range(25))
    ds.store(b"another's", group_id=OTHER)
    found: list[Ref] = []
    while page := list(ds.garbage.objects(GROUP, found[-1] if found else NO_REF, 4)):
        assert len(page) <= 4
        found += page
    assert found == refs
    assert list(ds.garbage.objects(GROUP, Ref(refs[7][:5]), 2)) == [ref for ref in refs if ref > refs[7][:5]][:2]


def test_of_what_is_written_by_the_day_it_is_told_when_that_day_was_over(ds: DsPorts) -> None:
    """Never a time before it was written: the collector would take it for old."""
    midnight = START - START % DAY + DAY
    refs = [reference(b"attempt0", content) for content in (b"first", b"l" * 400_000, b"at midnight")]
    ds.objects.put(GROUP, {refs[0]: b"first"}, by_day=True)
    ds.clock.advance(midnight - 1 - START)
    ds.objects.put(GROUP, {refs[1]: b"l" * 400_000}, by_day=True)
    ds.clock.advance(1)
    ds.objects.put(GROUP, {refs[2]: b"at midnight"}, by_day=True)
    assert ds.garbage.objects(GROUP) == {refs[0]: midnight, refs[1]: midnight, refs[2]: midnight + DAY}


def test_every_group_that_wrote_is_found_page_by_page_whether_it_was_created_or_not(ds: DsPorts) -> None:
    groups = [GroupId(f"group {number}".encode()) for number in range(25)]
    for group_id in groups:
        ds.store(b"content", group_id=group_id)
        ds.store(b"more", group_id=group_id)
    ds.clock.advance(2 * SECOND)
    found: list[GroupId] = []
    while page := ds.garbage.groups(found[-1] if found else None, 4):
        assert len(page) <= 4
        found += page
    assert sorted(found) == sorted(groups)


def test_deleted_objects_are_gone_however_often_they_are_deleted(ds: DsPorts) -> None:
    small, large, kept = ds.store(b"small"), ds.store(b"l" * 400_000), ds.store(b"k" * 400_001)
    for _ in range(2):
        ds.garbage.delete(GROUP, [small, large])
    assert set(ds.garbage.objects(GROUP)) == {kept}
    assert ds.objects.of(GROUP).load([kept])
    for gone in (small, large):
        with pytest.raises(LookupError):
            ds.objects.of(GROUP).load([gone])


# --- what is named


def test_of_no_group_nothing_is_named(ds: DsPorts) -> None:
    assert ds.garbage.named(GROUP, START) == (NONE, NONE)


def delivered(ds: DsPorts, cursor: int, shards: tuple[int, ...] = (0, MEMBERSHIPS)) -> None:
    for number in shards:
        taken = ds.shards.take(GROUP, number, ds.clock(), ds.clock() + 1)
        assert taken is not None
        ds.shards.save(dataclasses.replace(taken, cursor=cursor, leased_until=0))


def test_a_head_names_its_root(ds: DsPorts) -> None:
    ds.create()
    delivered(ds, 1)
    assert ds.garbage.named(GROUP, START) == (frozenset({ROOT}), NONE)
    before, root = ds.head(), ds.store(b"second")
    ds.groups.advance(before, following(before, rows=0, root=root))
    assert ds.garbage.named(GROUP, START) == (frozenset({root}), NONE)


def test_a_past_epoch_names_its_root_and_its_joiners_while_it_lasts(ds: DsPorts) -> None:
    head, root, joiners = ds.create(), ds.store(b"second"), ds.store(b"joiners")
    past = PastEpoch(head.epoch, ROOT, joiners, START + DAY)
    ds.groups.advance(head, following(head, rows=0, root=root), past=past)
    delivered(ds, 1)
    assert ds.garbage.named(GROUP, START) == (frozenset({root, ROOT}), frozenset({joiners}))
    assert ds.garbage.named(GROUP, START + DAY) == (frozenset({root}), NONE)


def test_a_row_names_its_root_until_every_shard_has_it(ds: DsPorts) -> None:
    head, root = ds.create(), ds.store(b"second")
    ds.groups.advance(head, following(head, root=root), [commit(head, root=ROOT)])
    assert ds.garbage.named(GROUP, START)[0] == {root, ROOT}
    delivered(ds, 2, (0,))
    assert ds.garbage.named(GROUP, START)[0] == {root, ROOT}
    delivered(ds, 2, (MEMBERSHIPS,))
    assert ds.garbage.named(GROUP, START)[0] == {root}


def test_a_row_names_its_root_until_every_domain_has_it(ds: DsPorts) -> None:
    head, root = ds.create(), ds.store(b"second")
    ds.groups.advance(head, following(head, root=root), [commit(head, root=ROOT)])
    delivered(ds, 2, (MEMBERSHIPS,))
    taken = ds.shards.take(GROUP, 0, START, START + 1)
    assert taken is not None
    behind = {"us.ds.example": Behind(1, 1, START, START)}
    saved = ds.shards.save(dataclasses.replace(taken, cursor=2, behind=behind))
    assert ds.garbage.named(GROUP, START)[0] == {root, ROOT}
    ds.shards.save(dataclasses.replace(saved, behind={}))
    assert ds.garbage.named(GROUP, START)[0] == {root}


def test_a_row_that_is_gone_names_nothing(ds: DsPorts) -> None:
    head, root = ds.create(), ds.store(b"second")
    ds.groups.advance(head, following(head, root=root), [commit(head, root=ROOT)])
    assert ds.garbage.named(GROUP, START + 30 * DAY - 1)[0] == {root, ROOT}
    assert ds.garbage.named(GROUP, START + 30 * DAY)[0] == {root}


# --- what goes


def test_of_a_purged_group_its_head_is_left_so_that_its_id_stays_used(ds: DsPorts) -> None:
    head = ds.create()
    ds.store(b"l" * 400_000)
    digest = b"d" * 32
    ds.groups.append(head, [message(head, body=b"b" * 100_000)], answer(digest))
    head = ds.head()
    past = PastEpoch(head.epoch, ROOT, ROOT, START + DAY)
    deleted = following(head, deleted=True, root=Ref(b""))
    ds.groups.advance(head, deleted, [commit(head)], past)
    delivered(ds, 3)
    ds.clock.advance(2 * SECOND)
    assert ds.wakes.due(START + DAY, 10) == [GROUP]
    other = ds.store(b"of another group", group_id=OTHER)
    for _ in range(2):
        ds.garbage.purge(GROUP)
    assert ds.groups.load(GROUP, digest) == (deleted, None)
    assert ds.groups.log(GROUP, 0, 10) == []
    assert ds.groups.past(GROUP, past.epoch) is None
    assert ds.garbage.objects(GROUP) == {}
    assert ds.garbage.named(GROUP, START) == (NONE, NONE)
    assert ds.shards.of(GROUP) == []
    ds.clock.advance(2 * SECOND)
    assert ds.wakes.due(START + DAY, 10) == [], "nobody delivers what is no more"
    assert ds.garbage.groups(None, 10) == [OTHER]
    assert ds.objects.of(OTHER).load([other])


def test_a_round_goes_on_where_it_was(ds: DsPorts) -> None:
    assert ds.rounds.load("groups") is None
    ds.rounds.save("groups", GROUP)
    ds.rounds.save("others", OTHER)
    assert ds.rounds.load("groups") == GROUP
    ds.rounds.save("groups", OTHER)
    assert ds.rounds.load("groups") == OTHER
    for _ in range(2):
        ds.rounds.save("groups", None)
    assert (ds.rounds.load("groups"), ds.rounds.load("others")) == (None, OTHER)


def test_a_group_begins_where_its_log_does(ds: DsPorts) -> None:
    ds.store(CONTENT)
    ds.groups.create(dataclasses.replace(HEAD, seq=41), [dataclasses.replace(CREATED, seq=41)], ANSWER)
    assert [row.kind for row in ds.groups.log(GROUP, 0, 10)] == [Kind.CREATED]
    assert [(shard.shard, shard.cursor) for shard in ds.shards.of(GROUP)] == [(0, 40), (MEMBERSHIPS, 40)]
