"""A hub asks queueing services: its own is refused by in the same words as any other."""

from typing import NoReturn

import pytest

from chalicelib.protocol.delivery.queueing import EnqueueRequest, EnqueueResponse
from chalicelib.services.delivery.ports import StreamGap
from chalicelib.services.ports import Refused, Unreachable
from chalicelib.storage.delivery_queueing import PeerQueueingServices
from tests.fakes.ds_peers import MemoryDsPeers
from tests.fakes.faults import Faults
from tests.fakes.queueing import QueueWorld
from tests.fakes.tables import Tables
from tests.services.queueing.queues import EU, US, Hub, Qs


class NoCalls:
    def post(self, *_: object) -> NoReturn:
        raise AssertionError("our own queueing service is not called over the network")

    get = post


def services(qs: Qs) -> PeerQueueingServices:
    def local(request: EnqueueRequest) -> EnqueueResponse:
        return qs.enqueueing.enqueue(request, EU)

    world = QueueWorld()
    return PeerQueueingServices(EU, local, MemoryDsPeers(Faults(), Tables(), world.clock), NoCalls())


def test_our_own_queueing_service_takes_rows() -> None:
    qs = Qs.in_memory(QueueWorld())
    alice, hub = qs.owner("alice"), Hub(qs, domain=EU)
    services(qs).enqueue(EU, hub.row((b"one", [alice.config])))
    assert alice.messages() == [b"one"]


def test_a_gap_at_home_is_a_gap() -> None:
    qs = Qs.in_memory(QueueWorld())
    services(qs).enqueue(EU, Hub(qs, domain=EU).row(seq=3))
    with pytest.raises(StreamGap) as gap:
        services(qs).enqueue(EU, Hub(qs, domain=EU, last=7).row())
    assert gap.value.expected == 3


def test_what_our_own_refuses_is_refused_and_what_it_cannot_do_now_is_for_later() -> None:
    world = QueueWorld()
    qs = Qs.in_memory(world)
    alice = qs.owner("alice")
    with pytest.raises(Refused):
        services(qs).enqueue(EU, Hub(qs, domain=US).row())
    world.entries.busy[alice.queue_id] = 99
    with pytest.raises(Unreachable):
        services(qs).enqueue(EU, Hub(qs, domain=EU).row((b"one", [alice.config])))
