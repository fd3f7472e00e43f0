"""What anybody may read of a delivery service: who it is, and the keys that clients seal to."""

from typing import Any

from chalicelib.handlers.calls import Call, Reply
from chalicelib.handlers.routing import Door
from chalicelib.handlers.well_known import CACHED
from chalicelib.protocol.base64url import encode_base64url
from chalicelib.wiring import delivery, groups

door = Door(__name__)


@door.serve("GET", "/.well-known/mimi-ds", "anyone", gives=dict)
def describe(_call: Call[Any]) -> Reply:
    """Say who this delivery service is, and give the X25519 keys of its queueing service and of its sealed groups."""
    config = delivery.config()
    queue_epoch, queue_key = delivery.queue_configs().public()
    hub_epoch, hub_key = groups.ds_keys().hub_key()
    return Reply(
        {
            "domain": config.ds_domain,
            "name": config.name,
            "origin": config.origin,
            "public_origin": config.public_origin,
            "openapi": f"{config.public_origin}/openapi.json",
            "queue_config_key": {"epoch": queue_epoch, "key": encode_base64url(queue_key)},
            "state_key": {"epoch": hub_epoch, "key": encode_base64url(hub_key)},
        },
        headers=CACHED,
    )
