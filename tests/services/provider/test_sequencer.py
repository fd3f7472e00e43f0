"""From the pending log to deltas: every addition in every version, and none of them twice."""

import pytest

from chalicelib.protocol.glados.filters import indexes
from chalicelib.protocol.timestamps import MINUTE
from chalicelib.services.accounts.state import Account
from chalicelib.services.provider.state import FilterVersion
from tests.fakes.world import World
from tests.services.provider.providers import (
    MAIL,
    OTHER_PHONE,
    PHONE,
    Gp,
    check_filter,
    check_users,
    deltas_of,
    meanwhile,
    settle,
    uri,
)


@pytest.fixture
def alpha(gp: Gp) -> Account:
    """A provider of a GP whose first filter is out."""
    account = gp.enrol("alpha")
    settle(gp)
    return account


def current(gp: Gp) -> FilterVersion:
    version = gp.world.filter_pointer._row.value.in_state("current")
    assert version is not None
    return version


def position(gp: Gp, sii: str) -> int:
    (found,) = indexes(current(gp).parameters, uri(sii))
    return found


def test_an_addition_stands_in_one_delta_and_its_entry_is_dropped(gp: Gp, alpha: Account, world: World) -> None:
    gp.register(alpha)
    assert gp.sequencer.run()
    assert not gp.sequencer.run()
    assert (current(gp).seq, deltas_of(gp, current(gp))) == (1, [position(gp, PHONE)])
    assert (world.tables.pending, world.tables.users["alpha"]) == ({}, 1)


def test_before_the_first_filter_additions_wait_for_it(gp: Gp, world: World) -> None:
    gp.register(gp.enrol("alpha"))
    assert not gp.sequencer.run()
    assert len(world.tables.pending) == 1
    settle(gp)
    assert world.tables.pending == {}
    check_filter(gp)


def test_a_second_mapping_of_an_identifier_flips_nothing_and_counts(gp: Gp, alpha: Account, world: World) -> None:
    gp.register(alpha)
    gp.sequencer.run()
    gp.register(gp.enrol("beta"), user="bob")
    gp.sequencer.run()
    assert (current(gp).seq, world.tables.users["beta"]) == (1, 1)


def test_what_leaves_and_comes_back_is_not_added_again(gp: Gp, alpha: Account) -> None:
    mapping = gp.register(alpha).mapping
    gp.sequencer.run()
    gp.preferences.remove(alpha, str(mapping.mapping_id))
    gp.register(alpha)
    gp.sequencer.run()
    assert current(gp).seq == 1
    check_users(gp)


def test_the_heads_time_strictly_increases_though_the_clock_stands(gp: Gp, alpha: Account) -> None:
    times = []
    for sii in (PHONE, OTHER_PHONE, MAIL):
        gp.register(alpha, sii)
        gp.world.clock.advance(-2 * MINUTE)
        gp.sequencer.run()
        times.append(current(gp).at)
    assert times == sorted(set(times))


@pytest.mark.parametrize(
    "calls_before", [("pending_log", "read"), ("filter_objects", "put"), ("filter_pointer", "replace")]
)
def test_two_passes_at_once_add_once(gp: Gp, alpha: Account, calls_before: tuple[str, str]) -> None:
    gp.register(alpha)
    port, method = calls_before
    meanwhile(getattr(gp.world, port), method, gp.sequencer.run)
    gp.sequencer.run()
    assert deltas_of(gp, current(gp)) == [position(gp, PHONE)]
    assert gp.world.tables.users["alpha"] == 1


def test_a_mapping_made_during_a_pass_waits_for_the_next(gp: Gp, alpha: Account, world: World) -> None:
    gp.register(alpha)
    meanwhile(world.filter_pointer, "replace", lambda: gp.register(alpha, MAIL))
    gp.sequencer.run()
    check_filter(gp)
    assert len(world.tables.pending) == 1
    gp.sequencer.run()
    check_filter(gp)
    assert current(gp).bits_set == 2


def test_a_version_that_begins_during_a_pass_is_not_left_out(gp: Gp, alpha: Account, world: World) -> None:
    gp.register(alpha)
    meanwhile(world.filter_pointer, "replace", lambda: gp.rebuild.step(now_please=True))
    gp.sequencer.run()
    building = world.filter_pointer._row.value.in_state("building")
    assert building is not None
    assert deltas_of(gp, building) == [position(gp, PHONE)]


@pytest.mark.parametrize("at", ["load", "replace"])
def test_a_version_that_is_published_during_a_pass_loses_nothing(gp: Gp, alpha: Account, world: World, at: str) -> None:
    gp.rebuild.step(now_please=True)
    world.clock.advance(2 * MINUTE)
    gp.register(alpha)
    building = world.filter_pointer._row.value.in_state("building")
    assert building is not None
    meanwhile(world.filter_pointer, at, lambda: gp.rebuild.scan(building.version, 0))
    gp.sequencer.run()
    settle(gp)
    assert current(gp).version == building.version
    check_filter(gp)


def test_a_pass_during_a_publication_loses_nothing(gp: Gp, alpha: Account, world: World) -> None:
    gp.rebuild.step(now_please=True)
    world.clock.advance(2 * MINUTE)
    building = world.filter_pointer._row.value.in_state("building")
    assert building is not None

    def add() -> None:
        gp.register(alpha)
        gp.sequencer.run()

    meanwhile(world.filter_pointer, "replace", add)
    gp.rebuild.scan(building.version, 0)
    assert (current(gp).version, current(gp).seq) == (building.version, 1)
    check_filter(gp)


def test_old_deltas_are_merged_and_hold_the_same(gp: Gp, alpha: Account) -> None:
    for turn in range(70):
        gp.register(alpha, f"mailto:user{turn}@example.com")
        gp.sequencer.run()
    version = current(gp)
    assert (version.seq, len(deltas_of(gp, version))) == (70, 70)
    assert len(version.deltas) <= 64
    check_filter(gp)


def test_a_pass_that_never_gets_through_alarms_and_keeps_the_entries(gp: Gp, alpha: Account, world: World) -> None:
    gp.register(alpha)

    def outrun() -> None:
        gp.world.filter_pointer._row = gp.world.filter_pointer._row.next(gp.world.filter_pointer._row.value)
        meanwhile(world.filter_pointer, "replace", outrun)

    meanwhile(world.filter_pointer, "replace", outrun)
    assert not gp.sequencer.run()
    assert ("sequencer-starved", "eu") in world.alarms.raised
    assert len(world.tables.pending) == 1
