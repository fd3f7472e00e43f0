"""`Groups`: whatever one change makes true is written together, and of two changes one wins."""

import dataclasses
from functools import partial

import pytest

from chalicelib.protocol.mls.chunks import Ref
from chalicelib.protocol.timestamps import DAY
from chalicelib.services.delivery.ports import Exists
from chalicelib.services.delivery.state import GroupId, Head, Kind, LogRow, PastEpoch
from chalicelib.services.ports import Lost
from tests.contracts.delivery import ANSWER, CREATED, GROUP, HEAD, ROOT, DsPorts, answer, commit, following, message
from tests.contracts.races import race, winners
from tests.fakes.clock import START

DIGEST = b"d" * 32


def test_a_group_that_never_was_has_no_head_and_no_answer(ds: DsPorts) -> None:
    assert ds.groups.load(GROUP, DIGEST) == (None, None)
    assert ds.groups.log(GROUP, 0, 10) == []
    assert ds.groups.past(GROUP, 5) is None


def test_a_created_group_is_there_with_its_log_and_its_answer(ds: DsPorts) -> None:
    ds.create()
    assert ds.groups.load(GROUP, ANSWER.digest) == (HEAD, b"created")
    assert ds.groups.load(GROUP, DIGEST) == (HEAD, None)
    assert ds.groups.log(GROUP, 0, 10) == [CREATED]


def test_every_field_of_a_head_is_kept(ds: DsPorts) -> None:
    head = ds.create(dataclasses.replace(HEAD, epoch=2**40, sealed=True, shards=3))
    marked = following(head, blocked_since=START, frozen=True)
    ds.groups.advance(head, marked, [commit(head)])
    assert ds.head() == marked
    deleted = following(marked, deleted=True, root=Ref(b""))
    ds.groups.advance(marked, deleted, [commit(marked)])
    assert ds.head() == deleted


def test_an_id_is_used_once(ds: DsPorts) -> None:
    ds.create()
    with pytest.raises(Exists):
        ds.groups.create(HEAD, [CREATED], answer(DIGEST))
    assert ds.groups.load(GROUP, DIGEST) == (HEAD, None)


def test_a_creation_whose_reply_was_lost_happened_once(ds: DsPorts) -> None:
    ds.lose_reply("groups", "create")
    race(ds.create)
    assert ds.groups.load(GROUP, ANSWER.digest) == (HEAD, b"created")
    with pytest.raises(Exists):
        ds.groups.create(HEAD, [CREATED], answer(DIGEST))


def test_an_advance_is_seen_as_a_whole(ds: DsPorts) -> None:
    head = ds.create()
    root = ds.store(b"the next root")
    joiners = ds.store(b"who joins")
    after = following(head, rows=2, root=root)
    welcome = LogRow(head.seq + 2, Kind.WELCOME, head.epoch + 1, root, START, b"welcomes", joiners=((b"ref", 7),))
    rows = [commit(head, joined=(b"bob@eu",), left=(b"carol@us",), recipients=b"sealed"), welcome]
    past = PastEpoch(head.epoch + 1, root, joiners, START + DAY)
    ds.groups.advance(head, after, rows, past, answer(DIGEST))
    assert ds.groups.load(GROUP, DIGEST) == (after, b"answer")
    assert ds.groups.log(GROUP, head.seq, 10) == rows
    assert ds.groups.past(GROUP, past.epoch) == past
    assert ds.groups.past(GROUP, past.epoch - 1) is None


@pytest.mark.parametrize("field", ["version", "seq", "epoch"])
def test_an_advance_from_a_head_that_is_not_the_groups_is_lost_and_changes_nothing(ds: DsPorts, field: str) -> None:
    head = ds.create()
    moved = dataclasses.replace(head, **{field: getattr(head, field) + 1})
    past = PastEpoch(moved.epoch, ROOT, ROOT, START + DAY)
    with pytest.raises(Lost):
        ds.groups.advance(moved, following(moved), [commit(moved)], past, answer(DIGEST))
    assert ds.groups.load(GROUP, DIGEST) == (head, None)
    assert ds.groups.log(GROUP, head.seq, 10) == []
    assert ds.groups.past(GROUP, moved.epoch) is None


def test_an_advance_of_no_group_is_lost(ds: DsPorts) -> None:
    head = ds.create()
    other = dataclasses.replace(head, group_id=GroupId(b"another"))
    ds.store(b"the root of an epoch", group_id=other.group_id)
    with pytest.raises(Lost):
        ds.groups.advance(other, following(other), [commit(other)])


def test_an_advance_whose_reply_was_lost_is_found_done(ds: DsPorts) -> None:
    head = ds.create()
    ds.lose_reply("groups", "advance")
    (outcome,) = race(lambda: ds.groups.advance(head, following(head), [commit(head)], answer=answer(DIGEST)))
    assert not isinstance(outcome, Lost)
    assert ds.groups.load(GROUP, DIGEST) == (following(head), b"answer")
    assert len(ds.groups.log(GROUP, head.seq, 10)) == 1
    with pytest.raises(Lost):
        ds.groups.advance(head, following(head), [commit(head)], answer=answer(DIGEST))


def test_of_many_that_advance_one_head_one_wins(ds: DsPorts) -> None:
    head = ds.create()

    def advance(number: int) -> None:
        row = commit(head, body=f"commit {number}".encode())
        ds.groups.advance(head, following(head), [row], answer=answer(number.to_bytes(32, "big")))

    outcomes = race(*(partial(advance, number) for number in range(8)))
    assert winners(outcomes, Lost) == 1
    assert ds.head() == following(head)
    (row,) = ds.groups.log(GROUP, head.seq, 10)
    answered = [ds.groups.load(GROUP, number.to_bytes(32, "big"))[1] for number in range(8)]
    assert answered.count(b"answer") == 1
    assert row.body == f"commit {answered.index(b'answer')}".encode()


def test_a_change_of_state_alone_adds_nothing_to_the_log(ds: DsPorts) -> None:
    head = ds.create()
    after = dataclasses.replace(head, version=head.version + 1, blocked_since=START)
    ds.groups.advance(head, after)
    assert ds.head() == after
    assert ds.groups.log(GROUP, head.seq, 10) == []


# --- messages


def test_an_appended_message_takes_the_next_place_and_leaves_the_version(ds: DsPorts) -> None:
    head = ds.create()
    row = dataclasses.replace(message(head), accepted_at=START + 7)
    ds.groups.append(head, [row], answer(DIGEST))
    assert ds.groups.load(GROUP, DIGEST) == (dataclasses.replace(head, seq=head.seq + 1, used_at=START + 7), b"answer")
    assert ds.groups.log(GROUP, head.seq, 10) == [row]


def test_when_a_sealed_group_was_used_is_not_told_by_its_messages(ds: DsPorts) -> None:
    head = ds.create(dataclasses.replace(HEAD, sealed=True))
    ds.groups.append(head, [dataclasses.replace(message(head), accepted_at=START + 7)], answer(DIGEST))
    assert ds.head() == dataclasses.replace(head, seq=head.seq + 1)


@pytest.mark.parametrize("field", ["seq", "epoch"])
def test_a_message_to_a_head_that_moved_is_lost(ds: DsPorts, field: str) -> None:
    head = ds.create()
    moved = dataclasses.replace(head, **{field: getattr(head, field) + 1})
    with pytest.raises(Lost):
        ds.groups.append(moved, [message(moved)], answer(DIGEST))
    assert ds.groups.load(GROUP, DIGEST) == (head, None)


def test_a_message_goes_past_a_change_of_state(ds: DsPorts) -> None:
    head = ds.create()
    ds.groups.advance(head, dataclasses.replace(head, version=head.version + 1))
    ds.groups.append(head, [message(head)], answer(DIGEST))
    assert (ds.head().version, ds.head().seq) == (head.version + 1, head.seq + 1)


@pytest.mark.parametrize(
    "end",
    [{"blocked_since": START}, {"frozen": True}, {"deleted": True, "root": Ref(b"")}],
    ids=["blocked", "frozen", "deleted"],
)
def test_a_group_that_takes_no_messages_gets_none(ds: DsPorts, end: dict[str, object]) -> None:
    head = ds.create()
    closed = dataclasses.replace(head, version=head.version + 1, **end)  # type: ignore[arg-type]
    ds.groups.advance(head, closed)
    with pytest.raises(Lost):
        ds.groups.append(head, [message(head)], answer(DIGEST))
    assert ds.groups.load(GROUP, DIGEST) == (closed, None)


def test_a_message_whose_reply_was_lost_is_there_once(ds: DsPorts) -> None:
    head = ds.create()
    ds.lose_reply("groups", "append")
    race(lambda: ds.groups.append(head, [message(head)], answer(DIGEST)))
    assert ds.groups.load(GROUP, DIGEST) == (dataclasses.replace(head, seq=head.seq + 1), b"answer")
    with pytest.raises(Lost):
        ds.groups.append(ds.head(), [message(ds.head())], answer(DIGEST))
    assert len(ds.groups.log(GROUP, head.seq, 10)) == 1


def test_a_message_and_a_commit_at_once_both_keep_to_the_order(ds: DsPorts) -> None:
    head = ds.create()
    outcomes = race(
        lambda: ds.groups.append(head, [message(head)], answer(DIGEST)),
        lambda: ds.groups.advance(head, following(head), [commit(head)]),
    )
    assert winners(outcomes, Lost) == 1
    assert [row.seq for row in ds.groups.log(GROUP, 0, 10)] == [1, 2]
    assert ds.head().seq == 2


# --- answers


def test_an_answer_is_given_until_its_time_is_over(ds: DsPorts) -> None:
    head = ds.create()
    ds.groups.append(head, [message(head)], answer(DIGEST, until=START + 1000))
    ds.clock.advance(999)
    assert ds.groups.load(GROUP, DIGEST) == (ds.head(), b"answer")
    ds.clock.advance(1)
    assert ds.groups.load(GROUP, DIGEST) == (ds.head(), None)
    ds.groups.append(ds.head(), [message(ds.head())], answer(DIGEST, b"another day"))
    assert ds.groups.load(GROUP, DIGEST) == (ds.head(), b"another day")


def test_a_request_that_was_answered_meanwhile_changes_nothing_more(ds: DsPorts) -> None:
    before = ds.create()
    ds.groups.append(before, [message(before)], answer(DIGEST, b"accepted"))
    head = ds.head()
    with pytest.raises(Lost):
        ds.groups.append(head, [message(head)], answer(DIGEST, b"again"))
    with pytest.raises(Lost):
        ds.groups.advance(head, following(head), [commit(head)], answer=answer(DIGEST, b"again"))
    assert ds.groups.load(GROUP, DIGEST) == (head, b"accepted")
    assert ds.groups.log(GROUP, head.seq, 10) == []


def test_an_answer_is_its_groups_own(ds: DsPorts) -> None:
    ds.create()
    assert ds.groups.load(GroupId(b"another"), ANSWER.digest) == (None, None)


# --- the log


def test_the_log_is_read_in_order_from_any_place(ds: DsPorts) -> None:
    ds.create()
    ds.say(*(f"message {number}".encode() for number in range(20)))
    ds.say(b"and one more")
    assert [row.seq for row in ds.groups.log(GROUP, 0, 100)] == list(range(1, 23))
    assert [row.seq for row in ds.groups.log(GROUP, 9, 3)] == [10, 11, 12]
    assert [row.body for row in ds.groups.log(GROUP, 21, 100)] == [b"and one more"]
    assert ds.groups.log(GROUP, 22, 100) == []


@pytest.mark.parametrize("size", [60_000, 70_000, 1_000_000])
def test_a_message_of_any_size_comes_back_as_it_was(ds: DsPorts, size: int) -> None:
    ds.create()
    ds.say(b"a", b"x" * size, b"b")
    assert [row.body for row in ds.groups.log(GROUP, 1, 3)] == [b"a", b"x" * size, b"b"]


def test_rows_older_than_the_log_lives_are_gone(ds: DsPorts) -> None:
    head = ds.create()
    for number in range(4):
        ds.groups.append(head, [message(head)], answer(bytes([number]) * 32))
        head = ds.head()
    ds.clock.advance(30 * DAY)
    late = dataclasses.replace(message(head), accepted_at=ds.clock())
    ds.groups.append(head, [late], answer(DIGEST, until=ds.clock() + DAY))
    assert ds.groups.log(GROUP, 0, 2) == [late]


def test_a_past_epoch_is_gone_when_its_time_is_over(ds: DsPorts) -> None:
    head = ds.create()
    past = PastEpoch(head.epoch, ROOT, ROOT, START + DAY)
    ds.groups.advance(head, following(head), [commit(head)], past)
    ds.clock.advance(DAY - 1)
    assert ds.groups.past(GROUP, head.epoch) == past
    ds.clock.advance(1)
    assert ds.groups.past(GROUP, head.epoch) is None


def test_groups_do_not_meet(ds: DsPorts) -> None:
    ds.create()
    other: Head = ds.create(dataclasses.replace(HEAD, group_id=GroupId(b"another")))
    ds.say(b"hello")
    assert ds.head(other.group_id) == other
    assert len(ds.groups.log(other.group_id, 0, 10)) == 1
