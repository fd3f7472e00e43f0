"""One request, from its bytes to the response: authenticate, decode, call, encode, and tell every refusal."""

import dataclasses
import json
import uuid
from collections.abc import Callable
from typing import Any

import msgspec
from chalice import Response

from chalicelib import errors, wiring
from chalicelib.handlers import bodies, callers, log, problems
from chalicelib.handlers.calls import Call, Reply, Route
from chalicelib.services.accounts.state import Account, StoredAnswer
from chalicelib.services.limits import Allowance

MOST_BODY = 64 << 10
MOST_BYTES = 4_500_000  # What Lambda takes of a body that is no text: its 6 MB hold base64.
LONGEST_PARAMETER = 1_024
KEPT = ("Content-Type", "Location", "Cache-Control")  # Of an answer that is kept for repeats.
IN_FLIGHT = 30_000  # Milliseconds; the gateway gives an answer up after 29 s.

View = Callable[[Call[Any]], Any]


def answer(route: Route, view: View, request: Any, parameters: dict[str, str]) -> Response:
    """Serve one request. A refusal is told as the route tells refusals, a bug or an outage as a bare 500."""
    request_id = request_id_of(request.context)
    raw_body = bytes(request.raw_body or b"")
    try:
        return _serve(route, view, request, raw_body, parameters, request_id)
    except errors.Refusal as refusal:
        return _refused(route, refusal, raw_body, request_id)
    except Exception as error:  # noqa: BLE001 (the last line)
        log.failure("unhandled error", error, request_id=request_id)
        return _problem(problems.INTERNAL, "the error is logged under this request id", request_id, {}, {})


def _serve(
    route: Route, view: View, request: Any, raw_body: bytes, parameters: dict[str, str], request_id: str
) -> Response:
    thumbprint = callers.thumbprint(request.context)
    caller = callers.authenticate(route, request.headers, thumbprint)
    most = MOST_BYTES if route.takes_bytes else MOST_BODY
    if len(raw_body) > most:
        raise errors.BodyTooLarge(len(raw_body), most)
    if any(len(value) > LONGEST_PARAMETER for value in parameters.values()):
        raise errors.NotFound("there is no such thing")
    media_type = bodies.media_type(request.headers.get("content-type"))
    call: Call[Any] = Call(
        request_id=request_id,
        parameters=parameters,
        query=dict((request.query_params or {}).items()),
        headers=request.headers,
        media_type=media_type,
        raw_body=raw_body,
        source=str((request.context.get("identity") or {}).get("sourceIp") or ""),
        thumbprint=thumbprint,
        idempotency_key=_idempotency_key(route, request.headers),
        caller=caller,
        decoded=_decoded(route, media_type, raw_body),
    )
    if call.idempotency_key is None or not isinstance(caller, Account):
        return _encode(route, view(call), request_id)
    return _once(route, view, call, f"{request.method} {_path(request)}")


def _decoded(route: Route, media_type: str, raw_body: bytes) -> Any:
    if route.takes_bytes and media_type not in route.takes_bytes:
        raise errors.UnsupportedMediaType(f"this route takes {' or '.join(route.takes_bytes)}")
    return None if route.takes is None else bodies.decode(raw_body, media_type, route.takes)


def _once(route: Route, view: View, call: Call[Any], what: str) -> Response:
    """Answer a repeated request as the first time (24 h), whatever became of the first reply."""
    store, now = wiring.idempotency(), wiring.clock()
    key = (call.account.provider_id, what, call.idempotency_key or "")
    known = store.begin(key, call.raw_body, now(), now() + IN_FLIGHT)
    if known is not None:
        return _replayed(known, call.request_id)
    try:
        response = _encode(route, view(call), call.request_id)
    except errors.Refusal as refusal:
        response = _refused(route, refusal, call.raw_body, call.request_id)
    except BaseException:  # Also where the worker is told to end: a key that stayed in flight would refuse its repeat.
        store.abandon(key)
        raise
    if response.status_code == 429 or response.status_code >= 500:
        store.abandon(key)
    else:
        kept = {name: value for name, value in response.headers.items() if name in KEPT}
        store.finish(key, (response.status_code, kept, response.body))
    return response


def _replayed(known: StoredAnswer, request_id: str) -> Response:
    """Give a stored answer again; a problem names the request that it now answers."""
    status, headers, body = known
    if headers.get("Content-Type") == problems.MEDIA_TYPE:
        body = json.dumps({**json.loads(body), "request_id": request_id}).encode()
    return Response(body, headers={**headers, "X-Request-Id": request_id}, status_code=status)


def _idempotency_key(route: Route, headers: Any) -> str | None:
    key: str | None = headers.get("idempotency-key")
    if key is None or not route.repeatable:
        return None
    if not 1 <= len(key) <= 255 or not key.isascii() or not key.isprintable():
        raise errors.InvalidValue("an Idempotency-Key has 1 to 255 printable ASCII characters", "Idempotency-Key")
    return key


def _encode(route: Route, answer: Any, request_id: str) -> Response:
    reply = answer if isinstance(answer, Reply) else Reply(answer, route.status)
    headers = {"X-Request-Id": request_id, "Cache-Control": "no-store", **reply.headers}
    if reply.allowance is not None:
        headers |= _limit_headers(reply.allowance)
    if isinstance(reply.body, bytes):
        headers.setdefault("Content-Type", route.gives if isinstance(route.gives, str) else "application/octet-stream")
        return Response(reply.body, headers=headers, status_code=reply.status)
    if reply.body is None:
        return Response(b"", headers=headers, status_code=reply.status if reply.status != 200 else 204)
    headers.setdefault("Content-Type", "application/json")
    return Response(msgspec.json.encode(reply.body), headers=headers, status_code=reply.status)


def _limit_headers(allowance: Allowance) -> dict[str, str]:
    return {
        "RateLimit-Policy": f'"{allowance.policy}";q={allowance.quota};w={allowance.window_seconds}',
        "RateLimit": f'"{allowance.policy}";r={allowance.remaining};t={allowance.reset_seconds}',
    }


def _refused(route: Route, refusal: errors.Refusal, raw_body: bytes, request_id: str) -> Response:
    if route.refused is not None:
        reply = route.refused(refusal, raw_body)
        return _encode(
            route, dataclasses.replace(reply, headers={**problems.headers_of(refusal), **reply.headers}), request_id
        )
    problem = problems.problem_of(refusal)
    if route.caller == "certificate" and problem.status < 500:
        return _token_refused(refusal, problem.status, request_id)
    return _problem(problem, str(refusal), request_id, refusal.facts(), problems.headers_of(refusal))


def _problem(
    problem: problems.Problem, detail: str, request_id: str, facts: dict[str, Any], headers: dict[str, str]
) -> Response:
    body = problems.body_of(problem, detail, request_id, facts)
    own = {"Content-Type": problems.MEDIA_TYPE, "X-Request-Id": request_id, "Cache-Control": "no-store"}
    return Response(json.dumps(body).encode(), headers={**own, **headers}, status_code=problem.status)


def _token_refused(refusal: errors.Refusal, status: int, request_id: str) -> Response:
    """Answer as RFC 6749 §5.2 says; the token endpoint alone speaks this form."""
    error = refusal.error if isinstance(refusal, errors.TokenRefused) else "invalid_request"
    headers = {"Content-Type": "application/json", "X-Request-Id": request_id, "Cache-Control": "no-store"}
    if error == "invalid_client":
        status, headers["WWW-Authenticate"] = 401, 'Basic realm="glados"'
    body = json.dumps({"error": error, "error_description": str(refusal)}).encode()
    return Response(body, headers=headers, status_code=status)


def request_id_of(context: dict[str, Any]) -> str:
    """Return the id that the gateway gave the request, or one of our own."""
    return str(context.get("requestId") or uuid.uuid4())


def _path(request: Any) -> str:
    path: str = request.path
    for name, value in (request.uri_params or {}).items():
        path = path.replace("{" + name + "}", value)
    return path
