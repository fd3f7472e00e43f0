"""A message that is gone for good does not hold up what lies behind it; one that cannot be had just now does."""

import hashlib

import pytest

from chalicelib.protocol.timestamps import SECOND
from chalicelib.services.queueing.reading import MOST_PAGES
from chalicelib.services.queueing.state import LARGEST_ANSWER
from tests.fakes.queueing import QueueWorld
from tests.services.queueing.queues import Hub, Owner, Qs

ALARM = ("message-lost", "")
LARGE = bytes(LARGEST_ANSWER + 1)


def lose(world: QueueWorld, *messages: bytes) -> None:
    for message in messages:
        del world.tables.bodies[hashlib.sha256(message).digest()]


@pytest.mark.parametrize("lost", [b"two", LARGE], ids=["in the answer", "by a link"])
def test_what_is_lost_is_left_out_and_the_rest_comes(world: QueueWorld, alice: Owner, hub: Hub, lost: bytes) -> None:
    for message in (b"one", lost, b"three"):
        hub.send(message, alice)
    lose(world, lost)
    fetched = alice.fetch()
    assert [(entry.number, entry.seq, entry.message) for entry in fetched.entries] == [(1, 1, b"one"), (3, 3, b"three")]
    assert fetched.last == 3
    assert world.alarms.raised == [ALARM]
    alice.acknowledge(3)
    assert world.tables.entries[alice.queue_id] == {}
    assert world.tables.heads[alice.queue_id].freed == world.tables.heads[alice.queue_id].total


def test_where_nothing_is_lost_no_alarm_is_raised(world: QueueWorld, alice: Owner, hub: Hub) -> None:
    hub.send(b"one", alice)
    hub.send(LARGE, alice)
    assert len(alice.all()) == 2
    assert world.alarms.raised == []


@pytest.mark.parametrize("most", [1, 2, 3])
def test_a_page_of_which_nothing_is_left_is_passed_over(world: QueueWorld, alice: Owner, hub: Hub, most: int) -> None:
    messages = [b"%d" % number for number in range(1, 6)]
    for message in messages:
        hub.send(message, alice)
    lose(world, *messages[:4])
    fetched = alice.fetch(most=most)
    assert [entry.number for entry in fetched.entries] == [5]
    assert fetched.last == 5


def test_one_fetch_passes_over_so_many_pages_and_says_how_far_it_came(
    world: QueueWorld, alice: Owner, hub: Hub
) -> None:
    messages = [b"%d" % number for number in range(1, MOST_PAGES + 3)]
    for message in messages:
        hub.send(message, alice)
    lose(world, *messages[:-1])
    fetched = alice.fetch(most=1, wait_ms=20_000)
    assert (fetched.entries, fetched.last) == ((), MOST_PAGES), "and not the last there is, or the rest would be let go"
    assert world.waits == [], "there is more to be had already"
    assert [entry.message for entry in alice.fetch(fetched.last, most=1).entries] == [messages[-1]]


def test_behind_what_is_lost_one_waits_for_what_comes(world: QueueWorld, qs: Qs, alice: Owner) -> None:
    hub = Hub(qs)
    hub.send(b"lost", alice)
    lose(world, b"lost")

    def waiting() -> None:
        if not hub.last > 1:
            hub.send(b"new", alice)

    world.waiting = waiting  # type: ignore[method-assign]
    assert [entry.message for entry in alice.fetch(wait_ms=5 * SECOND).entries] == [b"new"]
    assert len(world.waits) == 1


@pytest.mark.parametrize(("method", "message"), [("get", b"two"), ("link", LARGE)])
def test_what_cannot_be_had_just_now_is_not_lost(
    world: QueueWorld, alice: Owner, hub: Hub, method: str, message: bytes
) -> None:
    hub.send(b"one", alice)
    hub.send(message, alice)
    world.fail("bodies", method)
    with pytest.raises(ConnectionError):
        alice.fetch()
    assert world.alarms.raised == []
    assert [entry.number for entry in alice.fetch().entries] == [1, 2]


def test_pages_are_looked_through_no_further_than_the_head_that_was_read(
    world: QueueWorld, qs: Qs, alice: Owner, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry that comes meanwhile is neither passed over nor counted into `last`."""
    hub.send(b"lost", alice)
    lose(world, b"lost")
    get = world.bodies.get

    def late(wanted: object) -> object:
        monkeypatch.undo()
        hub.send(b"new", alice)
        return get(wanted)  # type: ignore[arg-type]

    monkeypatch.setattr(world.bodies, "get", late)
    fetched = alice.fetch()
    assert (fetched.entries, fetched.last) == ((), 1)
    assert alice.messages(after=1) == [b"new"]
