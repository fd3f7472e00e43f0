"""`Scans`: every identifier with an active mapping, in one segment each."""

import dataclasses

from chalicelib.protocol.glados.filters import Parameters, indexes
from chalicelib.protocol.glados.mappings import remove
from tests.contracts.examples import ALICE, ALPHA, BETA, BOB, DRAMA, NOW, mapping, register, writes_of
from tests.contracts.ports import Ports

PARAMETERS = Parameters(20, 2)


def scanned(ports: Ports, segments: int) -> list[tuple[int, ...]]:
    return [
        positions for segment in range(segments) for positions in ports.scans.positions(segment, segments, PARAMETERS)
    ]


def test_every_identifier_is_in_one_segment_once(ports: Ports) -> None:
    register(ports.store, ALICE, mapping(ALPHA))
    register(ports.store, ALICE, mapping(BETA))
    register(ports.store, BOB, mapping(ALPHA, "bob"))
    expected = sorted(indexes(PARAMETERS, sii) for sii in (ALICE, BOB))
    for segments in (1, 3):
        assert sorted(scanned(ports, segments)) == expected


def test_an_identifier_with_tombstones_only_is_left_out(ports: Ports) -> None:
    register(ports.store)
    before = ports.store.records(ALICE)
    change = remove(before.records, before.records.all[0], NOW)
    ports.store.commit(*writes_of(ALICE, before, change))
    assert scanned(ports, 2) == []


def test_a_test_number_is_left_out(ports: Ports) -> None:
    register(ports.store, DRAMA, dataclasses.replace(mapping(), test=True))
    assert scanned(ports, 2) == []


def test_where_there_is_nothing_there_is_nothing_to_count(ports: Ports) -> None:
    assert scanned(ports, 2) == []
    assert ports.scans.count() == 0
