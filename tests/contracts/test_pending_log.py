"""`PendingLog`: every change is read until it is discarded, and moves its counts once."""

from functools import partial

from chalicelib.protocol.glados.identifiers import parse_sii
from chalicelib.services.accounts.state import ProviderId
from tests.contracts.examples import ALICE, ALPHA, BETA, BOB, account, mapping, register
from tests.contracts.ports import Ports
from tests.contracts.races import race, winners


def users(ports: Ports, provider_id: str = "alpha") -> int:
    found = ports.accounts.load(ProviderId(provider_id))
    assert found is not None
    return found.value.users


def test_at_first_there_is_nothing_to_see(ports: Ports) -> None:
    assert ports.pending_log.read() == []


def test_every_change_that_returned_is_read_until_it_is_discarded(ports: Ports) -> None:
    for sii in (ALICE, BOB):
        register(ports.store, sii)
    entries = ports.pending_log.read()
    assert {entry.appears for entry in entries} == {ALICE, BOB}
    assert {entry.entry_id for entry in ports.pending_log.read()} == {entry.entry_id for entry in entries}
    ports.pending_log.discard(entries)
    assert ports.pending_log.read() == []


def test_changes_made_at_once_are_all_read(ports: Ports) -> None:
    siis = [parse_sii(f"mailto:bob+{number}@example.org") for number in range(6)]
    assert winners(race(*(partial(register, ports.store, sii) for sii in siis)), AssertionError) == len(siis)
    assert {entry.appears for entry in ports.pending_log.read()} == set(siis)


def test_what_was_not_discarded_stays(ports: Ports) -> None:
    register(ports.store, ALICE)
    seen = ports.pending_log.read()
    register(ports.store, BOB)
    ports.pending_log.discard(seen)
    assert [entry.appears for entry in ports.pending_log.read()] == [BOB]


def test_a_discarded_entry_moves_its_counts_once(ports: Ports) -> None:
    ports.accounts.create(account("alpha", "a"))
    ports.accounts.create(account("beta", "b"))
    register(ports.store, ALICE, mapping(ALPHA))
    register(ports.store, ALICE, mapping(BETA))
    register(ports.store, BOB, mapping(ALPHA, "bob"))
    entries = ports.pending_log.read()
    for _ in range(2):
        ports.pending_log.discard(entries)
    assert (users(ports), users(ports, "beta")) == (2, 1)


def test_of_two_passes_that_discard_one_entry_one_moves_its_counts(ports: Ports) -> None:
    ports.accounts.create(account())
    register(ports.store)
    entries = ports.pending_log.read()
    race(*(partial(ports.pending_log.discard, entries) for _ in range(4)))
    ports.pending_log.discard(entries)
    assert users(ports) == 1
    assert ports.pending_log.read() == []


def test_a_discard_whose_reply_was_lost_can_be_repeated(ports: Ports) -> None:
    ports.accounts.create(account())
    register(ports.store)
    entries = ports.pending_log.read()
    ports.lose_reply("pending_log", "discard")
    race(partial(ports.pending_log.discard, entries))
    ports.pending_log.discard(entries)
    assert users(ports) == 1


def test_a_discard_of_nothing_does_nothing(ports: Ports) -> None:
    register(ports.store)
    ports.pending_log.discard([])
    assert len(ports.pending_log.read()) == 1


def test_a_count_for_a_provider_that_is_not_enrolled_holds_up_nothing(ports: Ports) -> None:
    register(ports.store)
    ports.pending_log.discard(ports.pending_log.read())
    assert ports.pending_log.read() == []
    assert ports.accounts.load(ProviderId("alpha")) is None
