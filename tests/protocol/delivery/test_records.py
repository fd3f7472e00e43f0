"""Delivery records in chunks: whatever is set and taken away, they are what a plain dictionary would be."""

from collections import Counter
from collections.abc import Collection, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.errors import DecodeError
from chalicelib.protocol.delivery.parts import Domain
from chalicelib.protocol.delivery.queueing import ClientQueueConfig
from chalicelib.protocol.delivery.records import LEAVES, NOTHING, DeliveryRecord, Records
from chalicelib.protocol.delivery.sealed import Sealed
from chalicelib.protocol.mls.chunked_tree import Attempt
from chalicelib.protocol.mls.chunks import REF_SIZE, Ref
from chalicelib.protocol.tls import decode, opaque

FARTHEST = 5 * LEAVES


class Store(dict[Ref, bytes]):
    """Objects in memory; counts how often it is asked."""

    calls = 0

    def load(self, refs: Collection[Ref]) -> Mapping[Ref, bytes]:
        self.calls += 1
        return {ref: self[ref] for ref in refs}


def record(number: int, *, quarantined: bool = False) -> DeliveryRecord:
    config = ClientQueueConfig(Domain(f"{number % 3}.ds.example"), Sealed(1, (b"%d" % number).ljust(80)))
    return DeliveryRecord(config, number, 2 * number, quarantined)


def reopened(records: Records, store: Store) -> Records:
    """Return records as another container reads them."""
    return decode(lambda reader: Records.read(reader, Attempt(store, b"attempt2")), records.encode())


leaves = st.integers(0, FARTHEST - 1)
values = st.none() | st.builds(record, st.integers(0, 9), quarantined=st.booleans())
changes = st.dictionaries(leaves, values, max_size=12)


@given(st.lists(changes, max_size=6), leaves, leaves)
def test_they_are_what_a_dictionary_would_be(steps: list[dict[int, DeliveryRecord | None]], one: int, two: int) -> None:
    store, expected = Store(), dict[int, DeliveryRecord]()
    records = Records(Attempt(store, b"attempt1"))
    for step in steps:
        records, written = records.changed(step)
        store.update(written)
        expected |= {leaf: value for leaf, value in step.items() if value is not None}
        expected = {leaf: value for leaf, value in expected.items() if step.get(leaf, value) is not None}
        for seen in (records, records := reopened(records, store)):
            assert dict(seen.all()) == expected
            assert seen.domains == Counter(one.config.ds_domain for one in expected.values())
            assert {leaf: seen.get(leaf) for leaf in (one, two, FARTHEST)} == {
                leaf: expected.get(leaf) for leaf in (one, two, FARTHEST)
            }
            first, last = min(one, two), max(one, two)
            between = [(leaf, expected[leaf]) for leaf in sorted(expected) if first <= leaf < last]
            assert list(seen.between(first, last)) == between
    assert len(records.directory) == (max(expected) // LEAVES + 1 if expected else 0)


def filled(store: Store) -> Records:
    records, written = Records(Attempt(store, b"attempt1")).changed({leaf: record(leaf) for leaf in range(FARTHEST)})
    store.update(written)
    return reopened(records, store)


def test_a_change_reads_and_writes_the_chunks_that_it_touches() -> None:
    store = Store()
    records = filled(store)
    changed, written = records.changed({0: None, 1: record(7), LEAVES: record(8)})
    assert (len(written), store.calls) == (2, 1)
    assert [old == new for old, new in zip(records.directory, changed.directory, strict=True)] == [False] * 2 + [
        True
    ] * 3


def test_what_is_read_together_is_loaded_at_once_and_remembered() -> None:
    store = Store()
    records = filled(store)
    assert len(list(records.between(LEAVES // 2, 4 * LEAVES))) == 4 * LEAVES - LEAVES // 2
    assert store.calls == 1
    assert records.get(LEAVES) == record(LEAVES)
    assert store.calls == 1


def test_a_chunk_without_records_is_not_there() -> None:
    store = Store()
    records = filled(store)
    middle, written = records.changed(dict.fromkeys(range(LEAVES, 2 * LEAVES)))
    assert written == {}
    assert middle.directory[1] == NOTHING
    end, _ = records.changed(dict.fromkeys(range(2 * LEAVES, FARTHEST)))
    assert len(end.directory) == 2
    nobody, _ = records.changed(dict.fromkeys(range(FARTHEST)))
    assert nobody.directory == ()
    assert list(nobody.all()) == []


def test_a_directory_that_ends_inside_a_reference_is_refused() -> None:
    with pytest.raises(DecodeError):
        decode(lambda reader: Records.read(reader, Attempt(Store(), bytes(8))), opaque(bytes(REF_SIZE + 1)))
