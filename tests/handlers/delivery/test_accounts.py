"""The doors for providers, for other delivery services, and for guests on their way to hubs."""

import dataclasses
import hashlib
import random
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.client.mls_identity import Identity as Client
from chalicelib.protocol.base64url import encode_base64url
from chalicelib.protocol.delivery.directory import (
    AddPackage,
    KeyPackages,
    KeyPackagesQuery,
    PublishKeyPackages,
    Upload,
    UserID,
)
from chalicelib.protocol.delivery.media import (
    DS_MESSAGE,
    DS_REFERENCE,
    DS_RESPONSE,
    KEY_PACKAGES,
    KEY_PACKAGES_RESPONSE,
    QS_MESSAGE,
)
from chalicelib.protocol.delivery.messages import Body, DSRequest, DSSenderID, sign_message
from chalicelib.protocol.delivery.parts import NONCE_SIZE, Domain, Freshness
from chalicelib.protocol.delivery.queue_requests import Fetch, QSMessage
from chalicelib.protocol.delivery.queueing import ClientQueueConfig
from chalicelib.protocol.delivery.responses import (
    DSError,
    DSErrorCode,
    DSResponse,
    KeyPackagesAnswer,
    Ok,
    UploadAnswer,
)
from chalicelib.protocol.delivery.sealed import OVERHEAD, Sealed
from chalicelib.protocol.tls import TREE_ELEMENTS, decode
from chalicelib.services.delivery.state import DsPeer
from chalicelib.services.ports import Unreachable
from chalicelib.storage.ds_peer_client import HttpsPeerCalls
from infra.local.authority import Authority, Identity
from tests.fakes.clock import SettableClock
from tests.fakes.queueing import QueueWorld
from tests.handlers.conftest import Enrol, operate
from tests.handlers.delivery.conftest import DOMAIN
from tests.handlers.edge import Answer, Ap, Edge
from tests.services.queueing.queues import Owner, Qs

US = "us2.ds.example"
SUITE = 1


@pytest.fixture(scope="module")
def gamma(enrol: Enrol) -> Ap:
    return enrol("gamma")


@pytest.fixture(scope="module")
def delta(enrol: Enrol) -> Ap:
    return enrol("delta")


@pytest.fixture(scope="module")
def us(edge: Edge, authority: Authority) -> Identity:
    identity = authority.issue_client("us2")
    operate("admit-ds", US, "--origin", f"https://{US}", "--certificate", str(identity.cert))
    return identity


@dataclasses.dataclass
class User:
    """A user with one client, as its device knows itself."""

    edge: Edge
    ap: Ap
    clock: SettableClock
    name: str

    def __post_init__(self) -> None:
        self.random = random.Random(self.name).randbytes
        self.user = f"mimi://{self.ap.provider_id}.example/u/{self.name}"
        self.key = Client.basic(SUITE, self.user.encode(), self.random)
        identity = f"mimi://{self.ap.provider_id}.example/d/{self.name}/phone".encode()
        self.client = Client.basic(SUITE, identity, self.random)

    def register(self, ap: Ap | None = None) -> Answer:
        key = encode_base64url(self.key.signature_key)
        said = {"user": self.user, "cipher_suite": SUITE, "signature_key": key}
        return (ap or self.ap).call("POST", "/ds/v1/users", said)

    def tell(self, event: str, ap: Ap | None = None, **more: Any) -> Answer:
        return (ap or self.ap).call("POST", "/ds/v1/account-events", {"event": event, "user": self.user, **more})

    def ask(self, body: Body) -> Any:
        """Send a request as this user, and return what a DSResponse says."""
        sender = DSSenderID.user(hashlib.sha256(self.key.signature_key).digest())
        message = sign_message(sender, DSRequest(body), self.key.sign)
        path = f"/ds/v1/{message.request.request_type.route}"
        answer = self.edge.call("POST", path, message.encode(), {"content-type": DS_MESSAGE})
        return said(answer, message.request_sha256)

    def fresh(self) -> Freshness:
        return Freshness(self.clock(), self.random(NONCE_SIZE), Domain(DOMAIN))

    def publish(self, count: int = 1) -> Any:
        queue = ClientQueueConfig(Domain(DOMAIN), Sealed(1, b"c" * (OVERHEAD + 32)))
        packages = (self.client.key_package(self.random, self.clock() // 1000).public for _ in range(count))
        signed = tuple(AddPackage.sign(one, queue, self.client.sign) for one in packages)
        return self.ask(PublishKeyPackages(signed, self.fresh()))

    def claim(self, *users: "User") -> Any:
        named = tuple(UserID(one.user.encode()) for one in users)
        return self.ask(KeyPackages(Domain(DOMAIN), SUITE, named, self.fresh()))


def said(answer: Answer, digest: bytes) -> Any:
    assert answer.headers["content-type"] == DS_RESPONSE
    response = decode(DSResponse.read, answer.body, TREE_ELEMENTS)
    assert response.request_sha256 == digest
    return response.body


@pytest.fixture
def user(edge: Edge, gamma: Ap, clock: SettableClock) -> Callable[[str], User]:
    def made(name: str) -> User:
        one = User(edge, gamma, clock, name)
        assert one.register().status == 200
        return one

    return made


def test_a_provider_registers_a_user_who_is_known_by_its_key_from_then_on(user: Callable[[str], User]) -> None:
    alice = user("alice")
    again = alice.register()
    assert again.json == {"user_key_hash": encode_base64url(hashlib.sha256(alice.key.signature_key).digest())}
    assert alice.publish() == Ok()


def test_a_user_of_another_provider_stays_there(user: Callable[[str], User], delta: Ap) -> None:
    alice = user("alice2")
    alice.register(delta).problem(403, "not-permitted")
    alice.tell("user_deleted", delta).problem(404, "not-found")
    assert alice.publish() == Ok()


@pytest.mark.parametrize("path", ["/ds/v1/users", "/ds/v1/account-events"])
def test_providers_come_with_certificate_and_token(edge: Edge, gamma: Ap, path: str) -> None:
    edge.call("POST", path, {}).problem(401, "client-certificate-required")
    edge.call("POST", path, {}, identity=gamma.identity).problem(401, "token-required")
    gamma.call("POST", path, {}).problem(422, "invalid-value")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/ds/v1/users", {"user": "x", "cipher_suite": 1, "signature_key": "AA", "more": 1}),
        ("/ds/v1/users", {"user": "mimi://gamma.example/u/x", "cipher_suite": 1, "signature_key": "AA"}),
        ("/ds/v1/users", {"user": "!", "cipher_suite": 1, "signature_key": "AA"}),
        ("/ds/v1/account-events", {"event": "user_deleted", "user": "AA", "queues": ["AA"]}),
        ("/ds/v1/account-events", {"event": "user_moved", "user": "AA"}),
        ("/ds/v1/account-events", {"event": "user_deleted", "user": "AA", "queues": ["A" * 22] * 101}),
    ],
)
def test_what_makes_no_sense_is_refused(gamma: Ap, path: str, body: dict[str, Any]) -> None:
    gamma.call("POST", path, body).problem(422, "invalid-value")


def test_packages_are_claimed_by_users_and_gone_with_their_client(user: Callable[[str], User]) -> None:
    bob, carol = user("bob"), user("carol")
    assert bob.publish(3) == Ok()
    (one,) = carol.claim(bob, carol).add_packages
    (other,) = carol.claim(bob).add_packages
    assert one != other
    client = encode_base64url(bob.client.credential.content)
    for _ in range(2):
        answer = bob.tell("client_removed", client=client, queues=[encode_base64url(b"q" * 16)])
        assert (answer.status, answer.body) == (202, b"")
    assert carol.claim(bob) == KeyPackagesAnswer(())
    assert bob.publish() == DSError(DSErrorCode.REFUSED, "mds-directory-7")


def test_queues_that_the_provider_names_are_gone_with_the_client(
    edge: Edge, user: Callable[[str], User], clock: SettableClock
) -> None:
    harry = user("harry")
    queues = dataclasses.replace(Qs.in_memory(QueueWorld()), clock=clock)
    phone, laptop = Owner(queues, "harry's phone"), Owner(queues, "harry's laptop")

    def post(operation: str, message: QSMessage) -> int:
        return edge.call("POST", f"/qs/v1/{operation}", message.encode(), {"content-type": QS_MESSAGE}).status

    def fetch(owner: Owner) -> int:
        return post("fetch", owner.sign(Fetch(0, 10, 0, owner.fresh())))

    for owner in (phone, laptop):
        assert post("create-queue", owner.creation()) == 204
        assert fetch(owner) == 200
    client = encode_base64url(harry.client.credential.content)
    assert harry.tell("client_removed", client=client, queues=[encode_base64url(phone.queue_id)]).status == 202
    assert (fetch(phone), fetch(laptop)) == (404, 200)


def test_a_deleted_user_can_do_nothing_any_more(user: Callable[[str], User]) -> None:
    dave, erin = user("dave"), user("erin")
    dave.publish()
    for _ in range(2):
        assert dave.tell("user_deleted").status == 202
    assert dave.claim(erin) == DSError(DSErrorCode.NOT_AUTHENTICATED, "mds-sender-1")
    assert erin.claim(dave) == KeyPackagesAnswer(())
    dave.register().problem(409, "conflict")


def test_a_link_to_upload_by_is_given_to_users(edge: Edge, user: Callable[[str], User]) -> None:
    frank = user("frank")
    answer = frank.ask(Upload(b"d" * 32, 4_000_000, frank.fresh()))
    assert isinstance(answer, UploadAnswer)
    assert frank.ask(Upload(b"d" * 32, 0, frank.fresh())) == DSError(DSErrorCode.REFUSED, "mds-upload-1")
    too_large = frank.ask(Upload(b"d" * 32, 1 << 40, frank.fresh()))
    assert too_large == DSError(DSErrorCode.TOO_LARGE, "mds-upload-1")
    reference = b"d" * 32 + (4_000_000).to_bytes(8, "big")
    answer = edge.call("POST", "/ds/v1/commit", reference, {"content-type": DS_REFERENCE})
    assert (answer.status, said(answer, b"d" * 32)) == (422, DSError(DSErrorCode.REFUSED, "mds-upload-2"))


# Other delivery services.


def query(edge: Edge, body: bytes, identity: Identity | None, media_type: str = KEY_PACKAGES) -> Answer:
    path = "/ds/v1/federation/key-packages"
    return edge.call("POST", path, body, {"content-type": media_type}, identity=identity)


def test_a_peer_claims_packages_for_its_users(edge: Edge, us: Identity, user: Callable[[str], User]) -> None:
    grace = user("grace")
    grace.publish(2)
    asked = KeyPackagesQuery(SUITE, (UserID(grace.user.encode()), UserID(b"nobody"))).encode()
    answers = [query(edge, asked, us) for _ in range(3)]
    assert {(one.status, one.headers["content-type"]) for one in answers} == {(200, KEY_PACKAGES_RESPONSE)}
    given = [decode(KeyPackagesAnswer.read, one.body).add_packages for one in answers]
    assert [len(one) for one in given] == [1, 1, 0]
    assert given[0] != given[1]


def test_nobody_else_claims_there_and_only_what_can_be_read_is_answered(
    edge: Edge, us: Identity, gamma: Ap, stranger: Identity
) -> None:
    asked = KeyPackagesQuery(SUITE, (UserID(b"nobody"),)).encode()
    query(edge, asked, None).problem(401, "client-certificate-required")
    for identity in (gamma.identity, stranger):
        query(edge, asked, identity).problem(401, "unknown-certificate")
    query(edge, asked, us, "application/json").problem(415, "unsupported-media-type")
    query(edge, asked + b".", us).problem(422, "invalid-value")
    query(edge, KeyPackagesQuery(0x7777, (UserID(b"nobody"),)).encode(), us).problem(422, "invalid-value")
    query(edge, KeyPackagesQuery(SUITE, ()).encode(), us).problem(422, "invalid-value")


# Guests.

Post = Callable[[DsPeer, str, str, bytes], tuple[int, str, bytes]]


def forward(edge: Edge, path: str, media_type: str = DS_MESSAGE) -> Answer:
    return edge.call("POST", f"/ds/v1/hubs/{path}", b"a message", {"content-type": media_type})


def test_a_guests_request_goes_to_the_hub_and_its_answer_comes_back_unchanged(
    edge: Edge, us: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def post(_self: HttpsPeerCalls, peer: DsPeer, path: str, media_type: str, body: bytes) -> tuple[int, str, bytes]:
        asked.append((peer.origin, path, media_type, body))
        return 409, DS_RESPONSE, bytes(range(256))

    monkeypatch.setattr(HttpsPeerCalls, "post", post)
    answer = forward(edge, f"{US}/send-message")
    assert (answer.status, answer.body, answer.headers["content-type"]) == (409, bytes(range(256)), DS_RESPONSE)
    assert asked == [(f"https://{US}", "/ds/v1/send-message", DS_MESSAGE, b"a message")]


@pytest.mark.parametrize(
    ("path", "media_type", "status", "check"),
    [
        (f"{US}/key-packages", DS_MESSAGE, 404, "mds-proxy-2"),
        ("other.ds.example/send-message", DS_MESSAGE, 404, "mds-proxy-3"),
        (f"{DOMAIN}/send-message", DS_MESSAGE, 400, "mds-proxy-1"),
        (f"{US}/send-message", DS_REFERENCE, 400, ""),
        (f"{US}/send-message", QS_MESSAGE, 415, ""),
        (f"{US}/send-message", DS_MESSAGE, 503, ""),
    ],
)
def test_what_is_not_passed_on_is_refused_as_a_delivery_service_refuses(
    edge: Edge, us: Identity, monkeypatch: pytest.MonkeyPatch, path: str, media_type: str, status: int, check: str
) -> None:
    def post(*_: object) -> None:
        raise Unreachable

    monkeypatch.setattr(HttpsPeerCalls, "post", post)
    answer = forward(edge, path, media_type)
    told = said(answer, hashlib.sha256(b"a message").digest())
    assert isinstance(told, DSError)
    assert (answer.status, told.check_id) == (status, check)
    assert ("retry-after" in answer.headers) == (status == 503)
