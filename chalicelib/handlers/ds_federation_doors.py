"""Between delivery services: KeyPackages for a peer's users, messages that were too large for a request to it, and the
way of our own clients to groups at a peer.
"""

import re
from typing import Any

from chalicelib.errors import InvalidValue, NotFound
from chalicelib.handlers.calls import Call, Reply
from chalicelib.handlers.ds_refusals import refused
from chalicelib.handlers.routing import Door
from chalicelib.protocol.delivery import paths
from chalicelib.protocol.delivery.media import (
    BODY_LENGTH,
    DS_MESSAGE,
    DS_REFERENCE,
    DS_RESPONSE,
    KEY_PACKAGE_REF,
    KEY_PACKAGES,
    KEY_PACKAGES_RESPONSE,
)
from chalicelib.services.delivery.state import DsPeer
from chalicelib.wiring import groups

BYTES = "application/octet-stream"
TAKES = (DS_MESSAGE, DS_REFERENCE)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_OFFSET = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)

door = Door(__name__)


@door.serve("GET", paths.BODIES + "/{sha256}", "ds_peer", gives=BYTES)
def body(call: Call[Any]) -> Reply:
    """Give a peer some bytes of a message that a row for it refers to."""
    sha256, offset = call.parameters["sha256"], call.query.get("offset", "0")
    if not _SHA256.fullmatch(sha256):
        raise NotFound("there is no such thing")
    if not _OFFSET.fullmatch(offset):
        raise InvalidValue("an offset is a number of bytes", "offset")
    piece, total = groups.enclosures().read(call.caller_as(DsPeer).domain, bytes.fromhex(sha256), int(offset))
    return Reply(piece, headers={BODY_LENGTH: str(total), "Content-Type": BYTES})


@door.serve("POST", paths.KEY_PACKAGES, "ds_peer", takes_bytes=(KEY_PACKAGES,), gives=KEY_PACKAGES_RESPONSE)
def key_packages(call: Call[Any]) -> bytes:
    """Give a peer's user one KeyPackage for every client of some of our users."""
    return groups.key_packages().answer(call.caller_as(DsPeer), call.raw_body)


@door.serve(
    "POST", paths.PUBLISHED_KEY_PACKAGES, "ds_peer", takes_bytes=(KEY_PACKAGE_REF,), gives=KEY_PACKAGES_RESPONSE
)
def published_key_package(call: Call[Any]) -> bytes:
    """Tell a peer whether a KeyPackage was published here, by one of our users."""
    return groups.vouching().answer(call.raw_body)


@door.serve("POST", "/ds/v1/hubs/{domain}/{operation}", "anyone", takes_bytes=TAKES, gives=DS_RESPONSE, refused=refused)
def forward(call: Call[Any]) -> Reply:
    """Pass a client's request on to the delivery service that is its group's hub, and its answer back."""
    domain, operation = call.parameters["domain"], call.parameters["operation"]
    status, media_type, answer = groups.proxy().forward(domain, operation, call.media_type, call.raw_body, call.source)
    return Reply(answer, status, {"Content-Type": media_type})
