"""`QueueingServices` over calls to peers: our own service is called, others answer, refuse, or miss rows."""

import dataclasses
from collections.abc import Callable

import pytest

from chalicelib import errors
from chalicelib.protocol.delivery.parts import Domain
from chalicelib.protocol.delivery.queueing import (
    ClientQueueConfig,
    Delivery,
    EnqueueRequest,
    EnqueueResponse,
    QueueingServiceResponse,
)
from chalicelib.protocol.delivery.sealed import Sealed
from chalicelib.protocol.tls import decode
from chalicelib.services.delivery.ports import QueueingServices, StreamGap
from chalicelib.services.delivery.state import DsPeer
from chalicelib.services.ports import Refused, Unreachable
from chalicelib.storage.delivery_queueing import PeerQueueingServices
from tests.fakes.clock import SettableClock
from tests.fakes.ds_peers import MemoryDsPeers, MemoryPeerCalls, PeerAnswer
from tests.fakes.faults import Faults
from tests.fakes.tables import Tables

HERE, THERE = Domain("eu.ds.example"), Domain("us.ds.example")
CONFIG = ClientQueueConfig(THERE, Sealed(1, bytes(80)))
REQUEST = EnqueueRequest(HERE, b"a group", 3, 7, 9, 1_000, (Delivery(b"message", (CONFIG, CONFIG)),))
RESPONSE = EnqueueResponse((QueueingServiceResponse.OK, QueueingServiceResponse.QUEUE_FULL))
LOCAL = EnqueueResponse((QueueingServiceResponse.OK, QueueingServiceResponse.OK))


def services(answer: Callable[[str, str, bytes], PeerAnswer] | None, *, admitted: bool = True) -> QueueingServices:
    faults = Faults()
    peers, calls = MemoryDsPeers(faults, Tables(), SettableClock()), MemoryPeerCalls(faults)
    if admitted:
        peers.put(DsPeer(THERE, "https://us.ds.example", frozenset({"t" * 43})))
    if answer is not None:
        calls.answers[THERE] = answer
    return PeerQueueingServices(HERE, lambda _: LOCAL, peers, calls)


def answering(status: int, body: bytes) -> QueueingServices:
    return services(lambda _path, _media, _body: (status, "application/problem+json", body))


def test_the_service_of_ones_own_domain_is_called() -> None:
    assert services(None).enqueue(HERE, REQUEST) == LOCAL


@pytest.mark.parametrize(
    ("refusal", "status"), [(errors.TooManyRequests("rows-by-group", 1), 429), (errors.InvalidValue("no row"), 400)]
)
def test_what_ones_own_service_refuses_is_told_as_anothers_refusal_would_be(
    refusal: errors.Refusal, status: int
) -> None:
    def refusing(_: EnqueueRequest) -> EnqueueResponse:
        raise refusal

    peers = MemoryDsPeers(Faults(), Tables(), SettableClock())
    with pytest.raises(Refused) as refused:
        PeerQueueingServices(HERE, refusing, peers, MemoryPeerCalls(Faults())).enqueue(HERE, REQUEST)
    assert refused.value.status == status


def test_another_domain_is_asked_and_its_answer_returned() -> None:
    asked: list[tuple[str, str, bytes]] = []

    def answer(path: str, media_type: str, body: bytes) -> PeerAnswer:
        asked.append((path, media_type, body))
        return 200, "application/mimi-ds-fanout", RESPONSE.encode()

    assert services(answer).enqueue(THERE, REQUEST) == RESPONSE
    ((path, media_type, body),) = asked
    assert (path, media_type) == ("/qs/v1/enqueue", "application/mimi-ds-fanout")
    assert decode(EnqueueRequest.read, body) == REQUEST


def test_a_domain_that_is_not_admitted_or_does_not_answer_is_unreachable() -> None:
    with pytest.raises(Unreachable):
        services(lambda *_: (200, "", RESPONSE.encode()), admitted=False).enqueue(THERE, REQUEST)
    with pytest.raises(Unreachable):
        services(None).enqueue(THERE, REQUEST)


@pytest.mark.parametrize("expected", [0, 7, 2**64 - 1])
def test_a_gap_says_which_row_is_the_last_that_is_there(expected: int) -> None:
    problem = f'{{"type": "about:blank", "status": 409, "expected": {expected}}}'.encode()
    with pytest.raises(StreamGap) as gap:
        answering(409, problem).enqueue(THERE, REQUEST)
    assert gap.value.expected == expected


@pytest.mark.parametrize("body", [b"", b"{}", b'{"expected": "7"}', b'{"expected": -1}', b'{"expected": 1e99}', b"[7]"])
def test_a_conflict_that_names_no_row_is_a_refusal(body: bytes) -> None:
    with pytest.raises(Refused) as refused:
        answering(409, body).enqueue(THERE, REQUEST)
    assert refused.value.status == 409


@pytest.mark.parametrize("status", [400, 403, 413, 429])
def test_a_refusal_keeps_its_status(status: int) -> None:
    with pytest.raises(Refused) as refused:
        answering(status, b'{"expected": 7}').enqueue(THERE, REQUEST)
    assert refused.value.status == status


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (200, b"<html>"),
        (200, RESPONSE.encode() + b"\0"),
        (200, EnqueueResponse(RESPONSE.results[:1]).encode()),
        (200, EnqueueResponse(RESPONSE.results * 2).encode()),
        (204, RESPONSE.encode()),
        (302, RESPONSE.encode()),
    ],
)
def test_what_is_not_an_answer_for_these_recipients_is_none(status: int, body: bytes) -> None:
    with pytest.raises(Unreachable):
        answering(status, body).enqueue(THERE, REQUEST)


def test_a_row_without_recipients_is_answered_with_nothing() -> None:
    nobody = dataclasses.replace(REQUEST, deliveries=())
    assert answering(200, EnqueueResponse(()).encode()).enqueue(THERE, nobody) == EnqueueResponse(())
