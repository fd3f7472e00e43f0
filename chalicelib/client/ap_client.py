"""A GP's client API from an application provider's server.

    client = ApClient(url, client_id, client_secret, cert="ap.pem", key="ap.key", ca="ca.pem")
    opened = client.open_verification("tel:+447400123456", user_id="bob")
    made = client.enter_code(opened["verification_id"], "bob", "123456")
    print(client.query("tel:+447400123456")["mapping"]["ssi"])

Answers are the JSON objects of the contract. A refusal raises `ApiProblem` with the problem document. One client
serves many threads; it takes an access token when it needs one and again shortly before that ends.
"""

import base64
import json
import ssl
import threading
import time
from typing import Any, Literal
from urllib.parse import quote, urlencode

import urllib3

SECONDS = 30.0
RENEW_BEFORE_SECONDS = 60


class ApiProblem(Exception):
    """The GP refused; `problem` is its RFC 9457 document (or OAuth's error object)."""

    def __init__(self, status: int, problem: dict[str, Any], headers: dict[str, str]) -> None:
        kind = problem.get("type", problem.get("error", "no problem document"))
        blamed = f"{problem['field']}: " if "field" in problem else ""
        super().__init__(f"{status} {kind}: {blamed}{problem.get('detail', problem.get('error_description', ''))}")
        self.status = status
        self.problem = problem
        self.headers = headers


class ApClient:
    """Calls one GP as one application provider, over mutual TLS."""

    def __init__(
        self, url: str, client_id: str, client_secret: str, *, cert: str, key: str, ca: str | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self.client_id = client_id
        self._secret = client_secret
        context = ssl.create_default_context(cafile=ca)
        context.load_cert_chain(cert, key)
        self._pool = urllib3.PoolManager(maxsize=32, block=True, ssl_context=context, retries=False)
        self._token = ""
        self._token_ends = 0.0
        self._renewing = threading.Lock()

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def query(self, sii: str) -> dict[str, Any]:
        """Find the preferred mapping of an identifier."""
        return self.call("POST", "/v1/queries", {"sii": sii})

    def open_verification(self, sii: str, user_id: str, *, idempotency_key: str | None = None) -> dict[str, Any]:
        """Have a code sent to an identifier that a user claims."""
        return self.call("POST", "/v1/verifications", {"sii": sii, "user_id": user_id}, idempotency_key)

    def enter_code(
        self, verification_id: str, user_id: str, code: str, *, idempotency_key: str | None = None
    ) -> dict[str, Any]:
        """Hand in the code that the user typed."""
        path = f"/v1/verifications/{quote(verification_id, safe='')}/code"
        return self.call("POST", path, {"user_id": user_id, "code": code}, idempotency_key)

    def choose(self, sii: str, user_id: str, choice: Literal["prefer", "replace", "keep"]) -> dict[str, Any]:
        """Record which application the user wants to be reached at."""
        return self.call("POST", "/v1/preferences", {"sii": sii, "user_id": user_id, "choice": choice})

    def remove(self, mapping_id: str) -> dict[str, Any]:
        """End one of the provider's own mappings."""
        return self.call("DELETE", f"/v1/mappings/{quote(mapping_id, safe='')}")

    def restore(self, mapping_id: str) -> dict[str, Any]:
        """Bring back one of the provider's own tombstones."""
        return self.call("POST", f"/v1/mappings/{quote(mapping_id, safe='')}/restore", {})

    def set_webhook(self, url: str) -> dict[str, Any]:
        """Point the webhook at a URL; the answer holds the signing secret, this once."""
        return self.call("PUT", "/v1/webhook", {"url": url})

    def events(self, after: str | None = None) -> dict[str, Any]:
        """Read the history of events, from after an event on."""
        return self.call("GET", "/v1/events" + (f"?{urlencode({'after': after})}" if after else ""))

    def call(
        self, method: str, path: str, body: dict[str, Any] | None = None, idempotency_key: str | None = None
    ) -> dict[str, Any]:
        """Call any route of the contract and return its JSON answer ({} for none); raise `ApiProblem`."""
        headers = {"Authorization": f"Bearer {self._access_token()}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        return self._send(method, path, headers, None if body is None else json.dumps(body).encode())

    def _access_token(self) -> str:
        with self._renewing:
            if time.monotonic() >= self._token_ends:
                basic = f"{quote(self.client_id, safe='')}:{quote(self._secret, safe='')}".encode()
                headers = {
                    "Authorization": "Basic " + base64.b64encode(basic).decode(),
                    "Content-Type": "application/x-www-form-urlencoded",
                }
                form = urlencode({"grant_type": "client_credentials"}).encode()
                grant = self._send("POST", "/oauth2/token", headers, form)
                self._token = grant["access_token"]
                self._token_ends = time.monotonic() + grant["expires_in"] - RENEW_BEFORE_SECONDS
            return self._token

    def _send(self, method: str, path: str, headers: dict[str, str], body: bytes | None) -> dict[str, Any]:
        answer = self._pool.request(method, self.url + path, body=body, headers=headers, timeout=SECONDS)
        text = answer.data
        content: dict[str, Any] = {}
        if text and "json" in answer.headers.get("Content-Type", ""):
            content = json.loads(text)
        if answer.status >= 400:
            raise ApiProblem(answer.status, content, dict(answer.headers))
        return content
