"""`Outbox`: what waits is sent at least once; how it is leased, see `test_leases`."""

import pytest

from chalicelib.protocol.timestamps import MINUTE, SECOND
from chalicelib.services.provider.state import OutboxEntry, OutboxId
from chalicelib.services.provider.writes import AddOutbox
from tests.contracts.examples import NOW, outbox_entry
from tests.contracts.ports import Ports

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


def test_an_entry_that_is_not_due_or_unknown_is_not_taken(ports: Ports) -> None:
    ports.store.commit(AddOutbox(outbox_entry(next_at=NOW + 1)))
    assert ports.outbox.take(ID, NOW, NOW + MINUTE) is None
    assert ports.outbox.take(OutboxId("unknown"), NOW, NOW + MINUTE) is None
    assert taken(ports, NOW + 1).attempts == 1


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
