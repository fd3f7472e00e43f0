"""A good body for each route that takes one, and a path for each route that has parameters."""

import re

from chalicelib.handlers import client_doors, federation_doors, provider_description, token_api, well_known
from chalicelib.handlers.calls import Route
from chalicelib.protocol.bodies import Body
from chalicelib.protocol.glados import client_api, federation_api

DOORS = (well_known.door, provider_description.door, token_api.door, client_doors.door, federation_doors.door)
ROUTES = [route for door in DOORS for route in door.routes]

NUMBER = "tel:+4915123456789"

BODIES: dict[type[Body], dict[str, object]] = {
    client_api.Query: {"sii": NUMBER},
    client_api.VerificationRequest: {"sii": NUMBER, "user_id": "alice"},
    client_api.Code: {"user_id": "alice", "code": "000000"},
    client_api.Choice: {"sii": NUMBER, "user_id": "alice", "choice": "keep"},
    client_api.Search: {"sii": NUMBER},
    client_api.Webhook: {"url": "https://alpha.example/hook"},
    client_api.Empty: {},
    federation_api.PeerQuery: {"sii": NUMBER, "asker": "somebody"},
    federation_api.SubscriptionRequest: {"version": 1, "callback": "https://us.gp.example/told", "after": 0},
    federation_api.Notification: {
        "gp": "us", "version": 1, "seq": 1, "at": "2026-01-01T00:00:00.000Z", "head": "a.b.c", "bits": [1],
    },
    federation_api.ClaimRequest: {"claim": "a.b.c"},
}  # fmt: skip


def path_of(route: Route) -> str:
    """Return a path of the route that leads to nothing."""
    return re.sub(r"{\w+}", "1", route.path)


def name_of(route: Route) -> str:
    return f"{route.method} {route.path}"


GUARDED = [route for route in ROUTES if not route.public]
PUBLIC = [route for route in ROUTES if route.public]
OF_APS = [route for route in ROUTES if route.caller in ("token", "account")]
OF_PEERS = [route for route in ROUTES if route.caller == "peer"]
WITH_BODY = [route for route in ROUTES if route.takes is not None]
