"""What anybody may read of a GP: who it is and where its API is found."""

from typing import Any

from chalicelib.handlers import problems
from chalicelib.handlers.calls import Call, Reply
from chalicelib.handlers.routing import Door
from chalicelib.handlers.well_known import CACHED
from chalicelib.services.accounts.state import SCOPES_OF
from chalicelib.wiring import provider

door = Door(__name__)


@door.serve("GET", "/.well-known/glados", "anyone", gives=dict)
def describe(_call: Call[Any]) -> Reply:
    """Say who this GP is and where its API is found."""
    config = provider.config()
    return Reply(
        {
            "gp": config.gp,
            "name": config.name,
            "issuer": config.origin,
            "token_endpoint": f"{config.origin}/oauth2/token",
            "jwks_uri": f"{config.public_origin}/.well-known/jwks.json",
            "openapi": f"{config.public_origin}/openapi.json",
            "client_api": f"{config.origin}/v1",
            "federation_api": f"{config.origin}/federation/v1",
            "scopes_supported": list(SCOPES_OF["provider"]),
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
            "tls_client_certificate_bound_access_tokens": True,
            "identifier_schemes": ["tel", "mailto"],
            "problem_types": problems.TYPES,
        },
        headers=CACHED,
    )
