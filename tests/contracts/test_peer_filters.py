"""`PeerFilters`: whether a peer may hold an identifier, by base and deltas together."""

import dataclasses

from chalicelib.protocol.glados import gapcoded
from chalicelib.protocol.glados.filters import Parameters
from chalicelib.services.provider.state import PeerHead
from tests.contracts.filters import peer_head, raw
from tests.contracts.ports import Ports

PARAMETERS = Parameters(12, 2)


def held(ports: Ports, *, compact: bool) -> PeerHead:
    """Hold a peer's filter with positions 1 and 2000 in its base, and 8 and 4095 in two deltas."""
    base = gapcoded.encode(12, [1, 2000]) if compact else raw(PARAMETERS, 1, 2000)
    deltas = [gapcoded.encode(12, [8]), gapcoded.encode(12, [4095])]
    return dataclasses.replace(
        peer_head(),
        parameters=PARAMETERS,
        base=ports.filter_objects.put("us/base", base),
        deltas=tuple(ports.filter_objects.put(f"us/{number}", data) for number, data in enumerate(deltas)),
    )


def answers(ports: Ports, head: PeerHead) -> list[bool]:
    questions = [(1,), (2000,), (8,), (4095,), (0,), (2,), (9,), (1, 4095), (1, 2), (2, 1)]
    return [ports.peer_filters.may_hold(head, positions) for positions in questions]


EXPECTED = [True, True, True, True, False, False, False, True, False, False]


def test_an_identifier_may_be_held_where_all_its_positions_are_in_base_or_deltas(ports: Ports) -> None:
    assert answers(ports, held(ports, compact=False)) == EXPECTED


def test_a_base_in_compact_form_answers_the_same(ports: Ports) -> None:
    assert answers(ports, held(ports, compact=True)) == EXPECTED


def test_a_head_is_answered_by_the_objects_it_names(ports: Ports) -> None:
    head = held(ports, compact=False)
    assert ports.peer_filters.may_hold(head, (8,))
    assert not ports.peer_filters.may_hold(dataclasses.replace(head, deltas=()), (8,))
