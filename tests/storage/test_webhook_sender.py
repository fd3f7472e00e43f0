"""A webhook is posted to the address that was checked, and nowhere else."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chalicelib.services.ports import Unreachable
from chalicelib.storage.webhook_sender import HttpsWebhookSender
from infra.local.authority import Authority
from tests.storage.tls_server import DRIP, LATE, NEVER, Reply, Server, serving


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def server(authority: Authority) -> Iterator[Server]:
    with serving(authority.issue_server("inbox"), lambda _: Reply(204)) as running:
        yield running


def loopback(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


def sender(
    server: Server, authority: Authority, resolve: Callable[[str, int], list[str]] = loopback, seconds: float = 5.0
) -> HttpsWebhookSender:
    return HttpsWebhookSender(server.origin, authority.cert.read_text(), resolve=resolve, seconds=seconds)


def test_a_webhook_is_posted_with_its_headers_to_the_name_it_has(server: Server, authority: Authority) -> None:
    status = sender(server, authority).post(f"{server.origin}/alpha?x=1", {"webhook-id": "e1"}, b'{"type": 1}')
    assert status == 204
    (asked,) = server.asked
    assert (asked.method, asked.path, asked.body) == ("POST", "/alpha?x=1", b'{"type": 1}')
    assert asked.headers["webhook-id"] == "e1"
    assert asked.headers["Host"] == f"localhost:{server.port}"
    assert server.names == ["localhost"]


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["93.184.216.34", "10.0.0.1"],
        ["169.254.169.254"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["100.64.0.1"],
        ["fd00:ec2::254"],
        ["fe80::1%eth0"],
    ],
)
def test_a_name_with_any_address_inside_is_not_connected_to(addresses: list[str]) -> None:
    guarded = HttpsWebhookSender(resolve=lambda host, port: addresses)
    with pytest.raises(Unreachable, match="not public"):
        guarded.post("https://alpha.example/hook", {}, b"")


def test_a_name_that_no_resolver_can_encode_is_unreachable_and_stops_nothing() -> None:
    def unencodable(_host: str, _port: int) -> list[str]:
        raise UnicodeError("label too long")

    with pytest.raises(Unreachable, match="does not resolve"):
        HttpsWebhookSender(resolve=unencodable).post("https://alpha.example/hook", {}, b"")


def test_the_exemption_is_for_one_origin_and_no_other(server: Server, authority: Authority) -> None:
    with pytest.raises(Unreachable, match="not public"):
        sender(server, authority, lambda host, port: ["127.0.0.1"]).post("https://alpha.example/hook", {}, b"")
    with pytest.raises(Unreachable, match="not one we call"):
        sender(server, authority).post(f"https://127.0.0.1:{server.port}/hook", {}, b"")
    assert server.asked == []


def test_a_name_is_resolved_once_so_it_cannot_answer_otherwise_the_second_time(
    server: Server, authority: Authority
) -> None:
    answers = iter([["127.0.0.1"], ["192.0.2.1"]])
    assert sender(server, authority, lambda host, port: next(answers)).post(server.origin, {}, b"") == 204
    assert next(answers) == ["192.0.2.1"]


def test_a_certificate_for_another_name_is_refused(authority: Authority) -> None:
    with serving(authority.issue_server("inbox"), lambda _: Reply()) as server:
        origin = f"https://alpha.example:{server.port}"
        wrong = HttpsWebhookSender(origin, authority.cert.read_text(), resolve=loopback)
        with pytest.raises(Unreachable):
            wrong.post(f"{origin}/hook", {}, b"")
        assert server.names == ["alpha.example"]
        assert server.asked == []


def test_a_certificate_of_an_unknown_authority_is_refused(server: Server) -> None:
    with pytest.raises(Unreachable):
        HttpsWebhookSender(server.origin, resolve=loopback).post(server.origin, {}, b"")
    assert server.asked == []


def test_a_redirect_is_an_answer_and_is_not_followed(server: Server, authority: Authority) -> None:
    server.answer = lambda _: Reply(302, headers=(("Location", server.origin + "/elsewhere"),))
    assert sender(server, authority).post(server.origin + "/hook", {}, b"") == 302
    assert len(server.asked) == 1


def test_an_answer_that_never_ends_costs_nothing_beyond_its_status(server: Server, authority: Authority) -> None:
    server.answer = lambda _: DRIP
    began = time.monotonic()
    assert sender(server, authority).post(server.origin, {}, b"") == 200
    assert time.monotonic() - began < LATE / 2


def test_a_webhook_that_does_not_answer_is_given_up(server: Server, authority: Authority) -> None:
    server.answer = lambda _: NEVER
    began = time.monotonic()
    with pytest.raises(Unreachable):
        sender(server, authority, seconds=0.3).post(server.origin, {}, b"")
    assert time.monotonic() - began < LATE / 2


def test_a_name_that_does_not_resolve_is_unreachable(server: Server, authority: Authority) -> None:
    def unknown(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    with pytest.raises(Unreachable, match="does not resolve"):
        sender(server, authority, unknown).post(server.origin, {}, b"")
