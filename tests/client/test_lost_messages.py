"""The client of a queue at a real queueing service that has lost messages: it gets whatever is left."""

import hashlib

import pytest

from chalicelib.client import Queue, QueueClient, SignatureKey
from chalicelib.protocol.delivery import media
from chalicelib.protocol.delivery.queue_requests import Acknowledge, QSMessage
from chalicelib.protocol.tls import decode
from chalicelib.services.queueing import owners, reading
from tests.fakes.queueing import QueueWorld
from tests.services.queueing.queues import EU, SOURCE, SUITE, Hub, Owner, Qs
from tests.storage.tls_server import Asked, Reply, Server


@pytest.fixture
def world() -> QueueWorld:
    return QueueWorld()


@pytest.fixture
def qs(world: QueueWorld) -> Qs:
    return Qs.in_memory(world)


@pytest.fixture
def alice(qs: Qs) -> Owner:
    return qs.owner("alice")


@pytest.fixture
def client(server: Server, ca: str, world: QueueWorld, qs: Qs, alice: Owner, pauses: list[float]) -> QueueClient:
    """Return alice's client, at a server that answers as the service does."""

    def answer(asked: Asked) -> Reply:
        message = decode(QSMessage.read, asked.body)
        if isinstance(message.request.body, Acknowledge):
            qs.reading.acknowledge(message, SOURCE)
            return Reply(204)
        return Reply(200, qs.reading.fetch(message, SOURCE).encode(), (("Content-Type", media.QS_FETCHED),))

    server.answer = answer
    queue = Queue(alice.queue_id, alice.token, SignatureKey(SUITE, alice.key))
    return QueueClient(server.origin, EU, queue, ca=ca, clock=lambda: world.clock() / 1000, sleep=pauses.append)


def send(world: QueueWorld, qs: Qs, alice: Owner, count: int, kept: set[int]) -> None:
    """Put so many entries into a queue, and lose the messages of all but some."""
    hub = Hub(qs)
    for number in range(1, count + 1):
        hub.send(b"%d" % number, alice)
        if number not in kept:
            del world.tables.bodies[hashlib.sha256(b"%d" % number).digest()]


@pytest.mark.parametrize(
    ("count", "kept"),
    [(5, {1, 5}), (5, {5}), (5, set()), (30, {1, 30}), (30, {29}), (40, set())],
    ids=["some", "all before", "all", "more than one fetch looks through", "not quite the last", "all of many"],
)
def test_what_is_left_comes_and_everything_is_let_go_of(
    world: QueueWorld, qs: Qs, alice: Owner, client: QueueClient, count: int, kept: set[int]
) -> None:
    send(world, qs, alice, count, kept)
    found = [entry.number for entry in client.entries(wait=0, most=2, forever=False)]
    assert found == sorted(kept)
    head = world.tables.heads[alice.queue_id]
    assert (head.acknowledged, head.freed) == (head.seq, head.total)
    Hub(qs, shard=1).send(b"new", alice)
    assert [entry.message for entry in client.entries(wait=0, forever=False)] == [b"new"]


def test_a_client_that_reads_on_and_on_gets_past_what_is_lost(
    world: QueueWorld, qs: Qs, alice: Owner, client: QueueClient
) -> None:
    send(world, qs, alice, 30, {30})
    assert next(client.entries(wait=20, most=1)).number == 30


def test_nothing_comes_twice_though_its_row_is_still_there(
    world: QueueWorld, qs: Qs, alice: Owner, client: QueueClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are removed more slowly than entries are acknowledged; a client that is new to the queue sees none."""
    for module in (reading, owners):
        monkeypatch.setattr(module, "MOST_DISCARDED", 1)
    send(world, qs, alice, 9, set(range(1, 10)))
    assert len(list(client.entries(wait=0, most=4, forever=False))) == 9
    assert len(world.tables.entries[alice.queue_id]) > 1
    client._seen.clear()
    assert list(client.entries(wait=0, forever=False)) == []
