"""Every Chalice oddity, in one file: how a request becomes a `Call`, and a reply or refusal becomes HTTP.

A route says what it is by data: method, path, who may call it, what body it takes and gives. From the same data
come the dispatch, the refusal of callers without a client certificate (fail closed: only a route marked public
is served without one), idempotency, and `/openapi.json`.

What Chalice does that this file undoes:

* It answers 405, 415, missing `Accept` and unhandled errors in a JSON shape of its own; `GladosApp` reshapes them.
* It refuses an answer when there is no `Accept`; HTTP says that means anything is acceptable.
* It leaves path parameters as they came; ids here need no decoding, and over-long ones are no ids.
* Registering a blueprint changes it, so there is one app a process.
"""

import base64
import dataclasses
import functools
import hashlib
import json
import ssl
import uuid
from collections.abc import Callable
from typing import Any, Generic, Literal, TypeVar

import msgspec
from chalice import Blueprint, Chalice, Response

from chalicelib import errors, wiring
from chalicelib.handlers import bodies, log, problems
from chalicelib.protocol.glados.client_api import Body
from chalicelib.protocol.glados.trust import Peer
from chalicelib.services.provider.access import Presented
from chalicelib.services.provider.limits import Allowance
from chalicelib.services.provider.ports import StoredAnswer
from chalicelib.services.provider.state import Account

MOST_BODY = 64 * 1024
LONGEST_PARAMETER = 1_024
KEPT = ("Content-Type", "Location", "Cache-Control")  # Of an answer that is kept for repeats.
IN_FLIGHT = 30_000  # Milliseconds; the gateway gives an answer up after 29 s.


CallBody = TypeVar("CallBody", bound=Body)
Caller = Literal["anyone", "certificate", "token", "account", "peer"]


@dataclasses.dataclass(frozen=True, slots=True)
class Call(Generic[CallBody]):
    """A request that is decoded and authenticated as its route asks.

    `account`, `presented` or `peer` is the caller, by the route's kind; reading another kind's is a bug.
    """

    request_id: str
    parameters: dict[str, str]
    query: dict[str, str]
    headers: Any
    raw_body: bytes
    thumbprint: str | None
    idempotency_key: str | None
    caller: Account | Presented | Peer | None
    decoded: CallBody | None

    @property
    def body(self) -> CallBody:
        """The decoded body of a route that takes one."""
        if self.decoded is None:
            raise AssertionError("the route takes no body")
        return self.decoded

    @property
    def account(self) -> Account:
        """The application provider that calls."""
        return _as(Account, self.caller)

    @property
    def presented(self) -> Presented:
        """The verified token, where the service checks the account itself."""
        return _as(Presented, self.caller)

    @property
    def peer(self) -> Peer:
        """The GP that calls."""
        return _as(Peer, self.caller)


Wanted = TypeVar("Wanted")


def _as(kind: type[Wanted], caller: object) -> Wanted:
    if not isinstance(caller, kind):
        raise TypeError(f"the route was not called by a {kind.__name__}")
    return caller


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """An answer that is more than a body: a status of its own, headers, bytes."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    allowance: Allowance | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Route:
    """What a route is, as data."""

    method: str
    path: str
    caller: Caller
    scope: str | None
    takes: type[Body] | None
    gives: Any
    status: int
    repeatable: bool
    summary: str

    @property
    def public(self) -> bool:
        """Whether the route is served without a client certificate."""
        return self.caller == "anyone"


ROUTES: list[Route] = []

View = Callable[[Call[Any]], Any]


class Door(Blueprint):  # type: ignore[misc]
    """A blueprint whose routes are data."""

    def serve(
        self,
        method: str,
        path: str,
        caller: Caller,
        *,
        scope: str | None = None,
        takes: type[Body] | None = None,
        gives: Any = None,
        status: int = 200,
        repeatable: bool = False,
    ) -> Callable[[View], View]:
        """Register a view for a method and path.

        `repeatable` routes honour Idempotency-Key. `gives` is the answer's type, or a media type.
        """

        def register(view: View) -> View:
            summary = (view.__doc__ or "").strip().splitlines()[0]
            route = Route(method, path, caller, scope, takes, gives, status, repeatable, summary)
            ROUTES.append(route)

            @functools.wraps(view)
            def chalice_view(**parameters: str) -> Response:
                return _answer(route, view, self.current_request, parameters)

            self.route(path, methods=[method], content_types=["*/*"])(chalice_view)
            return view

        return register


class GladosApp(Chalice):  # type: ignore[misc]
    """A Chalice app whose own errors look like ours.

    Every media type is declared binary, so bodies cross API Gateway unchanged whatever `Accept` says; a gateway
    that lists some types would hand a client base64 text instead of a filter unless its `Accept` is right.
    """

    def __init__(self, app_name: str) -> None:
        super().__init__(app_name=app_name)
        self.api.binary_types = ["*/*"]

    def __call__(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        """Answer one API Gateway event."""
        headers = event.get("headers") or {}
        if not any(name.lower() == "accept" for name in headers):
            event = {**event, "headers": {**headers, "Accept": "*/*"}}
        response: dict[str, Any] = super().__call__(event, context)
        status, media = response["statusCode"], response.get("headers", {}).get("Content-Type", "")
        if status < 400 or media == problems.MEDIA_TYPE or "X-Request-Id" in response.get("headers", {}):
            return response
        return _reshape(response, _request_id(event.get("requestContext", {})))


def _reshape(response: dict[str, Any], request_id: str) -> dict[str, Any]:
    """Turn an error that Chalice made into a problem document."""
    by_status: dict[int, errors.Refusal] = {
        400: errors.NotAcceptable("the answer's media type is none of those the caller accepts"),
        405: errors.MethodNotAllowed("this path does not take this method"),
        415: errors.UnsupportedMediaType("this route does not take this media type"),
    }
    refusal = by_status.get(response["statusCode"])
    if refusal is None:
        body = problems.body_of(problems.INTERNAL, "the error is logged under this request id", request_id, {})
    else:
        body = problems.body_of(problems.problem_of(refusal), str(refusal), request_id, {})
    kept = {name: value for name, value in response.get("headers", {}).items() if name.lower() == "allow"}
    return {
        "statusCode": body["status"],
        "headers": {
            **kept,
            "Content-Type": problems.MEDIA_TYPE,
            "X-Request-Id": request_id,
            "Cache-Control": "no-store",
        },
        "multiValueHeaders": {},
        "body": json.dumps(body),
        "isBase64Encoded": False,
    }


def _answer(route: Route, view: View, request: Any, parameters: dict[str, str]) -> Response:
    """Serve one request: authenticate, decode, call, encode. Every refusal becomes a problem document."""
    request_id = _request_id(request.context)
    try:
        return _serve(route, view, request, parameters, request_id)
    except errors.Refusal as refusal:
        return _refused(route, refusal, request_id)
    except Exception as error:  # noqa: BLE001 (the last line: a bug or an outage becomes a bare 500)
        log.failure("unhandled error", error, request_id=request_id)
        return _problem(problems.INTERNAL, "the error is logged under this request id", request_id, {}, {})


def _serve(route: Route, view: View, request: Any, parameters: dict[str, str], request_id: str) -> Response:
    thumbprint = _thumbprint(request.context)
    caller = _authenticate(route, request.headers, thumbprint)
    raw_body = bytes(request.raw_body or b"")
    if len(raw_body) > MOST_BODY:
        raise errors.BodyTooLarge(len(raw_body), MOST_BODY)
    if any(len(value) > LONGEST_PARAMETER for value in parameters.values()):
        raise errors.NotFound("there is no such thing")
    call: Call[Any] = Call(
        request_id=request_id,
        parameters=parameters,
        query=dict((request.query_params or {}).items()),
        headers=request.headers,
        raw_body=raw_body,
        thumbprint=thumbprint,
        idempotency_key=_idempotency_key(route, request.headers),
        caller=caller,
        decoded=None
        if route.takes is None
        else bodies.decode(raw_body, request.headers.get("content-type"), route.takes),
    )
    if call.idempotency_key is None or not isinstance(caller, Account):
        return _encode(route, view(call), request_id)
    return _once(route, view, call, f"{request.method} {_path(request)}")


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
        response = _refused(route, refusal, call.request_id)
    except BaseException:
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


def _authenticate(route: Route, headers: Any, thumbprint: str | None) -> Account | Presented | Peer | None:
    if route.caller == "anyone":
        return None
    access = wiring.access()
    if route.caller == "peer":
        return access.peer(thumbprint)
    if route.caller == "certificate":
        return None  # The token endpoint checks the certificate itself, and answers in OAuth's own form.
    if thumbprint is None:
        raise errors.ClientCertificateRequired("this route is served to client certificates only")
    scheme, _, token = (headers.get("authorization") or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise errors.TokenRequired("an access token goes into the Authorization header as Bearer")
    if route.caller == "token":
        return access.present(token.strip(), thumbprint)
    if route.scope is None:
        raise AssertionError("a route for accounts names its scope")
    return access.caller(token.strip(), thumbprint, route.scope)


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
        headers.setdefault("Content-Type", "application/octet-stream")
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


def _refused(route: Route, refusal: errors.Refusal, request_id: str) -> Response:
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


def _thumbprint(context: dict[str, Any]) -> str | None:
    """Return the RFC 8705 thumbprint of the certificate that the gateway verified, if there was one."""
    pem = ((context.get("identity") or {}).get("clientCert") or {}).get("clientCertPem")
    return None if not pem else _thumbprint_of(pem)


@functools.lru_cache(maxsize=1_000)
def _thumbprint_of(pem: str) -> str:
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _request_id(context: dict[str, Any]) -> str:
    return str(context.get("requestId") or uuid.uuid4())


def _path(request: Any) -> str:
    path: str = request.path
    for name, value in (request.uri_params or {}).items():
        path = path.replace("{" + name + "}", value)
    return path
