"""Requests that meet: one commit ends an epoch, and nothing that was accepted is lost under another."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from chalicelib.errors import Refusal, Unavailable
from chalicelib.protocol.delivery.info_requests import UpdateQueueInfo
from chalicelib.protocol.delivery.messages import DSMessage
from chalicelib.protocol.delivery.queueing import ClientQueueConfig
from chalicelib.protocol.delivery.refusals import MustCover
from chalicelib.protocol.delivery.responses import Ok
from chalicelib.protocol.mls.errors import StaleEpoch
from chalicelib.protocol.mls.proposals import Remove
from chalicelib.services.delivery.heads import RESTAGES
from chalicelib.services.delivery.state import Kind
from tests.services.delivery.house import GROUP, House, Person, settled

HOUR = 3_600_000


@pytest.fixture(autouse=True)
def group(alice: Person, bob: Person, carol: Person) -> None:
    settled(alice, bob, carol)


def at_once(house: House, messages: Sequence[DSMessage]) -> Counter[str]:
    """Serve messages in as many threads, and count what they are answered. All see the group as it is now."""
    answers: list[str] = []
    groups, load, seen = house.world.groups, house.world.groups.load, threading.local()
    everybody = threading.Barrier(len(messages))

    def load_together(*args: Any) -> Any:
        loaded = load(*args)
        if not hasattr(seen, "once"):
            seen.once = everybody.wait()
        return loaded

    groups.load = load_together  # type: ignore[method-assign,assignment]

    def serve(message: DSMessage) -> None:
        try:
            answers.append(type(house.serve(message)).__name__)
        except Refusal as refusal:
            answers.append(type(refusal).__name__)

    threads = [threading.Thread(target=serve, args=(message,)) for message in messages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    groups.load = load  # type: ignore[method-assign]
    return Counter(answers)


def config_of(message: DSMessage) -> ClientQueueConfig:
    assert isinstance(message.request.body, UpdateQueueInfo)
    return message.request.body.client_queue_config


def check_queue(house: House, leaf_index: int, message: DSMessage) -> None:
    record = house.state().records.get(leaf_index)
    assert record is not None
    assert record.config == config_of(message)


def test_of_two_hundred_commits_of_one_epoch_one_is_accepted(
    house: House, alice: Person, bob: Person, carol: Person
) -> None:
    messages = [person.updating()[0] for person in (alice, bob, carol) for _ in range(67)][:200]
    assert at_once(house, messages) == {"Ok": 1, "StaleEpoch": 199}
    assert house.head().epoch == 2
    assert [row.kind for row in house.world.groups.rows(GROUP)] == [
        Kind.CREATED,
        Kind.COMMIT,
        Kind.WELCOME,
        Kind.COMMIT,
    ]


def test_one_commit_that_is_sent_many_times_at_once_is_accepted_once(house: House, alice: Person) -> None:
    assert at_once(house, [alice.updating()[0]] * 20) == {"Ok": 20}
    assert (house.head().epoch, house.head().seq) == (2, 4)


def test_many_messages_at_once_have_each_its_place(house: House, alice: Person, bob: Person) -> None:
    messages = [alice.saying(b"%d" % number) for number in range(30)]
    answers = at_once(house, messages)
    assert answers["Ok"] >= 1
    assert set(answers) <= {"Ok", "Unavailable"}
    house.deliver()
    assert len(bob.catch_up()) == answers["Ok"]


def test_everything_at_once_leaves_a_group_that_goes_on(
    house: House, alice: Person, bob: Person, carol: Person
) -> None:
    moving = bob.moving("elsewhere")
    messages = [
        *(alice.saying(b"%d" % number) for number in range(5)),
        moving,
        carol.proposing(Remove(1)),
        *(person.updating()[0] for person in (alice, bob, carol)),
    ]
    answers = at_once(house, messages)
    assert set(answers) <= {"Ok", "StaleEpoch", "Unavailable"}
    assert house.head().epoch == 2
    check_queue(house, 1, moving)
    rows = house.world.groups.rows(GROUP)
    assert [row.seq for row in rows] == list(range(1, house.head().seq + 1))
    epochs = [row.epoch for row in rows if row.kind in {Kind.APPLICATION, Kind.COMMIT, Kind.PROPOSALS}]
    assert epochs == sorted(epochs), "nothing of an epoch comes after the commit that ended it"


# One just before another.


def test_a_queue_that_moves_under_a_commit_is_not_lost(house: House, alice: Person, bob: Person) -> None:
    moving, (updating, _) = bob.moving("elsewhere"), alice.updating()
    house.meanwhile("groups", "advance", lambda: house.serve(moving))
    assert house.serve(updating) == Ok()
    assert house.head().epoch == 2
    check_queue(house, 1, moving)


def test_nor_is_one_that_a_commit_overtakes(house: House, alice: Person, bob: Person) -> None:
    moving, (updating, _) = bob.moving("elsewhere"), alice.updating()
    house.meanwhile("groups", "advance", lambda: house.serve(updating))
    assert house.serve(moving) == Ok()
    assert house.head().epoch == 2
    check_queue(house, 1, moving)


@pytest.mark.parametrize("proposal_first", [False, True])
def test_a_proposal_and_a_queue_are_both_kept(house: House, alice: Person, bob: Person, proposal_first: bool) -> None:
    moving, proposing = bob.moving("elsewhere"), alice.proposing(Remove(2))
    first, second = (proposing, moving) if proposal_first else (moving, proposing)
    house.meanwhile("groups", "advance", lambda: house.serve(first))
    assert house.serve(second) == Ok()
    check_queue(house, 1, moving)
    assert len(house.state().proposals) == 1


def test_a_proposal_under_a_commit_is_stored_first_and_over_with_the_epoch(
    house: House, alice: Person, bob: Person
) -> None:
    house.meanwhile("groups", "advance", lambda: house.serve(bob.proposing(Remove(2))))
    assert house.serve(alice.updating()[0]) == Ok()
    assert house.state().proposals == ()
    assert [row.kind for row in house.world.groups.rows(GROUP, 3)] == [Kind.PROPOSALS, Kind.COMMIT]


def test_a_message_that_comes_just_before_a_commit_is_delivered_before_it(
    house: House, alice: Person, bob: Person, carol: Person
) -> None:
    """The commit is not judged again: what it was judged on has not changed."""
    said = bob.saying(b"just in time")
    house.meanwhile("groups", "advance", lambda: house.serve(said))
    writes = len(house.world.calls("objects"))
    message, pending = alice.updating()
    assert house.serve(message) == Ok()
    puts = [call for call in house.world.calls("objects")[writes:] if call[1] == "put"]
    assert len(puts) == 1
    alice.accepted(pending)
    house.deliver()
    assert house.kinds(carol) == ["welcome", "application", "commit"]
    assert carol.catch_up() == [b"just in time"]


def test_a_message_that_a_commit_overtakes_is_stale(house: House, alice: Person, bob: Person) -> None:
    updating, _ = alice.updating()
    house.meanwhile("groups", "append", lambda: house.serve(updating))
    with pytest.raises(StaleEpoch) as caught:
        house.serve(bob.saying(b"too late"))
    assert caught.value.current_epoch == 2
    assert [row.kind for row in house.world.groups.rows(GROUP, 3)] == [Kind.COMMIT]


def test_a_message_that_a_removal_overtakes_is_refused(house: House, alice: Person, carol: Person) -> None:
    house.meanwhile("groups", "append", lambda: house.want_removed(carol))
    with pytest.raises(MustCover):
        house.serve(alice.saying(b"hello"))


def test_a_commit_that_a_removal_overtakes_must_cover_it(house: House, alice: Person, carol: Person) -> None:
    house.meanwhile("groups", "advance", lambda: house.want_removed(carol))
    with pytest.raises(MustCover):
        house.serve(alice.updating()[0])


@pytest.mark.parametrize(
    "ask",
    [lambda alice: alice.saying(b"hello"), lambda alice: alice.proposing(Remove(1)), lambda alice: alice.updating()[0]],
)
def test_what_is_of_the_epoch_before_stays_so_though_an_hour_ends_meanwhile(
    house: House, alice: Person, bob: Person, carol: Person, ask: Callable[[Person], DSMessage]
) -> None:
    """The removal lapses as the request is served; another's commit comes in between, and ends the epoch."""
    house.want_removed(carol)
    house.world.clock.advance(HOUR)
    message, (updating, _) = ask(alice), bob.updating()
    house.meanwhile("groups", "advance", lambda: house.serve(updating))
    with pytest.raises(StaleEpoch) as caught:
        house.serve(message)
    assert caught.value.current_epoch == house.head().epoch == 2


def test_a_commit_is_judged_again_only_so_often(house: House, alice: Person, bob: Person) -> None:
    advance = house.world.groups.advance
    tries: list[int] = []

    def busy(*args: object, **kwargs: object) -> None:
        tries.append(1)
        house.world.groups.advance = advance  # type: ignore[method-assign]
        assert house.serve(bob.moving(f"queue {len(tries)}")) == Ok()
        house.world.groups.advance = busy  # type: ignore[method-assign]
        advance(*args, **kwargs)  # type: ignore[arg-type]

    house.world.groups.advance = busy  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        house.serve(alice.updating()[0])
    assert len(tries) == RESTAGES
