"""`Outbox`: what waits is sent at least once, by one worker at a time, and given up by those that die."""

import pytest

from chalicelib.protocol.timestamps import MINUTE, SECOND
from chalicelib.services.provider.state import OutboxEntry, OutboxId
from chalicelib.services.provider.writes import AddOutbox
from tests.contracts.examples import NOW, outbox_entry
from tests.contracts.ports import Ports
from tests.contracts.races import race, winners

ID = outbox_entry().outbox_id


@pytest.fixture
def waiting(ports: Ports) -> OutboxEntry:
    ports.store.commit(AddOutbox(outbox_entry()))
    return outbox_entry()


def taken(ports: Ports, now: int = NOW) -> OutboxEntry:
    entry = ports.outbox.take(ID, now, now + MINUTE)
    assert entry is not None
    return entry


def test_a_taken_entry_is_the_one_that_was_added_with_one_attempt_more(ports: Ports, waiting: OutboxEntry) -> None:
    entry = taken(ports)
    assert (entry.outbox_id, entry.kind, entry.ref, entry.created_at) == (ID, waiting.kind, waiting.ref, NOW)
    assert (entry.attempts, entry.next_at) == (1, NOW + MINUTE)


def test_an_entry_is_taken_by_one_worker(ports: Ports, waiting: OutboxEntry) -> None:
    outcomes = race(*(lambda: ports.outbox.take(ID, NOW, NOW + MINUTE) for _ in range(6)))
    assert winners(outcomes, AssertionError) == 6
    assert sum(entry is not None for entry in outcomes) == 1


def test_a_worker_that_dies_gives_its_entry_up(ports: Ports, waiting: OutboxEntry) -> None:
    taken(ports)
    assert ports.outbox.take(ID, NOW + MINUTE - 1, NOW + 2 * MINUTE) is None
    assert taken(ports, NOW + MINUTE).attempts == 2


def test_a_lease_whose_reply_was_lost_is_over_in_its_time(ports: Ports, waiting: OutboxEntry) -> None:
    ports.lose_reply("outbox", "take")
    race(lambda: ports.outbox.take(ID, NOW, NOW + MINUTE))
    assert ports.outbox.take(ID, NOW, NOW + MINUTE) is None
    assert taken(ports, NOW + MINUTE).attempts == 2


def test_an_entry_that_is_not_due_or_unknown_is_not_taken(ports: Ports) -> None:
    ports.store.commit(AddOutbox(outbox_entry(next_at=NOW + 1)))
    assert ports.outbox.take(ID, NOW, NOW + MINUTE) is None
    assert ports.outbox.take(OutboxId("unknown"), NOW, NOW + MINUTE) is None
    assert taken(ports, NOW + 1).attempts == 1


def test_a_postponed_entry_is_due_when_it_was_postponed_to(ports: Ports, waiting: OutboxEntry) -> None:
    ports.outbox.postpone(taken(ports), NOW + 5 * MINUTE)
    assert ports.outbox.take(ID, NOW + 5 * MINUTE - 1, NOW + 6 * MINUTE) is None
    assert taken(ports, NOW + 5 * MINUTE).attempts == 2


def test_postponing_repeats_and_may_be_to_an_earlier_time_than_the_lease(ports: Ports, waiting: OutboxEntry) -> None:
    entry = taken(ports)
    for _ in range(2):
        ports.outbox.postpone(entry, NOW + SECOND)
    assert taken(ports, NOW + SECOND).attempts == 2


def test_a_worker_whose_lease_is_over_does_not_move_its_successors(ports: Ports, waiting: OutboxEntry) -> None:
    first = taken(ports)
    taken(ports, NOW + MINUTE)
    ports.outbox.postpone(first, NOW)
    assert ports.outbox.take(ID, NOW + MINUTE, NOW + 2 * MINUTE) is None


def test_what_is_done_is_gone_however_often_it_is_said(ports: Ports, waiting: OutboxEntry) -> None:
    entry = taken(ports)
    ports.outbox.done(ID)
    ports.outbox.done(ID)
    ports.outbox.postpone(entry, NOW)
    assert ports.outbox.take(ID, NOW + MINUTE, NOW + 2 * MINUTE) is None
    ports.clock.advance(MINUTE)
    assert ports.outbox.due(ports.clock(), 10) == []


def test_what_is_due_and_settled_is_found_and_nothing_else(ports: Ports) -> None:
    entries = [outbox_entry(f"out_{number}", NOW + number) for number in range(4)]
    ports.store.commit(*map(AddOutbox, entries))
    ports.clock.advance(2 * SECOND)
    assert sorted(ports.outbox.due(NOW + 2, 10)) == ["out_0", "out_1", "out_2"]
    assert len(ports.outbox.due(NOW + 2, 2)) == 2


def test_what_is_leased_is_not_due_until_the_lease_is_over(ports: Ports, waiting: OutboxEntry) -> None:
    taken(ports)
    ports.clock.advance(2 * SECOND)
    assert ports.outbox.due(NOW + MINUTE - 1, 10) == []
    assert ports.outbox.due(NOW + MINUTE, 10) == [ID]
