"""Between delivery services: KeyPackages for a peer's users, and the way of our own clients to groups at a peer."""

from typing import Any

from chalicelib.handlers.calls import Call, Reply
from chalicelib.handlers.ds_refusals import refused
from chalicelib.handlers.routing import Door
from chalicelib.protocol.delivery.media import DS_MESSAGE, DS_RESPONSE, KEY_PACKAGES, KEY_PACKAGES_RESPONSE
from chalicelib.services.delivery.directory import PEER_PATH
from chalicelib.wiring import groups

door = Door(__name__)


@door.serve("POST", PEER_PATH, "ds_peer", takes_bytes=(KEY_PACKAGES,), gives=KEY_PACKAGES_RESPONSE)
def key_packages(call: Call[Any]) -> bytes:
    """Give a peer's user one KeyPackage for every client of some of our users."""
    return groups.key_packages().answer(call.ds_peer, call.raw_body)


@door.serve(
    "POST", "/ds/v1/hubs/{domain}/{operation}", "anyone", takes_bytes=(DS_MESSAGE,), gives=DS_RESPONSE, refused=refused
)  # fmt: skip
def forward(call: Call[Any]) -> Reply:
    """Pass a client's request on to the delivery service that is its group's hub, and its answer back."""
    domain, operation = call.parameters["domain"], call.parameters["operation"]
    status, media_type, answer = groups.proxy().forward(
        domain, operation, call.media_type, call.raw_body, call.source.encode()
    )
    return Reply(answer, status, {"Content-Type": media_type})
