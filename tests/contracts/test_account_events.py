"""`AccountEvents`: what was said is done at least once, by one worker at a time, and remembered for 40 days after."""

import dataclasses
from collections.abc import Callable
from functools import partial

import pytest

from chalicelib.protocol.timestamps import DAY, MINUTE, SECOND
from chalicelib.services.delivery.ports import AccountEvents, Spoiled
from chalicelib.services.delivery.state import MARK_LIFE, AccountEvent, EventName, GroupId
from chalicelib.storage.datakeys import DataKeys
from chalicelib.storage.delivery_account_events import AwsAccountEvents
from chalicelib.storage.dynamodb import Database, Item, Update, blob
from chalicelib.storage.sealing import Sealer
from tests.contracts import aws
from tests.contracts.races import race
from tests.fakes.account_events import MemoryAccountEvents, name_of
from tests.fakes.clock import START as NOW
from tests.fakes.clock import SettableClock
from tests.fakes.faults import Faults

ALICE = b"mimi://eu.ds.example/u/alice"
EVENT = AccountEvent(ALICE, b"phone", (b"q" * 16,), "alpha", created_at=NOW, next_at=NOW)


@dataclasses.dataclass(frozen=True)
class Side:
    """The port on one side of the contract."""

    events: AccountEvents
    lose_reply: Callable[[str], None]
    spoil: Callable[[AccountEvent], None]
    name_of: Callable[[AccountEvent], EventName]

    def take(self, now: int = NOW, event: AccountEvent = EVENT) -> AccountEvent:
        taken = self.events.take(self.name_of(event), now, now + MINUTE)
        assert taken is not None
        return taken

    def due(self, now: int, most: int = 10) -> list[EventName]:
        return self.events.due(now, most)


@pytest.fixture(params=["memory", "aws"])
def side(request: pytest.FixtureRequest) -> Side:
    if request.param == "memory":
        faults = Faults()
        memory = MemoryAccountEvents(faults)
        return Side(memory, lambda method: faults.arm("account_events", method, "after", 1, 0), memory.spoil, name_of)
    database = Database(aws.new_stage("delivery"))
    keys = DataKeys(database, SettableClock())
    events = AwsAccountEvents(database, keys, Sealer(keys))

    def row_name(event: AccountEvent) -> EventName:
        key = events._key(event)
        return EventName(blob(key, "user") + blob(key, "event"))

    def spoil(event: AccountEvent) -> None:
        values: Item = {"sealed": b"\x00\x00\xff\xff" + bytes(60)}
        database.write(Update("account-events", events._key(event), "SET #sealed = :sealed", values=values))

    return Side(events, lambda _method: aws.lose_next_reply(), spoil, row_name)


def content(event: AccountEvent) -> tuple[object, ...]:
    return event.user, event.client, event.queues, event.provider_id, event.created_at


@pytest.mark.parametrize("event", [EVENT, dataclasses.replace(EVENT, client=None, queues=())])
def test_an_event_is_taken_as_it_was_added(side: Side, event: AccountEvent) -> None:
    side.events.add(event)
    assert content(side.take(event=event)) == content(event)
    assert [content(one) for one in side.events.removed(ALICE, NOW)] == [content(event)]


def test_an_event_that_is_not_due_done_or_unknown_is_not_taken(side: Side) -> None:
    side.events.add(dataclasses.replace(EVENT, next_at=NOW + 1))
    name = side.name_of(EVENT)
    assert side.events.take(name, NOW, NOW + MINUTE) is None
    assert side.events.take(side.name_of(dataclasses.replace(EVENT, client=None)), NOW, NOW + MINUTE) is None
    side.events.done(side.take(NOW + 1), NOW + 1)
    assert side.events.take(name, NOW + DAY, NOW + 2 * DAY) is None


def test_what_is_due_is_listed_in_its_order_until_it_is_done(side: Side) -> None:
    later = dataclasses.replace(EVENT, client=None, next_at=NOW + 5)
    second = side.events.add(later)
    first = side.events.add(EVENT)
    assert side.due(NOW - 1) == []
    assert side.due(NOW + 4) == [first]
    assert side.due(NOW + 5) == [first, second]
    assert side.due(NOW + 5, 1) == [first]
    side.events.done(side.take(), NOW)
    assert side.due(NOW + DAY) == [second]


def test_an_event_that_cannot_be_opened_is_leased_as_any_other_until_it_is_said_again(side: Side) -> None:
    spoiled = side.events.add(EVENT)
    whole = side.events.add(dataclasses.replace(EVENT, client=None, next_at=NOW + 1))
    side.spoil(EVENT)
    assert side.due(NOW + 1) == [spoiled, whole]
    with pytest.raises(Spoiled):
        side.events.take(spoiled, NOW + 1, NOW + MINUTE)
    assert side.due(NOW + 1) == [whole]
    assert side.due(NOW + MINUTE) == [whole, spoiled]
    with pytest.raises(Spoiled) as raised:
        side.events.removed(ALICE, NOW)
    assert [one.client for one in raised.value.others] == [None]
    side.events.add(EVENT)
    assert content(side.take()) == content(EVENT)
    assert len(side.events.removed(ALICE, NOW)) == 2


GROUPS = [GroupId(b"group 1"), GroupId(b"group 2")]


def test_how_far_an_event_has_come_is_remembered(side: Side) -> None:
    side.events.add(EVENT)
    taken = side.take()
    assert (taken.after, taken.again) == (None, None)
    for after, again in [(GROUPS[0], None), (GROUPS[1], GROUPS[0]), (None, GROUPS[0]), (None, None)]:
        assert side.events.advance(dataclasses.replace(taken, after=after, again=again, next_at=NOW))
        taken = side.take()
        assert (taken.after, taken.again) == (after, again)


def test_an_event_that_is_put_off_or_said_again_goes_on_where_it_was_and_once_more(side: Side) -> None:
    side.events.add(EVENT)
    taken = side.take()
    assert side.events.advance(dataclasses.replace(taken, after=GROUPS[0]))
    side.events.postpone(taken, NOW + 1)
    taken = side.take(NOW + 1)
    assert (taken.after, taken.again) == (GROUPS[0], None)
    side.events.add(EVENT)
    taken = side.take()
    assert (taken.after, taken.again) == (GROUPS[0], GROUPS[0])
    side.events.done(taken, NOW)
    side.events.add(EVENT)
    taken = side.take()
    assert (taken.after, taken.again) == (None, None)


@pytest.mark.parametrize("since", ["added", "taken", "done"])
def test_a_worker_hears_that_an_event_is_its_own_no_more(side: Side, since: str) -> None:
    side.events.add(EVENT)
    before = side.take()
    if since == "added":
        side.events.add(EVENT)
    elif since == "taken":
        side.take(NOW + MINUTE)
    else:
        side.events.done(before, NOW)
    assert not side.events.advance(dataclasses.replace(before, after=GROUPS[0], again=GROUPS[0], next_at=NOW))
    if since != "done":
        assert side.take(NOW + 2 * MINUTE).after is None


def test_a_postponed_event_is_due_when_it_was_postponed_to(side: Side) -> None:
    side.events.add(EVENT)
    side.events.postpone(side.take(), NOW + DAY)
    assert side.events.due(NOW + DAY - 1, 10) == []
    side.take(NOW + DAY)


def test_the_same_said_again_is_the_same_event_and_due_again(side: Side) -> None:
    side.events.add(EVENT)
    side.events.done(side.take(), NOW)
    side.events.add(dataclasses.replace(EVENT, created_at=NOW + 9, next_at=NOW + 9))
    assert len(side.events.removed(ALICE, NOW)) == 1
    side.take(NOW + 9)


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(EVENT, client=b"tablet"),
        dataclasses.replace(EVENT, client=None),
        dataclasses.replace(EVENT, queues=()),
        dataclasses.replace(EVENT, provider_id="beta"),
    ],
)
def test_something_else_is_another_event(side: Side, other: AccountEvent) -> None:
    side.events.add(EVENT)
    side.events.add(other)
    side.events.done(side.take(), NOW)
    side.take(event=other)
    assert len(side.events.removed(ALICE, NOW)) == 2


@pytest.mark.parametrize("settle", ["done", "postpone"])
def test_a_worker_does_not_settle_what_was_said_again_since(side: Side, settle: str) -> None:
    side.events.add(EVENT)
    before = side.take()
    side.events.add(EVENT)
    getattr(side.events, settle)(before, NOW + DAY)
    side.take()


@pytest.mark.parametrize("settle", ["done", "postpone"])
def test_a_worker_does_not_settle_what_another_took_since(side: Side, settle: str) -> None:
    side.events.add(EVENT)
    before = side.take()
    side.take(NOW + MINUTE)
    getattr(side.events, settle)(before, NOW + MINUTE)
    assert side.events.take(side.name_of(EVENT), NOW + MINUTE, NOW + DAY) is None
    side.take(NOW + 2 * MINUTE)


def test_a_mark_stands_for_40_days_after_its_event_is_done(side: Side) -> None:
    side.events.add(EVENT)
    assert side.events.removed(ALICE, NOW + 2 * MARK_LIFE) != []
    side.events.done(side.take(), NOW + DAY)
    assert [content(one) for one in side.events.removed(ALICE, NOW + DAY + MARK_LIFE - SECOND)] == [content(EVENT)]
    assert side.events.removed(ALICE, NOW + DAY + MARK_LIFE + SECOND) == []


def test_marks_are_about_their_own_user(side: Side) -> None:
    side.events.add(EVENT)
    assert side.events.removed(ALICE + b"s", NOW) == []


@pytest.mark.parametrize("method", ["add", "take", "advance", "done"])
def test_a_call_whose_reply_was_lost_was_made_or_can_be_repeated(side: Side, method: str) -> None:
    if method != "add":
        side.events.add(EVENT)
    calls: dict[str, Callable[[], object]] = {
        "add": partial(side.events.add, EVENT),
        "take": partial(side.events.take, side.name_of(EVENT), NOW, NOW + MINUTE),
    }
    if method in {"advance", "done"}:
        taken = side.take()
        calls["done"] = partial(side.events.done, taken, NOW)
        calls["advance"] = partial(side.events.advance, dataclasses.replace(taken, after=GROUPS[0], next_at=NOW))
    side.lose_reply(method)
    race(calls[method])
    if method == "add":
        side.take()
    elif method == "take":
        assert side.events.take(side.name_of(EVENT), NOW, NOW + MINUTE) is None
        side.take(NOW + MINUTE)
    elif method == "advance":
        assert side.take().after == GROUPS[0]
    else:
        assert side.events.due(NOW + DAY, 10) == []


def test_nothing_of_a_user_stands_in_the_table_in_clear() -> None:
    database = Database(aws.new_stage("delivery"))
    keys = DataKeys(database, SettableClock())
    AwsAccountEvents(database, keys, Sealer(keys)).add(EVENT)
    (row,) = database.scan("account-events")
    for value in row.values():
        assert b"alice" not in (value if isinstance(value, bytes) else str(value).encode())
        assert b"phone" not in (value if isinstance(value, bytes) else str(value).encode())
