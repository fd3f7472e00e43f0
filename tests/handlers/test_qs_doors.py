"""The queueing service's routes: bytes in, bytes or nothing out, and problems where something is refused."""

import hashlib

import pytest

from chalicelib.errors import UnknownCertificate
from chalicelib.handlers import qs_doors
from chalicelib.handlers.routing import GladosApp
from chalicelib.protocol.delivery.media import DS_FANOUT, DS_FANOUT_RESPONSE, QS_FETCHED, QS_MESSAGE
from chalicelib.protocol.delivery.parts import BodyReference
from chalicelib.protocol.delivery.queue_requests import Acknowledge, DeleteQueue, Fetch, QSBody, QSMessage
from chalicelib.protocol.delivery.queueing import EnqueueRequest, EnqueueResponse, Fetched
from chalicelib.protocol.delivery.queueing import QueueingServiceResponse as Result
from chalicelib.protocol.tls import decode
from chalicelib.services.delivery.state import DsPeer
from chalicelib.wiring import delivery
from infra.local.authority import Authority, Identity
from tests.fakes.queueing import QueueWorld
from tests.handlers.edge import Answer, Edge
from tests.services.queueing.queues import US, Hub, Owner, Qs


@pytest.fixture(scope="module")
def qs_edge() -> Edge:
    made = GladosApp(app_name="queueing")
    made.register_blueprint(qs_doors.door)
    return Edge(made)


@pytest.fixture(scope="module")
def us(authority: Authority) -> Identity:
    return authority.issue_client("ds-us")


@pytest.fixture
def world() -> QueueWorld:
    return QueueWorld()


@pytest.fixture
def qs(world: QueueWorld, us: Identity, monkeypatch: pytest.MonkeyPatch) -> Qs:
    made = Qs.in_memory(world)

    def calling(thumbprint: str | None) -> DsPeer:
        if thumbprint != us.thumbprint():
            raise UnknownCertificate("the certificate belongs to no peer")
        return DsPeer(US, "https://us.ds.example", frozenset([us.thumbprint()]))

    monkeypatch.setattr(delivery, "queue_owners", lambda: made.owners)
    monkeypatch.setattr(delivery, "queue_reading", lambda: made.reading)
    monkeypatch.setattr(delivery, "enqueueing", lambda: made.enqueueing)
    monkeypatch.setattr(delivery, "calling_peer", calling)
    return made


@pytest.fixture
def alice(qs: Qs) -> Owner:
    return Owner(qs, "alice")


class Post:
    def __init__(self, edge: Edge) -> None:
        self.edge = edge

    def __call__(self, route: str, message: QSMessage) -> Answer:
        return self.bytes(route, message.encode())

    def bytes(self, route: str, body: bytes, media: str = QS_MESSAGE) -> Answer:
        return self.edge.call("POST", f"/qs/v1/{route}", body, {"content-type": media})

    def enqueue(self, request: EnqueueRequest, identity: Identity | None) -> Answer:
        headers = {"content-type": DS_FANOUT}
        return self.edge.call("POST", "/qs/v1/enqueue", request.encode(), headers, identity=identity)


@pytest.fixture
def post(qs_edge: Edge) -> Post:
    return Post(qs_edge)


def test_a_queue_from_its_creation_to_its_end(post: Post, alice: Owner, us: Identity, qs: Qs) -> None:
    assert (post("create-queue", alice.creation()).status, alice.fetch().last) == (204, 0)
    row = Hub(qs).row((b"hello", [alice.config]))
    answer = post.enqueue(row, us)
    assert (answer.status, answer.headers["content-type"]) == (200, DS_FANOUT_RESPONSE)
    assert decode(EnqueueResponse.read, answer.body).results == (Result.OK,)
    answer = post("fetch", alice.sign(Fetch(0, 500, 0, alice.fresh())))
    assert (answer.status, answer.headers["content-type"]) == (200, QS_FETCHED)
    (entry,) = decode(Fetched.read, answer.body).entries
    assert (entry.number, entry.message) == (1, b"hello")
    assert post("acknowledge", alice.sign(Acknowledge(1, alice.fresh()))).status == 204
    update, after = alice.rotation("alice's next")
    assert post("update-queue", update).status == 204
    fetched = post("fetch", after.sign(Fetch(0, 500, 0, after.fresh())))
    assert decode(Fetched.read, fetched.body) == Fetched((), 1, 1)
    assert post("delete-queue", after.sign(DeleteQueue(after.fresh()))).status == 204
    post("fetch", after.sign(Fetch(0, 500, 0, after.fresh()))).problem(404, "not-found")


def test_refusals_are_problems_that_say_what_can_be_done(post: Post, alice: Owner, us: Identity, qs: Qs) -> None:
    alice.create()
    beyond = post("fetch", alice.sign(Fetch(9, 500, 0, alice.fresh())))
    assert beyond.problem(409, "no-such-entry")["last"] == 0
    late = alice.sign(Fetch(0, 500, 0, alice.fresh(late=10**6)))
    assert post("fetch", late).problem(403, "not-fresh")["time_ms"] == qs.clock()
    forged = alice.sign(Fetch(0, 500, 0, alice.fresh()), key=bytes(32))
    post("fetch", forged).problem(403, "not-permitted")
    hub = Hub(qs, last=7)
    gap = post.enqueue(hub.row((b"eight", [alice.config])), us).problem(409, "stream-gap")
    assert gap["expected"] == 0
    post.bytes("fetch", b"no message").problem(422, "invalid-value")
    post.bytes("fetch", b"{}", "application/json").problem(415, "unsupported-media-type")


def test_what_a_hub_refers_to_is_fetched_or_the_row_is_refused_or_put_off(
    post: Post, alice: Owner, us: Identity, qs: Qs, world: QueueWorld
) -> None:
    alice.create()
    large = bytes(100_000)
    row = Hub(qs).row((BodyReference(hashlib.sha256(large).digest(), len(large)), [alice.config]))
    late = post.enqueue(row, us)
    late.problem(503, "unavailable")
    assert late.headers["retry-after"] == "1"
    world.remote_bodies.domains[US] = lambda _sha256, _offset: (large[1:] + b"x", len(large))
    post.enqueue(row, us).problem(422, "wrong-body")
    world.remote_bodies.domains[US] = lambda _sha256, _offset: (large, len(large))
    answer = post.enqueue(row, us)
    assert decode(EnqueueResponse.read, answer.body).results == (Result.OK,)
    assert alice.messages() == [large]


def test_only_a_peer_enqueues_and_in_its_own_name(
    post: Post, alice: Owner, us: Identity, authority: Authority, qs: Qs
) -> None:
    alice.create()
    row = Hub(qs).row((b"hello", [alice.config]))
    for identity in (None, authority.issue_client("stranger of the queues")):
        post.enqueue(row, identity).problem(401, "unknown-certificate")
    post.enqueue(Hub(qs, domain=alice.fresh().ds_domain).row((b"x", [])), us).problem(403, "not-permitted")
    assert alice.messages() == []


def test_the_address_of_whoever_creates_queues_is_what_is_limited(
    post: Post, qs: Qs, world: QueueWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(100):
        assert post("create-queue", Owner(qs, f"client {number}").creation()).status == 204
    answer = post("create-queue", Owner(qs, "one more").creation())
    answer.problem(429, "too-many-requests")
    assert answer.headers["retry-after"] == "6"
    assert post("create-queue", Owner(qs, "client 5").creation()).status == 204
    Owner(qs, "from elsewhere").create("198.51.100.7")


@pytest.mark.parametrize("route", ["fetch", "acknowledge", "delete-queue", "update-queue"])
def test_the_address_that_strangers_come_from_is_turned_away_at_every_route(
    post: Post, qs: Qs, world: QueueWorld, alice: Owner, route: str
) -> None:
    alice.create()
    wrong: dict[str, QSBody] = {
        "fetch": Fetch(0, 500, 20_000, alice.fresh()),
        "acknowledge": Acknowledge(0, alice.fresh()),
        "delete-queue": DeleteQueue(alice.fresh()),
        "update-queue": alice.rotation("mallory")[0].request.body,
    }
    forged = alice.sign(wrong[route], key=bytes(32))
    for _ in range(300):
        post(route, forged).problem(403, "not-permitted")
    world.faults.calls.clear()
    for _ in range(2):
        answer = post(route, forged)
        answer.problem(429, "too-many-requests")
        assert answer.headers["retry-after"] == "10"
    assert world.faults.calls.count(("heads", "load")) <= 2, "the failure that was one too many"
    assert alice.fetch().last == 0, "at another address"
