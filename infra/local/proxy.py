"""API Gateway's Lambda proxy integration: how a request becomes an event, and what is returned an answer."""

import base64
import json
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from cryptography import x509

from infra.local.http1 import Request

Event = dict[str, Any]
Headers = list[tuple[str, str]]

# One byte of a body takes at most six in JSON; what is short enough even then need not be encoded to know.
_JSON_EXPANSION = 6
_OTHER_FIELDS = 65_536

_GATEWAYS_OWN_HEADERS = frozenset({"content-length", "transfer-encoding", "connection", "date"})


class NotAnAnswer(ValueError):
    """What the application returned cannot be passed on."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes to the client."""

    status: int
    headers: Headers
    body: bytes


class ProxyIntegration:
    """The conversions of one stage, whose API lists the media types that are binary."""

    def __init__(self, stage: str, binary_types: list[str]) -> None:
        self._stage = stage
        self._binary_types = frozenset(kind.lower() for kind in binary_types)

    def event(
        self,
        request: Request,
        *,
        request_id: str,
        route: str,
        parameters: dict[str, str],
        identity: dict[str, Any],
    ) -> Event:
        """Return the event for `request`, which `route` matches with `parameters`.

        A body of a binary type travels in base64; any other is text, and bytes that are not UTF-8 are
        replaced, as API Gateway does.
        """
        path, _, query = request.target.partition("?")
        headers = {name: values[-1] for name, values in request.headers.items()}
        queries = parse_qs(query, keep_blank_values=True) if query else None
        event: Event = {
            "resource": route,
            "path": path,
            "httpMethod": request.method,
            "headers": headers,
            "multiValueHeaders": request.headers,
            "queryStringParameters": queries and {name: values[-1] for name, values in queries.items()},
            "multiValueQueryStringParameters": queries,
            "pathParameters": parameters,
            "stageVariables": {},
            "requestContext": {
                "requestId": request_id,
                "resourcePath": route,
                "httpMethod": request.method,
                "path": path,
                "stage": self._stage,
                "protocol": "HTTP/1.1",
                "domainName": headers["host"],
                "requestTimeEpoch": int(time.time() * 1000),
                "identity": {**identity, "userAgent": headers.get("user-agent")},
            },
            "body": None,
            "isBase64Encoded": False,
        }
        if request.body:
            if self._is_binary(headers.get("content-type", "")):
                event["body"] = base64.b64encode(request.body).decode()
                event["isBase64Encoded"] = True
            else:
                event["body"] = request.body.decode("utf-8", "replace")
        return event

    def answer(self, request: Request, response: dict[str, Any], request_id: str) -> Answer:
        """Return what the client is sent for the function's `response`, or raise `NotAnAnswer`.

        A base64 body becomes bytes only if the client's first accepted type is binary, as on AWS.
        """
        try:
            headers: Headers = [("x-amzn-RequestId", request_id)]
            headers += [(name, str(value)) for name, value in response.get("headers", {}).items()]
            for name, values in response.get("multiValueHeaders", {}).items():
                headers += [(name, str(value)) for value in values]
            body = response.get("body") or ""
            if response.get("isBase64Encoded") and self._is_binary(request.header("accept") or ""):
                content = base64.b64decode(body, validate=True)
            else:
                content = body if isinstance(body, bytes) else body.encode()
            status = int(response["statusCode"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise NotAnAnswer("the response has not the form of a proxy response") from error
        if not 200 <= status <= 599:
            raise NotAnAnswer("the response's status is out of range")
        if any("\r" in text or "\n" in text for field in headers for text in field):
            raise NotAnAnswer("a response header contains a line break")
        headers = [field for field in headers if field[0].lower() not in _GATEWAYS_OWN_HEADERS]
        if all(name.lower() != "content-type" for name, _ in headers):
            headers.append(("Content-Type", "application/json"))
        return Answer(status, headers, content)

    def _is_binary(self, media_types: str) -> bool:
        """Apply API Gateway's rule: only the first media type counts, without its parameters."""
        first = media_types.partition(",")[0].partition(";")[0].strip().lower()
        return first in self._binary_types or "*/*" in self._binary_types


def is_longer(payload: dict[str, Any], limit: int) -> bool:
    """Return whether an event or a response is longer, in JSON, than the `limit` that Lambda sets."""
    if len(payload.get("body") or "") * _JSON_EXPANSION < limit - _OTHER_FIELDS:
        return False
    return len(json.dumps(payload, ensure_ascii=False, default=str).encode()) > limit


def identity_of(sock: socket.socket) -> dict[str, Any]:
    """Return the event's `identity`: the client's address and, over mutual TLS, its certificate."""
    identity: dict[str, Any] = {"sourceIp": sock.getpeername()[0]}
    der = sock.getpeercert(binary_form=True) if isinstance(sock, ssl.SSLSocket) else None
    if der is not None:
        certificate = x509.load_der_x509_certificate(der)
        serial = certificate.serial_number
        identity["clientCert"] = {
            "clientCertPem": ssl.DER_cert_to_PEM_cert(der),
            "subjectDN": certificate.subject.rfc4514_string(),
            "issuerDN": certificate.issuer.rfc4514_string(),
            "serialNumber": serial.to_bytes((serial.bit_length() + 7) // 8 or 1, "big").hex(":"),
            "validity": {
                "notBefore": f"{certificate.not_valid_before_utc:%b %d %H:%M:%S %Y} GMT",
                "notAfter": f"{certificate.not_valid_after_utc:%b %d %H:%M:%S %Y} GMT",
            },
        }
    return identity
