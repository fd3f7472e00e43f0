"""Who may come in, and how often, before anything of a request is looked at."""

import pytest

from chalicelib.errors import TooManyRequests
from chalicelib.protocol.delivery.responses import Ok
from chalicelib.protocol.timestamps import HOUR, SECOND
from chalicelib.services.delivery.admission import Admission
from chalicelib.services.delivery.limits import ASKED_BY_SOURCE, CREATED_BY_SOURCE, PASSED_ON_BY_PEER, SENT_TO_GROUP
from chalicelib.services.delivery.state import DsPeer, GroupId
from chalicelib.services.limits import MOST_LEASES
from chalicelib.services.ports import Unreachable
from tests.services.delivery.house import House, Person

PEER = DsPeer("us.ds.example", "https://us.ds.example", frozenset({"t"}))
SOURCE = "192.0.2.1"


def admitted(admission: Admission, operation: str = "send-message", source: str = SOURCE, peer: bool = False) -> int:
    """Ask until it is refused, and return how often it was not."""
    for count in range(20_000):
        try:
            admission.admit(operation, source, PEER if peer else None)
        except TooManyRequests:
            return count
    raise AssertionError("there is no limit")


def test_a_source_asks_so_often(house: House) -> None:
    assert admitted(house.admission) == ASKED_BY_SOURCE.burst
    house.world.clock.advance(SECOND)
    assert ASKED_BY_SOURCE.rate * 0.9 <= admitted(house.admission) <= ASKED_BY_SOURCE.rate


def test_a_source_is_one_address_or_a_network_of_ipv6(house: House) -> None:
    assert admitted(house.admission, source="2001:db8:0:1::1") == ASKED_BY_SOURCE.burst
    assert admitted(house.admission, source="2001:db8:0:1:ffff::2") == 0
    assert admitted(house.admission, source="2001:db8:0:2::1") == ASKED_BY_SOURCE.burst
    assert admitted(house.admission, source="192.0.2.2") == ASKED_BY_SOURCE.burst


def test_what_a_peer_passes_on_is_counted_as_its_own(house: House) -> None:
    assert admitted(house.admission) == ASKED_BY_SOURCE.burst
    assert admitted(house.admission, peer=True) == PASSED_ON_BY_PEER.burst
    assert admitted(house.admission, source="192.0.2.2", peer=True) == 0


def test_a_source_creates_so_many_groups(house: House) -> None:
    assert admitted(house.admission, "create-group") == CREATED_BY_SOURCE.burst
    assert admitted(house.admission, "create-group", "192.0.2.2") == CREATED_BY_SOURCE.burst
    house.admission.admit("send-message", SOURCE, None)
    house.world.clock.advance(HOUR)
    assert admitted(house.admission, "create-group") == CREATED_BY_SOURCE.tokens


def test_no_address_is_told_or_stored(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.admission.admit("create-group", SOURCE, None)
    assert SOURCE not in repr(vars(house.world.buckets))
    house.world.clock.advance(10 * SECOND)

    def down(*_: object) -> None:
        raise Unreachable("down")

    monkeypatch.setattr(house.world.buckets, "take", down)
    house.admission.admit("send-message", SOURCE, None)
    assert house.world.alarms.raised == [("ds-limiter-down", "requests-by-source")]


def test_a_container_forgets_sources_that_are_gone(house: House) -> None:
    for number in range(MOST_LEASES):
        house.admission.admit("send-message", f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", None)
    house.world.clock.advance(10 * SECOND)
    house.admission.admit("send-message", SOURCE, None)
    assert len(house.admission._sources._leases) == 1


def test_a_group_is_sent_so_many_large_bytes(house: House, alice: Person, bob: Person, group: GroupId) -> None:
    large = 4 << 20
    for _ in range(SENT_TO_GROUP.burst // (large + 1_000)):
        alice.say(bytes(large))
    with pytest.raises(TooManyRequests) as refused:
        bob.say(bytes(large))
    assert refused.value.retry_after_seconds
    assert house.serve(bob.saying(b"small ones are not counted")) == Ok()
    house.world.clock.advance(SECOND)
    bob.say(bytes(large))


def test_a_stranger_does_not_spend_what_a_group_may_be_sent(house: House, alice: Person, group: GroupId) -> None:
    stranger = Person(house, "stranger")
    stranger.group = alice.group
    for _ in range(20):
        with pytest.raises(Exception, match="sender"):
            house.serve(stranger.saying(bytes(4 << 20)))
    alice.say(bytes(4 << 20))
