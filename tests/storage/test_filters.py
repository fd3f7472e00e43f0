"""Filters as containers hold them: read once, checked once, and large ones a byte at a time."""

import pytest

from chalicelib.protocol.glados import gapcoded
from chalicelib.protocol.glados.filters import Parameters, set_bits
from chalicelib.services.provider.state import PeerHead, StoredObject
from chalicelib.storage import clients
from chalicelib.storage.peer_filters import AwsPeerFilters, BoundedCache, DamagedObject
from tests.contracts.aws import AwsPorts
from tests.storage.test_calls import counted

N = 20


def head(aws: AwsPorts, base: StoredObject, *deltas: StoredObject) -> PeerHead:
    return PeerHead("us", 1, len(deltas), 0, Parameters(N), base, deltas, 0, 0, 0)


def base_of(aws: AwsPorts, *positions: int) -> StoredObject:
    raw = bytearray(Parameters(N).raw_size)
    set_bits(raw, positions)
    return aws.filter_objects.put("base", bytes(raw))


@pytest.mark.parametrize("largest", [1 << 20, 0])
def test_a_position_is_found_in_base_or_delta_whether_the_base_is_held_or_not(aws: AwsPorts, largest: int) -> None:
    filters = AwsPeerFilters(aws.filter_objects, largest=largest)
    delta = aws.filter_objects.put("delta", gapcoded.encode(N, [7, 1 << 19]))
    held = head(aws, base_of(aws, 0, 5, (1 << N) - 1), delta)
    found = [position for position in (0, 1, 4, 5, 7, 8, 1 << 19, (1 << N) - 1) if filters.may_hold(held, [position])]
    assert found == [0, 5, 7, 1 << 19, (1 << N) - 1]
    assert filters.may_hold(held, [0, 7])
    assert not filters.may_hold(held, [0, 8])


def test_a_warm_filter_costs_no_call(aws: AwsPorts) -> None:
    held = head(aws, base_of(aws, 5))
    aws.peer_filters.may_hold(held, [5])
    calls: list[str] = []

    def note(event_name: str, **_: object) -> None:
        calls.append(event_name)

    events = clients.client("s3", 3).meta.events
    events.register("before-send", note)
    with counted() as others:
        assert aws.peer_filters.may_hold(held, [5])
    events.unregister("before-send", note)
    assert (calls, dict(others)) == ([], {})


def test_a_base_of_no_bytes_holds_nothing(aws: AwsPorts) -> None:
    assert not aws.peer_filters.may_hold(head(aws, StoredObject("none", 0, "")), [0])


def test_an_object_that_is_not_what_its_digest_says_is_not_believed(aws: AwsPorts) -> None:
    base = base_of(aws, 5)
    other = StoredObject(base.name, base.size, "0" * 64)
    with pytest.raises(DamagedObject):
        aws.peer_filters.may_hold(head(aws, other), [5])


def test_a_new_delta_is_seen_although_the_old_ones_are_held(aws: AwsPorts) -> None:
    base, one = base_of(aws), aws.filter_objects.put("one", gapcoded.encode(N, [1]))
    assert not aws.peer_filters.may_hold(head(aws, base, one), [2])
    two = aws.filter_objects.put("two", gapcoded.encode(N, [2]))
    assert aws.peer_filters.may_hold(head(aws, base, one, two), [2])


def test_an_object_is_never_overwritten_with_other_bytes(aws: AwsPorts) -> None:
    first = aws.filter_objects.put("name", b"bits")
    assert aws.filter_objects.put("name", b"bits") == first
    with pytest.raises(ValueError, match="other bytes"):
        aws.filter_objects.put("name", b"bots")


def test_a_cache_forgets_what_was_used_least_when_it_is_full() -> None:
    cache: BoundedCache[str] = BoundedCache(room=10)
    loads: list[str] = []

    def get(name: str) -> str:
        def load() -> tuple[int, str]:
            loads.append(name)
            return 5, name

        return cache.get(name, load)

    for name in ("a", "b", "a", "c", "a", "b"):
        assert get(name) == name
    assert loads == ["a", "b", "c", "b"]
