"""What anybody may read of every role: its public keys and its API's description."""

from typing import TYPE_CHECKING, Any

from chalicelib import wiring
from chalicelib.handlers import openapi
from chalicelib.handlers.calls import Call, Reply
from chalicelib.handlers.routing import Door

if TYPE_CHECKING:
    from chalicelib.protocol.signed import Typ

door = Door(__name__)

CACHED = {"Cache-Control": "public, max-age=300"}
SIGNED: dict[str, tuple["Typ", ...]] = {  # What each role signs; the trust list's key is the authority's.
    "provider": ("at+jwt", "glados-filter+jwt", "glados-head+jwt", "glados-claim+jwt"),
    "delivery": ("at+jwt",),
}


@door.serve("GET", "/.well-known/jwks.json", "anyone", gives=dict)
def jwks(_call: Call[Any]) -> Reply:
    """Return the public keys of every purpose (RFC 7517)."""
    typs = SIGNED[wiring.config().role]
    return Reply({"keys": [jwk for typ in typs for jwk in wiring.signing_keys().public_jwks(typ)]}, headers=CACHED)


@door.serve("GET", "/openapi.json", "anyone", gives=dict)
def api(_call: Call[Any]) -> Reply:
    """Describe every route that is served here (OpenAPI 3.1)."""
    config, served = wiring.config(), door.current_app.described
    return Reply(openapi.document(served, config.name, config.origin, config.public_origin), headers=CACHED)
