"""API Gateway's side of the doors: requests with or without a client certificate, and who sends them."""

import base64
import dataclasses
import json
from typing import Any
from urllib.parse import urlencode

from chalice.test import Client

from chalicelib.handlers import problems
from chalicelib.handlers.routing import GladosApp
from infra.local.authority import Identity


@dataclasses.dataclass(frozen=True)
class Answer:
    """An answer, its header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def problem(self, status: int, slug: str) -> dict[str, Any]:
        """Return the problem document, after checking that it is this one and whole."""
        document: dict[str, Any] = self.json
        assert (self.status, document["type"]) == (status, problems.PREFIX + slug), document
        assert document["status"] == status
        assert self.headers["content-type"] == problems.MEDIA_TYPE
        assert self.headers["x-request-id"] == document["request_id"]
        assert self.headers["cache-control"] == "no-store"
        assert {"title", "detail"} <= set(document)
        assert ("www-authenticate" in self.headers) == (status == 401 or slug == "insufficient-scope")
        return document


class Edge:
    """Calls the app as API Gateway does: bodies in base64, the verified client certificate in the event.

    `chalice.test.Client` knows neither, so its events are completed where it makes them.
    """

    def __init__(self, app: GladosApp) -> None:
        self.client = Client(app)
        self._identity: Identity | None = None
        converter = self.client.http._local_gateway.event_converter
        made = converter.create_lambda_event

        def complete(**request: Any) -> dict[str, Any]:
            event: dict[str, Any] = made(**request)
            if self._identity is not None:
                pem = self._identity.cert.read_text()
                event["requestContext"]["identity"]["clientCert"] = {"clientCertPem": pem}
            event["body"] = base64.b64encode(request["body"] or b"").decode()
            event["isBase64Encoded"] = True
            return event

        converter.create_lambda_event = complete

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        *,
        identity: Identity | None = None,
    ) -> Answer:
        """Send a request; a body that is not bytes travels as JSON."""
        raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        typed = {} if body is None else {"content-type": "application/json"}
        self._identity = identity
        answer = self.client.http.request(method, path, headers={**typed, **(headers or {})}, body=raw)
        lower = {name.lower(): value for name, value in answer.headers.items()}
        return Answer(answer.status_code, lower, answer.body)


@dataclasses.dataclass(frozen=True)
class Ap:
    """An enrolled application provider at the edge."""

    edge: Edge
    provider_id: str
    client_id: str
    secret: str = dataclasses.field(repr=False)
    identity: Identity

    def grant(self, form: dict[str, str] | None = None, *, identity: Identity | None = None, **basic: str) -> Answer:
        """Ask for an access token; anything can be asked wrongly."""
        pair = f"{basic.get('client_id', self.client_id)}:{basic.get('secret', self.secret)}"
        return self.edge.call(
            "POST",
            "/oauth2/token",
            urlencode({"grant_type": "client_credentials"} if form is None else form).encode(),
            {
                "Authorization": "Basic " + base64.b64encode(pair.encode()).decode(),
                "content-type": "application/x-www-form-urlencoded",
            },
            identity=identity or self.identity,
        )

    def token(self, scope: str | None = None) -> str:
        """Return a fresh access token with all scopes, or with one."""
        form = {"grant_type": "client_credentials"} | ({} if scope is None else {"scope": scope})
        answer = self.grant(form)
        assert answer.status == 200, answer.body
        token: str = answer.json["access_token"]
        return token

    def call(
        self, method: str, path: str, body: Any = None, *, key: str | None = None, token: str | None = None
    ) -> Answer:
        """Call a route with a good token, or with the one given."""
        headers = {"Authorization": f"Bearer {token or self.token()}"}
        if key is not None:
            headers["Idempotency-Key"] = key
        return self.edge.call(method, path, body, headers, identity=self.identity)
