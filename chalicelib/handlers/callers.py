"""Who calls: a route names the kind of its caller, and here the caller shows that it is one.

Fail closed: only a route marked public is served without a client certificate. API Gateway verified the chain;
whether the certificate is registered with us, and for what, is decided here on each call.
"""

import functools
import hashlib
import ssl
from typing import Any

from chalicelib import errors, wiring
from chalicelib.handlers.calls import Route
from chalicelib.protocol.base64url import encode_base64url


def authenticate(route: Route, headers: Any, thumbprint: str | None) -> object:
    """Return the caller of the route's kind, or raise why there is none."""
    if route.caller == "anyone":
        return None
    if route.caller == "peer":
        from chalicelib.wiring import provider  # noqa: PLC0415 (its role has imported it; the other must not)

        return provider.calling_peer(thumbprint)
    if route.caller == "ds_peer":
        from chalicelib.wiring import delivery  # noqa: PLC0415 (likewise)

        return delivery.calling_peer(thumbprint)
    if route.caller == "certificate":
        return None  # The token endpoint checks the certificate itself, and answers in OAuth's own form.
    if thumbprint is None:
        raise errors.ClientCertificateRequired("this route is served to client certificates only")
    scheme, _, token = (headers.get("authorization") or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise errors.TokenRequired("an access token goes into the Authorization header as Bearer")
    access = wiring.access()
    if route.caller == "token":
        return access.present(token.strip(), thumbprint)
    if route.scope is None:
        raise AssertionError("a route for accounts names its scope")
    return access.caller(token.strip(), thumbprint, route.scope)


def thumbprint(context: dict[str, Any]) -> str | None:
    """Return the RFC 8705 thumbprint of the certificate that the gateway verified, if there was one."""
    pem = ((context.get("identity") or {}).get("clientCert") or {}).get("clientCertPem")
    return None if not pem else _thumbprint_of(pem)


@functools.lru_cache(maxsize=1_000)
def _thumbprint_of(pem: str) -> str:
    return encode_base64url(hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).digest())
