"""What is too large for one request goes on after a death of whoever has it, or is to have it: once, and whole.

A guest's service keeps what its client uploaded until the hub has come for it, and a hub what it refers to in a row
until the peer has. Each dies here when the other has fetched the first of several pieces, and once before it could.
"""

import itertools
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from chalicelib.client import ApClient
from chalicelib.protocol.base64url import encode_base64url
from infra.local.devices import Device
from infra.local.federation import Federation
from infra.local.own_device import OwnDevice
from infra.local.services import Services
from tests.infra.mortal import Mortal, mortal_federation
from tests.infra.outsider import wait_for

PIECES = 3 * (3 << 20) - 1_000
"""Bytes of a message that is fetched in three pieces, or four with what is around it."""

FETCHED = "GET /ds/v1/federation/bodies/{sha256} 200"
"""What a service's log says of a piece that it handed over."""


class Two:
    """A federation with one group at eu: a member there, and a guest from us."""

    def __init__(self, federation: Federation, mortals: list[Mortal]) -> None:
        self.federation = federation
        self.eu, self.us = mortals
        self.services = Services.of(federation.endpoints)
        self.numbers = itertools.count()
        self.host, self.guest = self.device("eu", "alpha"), self.device("us", "gamma")
        named = self.host.hub(self.host.domain).request_group_id(self.host.as_user)
        self.group_id = named.group_id
        self.host.create(self.group_id, self.host.domain, named.external_sender)
        self.host.add(self.group_id, [self.guest.offer()])
        self.guest.reach(self.group_id, 1)

    def device(self, home: str, ap: str) -> OwnDevice:
        own = OwnDevice(self.services, home, f"mimi://{ap}.example/d/{next(self.numbers)}/own")
        said = self.federation.endpoints["aps"][ap]
        url, account = self.federation.endpoints["ds"][home]["url"], said["ds"]
        ca = self.federation.endpoints["ca"]
        client = ApClient(
            url, account["client_id"], account["client_secret"], cert=said["cert"], key=said["key"], ca=ca
        )
        key = encode_base64url(own.signer.signature_key)
        body = {"user": own.user.decode(), "cipher_suite": own.suite, "signature_key": key}
        client.call("POST", "/ds/v1/users", body)
        client.close()
        return own

    def said(self, speaker: Device, pool: ThreadPoolExecutor) -> tuple[bytes, "Future[None]"]:
        """Have somebody begin to say something large."""
        data = os.urandom(PIECES)
        return data, pool.submit(speaker.say, self.group_id, data)

    def heard_once(self, listener: Device, data: bytes) -> None:
        """Hold what somebody has heard against what was said to it last."""
        listener.hear(self.group_id, data)
        listener.drain()
        assert [one for _, one in listener.heard].count(data) == 1


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    with mortal_federation(tmp_path_factory.mktemp("state")) as (federation, mortals):
        two = Two(federation, mortals)
        yield two
        two.host.close()
        two.guest.close()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def handed_over(mortal: Mortal) -> int:
    """Count the pieces that a service has handed over, in all its lives."""
    return mortal.child.log.read_text().count(FETCHED)


@pytest.mark.parametrize("dies", ["eu", "us"])
def test_a_guests_request_survives_a_death_while_the_hub_fetches_it(
    two: Two, pool: ThreadPoolExecutor, dies: str
) -> None:
    before = handed_over(two.us)
    data, saying = two.said(two.guest, pool)
    wait_for("a piece being fetched", lambda: handed_over(two.us) > before)
    mortal = {"eu": two.eu, "us": two.us}[dies]
    mortal.kill()
    mortal.start()
    saying.result(120)
    two.heard_once(two.host, data)


def test_a_guests_request_waits_for_a_hub_that_is_down(two: Two, pool: ThreadPoolExecutor) -> None:
    two.eu.kill()
    data, saying = two.said(two.guest, pool)
    wait_for("the hub being asked for", lambda: "/ds/v1/hubs/{domain}/{operation} 503" in two.us.child.log.read_text())
    assert not saying.done()
    two.eu.start()
    saying.result(120)
    two.heard_once(two.host, data)


@pytest.mark.parametrize("dies", ["eu", "us"])
def test_a_large_row_survives_a_death_while_the_guests_service_fetches_it(
    two: Two, pool: ThreadPoolExecutor, dies: str
) -> None:
    before = handed_over(two.eu)
    data, saying = two.said(two.host, pool)
    wait_for("a piece being fetched", lambda: handed_over(two.eu) > before)
    mortal = {"eu": two.eu, "us": two.us}[dies]
    mortal.kill()
    mortal.start()
    saying.result(120)
    two.heard_once(two.guest, data)


def test_a_large_row_waits_for_a_service_that_is_down(two: Two, pool: ThreadPoolExecutor) -> None:
    two.us.kill()
    data, saying = two.said(two.host, pool)
    saying.result(120)
    two.us.start()
    two.heard_once(two.guest, data)
