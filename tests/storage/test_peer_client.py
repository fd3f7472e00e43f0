"""Peers are asked as who we are, within bounds, and left alone when they fail."""

import hashlib
import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from chalicelib.protocol.glados.federation_api import PeerMapping, PeerMappings
from chalicelib.protocol.glados.mappings import Mapping, MappingId, Provider
from chalicelib.protocol.glados.trust import Peer, PeerKeys
from chalicelib.services.ports import Refused, Unreachable
from chalicelib.storage.breaker import OPEN_FOR, Breaker
from chalicelib.storage.federation_tls import FederationTls
from chalicelib.storage.peer_client import MOST_AT_ONE_PEER, HttpsPeerClient
from infra.local.authority import Authority
from tests.contracts.aws import AwsPorts
from tests.storage.journey import PHONE
from tests.storage.tls_server import DRIP, LATE, NEVER, Asked, Reply, Server, serving

DATA = bytes(range(256)) * 40
SHA = hashlib.sha256(DATA).hexdigest()
THEIRS = Mapping(MappingId(""), Provider("gamma", "Gamma", "us"), "bob", "im:bob@gamma.example", "verified", 1_000)


def found(gp: str = "us") -> bytes:
    mapping = msgspec.structs.replace(PeerMapping.of(THEIRS), gp=gp)
    return msgspec.json.encode(PeerMappings(mappings=[mapping]))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def server(authority: Authority) -> Iterator[Server]:
    with serving(authority.issue_server("us"), lambda _: Reply(body=found()), client_ca=authority) as running:
        yield running


@pytest.fixture
def client(aws: AwsPorts, authority: Authority) -> HttpsPeerClient:
    tls = FederationTls(aws.stage, aws.clock)
    us = authority.issue_client("eu")
    tls.store(certificate=us.cert.read_text(), private_key=us.key.read_text(), authorities=authority.cert.read_text())
    return HttpsPeerClient(tls, ask_seconds=LATE)


def peer(server: Server, gp: str = "us", *more: str) -> Peer:
    return Peer(gp=gp, name=gp, origins=[server.origin, *more], thumbprints=["T" * 43], keys=PeerKeys())


def test_a_peer_is_asked_with_our_certificate_and_its_mappings_come_back(
    client: HttpsPeerClient, server: Server
) -> None:
    assert client.ask([peer(server)], PHONE, "asker-1", 0) == {"us": ("answered", (THEIRS,))}
    (asked,) = server.asked
    assert asked.client
    assert (asked.method, asked.path) == ("POST", "/federation/v1/queries")
    assert msgspec.json.decode(asked.body) == {"sii": PHONE.uri, "asker": "asker-1"}


@pytest.mark.parametrize(
    "reply",
    [
        Reply(500),
        Reply(429),
        Reply(302, headers=(("Location", "https://localhost/"),)),
        Reply(body=b"{"),
        Reply(body=found("eu")),
        Reply(body=b'{"mappings": [], "more": 1}'),
        Reply(body=b" " * (2 << 20)),
    ],
)
def test_what_is_no_answer_is_unreachable(client: HttpsPeerClient, server: Server, reply: Reply) -> None:
    server.answer = lambda _: reply
    assert client.ask([peer(server)], PHONE, "asker", 0) == {"us": ("unreachable", ())}
    assert len(server.asked) == 1


def test_peers_are_asked_at_once(client: HttpsPeerClient, server: Server) -> None:
    everybody = threading.Barrier(4, timeout=LATE / 2)

    def answer(_: Asked) -> Reply:
        everybody.wait()
        return Reply(body=found())

    server.answer = answer
    peers = [peer(server, gp) for gp in ("us", "br", "in", "jp")]
    answers = client.ask(peers, PHONE, "asker", 0)
    assert len(server.asked) == 4
    assert answers["us"][0] == "answered"


def test_nobody_waits_for_a_slow_peer(client: HttpsPeerClient, server: Server) -> None:
    slow = itertools.cycle([True, False])
    server.answer = lambda _: NEVER if next(slow) else Reply(body=found("us"))
    hasty = HttpsPeerClient(client.tls, ask_seconds=2)
    began = time.monotonic()
    answers = hasty.ask([peer(server, gp) for gp in ("us", "br", "in", "jp")], PHONE, "asker", 0)
    assert time.monotonic() - began < LATE / 2
    assert len(answers) == 4
    assert "unreachable" in {outcome for outcome, _ in answers.values()}


def test_an_answer_that_drips_is_cut_off_at_the_deadline(client: HttpsPeerClient, server: Server) -> None:
    server.answer = lambda _: DRIP
    hasty = HttpsPeerClient(client.tls, ask_seconds=0.5)
    began = time.monotonic()
    assert hasty.ask([peer(server)], PHONE, "asker", 0)["us"][0] == "unreachable"
    assert time.monotonic() - began < LATE / 2


def test_a_peer_that_holds_its_threads_gets_no_more_and_the_others_are_asked(
    client: HttpsPeerClient, server: Server
) -> None:
    client._in_flight["us"] = MOST_AT_ONE_PEER
    answers = client.ask([peer(server), peer(server, "br")], PHONE, "asker", 0)
    assert answers["us"] == ("skipped", ())
    assert len(server.asked) == 1, "br was asked"


def test_a_peer_that_keeps_failing_is_skipped_then_tried_once(client: HttpsPeerClient, server: Server) -> None:
    server.answer = lambda _: Reply(500)
    outcomes = [client.ask([peer(server)], PHONE, "asker", now)["us"][0] for now in (0, 1, 2, 3, 4)]
    assert outcomes == ["unreachable"] * 3 + ["skipped"] * 2
    server.answer = lambda _: Reply(body=found())
    assert client.ask([peer(server)], PHONE, "asker", 2 + OPEN_FOR)["us"][0] == "answered"
    assert client.ask([peer(server)], PHONE, "asker", 3 + OPEN_FOR)["us"][0] == "answered"
    assert len(server.asked) == 5


def test_an_open_breaker_lets_one_probe_through() -> None:
    breaker = Breaker()
    for _ in range(3):
        breaker.note("us", 0, answered=False)
    assert [breaker.allows("us", OPEN_FOR) for _ in range(3)] == [True, False, False]
    breaker.note("us", OPEN_FOR, answered=False)
    assert not breaker.allows("us", 2 * OPEN_FOR - 1)
    assert breaker.allows("br", 0)


def test_a_download_is_the_object_that_was_announced(client: HttpsPeerClient, server: Server) -> None:
    server.answer = lambda _: Reply(body=DATA)
    assert client.download(peer(server), "/federation/v1/filter/1/raw", len(DATA), SHA) == DATA


@pytest.mark.parametrize("body", [DATA[:-1] + b"?", DATA[:-1], DATA + b"?", b""])
def test_a_download_of_other_bytes_is_refused(client: HttpsPeerClient, server: Server, body: bytes) -> None:
    server.answer = lambda _: Reply(body=body)
    with pytest.raises(Unreachable):
        client.download(peer(server), "/federation/v1/filter/1/raw", len(DATA), SHA)


def test_a_download_follows_one_redirect_within_the_peers_origins_without_our_certificate(
    client: HttpsPeerClient, server: Server, authority: Authority
) -> None:
    with serving(authority.issue_server("store"), lambda _: Reply(body=DATA), client_ca=authority) as store:
        server.answer = lambda _: Reply(307, headers=(("Location", f"{store.origin}/bucket/raw?signature=1"),))
        listed = peer(server, "us", store.origin)
        assert client.download(listed, "/federation/v1/filter/1/raw", len(DATA), SHA) == DATA
        assert [asked.path for asked in store.asked] == ["/bucket/raw?signature=1"]
        assert [asked.client for asked in (*server.asked, *store.asked)] == [True, False]


def test_a_redirect_beyond_the_peers_origins_is_not_followed(
    client: HttpsPeerClient, server: Server, authority: Authority
) -> None:
    with serving(authority.issue_server("elsewhere"), lambda _: Reply(body=DATA)) as elsewhere:
        for location in (elsewhere.origin + "/raw", "http://localhost/raw", "//169.254.169.254/", "https://["):
            server.answer = lambda _, location=location: Reply(307, headers=(("Location", location),))  # type: ignore[misc]
            with pytest.raises(Unreachable):
                client.download(peer(server), "/federation/v1/filter/1/raw", len(DATA), SHA)
        assert elsewhere.asked == []


def test_a_second_redirect_is_not_followed(client: HttpsPeerClient, server: Server) -> None:
    server.answer = lambda _: Reply(307, headers=(("Location", f"{server.origin}/again"),))
    with pytest.raises(Unreachable):
        client.download(peer(server), "/federation/v1/filter/1/raw", len(DATA), SHA)
    assert len(server.asked) == 2


def test_a_refusal_carries_its_status_and_the_problems_name(client: HttpsPeerClient, server: Server) -> None:
    server.answer = lambda _: Reply(410, b'{"type": "urn:glados:problem:filter-version-gone"}')
    with pytest.raises(Refused, match="filter-version-gone") as refused:
        client.claim(peer(server), "a.b.c")
    assert refused.value.status == 410


def test_a_claim_is_answered(client: HttpsPeerClient, server: Server) -> None:
    server.answer = lambda _: Reply(body=b'{"state": "applied"}')
    assert client.claim(peer(server), "a.b.c").state == "applied"


def test_a_peer_with_a_certificate_of_another_authority_is_not_asked(client: HttpsPeerClient, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    with serving(other.issue_server("us"), lambda _: Reply(body=found())) as impostor:
        assert client.ask([peer(impostor)], PHONE, "asker", 0)["us"][0] == "unreachable"
        assert impostor.asked == []
