"""`FilterPointer`: the one row that says which filter versions live, changed by compare-and-swap."""

import dataclasses
from functools import partial

import pytest

from chalicelib.services.ports import Lost
from chalicelib.services.provider.state import FilterVersion, Pointer
from tests.contracts.examples import NOW
from tests.contracts.filters import building, staged_delta
from tests.contracts.ports import Ports
from tests.contracts.races import race, winners


def published(ports: Ports) -> FilterVersion:
    base = ports.filter_objects.put("base", b"base")
    delta = staged_delta(ports.filter_objects, 1, 5, 9)
    return dataclasses.replace(
        building(),
        state="current",
        seq=1,
        at=NOW + 1,
        digest="a" * 64,
        bits_set=6,
        base_bits=4,
        keys=4,
        raw=base,
        rice=base,
        deltas=(delta,),
        ends_at=NOW + 2,
    )


def test_at_first_no_version_lives(ports: Ports) -> None:
    assert ports.filter_pointer.load().value == Pointer()


def test_the_pointer_is_read_as_it_was_written(ports: Ports) -> None:
    ports.filter_pointer.replace(ports.filter_pointer.load(), Pointer((building(),)))
    full = Pointer((published(ports), building(2)))
    ports.filter_pointer.replace(ports.filter_pointer.load(), full)
    assert ports.filter_pointer.load().value == full


def test_a_pointer_that_changed_since_it_was_loaded_is_not_replaced(ports: Ports) -> None:
    before = ports.filter_pointer.load()
    ports.filter_pointer.replace(before, Pointer((building(),)))
    with pytest.raises(Lost):
        ports.filter_pointer.replace(before, Pointer((building(2),)))
    assert ports.filter_pointer.load().value == Pointer((building(),))


@pytest.mark.parametrize("known", [False, True], ids=["first", "later"])
def test_of_rivals_for_the_pointer_one_wins(ports: Ports, known: bool) -> None:
    if known:
        ports.filter_pointer.replace(ports.filter_pointer.load(), Pointer((building(),)))
    before = ports.filter_pointer.load()
    rivals = [Pointer((building(version),)) for version in range(2, 8)]
    outcomes = race(*(partial(ports.filter_pointer.replace, before, pointer) for pointer in rivals))
    assert winners(outcomes, Lost) == 1
    assert ports.filter_pointer.load().value == rivals[outcomes.index(None)]


def test_a_swap_back_to_an_older_value_is_still_a_change(ports: Ports) -> None:
    first = ports.filter_pointer.load()
    ports.filter_pointer.replace(first, Pointer((building(),)))
    ports.filter_pointer.replace(ports.filter_pointer.load(), Pointer())
    with pytest.raises(Lost):
        ports.filter_pointer.replace(first, Pointer((building(2),)))


def test_a_swap_whose_reply_was_lost_is_seen_by_the_next_load(ports: Ports) -> None:
    before = ports.filter_pointer.load()
    ports.lose_reply("filter_pointer", "replace")
    (told,) = race(partial(ports.filter_pointer.replace, before, Pointer((building(),))))
    assert not isinstance(told, Lost)
    assert ports.filter_pointer.load().value == Pointer((building(),))
