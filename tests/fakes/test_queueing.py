"""What a queueing service's fakes hold their callers to, and production would let pass."""

import dataclasses
import hashlib
from collections.abc import Callable

import pytest

from chalicelib.protocol.delivery.parts import Domain
from chalicelib.protocol.timestamps import DAY
from chalicelib.services.queueing.shares import CAPACITY, ENTRY_COST, Sender, Shares
from chalicelib.services.queueing.state import Append, Entry, Head, QueueId, Stream, StreamKey
from tests.fakes.clock import START
from tests.fakes.faults import Misuse
from tests.fakes.queueing import QueueWorld

QUEUE = QueueId(b"q" * 16)
HEAD = Head(QUEUE, 1, b"key", b"t" * 32, START, active_at=START, updated_at=0)
BODY = hashlib.sha256(b"hello").digest()
ENTRY = Entry(1, Domain("us.example"), b"group", 7, START, BODY, 5, 5, START + 30 * DAY)
STREAM = StreamKey(b"s" * 32)
SENDER = Sender(b"the hub.", b"a group.")
GOOD = Append(HEAD, STREAM, 7, (ENTRY,), Shares().plus(SENDER, ENTRY_COST + 5))
FULL = dataclasses.replace(HEAD, total=CAPACITY - ENTRY_COST)
TOO_MUCH = Shares(FULL.end).plus(SENDER, ENTRY_COST + 5)


@pytest.fixture
def world() -> QueueWorld:
    world = QueueWorld()
    world.heads.create(HEAD)
    world.bodies.put(BODY, b"hello", START + 37 * DAY)
    return world


def with_entry(**other: object) -> Append:
    return dataclasses.replace(GOOD, entries=(dataclasses.replace(ENTRY, **other),))  # type: ignore[arg-type]


def test_what_is_right_is_taken(world: QueueWorld) -> None:
    assert world.entries.append([GOOD]) == frozenset()
    assert world.entries.read(QUEUE, 0, 1, 1, START) == [ENTRY]


@pytest.mark.parametrize(
    "appends",
    [
        [],
        [GOOD, GOOD],
        [dataclasses.replace(GOOD, entries=())],
        [with_entry(number=2)],
        [with_entry(total=6)],
        [with_entry(seq=8)],
        [with_entry(body=bytes(32))],
        [with_entry(gone_at=START + 31 * DAY)],
        [
            dataclasses.replace(
                with_entry(total=FULL.total + 5), before=FULL, shares=Shares(FULL.end).plus(SENDER, 6149)
            )
        ],
        [dataclasses.replace(GOOD, shares=Shares())],
        [
            dataclasses.replace(GOOD, before=dataclasses.replace(HEAD, queue_id=QueueId(bytes([n]) * 16)))
            for n in range(51)
        ],
    ],
)
def test_an_append_must_be_whole(world: QueueWorld, appends: list[Append]) -> None:
    with pytest.raises(Misuse):
        world.entries.append(appends)
    assert world.tables.entries == {}


MISUSES: dict[str, Callable[[QueueWorld], object]] = {
    "a queue that is not empty at first": lambda world: world.heads.create(dataclasses.replace(HEAD, seq=1)),
    "a token that is no digest": lambda world: world.heads.create(dataclasses.replace(HEAD, token=b"token")),
    "heads of nothing": lambda world: world.heads.load([]),
    "too many heads": lambda world: world.heads.load([QUEUE] * 101),
    "keys that no update brought": lambda world: world.heads.rotate(HEAD, HEAD),
    "more acknowledged than there was": lambda world: world.heads.mark(QUEUE, 1, 0, 0, 0),
    "more removed than let go of": lambda world: world.heads.mark(QUEUE, 0, 0, 0, 1),
    "a read beyond the head": lambda world: world.entries.read(QUEUE, 0, 1, 1, START),
    "a read of nothing": lambda world: world.entries.read(QUEUE, 0, 0, 0, START),
    "what never was is discarded": lambda world: world.entries.discard(QUEUE, 0, 1),
    "a stream without a digest": lambda world: world.streams.load(StreamKey(b"us.example group")),
    "a stream that stands still": lambda world: world.streams.advance(STREAM, None, Stream(0, b"", 0, START)),
    "a message under another's name": lambda world: world.bodies.put(BODY, b"other", START),
    "a message twice": lambda world: world.bodies.get([BODY, BODY]),
    "a link to what fits": lambda world: world.bodies.link(BODY),
    "a fetch that has no time": lambda world: world.remote_bodies.fetch("us.example", BODY, 0, 0),
    "a piece of nothing": lambda world: world.pieces.keep("us.example", BODY, 0, b""),
    "nothing is forgotten": lambda world: world.pieces.forget("us.example", BODY, []),
    "a wait for nothing": lambda world: world.wait(0),
}


@pytest.mark.parametrize("misuse", MISUSES.values(), ids=MISUSES)
def test_what_no_caller_may_do(world: QueueWorld, misuse: Callable[[QueueWorld], object]) -> None:
    with pytest.raises(Misuse):
        misuse(world)
