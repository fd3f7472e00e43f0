"""A queue belongs to its key: creating, changing, deleting, and what a stranger or a replay can do."""

import dataclasses
from collections.abc import Callable

import pytest

from chalicelib.errors import (
    AlreadyExists,
    InvalidValue,
    NotFound,
    NotFresh,
    NotPermitted,
    TooManyRequests,
    Unavailable,
)
from chalicelib.protocol.delivery.parts import Freshness
from chalicelib.protocol.delivery.queue_requests import (
    Acknowledge,
    CreateQueue,
    DeleteQueue,
    Fetch,
    QSBody,
    QSMessage,
    UpdateQueue,
)
from chalicelib.protocol.delivery.queueing import QueueingServiceResponse as Result
from chalicelib.protocol.timestamps import DAY, MINUTE, SECOND
from chalicelib.services.ports import Unreachable
from chalicelib.services.queueing.state import QueueId
from tests.fakes.queueing import QueueWorld
from tests.services.queueing.queues import SOURCE, SUITE, US, Hub, Owner, Qs


def test_a_repeated_creation_makes_one_queue(world: QueueWorld, qs: Qs) -> None:
    alice = Owner(qs, "alice")
    creation = alice.creation()
    world.fail("heads", "create", when="after")
    with pytest.raises(ConnectionError):
        qs.owners.create(creation, "192.0.2.1")
    qs.owners.create(creation, "192.0.2.1")
    assert list(world.tables.heads) == [alice.queue_id]
    assert alice.fetch().last == 0


def test_a_queues_name_is_not_taken_by_another(qs: Qs, alice: Owner) -> None:
    bob = Owner(qs, "bob")
    bob.queue_id = alice.queue_id
    with pytest.raises(AlreadyExists):
        bob.create()
    assert alice.fetch().last == 0


def test_creating_takes_the_key_itself(qs: Qs) -> None:
    alice, bob = Owner(qs, "alice"), Owner(qs, "bob")
    body = CreateQueue(SUITE, alice.public, alice.token, alice.fresh())
    with pytest.raises(NotPermitted):
        qs.owners.create(alice.sign(body, key=bob.key), "192.0.2.1")
    with pytest.raises(InvalidValue):
        qs.owners.create(alice.sign(dataclasses.replace(body, cipher_suite=99)), "192.0.2.1")


def test_a_source_makes_so_many_queues_and_others_still_can(world: QueueWorld, qs: Qs) -> None:
    for number in range(100):
        Owner(qs, f"client {number}").create("192.0.2.1")
    late = Owner(qs, "late")
    with pytest.raises(TooManyRequests) as refused:
        late.create("192.0.2.1")
    assert (refused.value.limit, refused.value.retry_after_seconds) == ("queues-by-source", 6)
    Owner(qs, "client 0").create("192.0.2.1")  # A repeat costs nothing.
    late.create("192.0.2.2")
    assert late.fetch().last == 0


def test_without_the_limiter_no_queue_is_made(world: QueueWorld, qs: Qs, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: object) -> None:
        raise Unreachable("down")

    monkeypatch.setattr(world.buckets, "take", down)
    with pytest.raises(Unavailable):
        Owner(qs, "alice").create()
    assert world.tables.heads == {}


@pytest.mark.parametrize("late", [5 * MINUTE + 1, -5 * MINUTE - 1])
def test_a_request_is_good_for_five_minutes(world: QueueWorld, qs: Qs, alice: Owner, late: int) -> None:
    alice.qs.reading.fetch(alice.sign(Fetch(0, 1, 0, alice.fresh(late=late - (1 if late > 0 else -1)))), SOURCE)
    with pytest.raises(NotFresh) as refused:
        qs.reading.fetch(alice.sign(Fetch(0, 1, 0, alice.fresh(late=late))), SOURCE)
    assert refused.value.facts() == {"time_ms": world.clock()}
    with pytest.raises(NotFresh):
        qs.owners.create(Owner(qs, "bob").creation(late=late), "192.0.2.1")


@pytest.mark.parametrize("late", [5 * MINUTE + 1, -5 * MINUTE - 1])
def test_a_request_that_is_late_or_for_another_service_costs_nothing(
    world: QueueWorld, qs: Qs, alice: Owner, late: int
) -> None:
    """Nobody is counted for it, so nothing may be looked at."""
    world.faults.calls.clear()
    for fresh in (alice.fresh(late=late), alice.fresh(US)):
        asked: list[tuple[Callable[[QSMessage, str], object], QSBody]] = [
            (qs.owners.create, CreateQueue(SUITE, alice.public, alice.token, fresh)),
            (qs.owners.update, UpdateQueue(SUITE, alice.public, alice.token, fresh)),
            (qs.owners.delete, DeleteQueue(fresh)),
            (qs.reading.fetch, Fetch(0, 1, 0, fresh)),
            (qs.reading.acknowledge, Acknowledge(0, fresh)),
        ]
        for serve, body in asked:
            with pytest.raises(NotFresh):
                serve(alice.sign(body), SOURCE)
    assert not {port for port, _ in world.faults.calls} & {"heads", "entries", "buckets"}


def test_a_request_for_another_service_is_refused(qs: Qs, alice: Owner) -> None:
    with pytest.raises(NotFresh):
        qs.reading.fetch(alice.sign(Fetch(0, 1, 0, alice.fresh(US))), SOURCE)


def test_a_stranger_does_nothing_with_a_queue(world: QueueWorld, qs: Qs, alice: Owner, hub: Hub) -> None:
    hub.send(b"hello", alice)
    mallory = Owner(qs, "mallory")
    mallory.queue_id = alice.queue_id
    before = dict(world.tables.heads)
    for act in (mallory.fetch, lambda: mallory.acknowledge(1), mallory.delete):
        with pytest.raises(NotPermitted):
            act()
    with pytest.raises(NotPermitted):
        qs.owners.update(mallory.rotation("other")[0], SOURCE)
    assert world.tables.heads == before


def test_a_message_goes_to_the_route_of_its_type(qs: Qs, alice: Owner) -> None:
    deletion = alice.sign(DeleteQueue(alice.fresh()))
    for serve in (qs.reading.fetch, qs.reading.acknowledge, qs.owners.update):
        with pytest.raises(InvalidValue):
            serve(deletion, SOURCE)
    with pytest.raises(InvalidValue):
        qs.owners.delete(alice.creation(), SOURCE)


def test_an_unknown_queue_is_not_found(qs: Qs) -> None:
    nobody = Owner(qs, "nobody")
    for act in (nobody.fetch, lambda: nobody.acknowledge(0), nobody.delete):
        with pytest.raises(NotFound):
            act()


def test_an_update_changes_who_reads_and_who_may_write(qs: Qs, alice: Owner, hub: Hub) -> None:
    update, after = alice.rotation("alice's next")
    qs.owners.update(update, SOURCE)
    with pytest.raises(NotPermitted):
        alice.fetch()
    assert hub.send(b"old token", alice) == [Result.INVALID_CLIENT_QUEUE_INFORMATION]
    assert hub.send(b"new token", after) == [Result.OK]
    assert after.messages() == [b"new token"]


def test_an_update_whose_reply_was_lost_can_be_repeated(world: QueueWorld, qs: Qs, alice: Owner) -> None:
    update, after = alice.rotation("alice's next")
    world.fail("heads", "rotate", when="after")
    with pytest.raises(ConnectionError):
        qs.owners.update(update, SOURCE)
    qs.owners.update(update, SOURCE)
    assert after.fetch().last == 0


def test_a_replayed_update_brings_no_old_token_back(world: QueueWorld, qs: Qs, alice: Owner) -> None:
    tokens = [bytes([number]) * 16 for number in (1, 2)]
    updates = []
    for token in tokens:
        world.clock.advance(1)
        updates.append(alice.sign(UpdateQueue(SUITE, alice.public, token, alice.fresh())))
        qs.owners.update(updates[-1], SOURCE)
    standing = world.tables.heads[alice.queue_id]
    with pytest.raises(AlreadyExists):
        qs.owners.update(updates[0], SOURCE)
    assert world.tables.heads[alice.queue_id] == standing


@pytest.mark.parametrize(("suite", "key"), [(1, b"short"), (2, bytes(65)), (99, bytes(32))])
def test_an_owner_is_kept_from_a_key_that_nobody_can_use(qs: Qs, alice: Owner, suite: int, key: bytes) -> None:
    with pytest.raises(InvalidValue):
        qs.owners.update(alice.sign(UpdateQueue(suite, key, alice.token, alice.fresh())), SOURCE)
    assert alice.fetch().last == 0


def test_a_deleted_queue_takes_and_gives_nothing_and_its_name_stays_taken(
    world: QueueWorld, qs: Qs, alice: Owner, hub: Hub
) -> None:
    creation = alice.creation()
    hub.send(b"one", alice)
    alice.delete()
    assert world.tables.entries[alice.queue_id] == {}
    assert hub.send(b"two", alice) == [Result.INVALID_CLIENT_QUEUE_INFORMATION]
    for act in (alice.fetch, lambda: alice.acknowledge(1)):
        with pytest.raises(NotFound):
            act()
    with pytest.raises(AlreadyExists):
        qs.owners.create(creation, "192.0.2.1")


@pytest.mark.parametrize(("port", "method"), [("heads", "bury"), ("entries", "discard")])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_deletion_that_broke_off_is_finished_by_its_repeat(
    world: QueueWorld, alice: Owner, hub: Hub, port: str, method: str, when: str
) -> None:
    hub.send(b"one", alice)
    deletion = alice.sign(DeleteQueue(alice.fresh()))
    world.fail(port, method, when="before" if when == "before" else "after")
    with pytest.raises(ConnectionError):
        alice.qs.owners.delete(deletion, SOURCE)
    alice.qs.owners.delete(deletion, SOURCE)
    assert world.tables.heads[alice.queue_id].deleted
    assert world.tables.entries[alice.queue_id] == {}


def test_queues_that_nobody_fetches_from_go_after_90_days(world: QueueWorld, qs: Qs, hub: Hub) -> None:
    alice, bob = qs.owner("alice"), qs.owner("bob")
    many = [qs.owner(f"client {number}") for number in range(60)]
    world.clock.advance(89 * DAY)
    bob.fetch()
    hub.send(b"for nobody", alice, bob)
    assert qs.upkeep.step() == 0
    world.clock.advance(DAY)
    steps = [qs.upkeep.step() for _ in range(3)]
    assert steps == [50, 11, 0]
    assert world.tables.entries[alice.queue_id] == {}
    assert bob.messages() == [b"for nobody"]
    assert hub.send(b"again", alice, bob, many[0]) == [
        Result.INVALID_CLIENT_QUEUE_INFORMATION,
        Result.OK,
        Result.INVALID_CLIENT_QUEUE_INFORMATION,
    ]


def test_a_run_goes_on_until_none_is_left_or_its_time_is_up(
    world: QueueWorld, qs: Qs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(170):
        Owner(qs, f"client {number}").create(f"192.0.2.{number}")
    world.clock.advance(91 * DAY)
    bury = world.heads.bury

    def slow(queue_id: QueueId, now: int, unless_active_after: int) -> bool:
        world.clock.advance(2 * SECOND)
        return bury(queue_id, now, unless_active_after)

    monkeypatch.setattr(world.heads, "bury", slow)
    began = world.clock()
    assert qs.upkeep.run() == 150, "three steps of 50, of 100 seconds each"
    assert world.clock() - began == 5 * MINUTE
    assert qs.upkeep.run() == 20
    assert qs.upkeep.run() == 0


def test_a_queue_that_was_fetched_from_meanwhile_stays(
    world: QueueWorld, qs: Qs, alice: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.clock.advance(91 * DAY)
    monkeypatch.setattr(world.heads, "unused", lambda *_: [alice.queue_id])  # As an index that lags.
    alice.fetch()
    assert qs.upkeep.step() == 0
    assert alice.fetch().last == 0


def test_freshness_is_signed(qs: Qs, alice: Owner) -> None:
    signed = alice.sign(Fetch(0, 1, 0, alice.fresh(late=10 * MINUTE)))
    now = Freshness(qs.clock(), bytes(16), alice.fresh().ds_domain)
    body = dataclasses.replace(signed.request.body, freshness=now)
    forged = dataclasses.replace(signed, request=dataclasses.replace(signed.request, body=body), signed=b"")
    with pytest.raises(NotPermitted):
        qs.reading.fetch(forged, SOURCE)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "", True),
    ],
)
def test_a_source_is_an_address_or_an_ipv6_network(world: QueueWorld, qs: Qs, one: str, other: str, same: bool) -> None:
    for number in range(100):
        Owner(qs, f"client {number}").create(one)
    if same:
        with pytest.raises(TooManyRequests):
            Owner(qs, "late").create(other)
    else:
        Owner(qs, "late").create(other)
        assert len(world.tables.heads) == 101
