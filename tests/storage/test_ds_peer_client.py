"""Other delivery services are called as who we are, where they were admitted, and within bounds."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chalicelib.services.delivery.state import DsPeer
from chalicelib.services.ports import Unreachable
from chalicelib.storage.ds_peer_client import MOST_BYTES, HttpsPeerCalls
from chalicelib.storage.federation_tls import FederationTls
from infra.local.authority import Authority
from tests.contracts.aws import new_stage
from tests.fakes.clock import SettableClock
from tests.storage.tls_server import DRIP, LATE, NEVER, Reply, Server, serving

MEDIA = "application/mimi-ds-fanout"
BODY = bytes(range(256))
GOOD = Reply(body=BODY[::-1], headers=(("Content-Type", "Application/MIMI-ds-response; v=1"),))

SLOW = pytest.mark.parametrize("reply", [NEVER, DRIP], ids=["late", "drip"])


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def server(authority: Authority) -> Iterator[Server]:
    with serving(authority.issue_server("us"), lambda _: GOOD, client_ca=authority) as running:
        yield running


@pytest.fixture
def calls(authority: Authority) -> HttpsPeerCalls:
    tls = FederationTls(new_stage("delivery"), SettableClock())
    own = authority.issue_client("eu")
    tls.store(certificate=own.cert.read_text(), private_key=own.key.read_text(), authorities=authority.cert.read_text())
    return HttpsPeerCalls(tls)


def at(server: Server) -> DsPeer:
    return DsPeer("us.ds.example", server.origin, frozenset({"T" * 43}))


def test_bytes_go_out_with_our_certificate_and_the_answer_comes_back_as_it_is(
    calls: HttpsPeerCalls, server: Server
) -> None:
    assert calls.post(at(server), "/qs/v1/enqueue", MEDIA, BODY) == (200, "application/mimi-ds-response", BODY[::-1])
    (asked,) = server.asked
    assert asked.client
    assert (asked.method, asked.path, asked.body) == ("POST", "/qs/v1/enqueue", BODY)
    assert asked.headers["Content-Type"] == MEDIA


@pytest.mark.parametrize("status", [202, 400, 403, 409, 413, 422, 429])
def test_a_refusal_is_an_answer(calls: HttpsPeerCalls, server: Server, status: int) -> None:
    server.answer = lambda _: Reply(status, b"no", (("Content-Type", "application/mimi-ds-response"),))
    assert calls.post(at(server), "/ds/v1/commit", MEDIA, BODY) == (status, "application/mimi-ds-response", b"no")


def test_an_answer_may_name_no_media_type(calls: HttpsPeerCalls, server: Server) -> None:
    server.answer = lambda _: Reply(200, b"x")
    assert calls.post(at(server), "/", MEDIA, b"") == (200, "", b"x")


@pytest.mark.parametrize(
    "reply",
    [
        Reply(500),
        Reply(503, b"later"),
        Reply(302, headers=(("Location", "https://localhost/"),)),
        Reply(body=bytes(MOST_BYTES + 1)),
    ],
    ids=["bug", "unavailable", "redirect", "long"],
)
def test_what_is_no_answer_is_unreachable(calls: HttpsPeerCalls, server: Server, reply: Reply) -> None:
    server.answer = lambda _: reply
    with pytest.raises(Unreachable):
        calls.post(at(server), "/ds/v1/commit", MEDIA, BODY)
    assert len(server.asked) == 1, "nothing is tried twice"


@SLOW
def test_what_does_not_come_in_time_is_unreachable(calls: HttpsPeerCalls, server: Server, reply: Reply) -> None:
    server.answer = lambda _: reply
    hasty = HttpsPeerCalls(calls.tls, call_seconds=0.5)
    began = time.monotonic()
    with pytest.raises(Unreachable):
        hasty.post(at(server), "/ds/v1/commit", MEDIA, BODY)
    assert time.monotonic() - began < LATE / 2
    assert len(server.asked) < 2, "nothing is tried twice"


def test_bytes_are_fetched_with_our_certificate_and_the_headers_come_along(
    calls: HttpsPeerCalls, server: Server
) -> None:
    server.answer = lambda _: Reply(body=BODY, headers=(("Body-Length", "77"),))
    status, headers, body = calls.get(at(server), "/ds/v1/federation/bodies/00?offset=7", 256, 9)
    assert (status, headers["body-length"], body) == (200, "77", BODY)
    (asked,) = server.asked
    assert asked.client
    assert (asked.method, asked.path, asked.body) == ("GET", "/ds/v1/federation/bodies/00?offset=7", b"")
    assert asked.headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("reply", [Reply(503), Reply(body=bytes(257))], ids=["unavailable", "long"])
def test_a_fetch_has_a_bound_on_bytes(calls: HttpsPeerCalls, server: Server, reply: Reply) -> None:
    server.answer = lambda _: reply
    with pytest.raises(Unreachable):
        calls.get(at(server), "/", 256, 9)
    assert len(server.asked) == 1


@SLOW
def test_a_fetch_has_a_bound_on_time(calls: HttpsPeerCalls, server: Server, reply: Reply) -> None:
    server.answer = lambda _: reply
    began = time.monotonic()
    with pytest.raises(Unreachable):
        calls.get(at(server), "/", 256, 0.5)
    assert time.monotonic() - began < LATE / 2


def test_a_server_of_another_authority_is_not_called(calls: HttpsPeerCalls, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    with serving(other.issue_server("us"), lambda _: GOOD) as impostor:
        with pytest.raises(Unreachable):
            calls.post(at(impostor), "/ds/v1/commit", MEDIA, BODY)
        assert impostor.asked == []


def test_nobody_there_is_unreachable(calls: HttpsPeerCalls, server: Server) -> None:
    with pytest.raises(Unreachable):
        calls.post(DsPeer("us.ds.example", "https://127.0.0.1:9", frozenset()), "/", MEDIA, b"")


def test_a_path_cannot_lead_to_another_host(calls: HttpsPeerCalls, server: Server) -> None:
    with pytest.raises(ValueError, match="begins with /"):
        calls.post(at(server), "@elsewhere.example/", MEDIA, b"")
    assert server.asked == []


def test_the_next_call_does_not_read_what_was_left_of_the_last(calls: HttpsPeerCalls, server: Server) -> None:
    server.answer = lambda _: Reply(body=bytes(MOST_BYTES + 1))
    with pytest.raises(Unreachable):
        calls.post(at(server), "/", MEDIA, b"")
    server.answer = lambda _: GOOD
    assert calls.post(at(server), "/", MEDIA, b"")[2] == BODY[::-1]
