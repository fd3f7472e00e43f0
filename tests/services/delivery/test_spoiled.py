"""Rows that nobody here can read any more: they are passed over (decision 31), and an outage passes over none."""

import contextlib
import dataclasses
import ssl
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.client.mls_framing import InvalidTag
from chalicelib.protocol.delivery.responses import Ok
from chalicelib.protocol.mls.chunks import Ref
from chalicelib.protocol.mls.proposals import Remove
from chalicelib.services.delivery.enclosures import Enclosures
from chalicelib.services.delivery.fanout import POISONED
from chalicelib.services.delivery.recipients import Unreadable
from chalicelib.services.delivery.state import MEMBERSHIPS, GroupId, Kind, LogRow
from tests.services.delivery.house import GROUP, House, Person, done
from tests.services.delivery.sealed.insiders import Cast, got, new_cast

MINUTE, HOUR = 60_000, 3_600_000
US = "us.ds.example"

Spoil = Callable[[LogRow], LogRow]
SPOILS: dict[str, Spoil] = {
    "what was stored is gone": lambda row: dataclasses.replace(row, kind=Kind.UNREADABLE, body=b"", root=Ref(b"")),
    "who gets it is gone": lambda row: dataclasses.replace(row, root=Ref(bytes(24))),
    "it was cut off": lambda row: dataclasses.replace(row, kind=Kind.PROPOSALS, body=row.body[:-1]),
    "it is something else": lambda row: dataclasses.replace(row, kind=Kind.PROPOSALS, body=b"no proposals"),
    "it is fewer": lambda row: dataclasses.replace(row, kind=Kind.PROPOSALS, body=b"\x00"),
}


def spoil(house: House, how: Spoil) -> int:
    """Spoil the last row of the log, and return its number."""
    seq = house.head().seq
    house.world.tables.logs[GROUP][seq] = how(house.world.tables.logs[GROUP][seq])
    return seq


def stuck(house: House) -> None:
    """Expect that a sweep tells of a row that it cannot read."""
    with pytest.raises(Unreadable):
        house.deliver()


def alarms(house: House, name: str) -> int:
    return sum(raised == name for raised, _ in house.world.alarms.raised)


@pytest.mark.parametrize("how", SPOILS.values(), ids=SPOILS)
def test_it_is_passed_over_after_a_quarter_of_an_hour_and_what_comes_after_it_goes_on(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId, how: Spoil
) -> None:
    alice.say(b"before")
    alice.say(b"lost")
    spoil(house, how)
    alice.say(b"after")
    stuck(house)
    assert bob.catch_up() == carol.catch_up() == [b"before"], "what stands before it does not wait"
    for _ in range(14):
        stuck(house)
    assert bob.catch_up() == [], "a defect may be repaired"
    assert (alarms(house, "row-unreadable"), alarms(house, "row-skipped")) == (len({0, 1} & waiting(house)), 0)
    house.deliver()
    assert bob.catch_up() == carol.catch_up() == [b"after"]
    assert alarms(house, "row-skipped")
    assert all(about in {"", "unreadable"} for name, about in house.world.alarms.raised if name.startswith("row-"))
    house.deliver()
    assert not house.world.tables.wakes
    assert all(not shard.unread for shard in house.world.shards.of(GROUP)), "and it is forgotten"


def waiting(house: House) -> set[int]:
    """Return which shards have met a row that they cannot read: 0 for members, 1 for the index of memberships."""
    return {min(shard.shard, 1) for shard in house.world.shards.of(GROUP) if shard.unread}


def test_a_row_that_can_be_read_again_in_time_is_delivered(
    house: House, alice: Person, bob: Person, group: GroupId
) -> None:
    alice.say(b"hello")
    before = house.world.tables.logs[GROUP][house.head().seq]
    seq = spoil(house, SPOILS["what was stored is gone"])
    stuck(house)
    house.world.tables.logs[GROUP][seq] = before
    house.deliver()
    assert bob.catch_up() == [b"hello"]
    assert alarms(house, "row-skipped") == 0


def test_how_long_it_was_tried_counts_and_not_how_old_it_is(
    house: House, alice: Person, bob: Person, group: GroupId
) -> None:
    """An outage makes rows old. The first failure after it is no reason to give one up."""
    alice.say(b"hello")
    spoil(house, SPOILS["who gets it is gone"])
    house.world.clock.advance(10 * HOUR)
    stuck(house)
    house.world.clock.advance(POISONED - 2 * MINUTE)
    stuck(house)
    assert alarms(house, "row-skipped") == 0
    house.deliver()
    assert alarms(house, "row-skipped") == 1


def test_many_wait_together_and_not_one_after_the_other(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    for number in range(20):
        alice.say(b"%d" % number)
        if number % 3:
            spoil(house, SPOILS["who gets it is gone"])
    stuck(house)
    house.world.clock.advance(POISONED)
    house.deliver()
    assert bob.catch_up() == carol.catch_up() == [b"%d" % number for number in range(0, 20, 3)]
    assert alarms(house, "row-unreadable") == alarms(house, "row-skipped") == 13


OUTAGES = [
    ConnectionError("S3 does not answer"),
    TimeoutError("KMS does not answer"),
    RuntimeError("throttled"),
    # Where somebody stands between us and AWS. It is an OSError, and a ValueError.
    ssl.SSLCertVerificationError("another's certificate"),
]


@pytest.mark.parametrize("error", OUTAGES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(("port", "method"), [("groups", "log"), ("objects", "load"), ("queueing_services", "enqueue")])
def test_an_outage_is_waited_for(
    house: House,
    alice: Person,
    bob: Person,
    group: GroupId,
    monkeypatch: pytest.MonkeyPatch,
    port: str,
    method: str,
    error: Exception,
) -> None:
    alice.say(b"hello")
    house.restart()

    tried = 0

    def failing(*_: Any) -> Any:
        nonlocal tried
        tried += 1
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(getattr(house.world, port), method, failing)
        for _ in range(60):
            with contextlib.suppress(type(error)):
                house.deliver()
    assert tried > 20
    house.world.clock.advance(10 * MINUTE)
    house.deliver()
    assert bob.catch_up() == [b"hello"]
    assert alarms(house, "row-skipped") == alarms(house, "row-unreadable") == 0


DEFECTS = [
    UnicodeEncodeError("ascii", "\u017d", 0, 1, "an authority's certificates are read with what is no certificate"),
    ValueError("a defect"),
    KeyError("a defect"),
    TypeError("a defect"),
    ZeroDivisionError("a defect"),
]


@pytest.mark.parametrize("error", DEFECTS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("at_home", [False, True], ids=["elsewhere", "at home"])
def test_a_defect_on_the_way_to_a_domain_costs_no_row_and_holds_up_no_other_domain(
    house: House,
    alice: Person,
    bob: Person,
    carol: Person,
    group: GroupId,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    at_home: bool,
) -> None:
    """It looks like what a spoiled row does, but the row had been read, and the request been made of it."""
    house.deliver()
    meets, other = (bob, carol) if at_home else (carol, bob)
    enqueue = house.world.queueing_services.enqueue

    def failing(domain: str, request: Any) -> Any:
        if domain == meets.domain:
            raise error
        return enqueue(domain, request)

    with monkeypatch.context() as patch:
        patch.setattr(house.world.queueing_services, "enqueue", failing)
        alice.say(b"hello")
        for _ in range(120):
            house.deliver()
        assert other.catch_up() == [b"hello"]
    assert ("domain-call-failed", type(error).__name__) in house.world.alarms.raised
    house.world.clock.advance(10 * MINUTE)
    house.deliver()
    assert meets.catch_up() == [b"hello"]
    assert alarms(house, "row-skipped") == alarms(house, "row-unreadable") == 0


def test_so_does_one_where_what_is_too_large_is_kept_for_a_domain(
    house: House, alice: Person, carol: Person, group: GroupId, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any) -> Any:
        raise ValueError("a parameter of the call is wrong")

    with monkeypatch.context() as patch:
        patch.setattr(Enclosures, "fit", failing)
        alice.say(b"hello")
        for _ in range(60):
            house.deliver()
    house.world.clock.advance(10 * MINUTE)
    house.deliver()
    assert carol.catch_up() == [b"hello"]


UNSENDABLE: dict[str, Spoil] = {
    "what it says is Welcomes are none": lambda row: dataclasses.replace(
        row, kind=Kind.WELCOME, body=b"no Welcomes", joiners=((b"bob", 1), (b"carol", 2))
    ),
    "a number in it is too large": lambda row: dataclasses.replace(row, accepted_at=1 << 64),
}


@pytest.mark.parametrize("how", UNSENDABLE.values(), ids=UNSENDABLE)
def test_a_row_of_which_no_request_can_be_made_is_passed_over_for_each_domain(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId, how: Spoil
) -> None:
    house.deliver()
    alice.say(b"lost")
    spoil(house, how)
    alice.say(b"after")
    for _ in range(60):
        house.deliver()
    assert bob.catch_up() == carol.catch_up() == [b"after"]
    assert alarms(house, "row-skipped") == 2


def test_a_domain_that_was_behind_gets_what_it_can_meanwhile(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    house.world.queueing_services.down.add(US)
    alice.say(b"missed")
    house.deliver()
    alice.say(b"lost")
    spoil(house, SPOILS["who gets it is gone"])
    house.world.queueing_services.down.clear()
    house.world.clock.advance(10 * MINUTE)
    stuck(house)
    assert carol.catch_up() == [b"missed"]


def test_a_domain_that_comes_back_later_passes_over_it_too(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    house.deliver()
    house.world.queueing_services.down.add(US)
    alice.say(b"one")
    house.deliver()
    spoil(house, SPOILS["who gets it is gone"])
    alice.say(b"two")
    house.deliver()
    assert bob.catch_up() == [b"one", b"two"], "it was spoiled after the others had it"
    house.world.queueing_services.down.clear()
    for _ in range(40):
        house.deliver()
    assert carol.catch_up() == [b"two"]
    assert (alarms(house, "row-unreadable"), alarms(house, "row-skipped")) == (1, 1)
    assert not house.world.tables.wakes


def test_the_index_of_memberships_does_not_look_into_messages_and_goes_on(
    house: House, alice: Person, bob: Person, group: GroupId
) -> None:
    assert house.serve(bob.proposing(Remove(2))) == Ok()
    spoil(house, SPOILS["it was cut off"])
    done(alice.removing(bob), alice)
    stuck(house)
    (index,) = [shard for shard in house.world.shards.of(GROUP) if shard.shard == MEMBERSHIPS]
    assert index.cursor == house.head().seq
    assert house.world.memberships.of(b"mimi://example.com/u/bob") == []


def test_nor_does_it_mind_who_would_get_them(house: House, alice: Person, group: GroupId) -> None:
    for how in ("what was stored is gone", "who gets it is gone"):
        alice.say(b"hello")
        spoil(house, SPOILS[how])
    stuck(house)
    unread = {shard.shard: len(shard.unread) for shard in house.world.shards.of(GROUP)}
    assert unread == {0: 2, MEMBERSHIPS: 1}


def test_who_misses_a_commit_cannot_follow_the_next_and_comes_back(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    """So a row that was passed over does not go unnoticed."""
    done(alice.updating(), alice)
    spoil(house, SPOILS["who gets it is gone"])
    stuck(house)
    house.world.clock.advance(POISONED)
    house.deliver()
    done(alice.updating(), alice)
    house.deliver()
    with pytest.raises(InvalidTag):
        bob.receive(house.queue(bob)[-1])
    answer = house.serve(bob.asking_to_return())
    done(bob.returning(answer.group_info.body, answer.ratchet_tree, 1), bob, alice)
    assert bob.member.secrets == alice.member.secrets


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_worker_that_dies_over_it_delays_it_and_no_more(
    house: House, alice: Person, bob: Person, group: GroupId, when: Any
) -> None:
    alice.say(b"lost")
    spoil(house, SPOILS["who gets it is gone"])
    alice.say(b"hello")
    for _ in range(3):
        house.world.fail("shards", "save", when=when)
        with pytest.raises((ConnectionError, Unreadable)):
            house.deliver()
        house.world.clock.advance(2 * MINUTE)
    for _ in range(3):
        house.world.clock.advance(POISONED)
        with contextlib.suppress(Unreadable):
            house.deliver()
    assert bob.catch_up() == [b"hello"]
    assert not house.world.tables.wakes


def test_a_row_of_a_sealed_group_that_does_not_open_is_passed_over() -> None:
    cast: Cast = new_cast()
    house, alice, bob = cast.house, cast.alice, cast.bob
    before = len(got(house, bob))
    alice.say(b"lost")
    seq = house.head().seq
    row = house.world.tables.logs[GROUP][seq]
    for spoiled in (row.recipients[:-1] + b"?", row.recipients[:10]):
        house.world.tables.logs[GROUP][seq] = dataclasses.replace(row, recipients=spoiled)
        stuck(house)
    alice.say(b"hello")
    house.world.clock.advance(POISONED)
    house.deliver()
    assert len(got(house, bob)) == before + 1
    house.deliver()
    assert house.world.tables.logs[GROUP] == {}
