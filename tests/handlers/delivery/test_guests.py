"""A reference at the doors: a guest's own service passes it on, and the hub comes for what it names."""

import dataclasses
import hashlib
import random
from collections.abc import Mapping

import pytest

from chalicelib import wiring
from chalicelib.client.mls_identity import Identity as Client
from chalicelib.protocol.base64url import encode_base64url
from chalicelib.protocol.delivery.directory import KeyPackages, UploadReference, UserID
from chalicelib.protocol.delivery.media import DS_MESSAGE, DS_REFERENCE, DS_RESPONSE
from chalicelib.protocol.delivery.messages import DSRequest, DSSenderID, sign_message
from chalicelib.protocol.delivery.parts import NONCE_SIZE, Domain, Freshness
from chalicelib.protocol.delivery.responses import DSError, DSErrorCode, DSResponse, KeyPackagesAnswer
from chalicelib.protocol.tls import TREE_ELEMENTS, decode
from chalicelib.services.delivery import admission, limits
from chalicelib.services.delivery.enclosures import PIECE
from chalicelib.services.delivery.state import DsPeer
from chalicelib.services.ports import Unreachable
from chalicelib.storage.ds_peer_client import HttpsPeerCalls
from chalicelib.wiring import delivery, groups
from infra.local.authority import Authority, Identity
from tests.fakes.clock import SettableClock
from tests.handlers.conftest import Enrol, operate
from tests.handlers.delivery.conftest import DOMAIN
from tests.handlers.edge import Answer, Ap, Edge

US, ASIA = "us4.ds.example", "asia4.ds.example"
SUITE = 1


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


@pytest.fixture(scope="module")
def epsilon(enrol: Enrol) -> Ap:
    return enrol("epsilon")


@pytest.fixture(scope="module")
def user(epsilon: Ap) -> Client:
    """The key of a user, whom a provider registered."""
    name = "mimi://epsilon.example/u/ulla"
    key = Client.basic(SUITE, name.encode(), random.Random("ulla").randbytes)
    said = {"user": name, "cipher_suite": SUITE, "signature_key": encode_base64url(key.signature_key)}
    assert epsilon.call("POST", "/ds/v1/users", said).status == 200
    return key


@pytest.fixture
def message(user: Client, clock: SettableClock) -> bytes:
    """A request of that user that is more than one piece long; no two are the same."""
    fresh = Freshness(clock(), random.randbytes(NONCE_SIZE), Domain(DOMAIN))
    nobody = UserID(random.randbytes(PIECE + 100_000))
    sender = DSSenderID.user(hashlib.sha256(user.signature_key).digest())
    return sign_message(sender, DSRequest(KeyPackages(Domain(DOMAIN), SUITE, (nobody,), fresh)), user.sign).encode()


def reference(message: bytes) -> bytes:
    return UploadReference(hashlib.sha256(message).digest(), len(message)).encode()


def upload(message: bytes) -> None:
    """Put a message where a link would have led its client."""
    delivery.bucket().put(f"uploads/in/{hashlib.sha256(message).hexdigest()}-{len(message)}", message)


def refer(edge: Edge, message: bytes, identity: Identity | None, path: str = "key-packages") -> Answer:
    headers = {"content-type": DS_REFERENCE}
    return edge.call("POST", f"/ds/v1/{path}", reference(message), headers, identity=identity)


def said(answer: Answer, message: bytes) -> object:
    assert answer.headers["content-type"] == DS_RESPONSE
    response = decode(DSResponse.read, answer.body, TREE_ELEMENTS)
    assert response.request_sha256 == hashlib.sha256(message).digest()
    return response.body


class Peers:
    """What peers keep for us, by domain; each hands it over as a door of ours does, `answers` times."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []
        self.answers = 1_000

    def get(self, peer: DsPeer, path: str, most: int, seconds: float) -> tuple[int, Mapping[str, str], bytes]:
        self.asked.append((peer.domain, path))
        assert 0 < seconds <= 10
        if len(self.asked) > self.answers:
            raise Unreachable("it is slow")
        content = self.kept.get(peer.domain)
        if content is None:
            return 404, {}, b"{}"
        offset = int(path.partition("?offset=")[2])
        return 200, {"body-length": str(len(content))}, content[offset : offset + most]


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> Peers:
    peers = Peers()
    monkeypatch.setattr(HttpsPeerCalls, "get", lambda _calls, *arguments: peers.get(*arguments))
    return peers


# At the hub.


def test_who_asks_too_often_is_told_when_to_come_back(
    edge: Edge, message: bytes, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is decoded: it is refused as it would be if it were a request."""
    few = dataclasses.replace(limits.ASKED_BY_SOURCE, tokens=1, each=10_000, burst=1)
    monkeypatch.setattr(admission, "ASKED_BY_SOURCE", few)
    door = admission.Admission(wiring.buckets(), groups.ds_keys(), wiring.alarms(), clock)
    monkeypatch.setattr(groups, "admission", lambda: door)
    clock.advance(60_000)
    content = bytes(1_000)
    answers = [edge.call("POST", "/ds/v1/send-message", content, {"content-type": DS_MESSAGE}) for _ in range(2)]
    assert [answer.status for answer in answers] == [400, 429]
    told = said(answers[1], content)
    assert isinstance(told, DSError)
    assert told.code == DSErrorCode.TOO_MANY_REQUESTS
    assert 9_000 < told.retry_after_ms <= 10_000
    assert answers[1].headers["retry-after"] == "10"
    clock.advance(60_000)  # The bucket is the stage's own.


def test_what_a_peer_refers_to_is_fetched_there_and_served(
    edge: Edge, us: Identity, peers: Peers, message: bytes
) -> None:
    peers.kept[US] = message
    answer = refer(edge, message, us)
    assert (answer.status, said(answer, message)) == (200, KeyPackagesAnswer(()))
    path = f"/ds/v1/federation/bodies/{hashlib.sha256(message).hexdigest()}?offset="
    assert peers.asked == [(US, f"{path}0"), (US, f"{path}{PIECE}")]


def test_without_a_peers_certificate_nobody_is_asked(
    edge: Edge, us: Identity, peers: Peers, message: bytes, epsilon: Ap, stranger: Identity
) -> None:
    peers.kept[US] = message
    for identity in (None, epsilon.identity, stranger):
        answer = refer(edge, message, identity)
        assert (answer.status, said(answer, message)) == (422, DSError(DSErrorCode.REFUSED, "mds-upload-2"))
    upload(message)
    for identity in (None, epsilon.identity, stranger):
        assert said(refer(edge, message, identity), message) == KeyPackagesAnswer(())
    assert peers.asked == []


def test_a_peer_names_neither_what_another_sent_nor_what_was_uploaded_here(
    edge: Edge, us: Identity, asia: Identity, peers: Peers, message: bytes
) -> None:
    upload(message)
    peers.kept[US] = message
    assert refer(edge, message, us).status == 200
    answer = refer(edge, message, asia)
    assert (answer.status, said(answer, message)) == (422, DSError(DSErrorCode.REFUSED, "mds-upload-2"))


@pytest.mark.parametrize("place", [0, PIECE, -1])
def test_one_wrong_byte_is_refused_and_the_right_one_is_taken_later(
    edge: Edge, us: Identity, peers: Peers, message: bytes, place: int
) -> None:
    changed = bytearray(message)
    changed[place] ^= 1
    peers.kept[US] = bytes(changed)
    answer = refer(edge, message, us)
    assert (answer.status, said(answer, message)) == (422, DSError(DSErrorCode.REFUSED, "mds-upload-2"))
    peers.kept[US] = message
    assert refer(edge, message, us).status == 200


def test_a_slow_peer_is_told_to_come_again_and_the_next_try_goes_on(
    edge: Edge, us: Identity, peers: Peers, message: bytes
) -> None:
    peers.kept[US] = message
    peers.answers = 1
    answer = refer(edge, message, us)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert said(answer, message) == DSError(DSErrorCode.UNAVAILABLE, retry_after_ms=1_000)
    peers.answers = 1_000
    assert refer(edge, message, us).status == 200
    assert [path.partition("=")[2] for _, path in peers.asked] == ["0", str(PIECE), str(PIECE)]


def test_what_was_fetched_is_judged_like_anything_that_is_posted(edge: Edge, us: Identity, peers: Peers) -> None:
    garbage = random.randbytes(70_000)
    peers.kept[US] = garbage
    answer = refer(edge, garbage, us)
    assert (answer.status, said(answer, garbage)) == (400, DSError(DSErrorCode.MALFORMED))


# At the guest's own service.

Got = list[tuple[str, str, bytes, bytes]]


@pytest.fixture
def hub(edge: Edge, us: Identity, monkeypatch: pytest.MonkeyPatch) -> Got:
    """A hub that comes for what it is told of, as its certificate allows, before it answers; and what it has got."""
    got: Got = []

    def post(_calls: HttpsPeerCalls, peer: DsPeer, path: str, media_type: str, body: bytes) -> tuple[int, str, bytes]:
        assert peer.domain == US
        named = decode(UploadReference.read, body)
        bodies = f"/ds/v1/federation/bodies/{named.sha256.hex()}"
        content = b""
        while len(content) < named.length:
            piece = edge.call("GET", f"{bodies}?offset={len(content)}", identity=us)
            assert piece.headers["body-length"] == str(named.length)
            content += piece.body
        got.append((path, media_type, body, content))
        return 200, DS_RESPONSE, b"the hub's answer"

    monkeypatch.setattr(HttpsPeerCalls, "post", post)
    return got


def test_what_was_uploaded_is_kept_for_the_hub_and_the_reference_passed_on(
    edge: Edge, hub: Got, asia: Identity
) -> None:
    large = random.randbytes(PIECE + 1)
    upload(large)
    answer = refer(edge, large, None, f"hubs/{US}/commit")
    assert (answer.status, answer.headers["content-type"], answer.body) == (200, DS_RESPONSE, b"the hub's answer")
    assert hub == [("/ds/v1/commit", DS_REFERENCE, reference(large), large)]
    path = f"/ds/v1/federation/bodies/{hashlib.sha256(large).hexdigest()}"
    edge.call("GET", path, identity=asia).problem(404, "not-found")


def test_what_was_not_uploaded_is_not_passed_on(edge: Edge, hub: Got) -> None:
    large = random.randbytes(100)
    answer = refer(edge, large, None, f"hubs/{US}/commit")
    assert (answer.status, said(answer, large)) == (422, DSError(DSErrorCode.REFUSED, "mds-upload-2"))
    assert hub == []


def test_nothing_is_kept_for_whom_nothing_is_sent(edge: Edge, hub: Got, asia: Identity, us: Identity) -> None:
    large = random.randbytes(100)
    upload(large)
    assert refer(edge, large, None, f"hubs/{US}/key-packages").status == 404
    assert refer(edge, large, None, "hubs/nowhere.example/commit").status == 404
    assert refer(edge, large, None, f"hubs/{DOMAIN}/commit").status == 400
    path = f"/ds/v1/federation/bodies/{hashlib.sha256(large).hexdigest()}"
    for identity in (us, asia):
        edge.call("GET", path, identity=identity).problem(404, "not-found")
    assert hub == []
