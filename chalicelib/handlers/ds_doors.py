"""The delivery service's doors: every operation its own route, taking a DSMessage and giving a DSResponse (-02 §2.4).

They are open to callers without a client certificate: each message is signed by its sender. A message that is too
large for the gateway comes as a reference to an upload: to one that lies here, or, if a delivery service calls that is
admitted, to one that lies there.
"""

from collections.abc import Callable
from typing import Any

from chalicelib.handlers.calls import Call
from chalicelib.handlers.ds_refusals import refused
from chalicelib.handlers.routing import Door
from chalicelib.protocol.delivery.media import DS_MESSAGE, DS_REFERENCE, DS_RESPONSE
from chalicelib.protocol.delivery.messages import ROUTES
from chalicelib.wiring import delivery, groups

door = Door(__name__)


def _view(operation: str) -> Callable[[Call[Any]], bytes]:
    def view(call: Call[Any]) -> bytes:
        peer = delivery.known_peer(call.thumbprint)
        groups.admission().admit(operation, call.source, peer)
        if call.media_type != DS_REFERENCE:
            return groups.desk().serve(operation, call.raw_body)
        content = groups.uploading().fetch_reference(call.raw_body, peer)
        return groups.desk().serve(operation, content, uploaded=True)

    view.__doc__ = f"Serve the operation {operation} of a signed DSMessage."
    view.__name__ = operation.replace("-", "_")
    return view


TAKES = (DS_MESSAGE, DS_REFERENCE)

for _operation in ROUTES:
    _serve = door.serve("POST", f"/ds/v1/{_operation}", "anyone", takes_bytes=TAKES, gives=DS_RESPONSE, refused=refused)
    _serve(_view(_operation))
