"""The ports of a queueing service: heads, entries, streams, messages and keys."""

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator
from functools import partial

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from chalicelib.errors import AlreadyExists
from chalicelib.protocol.delivery.parts import Domain
from chalicelib.protocol.timestamps import DAY, SECOND
from chalicelib.services.ports import Lost
from chalicelib.services.queueing.shares import ENTRY_COST, MOST_GROUPS, MOST_HUBS, Sender
from chalicelib.services.queueing.state import LARGEST_ANSWER, Append, Entry, Head, QueueId, Stream, StreamKey
from tests.contracts import aws, queueing
from tests.contracts.queueing import QueuePorts
from tests.contracts.races import race, winners
from tests.fakes.clock import START, SettableClock

SENDER = Sender(b"the hub.", b"a group.")
STREAM, OTHER_STREAM = StreamKey(b"s" * 32), StreamKey(b"t" * 32)
MESSAGE = b"a message"
DIGEST = hashlib.sha256(MESSAGE).digest()


@pytest.fixture(params=["memory", "aws"])
def ports(request: pytest.FixtureRequest) -> QueuePorts:
    if request.param == "memory":
        return queueing.memory()
    return queueing.on_aws(aws.new_stage("delivery"), SettableClock())


def head(name: str = "a", key: bytes = b"key") -> Head:
    queue_id = QueueId(hashlib.sha256(name.encode()).digest()[:16])
    return Head(queue_id, 1, key, b"t" * 32, START, active_at=START, updated_at=0)


def load(ports: QueuePorts, name: str = "a") -> Head:
    (found,) = ports.heads.load([head(name).queue_id])
    assert found is not None
    return found


def made(ports: QueuePorts, name: str = "a") -> Head:
    ports.heads.create(head(name))
    return load(ports, name)


def append_to(
    before: Head, *sizes: int, seq: int = 1, gone_at: int = START + 30 * DAY, stream: StreamKey = STREAM
) -> Append:
    entries, total = [], before.total
    for number, size in enumerate(sizes, before.seq + 1):
        total += size
        entries.append(Entry(number, Domain("us.example"), b"group", seq, START, DIGEST, size, total, gone_at))
    shares = before.shares_with(SENDER, sum(sizes) + ENTRY_COST * len(sizes))
    assert shares is not None
    return Append(before, stream, seq, tuple(entries), shares)


def store(ports: QueuePorts) -> None:
    ports.bodies.put(DIGEST, MESSAGE, START + 100 * DAY)


@contextlib.contextmanager
def lost(ports: QueuePorts, port: str, method: str) -> Iterator[None]:
    """Lose a reply: the call in the body raises, or finds out that it succeeded."""
    ports.lose_reply(port, method)
    with contextlib.suppress(ConnectionError):
        yield


# --- heads


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


# --- entries


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


# --- streams


def stream(seq: int, tokens: int = 7) -> Stream:
    return Stream(seq, b"\x00\x01\x02", tokens, START)


def test_a_stream_moves_on_from_where_it_was(ports: QueuePorts) -> None:
    assert ports.streams.load(STREAM) is None
    ports.streams.advance(STREAM, None, stream(4))
    assert ports.streams.load(STREAM) == stream(4)
    ports.streams.advance(STREAM, stream(4), stream(5))
    assert (ports.streams.load(STREAM), ports.streams.load(OTHER_STREAM)) == (stream(5), None)


@pytest.mark.parametrize("before", [None, stream(3)])
def test_a_stream_that_moved_is_lost(ports: QueuePorts, before: Stream | None) -> None:
    ports.streams.advance(STREAM, None, stream(4))
    with pytest.raises(Lost):
        ports.streams.advance(STREAM, before, stream(6))
    assert ports.streams.load(STREAM) == stream(4)


def test_of_many_that_move_a_stream_one_wins(ports: QueuePorts) -> None:
    calls = [partial(ports.streams.advance, STREAM, None, stream(4, tokens)) for tokens in range(4)]
    assert winners(race(*calls), Lost) == 1


def test_a_move_whose_reply_was_lost_stands(ports: QueuePorts) -> None:
    with lost(ports, "streams", "advance"):
        ports.streams.advance(STREAM, None, stream(4))
    assert ports.streams.load(STREAM) == stream(4)


# --- messages


@pytest.mark.parametrize("size", [0, 9, 350_000, 350_001, 1_000_000])
def test_a_message_is_read_as_it_was_put_however_often(ports: QueuePorts, size: int) -> None:
    messages = {hashlib.sha256(data).digest(): data for data in (bytes(size), b"other")}
    for _ in range(2):
        for digest, data in messages.items():
            ports.bodies.put(digest, data, START + DAY)
    assert ports.bodies.get(messages) == messages


@pytest.mark.parametrize("size", [9, 400_000])
def test_a_message_lasts_as_long_as_was_asked_last_and_then_is_gone(ports: QueuePorts, size: int) -> None:
    data = bytes(size)
    digest = hashlib.sha256(data).digest()
    ports.bodies.put(digest, data, START + 5 * DAY)
    ports.bodies.put(digest, data, START + DAY)
    ports.clock.advance(5 * DAY - 1)
    assert ports.bodies.get([digest]) == {digest: data}
    ports.bodies.put(digest, data, START + 10 * DAY)
    ports.clock.advance(5 * DAY)
    assert ports.bodies.get([digest]) == {digest: data}
    ports.clock.advance(2 * DAY)
    assert ports.bodies.get([digest]) == {}


def test_messages_that_are_not_there_are_left_out(ports: QueuePorts) -> None:
    store(ports)
    assert ports.bodies.get([DIGEST, bytes(32)]) == {DIGEST: MESSAGE}
    assert ports.bodies.link(bytes(32)) is None


def test_a_message_whose_reply_was_lost_is_there(ports: QueuePorts) -> None:
    with lost(ports, "bodies", "put"):
        store(ports)
    assert ports.bodies.get([DIGEST]) == {DIGEST: MESSAGE}


def test_a_link_leads_to_one_large_message(ports: QueuePorts) -> None:
    large = [bytes([number]) * (LARGEST_ANSWER + 1) for number in range(2)]
    digests = [hashlib.sha256(one).digest() for one in large]
    for digest, one in zip(digests, large, strict=True):
        ports.bodies.put(digest, one, START + DAY)
    assert len({ports.bodies.link(digest) for digest in digests}) == 2


# --- keys


def test_the_public_key_is_that_of_its_epochs_private_one_and_stays(ports: QueuePorts) -> None:
    epoch, public = ports.config_keys.public()
    private = ports.config_keys.private(epoch)
    assert private is not None
    assert X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw() == public
    assert ports.config_keys.public() == (epoch, public)
    assert ports.config_keys.private(epoch + 1) is None
