"""Rows that are too large for a request to another domain arrive there all the same, however late."""

import dataclasses
import hashlib
import random
from collections.abc import Sequence

import pytest

from chalicelib.errors import NotFound
from chalicelib.protocol.delivery.parts import BodyReference, Domain
from chalicelib.protocol.delivery.queueing import ClientQueueConfig, Delivery, EnqueueRequest
from chalicelib.protocol.delivery.queueing import QueueingServiceResponse as Result
from chalicelib.protocol.delivery.sealed import Sealed
from chalicelib.protocol.timestamps import DAY, HOUR
from chalicelib.services.delivery.enclosures import LARGEST_REQUEST, PIECE, Enclosures
from chalicelib.services.delivery.state import GroupId
from tests.fakes.delivery import DeliveryWorld
from tests.fakes.faults import When
from tests.fakes.queueing import QueueWorld
from tests.services.delivery.house import House, Person
from tests.services.queueing.queues import Hub, Qs

EU, US, ASIA = Domain("eu.ds.example"), Domain("us.ds.example"), Domain("asia.ds.example")
CONFIG = ClientQueueConfig(US, Sealed(1, bytes(80)))
MEGABYTE = 1 << 20


@pytest.fixture
def world() -> DeliveryWorld:
    return DeliveryWorld(EU)


@pytest.fixture
def enclosures(world: DeliveryWorld) -> Enclosures:
    return Enclosures(world.peer_bodies, EU)


def row(*sizes: int) -> EnqueueRequest:
    """Return a request with messages of these sizes, no two alike."""
    deliveries = [Delivery(number.to_bytes(2, "big") + bytes(size - 2), (CONFIG,)) for number, size in enumerate(sizes)]
    return EnqueueRequest(EU, b"group", 0, 0, 1, 0, tuple(deliveries))


def referred(request: EnqueueRequest) -> list[int]:
    """Return the places of the messages that a request only refers to."""
    return [place for place, delivery in enumerate(request.deliveries) if isinstance(delivery.message, BodyReference)]


# --- what a request holds


def test_what_fits_goes_as_it_is(world: DeliveryWorld, enclosures: Enclosures) -> None:
    around = len(row(LARGEST_REQUEST).encode()) - LARGEST_REQUEST
    fitting, larger = row(LARGEST_REQUEST - around), row(LARGEST_REQUEST - around + 1)
    assert enclosures.fit(US, fitting) is fitting
    assert world.peer_bodies.kept == {}
    assert referred(enclosures.fit(US, larger)) == [0]


@pytest.mark.parametrize(
    ("sizes", "places"),
    [
        ([4 * MEGABYTE], [0]),
        ([MEGABYTE, 2 * MEGABYTE, 1_500_000], [1]),
        ([100, 2_900_000, 3_000_000, 200], [2]),
        ([100, 3_100_000, 3_200_000, 200], [2]),
        ([3_140_000, 10_000, 3_200_000], [0, 2]),
        ([64 * MEGABYTE // 4] * 4, [0, 1, 2, 3]),
    ],
)
def test_the_largest_messages_are_left_out_until_the_rest_fits(
    world: DeliveryWorld, enclosures: Enclosures, sizes: Sequence[int], places: Sequence[int]
) -> None:
    request = row(*sizes)
    fitted = enclosures.fit(US, request)
    assert referred(fitted) == places
    assert len(fitted.encode()) <= LARGEST_REQUEST
    assert len(world.peer_bodies.kept) == len(places)


def test_nothing_else_of_a_request_changes_and_what_is_left_out_is_what_was_kept(
    world: DeliveryWorld, enclosures: Enclosures
) -> None:
    draw = random.Random(7)
    for _ in range(20):
        request = row(*(draw.randrange(2, 900_000) for _ in range(draw.randrange(1, 12))))
        fitted = enclosures.fit(US, request)
        assert len(fitted.encode()) <= LARGEST_REQUEST
        whole = []
        for delivery in fitted.deliveries:
            reference = delivery.message
            if isinstance(reference, BodyReference):
                content, _ = world.peer_bodies.kept[US, reference.sha256]
                assert len(content) == reference.length
                whole.append(dataclasses.replace(delivery, message=content))
            else:
                whole.append(delivery)
        assert dataclasses.replace(fitted, deliveries=tuple(whole)) == request


def test_a_row_of_many_small_messages_fits_too(enclosures: Enclosures) -> None:
    fitted = enclosures.fit(US, row(*[60_000] * 100))
    assert len(fitted.encode()) <= LARGEST_REQUEST
    assert 45 < len(referred(fitted)) < 50, "as few as will do"


def test_our_own_domain_is_given_everything(world: DeliveryWorld, enclosures: Enclosures) -> None:
    request = row(9 * MEGABYTE)
    assert enclosures.fit(EU, request) is request
    assert world.peer_bodies.kept == {}


# --- what a peer is given


def test_a_peer_reads_what_was_kept_for_it_in_pieces(enclosures: Enclosures) -> None:
    request = row(4 * MEGABYTE)
    content = request.deliveries[0].message
    assert isinstance(content, bytes)
    digest = hashlib.sha256(content).digest()
    enclosures.fit(US, request)
    assert enclosures.read(US, digest, 0) == (content[:PIECE], 4 * MEGABYTE)
    assert enclosures.read(US, digest, PIECE) == (content[PIECE:], 4 * MEGABYTE)
    with pytest.raises(NotFound):
        enclosures.read(US, digest, 4 * MEGABYTE)
    for domain, other in ((ASIA, digest), (US, bytes(32)), (EU, digest)):
        with pytest.raises(NotFound):
            enclosures.read(domain, other, 0)


def test_what_a_hub_leaves_out_a_queueing_service_fetches(world: DeliveryWorld) -> None:
    """Both sides together, over the fakes of each."""
    queues = QueueWorld(EU)
    qs = Qs.in_memory(queues)
    alice, bob, hub = qs.owner("alice"), qs.owner("bob"), Hub(qs, domain=US)
    queues.remote_bodies.domains[US] = lambda sha256, offset: world.peer_bodies.read(EU, sha256, offset, PIECE)
    large, larger = random.Random(1).randbytes(2 * MEGABYTE), random.Random(2).randbytes(7 * MEGABYTE)
    request = hub.row((large, [alice.config]), (larger, [bob.config]), (b"small", [bob.config]))
    fitted = Enclosures(world.peer_bodies, US).fit(EU, request)
    assert referred(fitted) == [1]
    assert hub.give(fitted) == [Result.OK] * 3
    assert [entry.number for entry in bob.all()] == [1, 2]
    assert alice.messages() == [large]
    assert queues.bodies.get([hashlib.sha256(larger).digest()]) == {hashlib.sha256(larger).digest(): larger}


# --- the fan-out


LARGE = bytes(4 * MEGABYTE)


def test_a_large_message_is_delivered_everywhere_in_its_place(
    house: House, alice: Person, carol: Person, group: GroupId
) -> None:
    house.deliver()
    carol.catch_up()
    for data in (b"before", LARGE, b"after"):
        alice.say(data)
    house.deliver()
    assert carol.catch_up() == [b"before", LARGE, b"after"]
    assert [domain for domain, _ in house.world.peer_bodies.kept] == [US]


def test_a_peer_that_was_down_for_weeks_finds_it_all_the_same(
    house: House, alice: Person, carol: Person, group: GroupId
) -> None:
    house.deliver()
    carol.catch_up()
    house.world.queueing_services.down.add(US)
    alice.say(LARGE)
    for _ in range(29):
        house.deliver()
        house.world.clock.advance(DAY - HOUR)
    house.world.queueing_services.down.clear()
    house.deliver()
    assert carol.catch_up() == [LARGE]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_worker_that_dies_keeping_it_sends_nothing_and_the_next_one_does(
    house: House, alice: Person, carol: Person, group: GroupId, when: When
) -> None:
    house.deliver()
    carol.catch_up()
    alice.say(LARGE)
    house.world.fail("peer_bodies", "keep", when=when)
    with pytest.raises(ConnectionError):
        house.deliver()
    assert carol.catch_up() == []
    house.restart()
    for _ in range(3):
        house.deliver()
    assert carol.catch_up() == [LARGE]
