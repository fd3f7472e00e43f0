"""`POST /oauth2/token` (RFC 6749 §4.4, RFC 8705): the only route that speaks OAuth's form of errors."""

import base64
from typing import Any
from urllib.parse import parse_qs, unquote_plus

from chalicelib import wiring
from chalicelib.errors import TokenRefused
from chalicelib.handlers.calls import Call, Reply
from chalicelib.handlers.routing import Door

door = Door(__name__)


@door.serve("POST", "/oauth2/token", "certificate", gives=dict)
def token(call: Call[Any]) -> Reply:
    """Grant an access token that is bound to the client certificate."""
    form = _form(call)
    if form.get("grant_type") != "client_credentials":
        kind = "unsupported_grant_type" if "grant_type" in form else "invalid_request"
        raise TokenRefused(kind, "the one grant type here is client_credentials")
    client_id, secret = _credentials(call.headers.get("authorization") or "")
    if call.thumbprint is None:
        raise TokenRefused("invalid_client", "no client certificate came with the request")
    grant = wiring.access().grant(client_id, secret, call.thumbprint, form.get("scope"))
    return Reply(
        {
            "access_token": grant.access_token,
            "token_type": grant.token_type,
            "expires_in": grant.expires_in,
            "scope": grant.scope,
        },
        headers={"Pragma": "no-cache"},
    )


def _form(call: Call[Any]) -> dict[str, str]:
    if call.media_type != "application/x-www-form-urlencoded":
        raise TokenRefused("invalid_request", "the body is application/x-www-form-urlencoded")
    try:
        fields = parse_qs(call.raw_body.decode(), keep_blank_values=True, strict_parsing=True, max_num_fields=16)
    except ValueError as error:
        raise TokenRefused("invalid_request", "the body is not a form") from error
    if any(len(values) > 1 for values in fields.values()):
        raise TokenRefused("invalid_request", "a parameter is repeated")
    return {name: values[0] for name, values in fields.items()}


def _credentials(header: str) -> tuple[str, str]:
    """Read HTTP Basic as RFC 6749 §2.3.1 writes it: both halves form-encoded."""
    scheme, _, encoded = header.partition(" ")
    try:
        if scheme.lower() != "basic":
            raise TokenRefused("invalid_client", "the client identifies itself with HTTP Basic")
        client_id, colon, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError as error:  # Of base64, of UTF-8, and of a header that is not ASCII.
        raise TokenRefused("invalid_client", "the client identifies itself with HTTP Basic") from error
    if not colon:
        raise TokenRefused("invalid_client", "the client identifies itself with HTTP Basic")
    return unquote_plus(client_id), unquote_plus(secret)
