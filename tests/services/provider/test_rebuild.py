"""Fresh filters: what was removed leaves them, nothing else does, and every step may be taken twice."""

import pytest

from chalicelib.protocol.glados import gapcoded
from chalicelib.protocol.glados.filters import SMALLEST_N, Parameters, has_bit, indexes
from chalicelib.protocol.timestamps import DAY, HOUR, MINUTE
from chalicelib.services.accounts.state import Account
from chalicelib.services.provider.rebuild import GRACE, SignOffFailed
from chalicelib.services.provider.state import FilterVersion
from tests.fakes.world import World
from tests.services.provider.providers import MAIL, PHONE, Gp, check_filter, settle, uri


def live(gp: Gp) -> dict[str, FilterVersion]:
    return {version.state: version for version in gp.world.filter_pointer._row.value.versions}


def holds(gp: Gp, version: FilterVersion, sii: str) -> bool:
    assert version.raw is not None
    (position,) = indexes(version.parameters, uri(sii))
    return has_bit(gp.world.tables.objects[version.raw.name], position)


def rebuilt(gp: Gp) -> FilterVersion:
    gp.rebuild.step(now_please=True)
    settle(gp)
    return live(gp)["current"]


def test_the_first_filter_is_built_without_being_asked_for(gp: Gp, alpha: Account) -> None:
    gp.register(alpha)
    settle(gp)
    version = live(gp)["current"]
    assert (version.parameters, version.keys, holds(gp, version, PHONE)) == (Parameters(SMALLEST_N), 1, True)


def test_a_removed_identifier_leaves_by_the_next_rebuild(gp: Gp, alpha: Account, world: World) -> None:
    mapping = gp.register(alpha).mapping
    gp.register(alpha, MAIL)
    settle(gp)
    gp.preferences.remove(alpha, str(mapping.mapping_id))
    world.clock.advance(DAY)
    settle(gp)
    version = live(gp)["current"]
    assert (holds(gp, version, PHONE), holds(gp, version, MAIL), version.bits_set) == (False, True, 1)


def test_both_forms_of_the_base_hold_the_same_positions(gp: Gp, alpha: Account) -> None:
    for turn in range(50):
        gp.register(alpha, f"mailto:user{turn}@example.com")
    version = rebuilt(gp)
    assert version.raw is not None
    assert version.rice is not None
    raw = gp.world.tables.objects[version.raw.name]
    n, positions = gapcoded.decode(gp.world.tables.objects[version.rice.name])
    assert (n, len(positions)) == (version.parameters.n, 50)
    assert all(has_bit(raw, position) for position in positions)


def test_scanning_waits_until_the_passes_under_way_have_seen_the_version(gp: Gp, alpha: Account, world: World) -> None:
    settle(gp)
    gp.rebuild.step(now_please=True)
    version = live(gp)["building"].version
    world.clock.advance(MINUTE - 1)
    gp.rebuild.scan(version, 0)
    assert "building" in live(gp)
    world.clock.advance(1)
    gp.rebuild.scan(version, 0)
    assert live(gp)["current"].version == version


def test_a_scan_done_twice_and_a_late_one_change_nothing(gp: Gp, alpha: Account, world: World) -> None:
    settle(gp)
    gp.rebuild.step(now_please=True)
    version = live(gp)["building"].version
    world.clock.advance(MINUTE)
    gp.rebuild.scan(version, 0)
    before = world.filter_pointer._row
    gp.rebuild.scan(version, 0)
    gp.rebuild.publish(version)
    assert world.filter_pointer._row == before


def test_a_rebuild_is_due_after_a_day_and_not_before(gp: Gp, alpha: Account, world: World) -> None:
    settle(gp)
    first = live(gp)["current"]
    world.clock.now = first.cut_at + DAY - 1
    gp.rebuild.step()
    assert "building" not in live(gp)
    world.clock.advance(1)
    gp.rebuild.step()
    assert "building" in live(gp)


def test_an_old_version_lives_on_for_its_followers_and_goes_with_its_objects(
    gp: Gp, alpha: Account, world: World
) -> None:
    gp.register(alpha)
    settle(gp)
    old = live(gp)["current"]
    rebuilt(gp)
    gp.register(alpha, MAIL)
    settle(gp)
    retiring = live(gp)["retiring"]
    assert (retiring.version, retiring.seq) == (old.version, old.seq + 1)
    check_filter(gp)
    world.clock.advance(GRACE)
    settle(gp)
    assert "retiring" not in live(gp)
    assert not [name for name in world.tables.objects if name.startswith(f"own/{old.version}/")]


def test_an_overfull_filter_is_rebuilt_larger_though_the_count_is_hours_old(
    gp: Gp, alpha: Account, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chalicelib.services.provider.rebuild.HEADROOM", 19)
    monkeypatch.setattr(world.scans, "count", lambda: 0)
    monkeypatch.setattr(
        "chalicelib.services.provider.rebuild.choose_n", lambda keys: SMALLEST_N + max(1, keys).bit_length() - 1
    )
    settle(gp)
    for turn in range(6):
        gp.register(alpha, f"mailto:user{turn}@example.com")
    settle(gp)
    sizes = [live(gp)["current"].parameters.n]
    world.clock.advance(HOUR)
    settle(gp)
    sizes.append(live(gp)["current"].parameters.n)
    assert sizes == [SMALLEST_N + 2] * 2
    check_filter(gp)


def test_a_filter_that_lacks_a_member_is_not_published(gp: Gp, alpha: Account, world: World) -> None:
    """Its positions were spoiled on the way: fewer bits than its keys predict."""
    for turn in range(200):
        gp.register(alpha, f"mailto:user{turn}@example.com")
    gp.rebuild.step()
    version = live(gp)["building"].version
    kept = world.filter_objects.put
    world.filter_objects.put = lambda name, data: kept(name, data[:80])  # type: ignore[method-assign]
    with pytest.raises(SignOffFailed):
        gp.rebuild.scan(version, 0)
    assert "current" not in live(gp)
