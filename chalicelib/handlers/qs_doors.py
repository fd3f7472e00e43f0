"""The queueing service: clients read their queues, and hubs put messages into them.

A client needs no certificate: what it sends is signed with its queue's own key. So where it comes from is handed on:
that bounds what strangers may try. Refusals are problem documents.
"""

from typing import Any

from chalicelib.handlers.calls import Call
from chalicelib.handlers.routing import Door
from chalicelib.protocol.delivery import paths
from chalicelib.protocol.delivery.media import DS_FANOUT, DS_FANOUT_RESPONSE, QS_FETCHED, QS_MESSAGE
from chalicelib.protocol.delivery.parts import Domain
from chalicelib.protocol.delivery.queue_requests import QSMessage
from chalicelib.protocol.delivery.queueing import EnqueueRequest
from chalicelib.protocol.tls import decode
from chalicelib.services.delivery.state import DsPeer
from chalicelib.wiring import delivery

door = Door(__name__)


@door.serve("POST", "/qs/v1/create-queue", "anyone", takes_bytes=(QS_MESSAGE,), status=204)
def create_queue(call: Call[Any]) -> None:
    """Create the queue that the message names."""
    delivery.queue_owners().create(_message(call), call.source)


@door.serve("POST", "/qs/v1/fetch", "anyone", takes_bytes=(QS_MESSAGE,), gives=QS_FETCHED)
def fetch(call: Call[Any]) -> bytes:
    """Return what is new in a queue, and wait for it if asked to."""
    return delivery.queue_reading().fetch(_message(call), call.source).encode()


@door.serve("POST", "/qs/v1/acknowledge", "anyone", takes_bytes=(QS_MESSAGE,), status=204)
def acknowledge(call: Call[Any]) -> None:
    """Let go of a queue's entries up to a number."""
    delivery.queue_reading().acknowledge(_message(call), call.source)


@door.serve("POST", "/qs/v1/delete-queue", "anyone", takes_bytes=(QS_MESSAGE,), status=204)
def delete_queue(call: Call[Any]) -> None:
    """Delete a queue with all in it."""
    delivery.queue_owners().delete(_message(call), call.source)


@door.serve("POST", "/qs/v1/update-queue", "anyone", takes_bytes=(QS_MESSAGE,), status=204)
def update_queue(call: Call[Any]) -> None:
    """Give a queue another key and another token."""
    delivery.queue_owners().update(_message(call), call.source)


@door.serve("POST", paths.ENQUEUE, "ds_peer", takes_bytes=(DS_FANOUT,), gives=DS_FANOUT_RESPONSE)
def enqueue(call: Call[Any]) -> bytes:
    """Put a hub's row into the queues that it names."""
    request = decode(EnqueueRequest.read, call.raw_body)
    return delivery.enqueueing().enqueue(request, Domain(call.caller_as(DsPeer).domain)).encode()


def _message(call: Call[Any]) -> QSMessage:
    return decode(QSMessage.read, call.raw_body)
