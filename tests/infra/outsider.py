"""A script from outside: it has `endpoints.json` and the standard library, and nothing of ours."""

import base64
import dataclasses
import hashlib
import hmac
import json
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

Found = TypeVar("Found")

SECONDS = 60


@dataclasses.dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def wait_for(what: str, look: Callable[[], Found | None]) -> Found:
    """Look until there is something, for a minute."""
    until = time.monotonic() + SECONDS
    while not (found := look()):
        assert time.monotonic() < until, f"{what} did not happen"
        time.sleep(0.05)  # Nobody outside can be called.
    return found


def send(method: str, url: str, context: ssl.SSLContext | None, body: Any = None, **headers: str) -> Answer:
    """Send one request; a refusal is an answer like any other."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    if raw is not None:
        named.setdefault("Content-Type", "application/json")
    request = urllib.request.Request(url, raw, named, method=method)
    try:
        answer = urllib.request.urlopen(request, context=context, timeout=SECONDS)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return Answer(answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read())


def claims_of(token: str) -> dict[str, Any]:
    """Read what a JWS says."""
    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


class Outsider:
    """Knows what `endpoints.json` says, and which numbers it had registered where."""

    def __init__(self, endpoints: Path) -> None:
        self.said: dict[str, Any] = json.loads(endpoints.read_text())
        self.registered: dict[str, set[str]] = {gp: set() for gp in self.said["gps"]}
        self._tokens: dict[str, str] = {}

    def context(self, who: dict[str, Any] | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.said["ca"])
        if who is not None:
            context.load_cert_chain(who["cert"], who["key"])
        return context

    def ds_token(self, ap: dict[str, Any], ds: str) -> Answer:
        """Ask a delivery service for a token with the credentials that a provider has at one."""
        basic = base64.b64encode(f"{ap['ds']['client_id']}:{ap['ds']['client_secret']}".encode()).decode()
        return send(
            "POST",
            self.said["ds"][ds]["url"] + "/oauth2/token",
            self.context(ap),
            b"grant_type=client_credentials",
            Content_Type="application/x-www-form-urlencoded",
            Authorization=f"Basic {basic}",
        )

    def public(self, path: str, gp: str = "eu", method: str = "GET", body: Any = None, **headers: str) -> Answer:
        """Call the door that asks for no certificate."""
        return send(method, self.said["gps"][gp]["public_url"] + path, self.context(), body, **headers)

    def token(self, name: str) -> str:
        if name not in self._tokens:
            ap = self.said["aps"][name]
            basic = base64.b64encode(f"{ap['client_id']}:{ap['client_secret']}".encode()).decode()
            granted = send(
                "POST",
                self.said["gps"][ap["gp"]]["url"] + "/oauth2/token",
                self.context(ap),
                b"grant_type=client_credentials",
                Authorization=f"Basic {basic}",
                Content_Type="application/x-www-form-urlencoded",
            )
            assert granted.status == 200, granted
            self._tokens[name] = granted.json["access_token"]
        return self._tokens[name]

    def ap(self, name: str, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Call a route as an application provider."""
        ap = self.said["aps"][name]
        url = self.said["gps"][ap["gp"]]["url"] + path
        return send(method, url, self.context(ap), body, Authorization=f"Bearer {self.token(name)}", **headers)

    def peer(self, method: str, path: str, body: Any = None, gp: str = "eu") -> Answer:
        """Call a route as the observer, a GP that holds nothing."""
        return send(method, self.said["gps"][gp]["url"] + path, self.context(self.said["peers"]["observer"]), body)

    def received(self, what: str, **of: str) -> list[dict[str, Any]]:
        """Read what the world outside received."""
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in of.items())
        listed: list[dict[str, Any]] = send("GET", f"{self.said['inbox']}/{what}?{query}", None).json
        return listed

    def code(self, sii: str, nth: int = 1) -> str:
        """Return the code of the nth message to an address, as its user reads it."""
        to = sii.partition(":")[2]
        messages = wait_for("the message", lambda: self.received("messages", to=to)[nth - 1 :])
        match = re.search(r"\b\d{6}\b", messages[0]["body"])
        assert match is not None
        return match[0]

    def register(self, name: str, sii: str, user_id: str, nth: int = 1) -> dict[str, Any]:
        """Register a user by the nth code that the address is sent."""
        opened = self.ap(name, "POST", "/v1/verifications", {"sii": sii, "user_id": user_id})
        assert opened.status == 201, opened
        body = {"user_id": user_id, "code": self.code(sii, nth)}
        made = self.ap(name, "POST", f"/v1/verifications/{opened.json['verification_id']}/code", body)
        assert made.status == 200, made
        self.registered[self.said["aps"][name]["gp"]].add(sii)
        answer: dict[str, Any] = made.json
        return answer

    def webhooks(self, name: str, type_: str) -> list[dict[str, Any]]:
        """Return the events of a type that a provider's webhook received, after checking each one's signature."""
        events = []
        for delivery in self.received("webhooks", ap=name):
            event = json.loads(delivery["body"])
            if event["type"] == type_:
                events.append({**event, "id": self.check_signature(name, delivery)})
        return events

    def check_signature(self, name: str, delivery: dict[str, Any]) -> str:
        """Check a delivery as Standard Webhooks says, and return its id."""
        headers = {field.lower(): value for field, value in delivery["headers"].items()}
        secret = base64.b64decode(self.said["aps"][name]["webhook_secret"].removeprefix("whsec_"))
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{delivery['body']}".encode()
        expected = "v1," + base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()
        assert expected in headers["webhook-signature"].split(" ")
        identity: str = headers["webhook-id"]
        return identity

    def filter(self, gp: str = "eu") -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
        """Return the current manifest, head and newest deltas."""
        answer = self.peer("GET", "/federation/v1/filter", gp=gp)
        assert answer.status == 200, answer
        return claims_of(answer.json["manifest"]), claims_of(answer.json["head"]), answer.json["deltas"]


def position(sii: str, manifest: dict[str, Any]) -> int:
    """Compute an identifier's one position by the contract's words: the low N bits of SHA-256(salt ‖ SII)."""
    salt = base64.urlsafe_b64decode(manifest["salt"] + "=" * (-len(manifest["salt"]) % 4))
    bits: int = manifest["n"]
    return int.from_bytes(hashlib.sha256(salt + sii.encode()).digest(), "big") & ((1 << bits) - 1)
