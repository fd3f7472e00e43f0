"""What anybody may read: who this GP is, its keys, and its API's description."""

from typing import Any

from chalicelib import wiring
from chalicelib.handlers import openapi, problems
from chalicelib.handlers.routing import ROUTES, Call, Door, Reply
from chalicelib.protocol.glados.signed import TYPS
from chalicelib.services.provider.state import SCOPES

door = Door(__name__)

CACHED = {"Cache-Control": "public, max-age=300"}


@door.serve("GET", "/.well-known/glados", "anyone", gives=dict)
def describe(_call: Call[Any]) -> Reply:
    """Say who this GP is and where its API is found."""
    config = wiring.config()
    return Reply(
        {
            "gp": config.gp,
            "name": config.gp_name,
            "issuer": config.origin,
            "token_endpoint": f"{config.origin}/oauth2/token",
            "jwks_uri": f"{config.public_origin}/.well-known/jwks.json",
            "openapi": f"{config.public_origin}/openapi.json",
            "client_api": f"{config.origin}/v1",
            "federation_api": f"{config.origin}/federation/v1",
            "scopes_supported": list(SCOPES),
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
            "tls_client_certificate_bound_access_tokens": True,
            "identifier_schemes": ["tel", "mailto"],
            "problem_types": problems.TYPES,
        },
        headers=CACHED,
    )


@door.serve("GET", "/.well-known/jwks.json", "anyone", gives=dict)
def jwks(_call: Call[Any]) -> Reply:
    """Return the public keys of every purpose (RFC 7517)."""
    keys = [jwk for typ in TYPS if typ != "glados-trust-list+jwt" for jwk in wiring.keyring().public_jwks(typ)]
    return Reply({"keys": keys}, headers=CACHED)


@door.serve("GET", "/openapi.json", "anyone", gives=dict)
def api(_call: Call[Any]) -> Reply:
    """Describe every route of this GP (OpenAPI 3.1)."""
    config = wiring.config()
    return Reply(openapi.document(ROUTES, config.gp_name, config.origin, config.public_origin), headers=CACHED)
