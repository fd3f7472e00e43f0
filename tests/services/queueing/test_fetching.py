"""A hub only refers to a message: it is fetched, checked, and nothing of the row happens before it is right."""

import dataclasses
import hashlib
import itertools
from collections.abc import Iterator

import pytest

from chalicelib.errors import InvalidValue, Unavailable, WrongBody
from chalicelib.protocol.delivery.parts import BodyReference, Reference
from chalicelib.protocol.delivery.queueing import EnqueueRequest
from chalicelib.protocol.delivery.queueing import QueueingServiceResponse as Result
from chalicelib.protocol.timestamps import SECOND
from chalicelib.services import fetching
from chalicelib.services.queueing.shares import LARGEST_MESSAGE
from tests.fakes.faults import When
from tests.fakes.queueing import QueueWorld
from tests.services.queueing.queues import EU, US, Hub, Owner, Qs

PIECE = 100_000
BODY = b"".join(number.to_bytes(4, "big") for number in range(70_000))  # 280,000 bytes: three pieces.
OK = Result.OK


def refer(body: bytes, length: int | None = None) -> BodyReference:
    return BodyReference(hashlib.sha256(body).digest(), len(body) if length is None else length)


@dataclasses.dataclass
class Store:
    """What a hub keeps for us, and how it hands it over."""

    bodies: dict[bytes, bytes] = dataclasses.field(default_factory=dict)
    piece: int = PIECE
    longer: int = 0

    def keep(self, body: bytes) -> BodyReference:
        self.bodies[hashlib.sha256(body).digest()] = body
        return refer(body)

    def __call__(self, sha256: bytes, offset: int) -> tuple[bytes, int]:
        body = self.bodies[sha256]
        return body[offset : offset + self.piece], len(body) + self.longer


@pytest.fixture
def store(world: QueueWorld) -> Store:
    store = Store()
    world.remote_bodies.domains[US] = store
    return store


def nothing_happened(world: QueueWorld) -> bool:
    tables = world.tables
    return not any((tables.streams, tables.bodies, *tables.entries.values()))


def test_what_a_row_refers_to_is_fetched_in_pieces_and_delivered(
    world: QueueWorld, qs: Qs, alice: Owner, hub: Hub, store: Store
) -> None:
    bob = qs.owner("bob")
    row = hub.row((store.keep(BODY), [alice.config, bob.config]), (b"inline", [alice.config]))
    assert hub.give(row) == [OK, OK, OK]
    assert (alice.messages(), bob.messages()) == ([BODY, b"inline"], [BODY])
    digest = refer(BODY).sha256
    assert world.remote_bodies.asked == [(US, digest, offset) for offset in (0, PIECE, 2 * PIECE)]


def test_a_large_message_is_found_by_a_link_as_any_other(alice: Owner, hub: Hub, store: Store) -> None:
    large, store.piece = bytes(5_000_000), 3 << 20
    assert hub.give(hub.row((store.keep(large), [alice.config]))) == [OK]
    (entry,) = alice.all()
    assert isinstance(entry.message, Reference)
    assert (entry.message.sha256, entry.message.length) == (refer(large).sha256, len(large))


def test_a_repeat_and_another_row_ask_for_nothing_again(
    world: QueueWorld, qs: Qs, alice: Owner, hub: Hub, store: Store
) -> None:
    row = hub.row((store.keep(BODY), [alice.config]))
    assert hub.give(row) == hub.give(row) == [OK]
    other = Hub(qs, shard=1)
    store.bodies.clear()
    assert other.give(other.row((refer(BODY), [alice.config]))) == [OK]
    assert len(world.remote_bodies.asked) == 3
    assert alice.messages() == [BODY, BODY]


def test_what_nobody_here_gets_is_not_fetched(world: QueueWorld, qs: Qs, hub: Hub) -> None:
    elsewhere = dataclasses.replace(qs.owner("alice").config, ds_domain=US)
    row = hub.row((refer(BODY), [elsewhere]), (refer(b"other"), []))
    assert hub.give(row) == [Result.INVALID_CLIENT_QUEUE_INFORMATION]
    assert world.remote_bodies.asked == []


def test_what_stands_in_the_row_too_is_not_fetched(world: QueueWorld, qs: Qs, alice: Owner, hub: Hub) -> None:
    row = hub.row((refer(BODY), [alice.config]), (BODY, [qs.owner("bob").config]))
    assert hub.give(row) == [OK, OK]
    assert (alice.messages(), world.remote_bodies.asked) == ([BODY], [])


def test_a_message_that_no_queue_can_hold_is_not_fetched(
    world: QueueWorld, alice: Owner, hub: Hub, store: Store
) -> None:
    huge = BodyReference(bytes(32), LARGEST_MESSAGE + 1)
    assert hub.give(hub.row((huge, [alice.config]), (b"inline", [alice.config]))) == [Result.MESSAGE_TOO_LARGE, OK]
    assert world.remote_bodies.asked == []


# --- hubs that lie


def check_refused(world: QueueWorld, hub: Hub, row: EnqueueRequest, refused: type[Exception] = WrongBody) -> None:
    with pytest.raises(refused):
        hub.give(row)
    assert nothing_happened(world)
    assert hub.last == 0


def test_a_body_that_the_hub_lost_is_refused_until_it_has_it_again(
    world: QueueWorld, alice: Owner, hub: Hub, store: Store
) -> None:
    row = hub.row((refer(BODY), [alice.config]), (b"inline", [alice.config]))
    check_refused(world, hub, row)
    store.keep(BODY)
    assert hub.give(row) == [OK, OK]


@pytest.mark.parametrize("at", [0, PIECE, len(BODY) - 1])
def test_one_wrong_byte_is_refused_and_does_not_stay(
    world: QueueWorld, alice: Owner, hub: Hub, store: Store, at: int
) -> None:
    row = hub.row((refer(BODY), [alice.config]))
    store.bodies[refer(BODY).sha256] = BODY[:at] + bytes([BODY[at] ^ 1]) + BODY[at + 1 :]
    check_refused(world, hub, row)
    assert world.pieces.kept == {}
    store.keep(BODY)
    assert hub.give(row) == [OK]
    assert alice.messages() == [BODY]


@pytest.mark.parametrize("length", [len(BODY) - 1, len(BODY) + 1, PIECE, 1])
def test_another_length_than_was_said_is_refused(
    world: QueueWorld, alice: Owner, hub: Hub, store: Store, length: int
) -> None:
    store.keep(BODY)
    check_refused(world, hub, hub.row((refer(BODY, length), [alice.config])))
    assert len(world.remote_bodies.asked) == 1, "the first answer says it"
    # Also where the hub agrees with itself, and where pieces of the right length came before.
    store.longer = length - len(BODY)
    check_refused(world, hub, hub.row((refer(BODY, length), [alice.config])))
    store.longer = 0
    assert hub.give(hub.row((refer(BODY), [alice.config]))) == [OK]


def test_a_shorter_message_is_not_made_of_the_pieces_of_a_longer_one(
    world: QueueWorld, alice: Owner, hub: Hub, store: Store
) -> None:
    store.keep(BODY)
    world.remote_bodies.takes = 6 * SECOND
    with pytest.raises(Unavailable):
        hub.give(hub.row((refer(BODY), [alice.config])))
    assert len(world.pieces.kept) == 1
    check_refused(world, hub, hub.row((refer(BODY, PIECE - 1), [alice.config])))
    assert world.pieces.kept == {}


@pytest.mark.parametrize("piece", [0, 1, fetching.LEAST_PIECE - 1])
def test_a_hub_that_drips_is_refused_at_once(
    world: QueueWorld, alice: Owner, hub: Hub, store: Store, piece: int
) -> None:
    store.piece = piece
    check_refused(world, hub, hub.row((store.keep(BODY), [alice.config])))
    assert len(world.remote_bodies.asked) == 1
    assert world.pieces.kept == {}


def test_a_hub_that_sends_more_than_there_can_be_is_refused(
    world: QueueWorld, alice: Owner, hub: Hub, store: Store
) -> None:
    world.remote_bodies.domains[US] = lambda _sha256, _offset: (BODY + b"more", len(BODY))
    check_refused(world, hub, hub.row((refer(BODY), [alice.config])))
    assert ("pieces", "keep") not in world.faults.calls


def test_two_lengths_of_one_message_are_refused(world: QueueWorld, alice: Owner, hub: Hub) -> None:
    check_refused(world, hub, hub.row((refer(BODY, 7), [alice.config]), (BODY, [alice.config])))


@pytest.mark.parametrize("length", [0, len(BODY) - 1, LARGEST_MESSAGE])
def test_what_stands_in_the_row_is_measured_too(world: QueueWorld, alice: Owner, hub: Hub, length: int) -> None:
    """Nobody is to get it where it stands, so that its own length is nobody's; nor is it fetched."""
    check_refused(world, hub, hub.row((refer(BODY, length), [alice.config]), (BODY, [])))


def test_a_row_refers_to_so_much_together_and_no_more(world: QueueWorld, alice: Owner, hub: Hub) -> None:
    half = fetching.MOST_TOGETHER // 2
    one, other = BodyReference(b"a" * 32, half), BodyReference(b"b" * 32, half + 1)
    check_refused(world, hub, hub.row((one, [alice.config]), (other, [alice.config])), InvalidValue)
    assert world.remote_bodies.asked == []


def test_a_hub_cannot_name_by_its_digest_what_another_sent(
    world: QueueWorld, qs: Qs, alice: Owner, hub: Hub, store: Store
) -> None:
    assert hub.give(hub.row((store.keep(BODY), [alice.config]), (b"inline", [alice.config]))) == [OK, OK]
    asia = Hub(qs, domain=EU)
    world.remote_bodies.domains[EU] = Store()
    for message in (BODY, b"inline"):
        with pytest.raises(WrongBody):
            asia.give(asia.row((refer(message), [alice.config])))
    assert alice.messages() == [BODY, b"inline"]


# --- time, and deaths


def test_a_slow_hub_is_told_to_come_again_and_the_next_try_goes_on(
    world: QueueWorld, alice: Owner, hub: Hub, store: Store
) -> None:
    world.remote_bodies.takes = 6 * SECOND
    row = hub.row((store.keep(BODY), [alice.config]))
    began = world.clock()
    for kept in (1, 2):
        with pytest.raises(Unavailable) as refused:
            hub.give(row)
        assert refused.value.retry_after_seconds
        assert len(world.pieces.kept) == kept
        assert not world.tables.streams
    assert world.clock() - began <= 2 * fetching.TIME
    assert hub.give(row) == [OK]
    assert alice.messages() == [BODY]


def test_the_time_may_be_up_between_two_pieces(world: QueueWorld, alice: Owner, hub: Hub, store: Store) -> None:
    world.remote_bodies.takes = fetching.TIME
    row = hub.row((store.keep(BODY), [alice.config]))
    for _ in range(2):
        with pytest.raises(Unavailable):
            hub.give(row)
    assert hub.give(row) == [OK]


def test_a_hub_that_is_down_leaves_the_row_for_later(world: QueueWorld, alice: Owner, hub: Hub, store: Store) -> None:
    row = hub.row((store.keep(BODY), [alice.config]))
    del world.remote_bodies.domains[US]
    check_refused(world, hub, row, Unavailable)
    world.remote_bodies.domains[US] = store
    assert hub.give(row) == [OK]


def test_pieces_that_went_are_fetched_again(world: QueueWorld, alice: Owner, hub: Hub, store: Store) -> None:
    world.remote_bodies.takes = 6 * SECOND
    row = hub.row((store.keep(BODY), [alice.config]))
    with pytest.raises(Unavailable):
        hub.give(row)
    world.pieces.kept.clear()
    world.remote_bodies.takes = 0
    assert hub.give(row) == [OK]
    assert [offset for _, _, offset in world.remote_bodies.asked][-3:] == [0, PIECE, 2 * PIECE]


def deaths() -> Iterator[tuple[str, str, int, When]]:
    calls = [("remote_bodies", "fetch", 3), ("pieces", "load", 3), ("pieces", "keep", 3), ("bodies", "put", 1)]
    for (port, method, times), when in itertools.product(calls, ("before", "after")):
        for skip in range(times):
            yield port, method, skip, "before" if when == "before" else "after"


@pytest.mark.parametrize(("port", "method", "skip", "when"), list(deaths()))
def test_a_worker_that_died_fetching_has_done_nothing_and_its_repeat_does_all(
    world: QueueWorld, alice: Owner, hub: Hub, store: Store, port: str, method: str, skip: int, when: When
) -> None:
    row = hub.row((store.keep(BODY), [alice.config]))
    world.fail(port, method, when=when, skip=skip)
    with pytest.raises(ConnectionError):
        hub.give(row)
    assert world.faults.armed == []
    assert not world.tables.streams
    assert alice.messages() == []
    again = Hub(Qs.in_memory(world))
    assert again.give(row) == [OK]
    assert alice.messages() == [BODY]
    asked = len(world.remote_bodies.asked)
    assert asked <= 4, "one piece at most was fetched twice"


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lie_is_found_out_again_where_forgetting_it_broke_off(
    world: QueueWorld, alice: Owner, hub: Hub, store: Store, when: When
) -> None:
    store.bodies[refer(BODY).sha256] = bytes(len(BODY))
    row = hub.row((refer(BODY), [alice.config]))
    world.fail("pieces", "forget", when=when)
    with pytest.raises(ConnectionError):
        hub.give(row)
    check_refused(world, hub, row)
    store.keep(BODY)
    assert hub.give(row) == [OK]
