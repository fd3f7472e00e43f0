"""The door by which a peer comes for what a row of ours only refers to."""

import hashlib
import random

import pytest

from chalicelib.services.delivery.enclosures import PIECE
from chalicelib.wiring import groups
from infra.local.authority import Authority, Identity
from tests.handlers.conftest import operate
from tests.handlers.edge import Answer, Edge

US, ASIA = "us3.ds.example", "asia3.ds.example"
CONTENT = random.Random(3).randbytes(2 * PIECE + 1_000)
DIGEST = hashlib.sha256(CONTENT).digest()


def admitted(authority: Authority, domain: str) -> Identity:
    identity = authority.issue_client(domain.partition(".")[0])
    operate("admit-ds", domain, "--origin", f"https://{domain}", "--certificate", str(identity.cert))
    return identity


@pytest.fixture(scope="module")
def us(edge: Edge, authority: Authority) -> Identity:
    return admitted(authority, US)


@pytest.fixture(scope="module")
def asia(edge: Edge, authority: Authority) -> Identity:
    return admitted(authority, ASIA)


@pytest.fixture(scope="module", autouse=True)
def kept(edge: Edge) -> None:
    groups.enclosures().bodies.keep(US, DIGEST, CONTENT)


def ask(edge: Edge, identity: Identity | None, query: str = "", name: str = DIGEST.hex()) -> Answer:
    return edge.call("GET", f"/ds/v1/federation/bodies/{name}{query}", identity=identity)


def test_a_peer_fetches_a_message_piece_by_piece(edge: Edge, us: Identity) -> None:
    fetched, sizes = b"", []
    while len(fetched) < len(CONTENT):
        answer = ask(edge, us, f"?offset={len(fetched)}")
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["body-length"] == str(len(CONTENT))
        assert answer.headers["cache-control"] == "no-store"
        fetched += answer.body
        sizes.append(len(answer.body))
    assert fetched == CONTENT
    assert sizes == [PIECE, PIECE, 1_000]
    assert ask(edge, us).body == CONTENT[:PIECE]


def test_a_peer_finds_only_what_is_for_it(edge: Edge, us: Identity, asia: Identity) -> None:
    ask(edge, asia).problem(404, "not-found")
    groups.enclosures().bodies.keep(ASIA, DIGEST, CONTENT[:9])
    assert ask(edge, asia).body == CONTENT[:9]
    assert ask(edge, us).body == CONTENT[:PIECE]


def test_nobody_else_gets_anything(edge: Edge, authority: Authority) -> None:
    ask(edge, None).problem(401, "client-certificate-required")
    ask(edge, authority.issue_client("stranger of the bodies")).problem(401, "unknown-certificate")


@pytest.mark.parametrize("name", ["00" * 32, "00", "0" * 65, DIGEST.hex().upper(), "%2e%2e", DIGEST.hex() + "0"])
def test_a_name_that_names_nothing_is_not_found(edge: Edge, us: Identity, name: str) -> None:
    ask(edge, us, name=name).problem(404, "not-found")


@pytest.mark.parametrize("offset", [len(CONTENT), len(CONTENT) + 1, 10**18])
def test_there_is_nothing_beyond_the_end(edge: Edge, us: Identity, offset: int) -> None:
    ask(edge, us, f"?offset={offset}").problem(404, "not-found")


@pytest.mark.parametrize("offset", ["-1", "01", "1.5", "x", "", "1" + "0" * 19])
def test_an_offset_is_a_plain_number(edge: Edge, us: Identity, offset: str) -> None:
    assert ask(edge, us, f"?offset={offset}").problem(422, "invalid-value")["field"] == "offset"
