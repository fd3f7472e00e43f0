"""Every Chalice oddity, in one file: how a route that is data becomes one of Chalice's.

A route says what it is by data: method, path, who may call it, what body it takes and gives. From the same data
come the dispatch, the refusal of callers without a client certificate, idempotency, and `/openapi.json`.

What Chalice does that this file undoes:

* It answers 405, 415, missing `Accept` and unhandled errors in a JSON shape of its own; `GladosApp` reshapes them.
* It refuses an answer when there is no `Accept`; HTTP says that means anything is acceptable.
* It leaves path parameters as they came; ids here need no decoding, and over-long ones are no ids.
* Registering a blueprint changes it, so there is one app a process.
"""

import functools
import json
from collections.abc import Callable
from typing import Any

from chalice import Blueprint, Chalice, Response

from chalicelib import errors
from chalicelib.handlers import problems, serving
from chalicelib.handlers.calls import Caller, Refused, Route
from chalicelib.protocol.bodies import Body


class Door(Blueprint):  # type: ignore[misc]
    """A blueprint whose routes are data."""

    def __init__(self, import_name: str) -> None:
        super().__init__(import_name)
        self.routes: list[Route] = []

    def serve(
        self,
        method: str,
        path: str,
        caller: Caller,
        *,
        scope: str | None = None,
        takes: type[Body] | None = None,
        takes_bytes: tuple[str, ...] = (),
        gives: Any = None,
        status: int = 200,
        repeatable: bool = False,
        refused: Refused | None = None,
    ) -> Callable[[serving.View], serving.View]:
        """Register a view for a method and path; see `Route`. `repeatable` routes honour Idempotency-Key."""

        def register(view: serving.View) -> serving.View:
            summary = (view.__doc__ or "").strip().splitlines()[0]
            route = Route(method, path, caller, scope, takes, takes_bytes, gives, status, repeatable, refused, summary)
            self.routes.append(route)

            @functools.wraps(view)
            def chalice_view(**parameters: str) -> Response:
                return serving.answer(route, view, self.current_request, parameters)

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
        self.described: list[Route] = []

    def register_blueprint(self, blueprint: Blueprint, *options: Any, **named: Any) -> None:
        """Serve a blueprint's routes and jobs."""
        super().register_blueprint(blueprint, *options, **named)
        if isinstance(blueprint, Door):
            self.described += blueprint.routes

    def __call__(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        """Answer one API Gateway event."""
        headers = event.get("headers") or {}
        if not any(name.lower() == "accept" for name in headers):
            event = {**event, "headers": {**headers, "Accept": "*/*"}}
        response: dict[str, Any] = super().__call__(event, context)
        status, media = response["statusCode"], response.get("headers", {}).get("Content-Type", "")
        if status < 400 or media == problems.MEDIA_TYPE or "X-Request-Id" in response.get("headers", {}):
            return response
        return _reshape(response, serving.request_id_of(event.get("requestContext", {})))


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
