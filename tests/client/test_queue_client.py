"""The client of a queue: what it asks, and that its caller sees each entry once and loses none."""

import base64
import dataclasses
import hashlib
import json
from collections.abc import Callable
from itertools import islice

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from chalicelib.client import (
    NoAnswer,
    NotAnAnswer,
    Queue,
    QueueClient,
    QueueRefused,
    ServiceKey,
    SignatureKey,
    queue_client,
)
from chalicelib.protocol.crypto import CipherSuite, cipher_suite
from chalicelib.protocol.delivery import media
from chalicelib.protocol.delivery.parts import Domain, Freshness, Reference
from chalicelib.protocol.delivery.queue_requests import (
    Acknowledge,
    CreateQueue,
    DeleteQueue,
    Fetch,
    QSMessage,
    UpdateQueue,
)
from chalicelib.protocol.delivery.queueing import Fetched, QueueConfig, QueueEntry
from chalicelib.protocol.tls import decode
from tests.storage.tls_server import Asked, Reply, Server

DOMAIN, HUB = Domain("eu.ds.example"), Domain("us.ds.example")
SUITE: CipherSuite = cipher_suite(1)
QUEUE = Queue(b"q" * 16, b"t" * 16, SignatureKey(1, b"\x03" * 32))
FRESH = Freshness(1_700_000_000_500, bytes(range(16)), DOMAIN)


def entry(number: int, seq: int, message: bytes | Reference = b"m", group: bytes = b"g") -> QueueEntry:
    return QueueEntry(number, HUB, group, seq, 1_700_000_000_000, message)


class QueueingService:
    """A queueing service with one queue, which checks its caller and forgets what is acknowledged."""

    def __init__(self, *entries: QueueEntry) -> None:
        self.entries = list(entries)
        self.acknowledged = 0
        self.asked: list[QSMessage] = []
        self.key = QUEUE.key.signature_key
        self.lose = 0
        self.page = 2

    @property
    def last(self) -> int:
        return max([self.acknowledged, *(one.number for one in self.entries)])

    def answer(self, asked: Asked) -> Reply:
        message = decode(QSMessage.read, asked.body)
        assert asked.headers["Content-Type"] == media.QS_MESSAGE
        assert asked.path == "/qs/v1/" + message.request.request_type.name.lower().replace("_", "-")
        message.verify(SUITE, self.key)
        assert message.queue_id == QUEUE.queue_id
        self.asked.append(message)
        reply = self._do(message)
        if self.lose:
            self.lose -= 1
            raise ConnectionError
        return reply

    def _do(self, message: QSMessage) -> Reply:
        match message.request.body:
            case Fetch() as fetch:
                found = [one for one in self.entries if one.number > fetch.after][: self.page]
                fetched = Fetched(tuple(found), self.acknowledged, self.last)
                return Reply(200, fetched.encode(), (("Content-Type", media.QS_FETCHED),))
            case Acknowledge(up_to):
                assert up_to <= self.last
                self.acknowledged = max(up_to, self.acknowledged)
                self.entries = [one for one in self.entries if one.number > up_to]
            case UpdateQueue() as update:
                self.key = update.signature_key
        return Reply(204)

    def bodies(self) -> list[object]:
        return [message.request.body for message in self.asked]


Serve = Callable[..., QueueingService]


@pytest.fixture
def serve(server: Server) -> Serve:
    def serving(*entries: QueueEntry) -> QueueingService:
        service = QueueingService(*entries)
        server.answer = service.answer
        return service

    return serving


@pytest.fixture
def client(server: Server, ca: str, pauses: list[float]) -> QueueClient:
    return QueueClient(
        server.origin,
        DOMAIN,
        QUEUE,
        ca=ca,
        clock=lambda: 1_700_000_000.5,
        entropy=lambda size: bytes(range(size)),
        sleep=pauses.append,
    )


def test_every_request_is_made_and_signed(client: QueueClient, serve: Serve) -> None:
    service = serve()
    key = QUEUE.key.signature_key
    client.create_queue()
    client.fetch(3, 1.5, 7)
    service.entries = [entry(9, 1)]
    client.acknowledge(9)
    client.delete()
    assert service.bodies() == [
        CreateQueue(1, key, b"t" * 16, FRESH),
        Fetch(3, 7, 1_500, FRESH),
        Acknowledge(9, FRESH),
        DeleteQueue(FRESH),
    ]


def test_a_queue_gets_other_keys_signed_with_the_old_one(client: QueueClient, serve: Serve) -> None:
    service = serve()
    other = dataclasses.replace(QUEUE, enqueue_token=b"u" * 16, key=SignatureKey(1, b"\x04" * 32))
    client.update_queue(other)
    client.fetch()
    assert service.bodies()[0] == UpdateQueue(1, other.key.signature_key, b"u" * 16, FRESH)
    with pytest.raises(ValueError, match="name"):
        client.update_queue(dataclasses.replace(other, queue_id=b"r" * 16))


def test_an_update_that_is_refused_leaves_the_client_its_keys(client: QueueClient, server: Server) -> None:
    server.answer = lambda _: Reply(403)
    with pytest.raises(QueueRefused):
        client.update_queue(dataclasses.replace(QUEUE, enqueue_token=b"u" * 16))
    assert client.queue == QUEUE


def test_what_is_fetched_is_returned(client: QueueClient, serve: Serve) -> None:
    serve(entry(4, 1), entry(5, 2))
    assert client.fetch() == Fetched((entry(4, 1), entry(5, 2)), 0, 5)


def test_a_refusal_carries_the_problem(client: QueueClient, server: Server) -> None:
    problem = {"type": "urn:glados:problem:too-many-requests", "detail": "not so many"}
    headers = (("Content-Type", "application/problem+json"), ("Retry-After", "7"))
    server.answer = lambda _: Reply(403, json.dumps(problem).encode(), headers)
    with pytest.raises(QueueRefused, match="too-many-requests: not so many") as refused:
        client.create_queue()
    assert (refused.value.status, refused.value.problem, refused.value.retry_after) == (403, problem, 7.0)


def test_a_refusal_needs_no_problem_document(client: QueueClient, server: Server) -> None:
    bodies = [b"", b"[]", b"{"]
    server.answer = lambda _: Reply(404, bodies.pop(), (("Content-Type", "application/problem+json"),))
    while bodies:
        with pytest.raises(QueueRefused, match="no problem document") as refused:
            client.delete()
        assert refused.value.retry_after is None


@pytest.mark.parametrize(
    "answer",
    [
        Reply(200, b"", (("Content-Type", "text/html"),)),
        Reply(200, b"\x01", (("Content-Type", media.QS_FETCHED),)),
        Reply(302),
    ],
    ids=["no answer", "no Fetched", "elsewhere"],
)
def test_what_is_no_answer_is_none(client: QueueClient, server: Server, answer: Reply) -> None:
    server.answer = lambda _: answer
    with pytest.raises(NotAnAnswer):
        client.fetch()


def test_what_may_have_been_lost_is_sent_again_byte_for_byte(client: QueueClient, server: Server, serve: Serve) -> None:
    service = serve(entry(1, 1))
    service.lose = 2
    client.acknowledge(1)
    assert len({asked.body for asked in server.asked}) == 1
    assert len(server.asked) == 3
    service.lose = 9
    with pytest.raises(NoAnswer) as lost:
        client.delete()
    assert isinstance(lost.value.message, QSMessage)
    service.lose = 0
    assert client.send(lost.value.message, "delete-queue").status == 204


def test_a_queue_config_is_for_its_service_and_new_each_time(client: QueueClient) -> None:
    private = X25519PrivateKey.from_private_bytes(bytes(range(32)))
    key = ServiceKey(4, private.public_key().public_bytes_raw())
    one, other = client.client_queue_config(key), client.client_queue_config(key)
    assert one.ds_domain == DOMAIN
    assert one.sealed_config.key_epoch == 4
    assert one.open(private.private_bytes_raw()) == QueueConfig(b"q" * 16, b"t" * 16)
    assert one != other


def test_a_drawn_queue_is_new_and_keeps_its_secrets() -> None:
    drawn = Queue.draw(1, lambda size: bytes(range(size)))
    assert (len(drawn.queue_id), len(drawn.enqueue_token)) == (16, 16)
    assert len(drawn.key.signature_key) == 32
    assert "enqueue_token" not in repr(drawn)
    assert "private" not in repr(drawn)


def test_the_service_describes_itself(client: QueueClient, server: Server) -> None:
    key = {"epoch": 1, "key": base64.urlsafe_b64encode(b"k" * 32).rstrip(b"=").decode()}
    names = {"domain": DOMAIN, "origin": "o", "public_origin": "p"}
    body = json.dumps({**names, "queue_config_key": key, "state_key": key}).encode()
    server.answer = lambda _: Reply(200, body)
    assert client.describe().queue_config_key == ServiceKey(1, b"k" * 32)
    assert server.asked[0].path == "/.well-known/mimi-ds"


# The iterator.


def test_entries_come_in_order_and_are_let_go_of_page_by_page(client: QueueClient, serve: Serve) -> None:
    entries = [entry(number, number) for number in range(1, 6)]
    service = serve(*entries)
    assert list(client.entries(forever=False)) == entries
    assert service.acknowledged == 5
    assert [body.up_to for body in service.bodies() if isinstance(body, Acknowledge)] == [2, 4, 5]
    assert [body.after for body in service.bodies() if isinstance(body, Fetch)] == [0, 2, 4, 5]


def test_an_entry_that_is_being_worked_on_is_not_let_go_of(client: QueueClient, serve: Serve) -> None:
    service = serve(*(entry(number, number) for number in range(1, 4)))
    reading = client.entries()
    for _ in range(3):
        next(reading)
        assert service.acknowledged <= 2
    assert service.acknowledged == 2
    # Leaving the loop inside the third entry says nothing about that one.
    reading.close()
    assert service.acknowledged == 2
    assert [one.number for one in client.entries(forever=False)] == [3]
    assert service.acknowledged == 3


def test_what_is_finished_when_the_loop_is_left_is_let_go_of(client: QueueClient, serve: Serve) -> None:
    service = serve(entry(1, 1), entry(2, 2))
    reading = client.entries()
    assert [one.number for one in islice(reading, 2)] == [1, 2]
    assert service.acknowledged == 0
    reading.close()
    assert service.acknowledged == 1


def test_a_crash_of_the_caller_lets_go_of_nothing_that_it_did_not_finish(client: QueueClient, serve: Serve) -> None:
    service = serve(entry(1, 1), entry(2, 2))

    def work() -> None:
        for one in client.entries():
            if one.number == 2:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert 2 in [one.number for one in service.entries]


def test_an_entry_that_comes_twice_is_seen_once_and_let_go_of(client: QueueClient, serve: Serve) -> None:
    service = serve(entry(1, 7), entry(2, 7), entry(3, 8), entry(4, 7))
    assert [one.number for one in client.entries(forever=False)] == [1, 3]
    assert service.acknowledged == 4


def test_two_messages_of_one_row_are_both_seen(client: QueueClient, serve: Serve) -> None:
    serve(entry(1, 7, b"a commit"), entry(2, 7, b"a Welcome"), entry(3, 7, b"a commit", group=b"another"))
    assert [one.number for one in client.entries(forever=False)] == [1, 2, 3]


def test_what_has_expired_is_stepped_over(client: QueueClient, serve: Serve) -> None:
    service = serve()
    service.acknowledged = 2
    service.entries = [entry(9, 1)]
    service.page = 0
    assert list(client.entries(forever=False)) == []
    assert service.acknowledged == 9


def test_what_was_acknowledged_before_is_not_asked_for_again(client: QueueClient, serve: Serve) -> None:
    service = serve(entry(6, 1))
    service.acknowledged = 5
    assert [one.number for one in client.entries(forever=False)] == [6]
    assert [body.up_to for body in service.bodies() if isinstance(body, Acknowledge)] == [6]


def test_a_message_by_reference_is_fetched(client: QueueClient, server: Server, serve: Serve) -> None:
    large = b"a large message"
    link = Reference(f"{server.origin}/body", hashlib.sha256(large).digest(), len(large))
    service = serve(entry(1, 1, link))
    server.answer = lambda asked: Reply(200, large) if asked.method == "GET" else service.answer(asked)
    assert list(client.entries(forever=False)) == [entry(1, 1, large)]
    assert service.acknowledged == 1


def test_a_link_that_has_gone_stale_while_the_caller_worked_is_asked_for_anew(
    client: QueueClient, server: Server, serve: Serve
) -> None:
    digest = hashlib.sha256(b"large").digest()
    stale, new = (Reference(f"{server.origin}/{name}", digest, 5) for name in ("stale", "new"))
    service = serve(entry(1, 1), entry(2, 2, stale))
    bodies = {"/stale": Reply(403), "/new": Reply(200, b"large")}
    server.answer = lambda asked: bodies[asked.path] if asked.method == "GET" else service.answer(asked)
    found = []
    for one in client.entries(wait=0, forever=False):
        found.append(one.message)
        service.entries = [dataclasses.replace(left, message=new) for left in service.entries if left.number == 2]
    assert found == [b"m", b"large"]


def test_a_message_that_is_not_what_was_promised_is_not_let_go_of(
    client: QueueClient, server: Server, serve: Serve
) -> None:
    service = serve(entry(1, 1, Reference(f"{server.origin}/body", bytes(32), 5)))
    server.answer = lambda asked: Reply(200, b"other") if asked.method == "GET" else service.answer(asked)
    with pytest.raises(NotAnAnswer, match="something else"):
        list(client.entries(forever=False))
    assert service.acknowledged == 0


def test_a_client_that_waits_asks_again_and_again(client: QueueClient, server: Server, serve: Serve) -> None:
    service = serve()

    def later(asked: Asked) -> Reply:
        if len(service.asked) == 2:
            service.entries.append(entry(1, 1))
        return service.answer(asked)

    server.answer = later
    assert next(client.entries(wait=0.0)) == entry(1, 1)
    assert len(service.asked) == 3


@pytest.mark.parametrize("status", [429, 503])
def test_a_service_that_says_when_to_come_back_is_left_alone_until_then(
    client: QueueClient, server: Server, status: int
) -> None:
    server.answer = lambda _: Reply(status, b"{}", (("Content-Type", "application/problem+json"), ("Retry-After", "3")))
    with pytest.raises(QueueRefused) as refused:
        client.create_queue()
    assert refused.value.retry_after == 3.0
    assert len(server.asked) == 1


def test_a_long_wait_is_no_lost_reply(
    client: QueueClient, server: Server, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_client, "SECONDS", 0.2)
    service = serve(entry(1, 1))
    server.answer = lambda asked: dataclasses.replace(service.answer(asked), delay=0.4)
    assert client.fetch(wait=2.0).entries == (entry(1, 1),)
    assert len(server.asked) == 1


def test_what_is_remembered_has_an_end(client: QueueClient, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_client, "REMEMBERED", 1)
    serve(entry(1, 7), entry(2, 8), entry(3, 7))
    assert [one.number for one in client.entries(forever=False)] == [1, 2, 3]
