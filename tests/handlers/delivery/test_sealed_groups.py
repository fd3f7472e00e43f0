"""A sealed group through the doors, under the key that the service publishes."""

import dataclasses
import random
from types import SimpleNamespace
from typing import Any

import pytest

from chalicelib.protocol.base64url import decode_base64url
from chalicelib.protocol.delivery.media import DS_MESSAGE
from chalicelib.protocol.delivery.messages import DSMessage
from chalicelib.protocol.delivery.responses import DSError, DSErrorCode, Ok
from chalicelib.services.delivery.state import GroupId
from chalicelib.wiring import groups
from tests.fakes.clock import SettableClock
from tests.handlers.delivery.conftest import DOMAIN
from tests.handlers.delivery.test_accounts import said
from tests.handlers.edge import Edge
from tests.services.delivery.sealed.insiders import Insider

GROUP = GroupId(b"a group behind doors")


@dataclasses.dataclass
class Doors:
    """What a person needs of a house, through the doors of a service."""

    edge: Edge
    clock: SettableClock

    def __post_init__(self) -> None:
        self.vault = groups.vault()
        self.world = SimpleNamespace(clock=self.clock, domain=DOMAIN, keys=self)

    def hub_key(self) -> tuple[int, bytes]:
        published = self.edge.call("GET", "/.well-known/mimi-ds").json["state_key"]
        return published["epoch"], decode_base64url(published["key"])

    def ask(self, message: DSMessage) -> tuple[int, Any]:
        path = f"/ds/v1/{message.request.request_type.route}"
        answer = self.edge.call("POST", path, message.encode(), {"content-type": DS_MESSAGE})
        return answer.status, said(answer, message.request_sha256)


@pytest.fixture
def alice(edge: Edge, clock: SettableClock) -> Insider:
    doors: Any = Doors(edge, clock)
    return Insider(doors, f"alice {random.random()}")


def test_a_sealed_group_is_used_with_its_key_and_unknown_without(alice: Insider) -> None:
    doors: Any = alice.house
    group_id = GroupId(GROUP + alice.name.encode())
    assert doors.ask(alice.creation(group_id)) == (200, Ok())
    assert doors.ask(alice.saying(b"hello")) == (200, Ok())
    message, pending = alice.updating()
    assert doors.ask(message) == (200, Ok())
    alice.accepted(pending)
    unknown = (403, DSError(DSErrorCode.UNKNOWN_GROUP))
    for key in (None, bytes(32)):
        alice.key = key
        assert doors.ask(alice.saying(b"hello")) == unknown
    head, _ = groups.rows().load(group_id, b"")
    assert head is not None
    assert head.sealed


def test_a_group_that_never_was_is_answered_alike(alice: Insider) -> None:
    doors: Any = alice.house
    alice.creation(GROUP)
    assert doors.ask(alice.saying(b"hello")) == (403, DSError(DSErrorCode.UNKNOWN_GROUP))


@pytest.mark.parametrize("key", [b"short", bytes(33)])
def test_a_key_of_another_length_is_no_key(alice: Insider, key: bytes) -> None:
    doors: Any = alice.house
    alice.key = key
    status, refusal = doors.ask(alice.creation(GROUP))
    assert (status, refusal.code) == (400, DSErrorCode.MALFORMED)
