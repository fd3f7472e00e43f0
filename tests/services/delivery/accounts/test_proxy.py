"""A guest's way to a hub: unchanged both ways, and to nobody but admitted peers."""

import pytest

from chalicelib.errors import TooManyRequests, Unavailable
from chalicelib.protocol.delivery import media
from chalicelib.protocol.delivery.messages import ROUTES
from chalicelib.protocol.timestamps import MINUTE, SECOND
from chalicelib.services.delivery.state import DsPeer
from tests.protocol.mls.story import refused
from tests.services.delivery.house import House

US = "us.ds.example"
BODY, ANSWER = bytes(range(256)), bytes(range(255, -1, -1))
OWN_AFFAIRS = {
    "create-group", "request-group-id", "public-key", "key-packages", "publish-key-packages", "upload",
}  # fmt: skip


@pytest.fixture
def house() -> House:
    house = House()
    house.world.ds_peers.put(DsPeer(US, "https://us.ds.example", frozenset({"t" * 43})))
    house.world.peer_calls.answers[US] = lambda *_: (200, media.DS_RESPONSE, ANSWER)
    return house


def forward(
    house: House, domain: str = US, operation: str = "send-message", source: str = "192.0.2.1"
) -> tuple[int, str, bytes]:
    return house.proxy.forward(domain, operation, media.DS_MESSAGE, BODY, source)


@pytest.mark.parametrize("operation", sorted(set(ROUTES) - OWN_AFFAIRS))
def test_what_is_about_a_group_goes_to_the_hub_and_back_unchanged(house: House, operation: str) -> None:
    asked = []

    def answer(path: str, media_type: str, body: bytes) -> tuple[int, str, bytes]:
        asked.append((path, media_type, body))
        return 409, media.DS_RESPONSE, ANSWER

    house.world.peer_calls.answers[US] = answer
    assert forward(house, operation=operation) == (409, media.DS_RESPONSE, ANSWER)
    assert asked == [(f"/ds/v1/{operation}", media.DS_MESSAGE, BODY)]


@pytest.mark.parametrize("operation", [*sorted(OWN_AFFAIRS), "users", "federation", "", "../qs/v1/enqueue"])
def test_nothing_else_is_passed_on(house: House, operation: str) -> None:
    """[mds-proxy-2]"""
    with refused("mds-proxy-2"):
        forward(house, operation=operation)
    assert house.world.calls("peer_calls") == []


@pytest.mark.parametrize("domain", ["other.ds.example", "US.ds.example", "localhost", "us.ds.example:8443", ""])
def test_only_admitted_peers_are_reached(house: House, domain: str) -> None:
    """[mds-proxy-3]"""
    with refused("mds-proxy-3"):
        forward(house, domain)
    assert house.world.calls("peer_calls") == []


def test_what_is_for_this_service_is_asked_directly(house: House) -> None:
    """[mds-proxy-1]"""
    with refused("mds-proxy-1"):
        forward(house, house.world.domain)


def test_a_hub_that_does_not_answer_is_told_as_such_with_a_time_to_try_again(house: House) -> None:
    del house.world.peer_calls.answers[US]
    with pytest.raises(Unavailable) as told:
        forward(house)
    assert told.value.retry_after_seconds == 5


def test_what_no_delivery_service_answers_is_not_passed_on(house: House) -> None:
    house.world.peer_calls.answers[US] = lambda *_: (200, "text/html", b"<script>")
    with pytest.raises(Unavailable):
        forward(house)


def test_one_source_is_bounded_and_others_are_not_for_it(house: House) -> None:
    for _ in range(300):
        forward(house)
    with pytest.raises(TooManyRequests) as told:
        forward(house)
    assert told.value.limit == "forwarded-by-source"
    forward(house, source="192.0.2.2")
    house.world.clock.advance(SECOND)
    forward(house)


def test_a_network_of_ipv6_is_one_source(house: House) -> None:
    for number in range(300):
        forward(house, source=f"2001:db8::{number:x}")
    with pytest.raises(TooManyRequests) as told:
        forward(house, source="2001:db8::ffff:1")
    assert told.value.limit == "forwarded-by-source"
    forward(house, source="2001:db8:0:1::1")


def test_what_one_hub_gets_is_bounded(house: House) -> None:
    for number in range(1_000):
        forward(house, source=str(number))
    with pytest.raises(TooManyRequests) as told:
        forward(house)
    assert told.value.limit == "forwarded-to-peer"
    house.world.clock.advance(MINUTE)
    forward(house)
