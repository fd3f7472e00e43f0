"""Who asks for queues that are not its own is turned away after a while, and owners pay nothing for that."""

from collections.abc import Callable

import pytest

from chalicelib.errors import AlreadyExists, NotFound, NotPermitted, TooManyRequests, Unavailable
from chalicelib.protocol.delivery.queue_requests import Acknowledge, DeleteQueue, Fetch, QSMessage
from chalicelib.protocol.timestamps import SECOND
from chalicelib.services.ports import Unreachable
from chalicelib.services.queueing import strangers
from chalicelib.services.queueing.limits import FAILED_BY_SOURCE
from tests.fakes.queueing import QueueWorld
from tests.services.queueing.queues import SOURCE, Hub, Owner, Qs

STRANGE = "198.51.100.7"
BURST = FAILED_BY_SOURCE.burst

Attempt = Callable[[Qs, Owner, str], object]


def wrong(alice: Owner, body: object) -> QSMessage:
    return alice.sign(body, key=bytes(32))  # type: ignore[arg-type]


def creation_of_another(qs: Qs, alice: Owner) -> QSMessage:
    mallory = Owner(qs, "mallory")
    mallory.queue_id = alice.queue_id
    return mallory.creation()


ATTEMPTS: dict[str, tuple[Attempt, type[Exception]]] = {
    "fetch with a wrong key": (
        lambda qs, alice, at: qs.reading.fetch(wrong(alice, Fetch(0, 9, 20_000, alice.fresh())), at),
        NotPermitted,
    ),
    "acknowledge with a wrong key": (
        lambda qs, alice, at: qs.reading.acknowledge(wrong(alice, Acknowledge(0, alice.fresh())), at),
        NotPermitted,
    ),
    "delete with a wrong key": (
        lambda qs, alice, at: qs.owners.delete(wrong(alice, DeleteQueue(alice.fresh())), at),
        NotPermitted,
    ),
    "update with a wrong key": (
        lambda qs, alice, at: qs.owners.update(wrong(alice, alice.rotation("x")[0].request.body), at),
        NotPermitted,
    ),
    "create with a wrong key": (
        lambda qs, alice, at: qs.owners.create(wrong(alice, alice.creation().request.body), at),
        NotPermitted,
    ),
    "create what another has": (
        lambda qs, alice, at: qs.owners.create(creation_of_another(qs, alice), at),
        AlreadyExists,
    ),
    "wait at a queue that is not there": (
        lambda qs, _, at: qs.reading.fetch(_nobodys(qs, lambda one: Fetch(0, 9, 20_000, one.fresh())), at),
        NotFound,
    ),
    "update a queue that is not there": (
        lambda qs, _, at: qs.owners.update(Owner(qs, "nobody").rotation("x")[0], at),
        NotFound,
    ),
}


def _nobodys(qs: Qs, body: Callable[[Owner], Fetch]) -> QSMessage:
    nobody = Owner(qs, "nobody")
    return nobody.sign(body(nobody))


@pytest.mark.parametrize(("attempt", "refusal"), ATTEMPTS.values(), ids=ATTEMPTS)
def test_who_fails_too_often_is_turned_away_before_anything_is_looked_at(
    world: QueueWorld, qs: Qs, alice: Owner, attempt: Attempt, refusal: type[Exception]
) -> None:
    for _ in range(BURST):
        with pytest.raises(refusal):
            attempt(qs, alice, STRANGE)
    with pytest.raises(TooManyRequests):
        attempt(qs, alice, STRANGE)
    world.faults.calls.clear()
    for _ in range(20):
        with pytest.raises(TooManyRequests) as refused:
            attempt(qs, alice, STRANGE)
    assert (refused.value.limit, refused.value.retry_after_seconds) == ("queue-failures-by-source", 10)
    assert not {port for port, _ in world.faults.calls} & {"heads", "entries", "buckets"}
    assert world.waits == [], "nor is anything waited for"
    assert alice.fetch().last == 0, "from elsewhere the queue is its owner's"


def test_who_was_turned_away_comes_in_again_and_fails_less_often(world: QueueWorld, qs: Qs, alice: Owner) -> None:
    attempt, refusal = ATTEMPTS["fetch with a wrong key"]

    def failures() -> int:
        count = 0
        while True:
            try:
                attempt(qs, alice, STRANGE)
            except TooManyRequests:
                return count
            except refusal:
                count += 1

    assert failures() == BURST
    world.clock.advance(10 * SECOND - 1)
    assert failures() == 0
    world.clock.advance(1)
    assert 0 < failures() <= 50, "what ten seconds bring"


def test_an_owner_costs_no_call_to_the_limiter(world: QueueWorld, qs: Qs, alice: Owner) -> None:
    Hub(qs).send(b"hello", alice)
    world.faults.calls.clear()
    for _ in range(2 * BURST):
        alice.fetch()
    alice.acknowledge(1)
    update, after = alice.rotation("alice's next")
    qs.owners.update(update, SOURCE)
    after.delete()
    assert "buckets" not in {port for port, _ in world.faults.calls}


def test_owners_at_the_address_of_a_stranger_wait_with_it_and_others_do_not(
    world: QueueWorld, qs: Qs, alice: Owner
) -> None:
    attempt, refusal = ATTEMPTS["fetch with a wrong key"]
    for number in range(BURST):
        with pytest.raises(refusal):
            attempt(qs, alice, f"2001:db8::{number:x}")
    with pytest.raises(TooManyRequests):
        attempt(qs, alice, "2001:db8::ffff")
    ours = Fetch(0, 9, 0, alice.fresh())
    with pytest.raises(TooManyRequests):
        qs.reading.fetch(alice.sign(ours), "2001:db8::1:1")
    assert qs.reading.fetch(alice.sign(ours), "2001:db8:0:1::1").last == 0


def test_another_container_finds_out_by_one_failure(world: QueueWorld, qs: Qs, alice: Owner) -> None:
    attempt, refusal = ATTEMPTS["fetch with a wrong key"]
    for _ in range(BURST):
        with pytest.raises(refusal):
            attempt(qs, alice, STRANGE)
    other = Qs.in_memory(world)
    with pytest.raises(TooManyRequests):
        attempt(other, alice, STRANGE)
    world.faults.calls.clear()
    with pytest.raises(TooManyRequests):
        attempt(other, alice, STRANGE)
    assert not {port for port, _ in world.faults.calls} & {"heads", "buckets"}


def test_a_process_keeps_so_many_networks_in_mind(
    world: QueueWorld, qs: Qs, alice: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strangers, "MOST_TURNED_AWAY", 2)
    attempt, _ = ATTEMPTS["fetch with a wrong key"]

    def turned_away(source: str, seconds: int) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(world.buckets, "take", lambda *_: (0, seconds * SECOND, b""))
            with pytest.raises(TooManyRequests):
                attempt(qs, alice, source)

    turned_away("192.0.2.7", 60)
    turned_away("192.0.2.8", 10)
    world.clock.advance(10 * SECOND)
    turned_away("192.0.2.8", 60)
    with pytest.raises(TooManyRequests):
        attempt(qs, alice, "192.0.2.7")
    turned_away("192.0.2.9", 60)
    with pytest.raises(NotPermitted):
        attempt(qs, alice, "192.0.2.7")
    for source in ("192.0.2.8", "192.0.2.9"):
        with pytest.raises(TooManyRequests) as refused:
            attempt(qs, alice, source)
        assert refused.value.retry_after_seconds == 60


def test_without_the_limiter_strangers_hear_what_they_did_wrong(
    world: QueueWorld, qs: Qs, alice: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object) -> None:
        raise Unreachable("down")

    monkeypatch.setattr(world.buckets, "take", down)
    attempt, refusal = ATTEMPTS["fetch with a wrong key"]
    for _ in range(5):
        with pytest.raises(refusal):
            attempt(qs, alice, STRANGE)
    assert ("queue-limiter-down", "queue-failures-by-source") in world.alarms.raised
    assert alice.fetch().last == 0
    with pytest.raises(Unavailable):
        Owner(qs, "new").create(STRANGE)
