"""HTTPS to a delivery service: bounded, repeating what may have been lost, and checking what a reference promises.

A reply can be lost after the request took effect. The services know a repeat by its bytes and answer it as they did
the first, so the same bytes are sent again, a few times. What an answer says is the callers' to judge.
"""

import base64
import dataclasses
import hashlib
import json
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, SSLError

from chalicelib.errors import DecodeError
from chalicelib.protocol.base64url import decode_base64url
from chalicelib.protocol.delivery import media
from chalicelib.protocol.delivery.messages import DSMessage
from chalicelib.protocol.delivery.parts import Reference
from chalicelib.protocol.delivery.queue_requests import QSMessage

SECONDS: Final = 30.0
ATTEMPTS: Final = 4
FIRST_PAUSE: Final = 0.25
LONGEST_ANSWER: Final = 12 << 20
LONGEST_REFERENCE: Final = 256 << 20
"""Bytes of the largest thing fetched by reference: a tree of 2^18 leaves, twice over."""

PROBLEM: Final = "application/problem+json"

_PIECE = 64 << 10


class DeliveryError(Exception):
    """A delivery or queueing service did not do what it was asked, or nobody knows whether it did."""


class NoAnswer(DeliveryError):
    """No answer came, several times over. The request may have taken effect.

    Sending the same bytes again is safe: `message` is what was sent, for `send` of the same client.
    """

    message: DSMessage | QSMessage | None = None


class InvalidAnswer(DeliveryError):
    """What came is not an answer to what was sent; `status` is its HTTP status, where it had one."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason if status is None else f"status {status}: {reason}")
        self.status = status


@dataclasses.dataclass(frozen=True)
class Reply:
    """What came back, whatever it is."""

    status: int
    media_type: str
    body: bytes
    headers: Mapping[str, str]

    @property
    def lost(self) -> bool:
        """Say whether the service's own answer may have been lost, so that to ask again is worth it.

        A problem document with 429 or 503 is no such thing: it says that nothing was done, and when to come back.
        """
        if self.status in {429, 503}:
            return self.media_type != PROBLEM
        return self.status >= 500

    @property
    def retry_after(self) -> float | None:
        """Return the seconds of Retry-After, if they are said."""
        after = self.headers.get("Retry-After", "")
        return float(after) if after.isdecimal() else None

    def problem(self) -> dict[str, Any]:
        """Return the problem document (RFC 9457), or {} where it is none."""
        try:
            found = json.loads(self.body) if self.media_type == PROBLEM else {}
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


class Https:
    """Calls one service, and whatever its answers refer to. One of these serves many threads."""

    def __init__(self, url: str, ca: str | None = None, sleep: Callable[[float], None] = time.sleep) -> None:
        self.url = url.rstrip("/")
        self._sleep = sleep
        context = ssl.create_default_context(cafile=ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._pool = urllib3.PoolManager(maxsize=32, block=True, ssl_context=context, retries=False)

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def post(self, path: str, media_type: str, body: bytes, answer: str, seconds: float = SECONDS) -> Reply:
        """Post a body until there is an answer: of the type `answer`, or one that nobody else would give."""
        headers = {"Content-Type": media_type, "Accept": f"{answer}, {PROBLEM}"}
        return self._repeat("POST", self.url + path, headers, body, seconds, answer=answer)

    def get(self, path: str) -> Reply:
        """Get something of the service's."""
        return self._repeat("GET", self.url + path, {"Accept": "application/json"}, None, SECONDS)

    def put(self, url: str, body: bytes) -> None:
        """Put a body where an upload was allowed, with those headers that the link was signed for."""
        signed = parse_qs(urlsplit(url).query).get("X-Amz-SignedHeaders", [""])[0].split(";")
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        ours = {"content-type": media.DS_MESSAGE, "x-amz-checksum-sha256": digest}
        headers = {name: value for name, value in ours.items() if name in signed}
        reply = self._repeat("PUT", _secure(url), headers, body, SECONDS)
        if not 200 <= reply.status < 300:
            raise InvalidAnswer("the upload was not taken", reply.status)

    def resolve(self, option: bytes | Reference) -> bytes:
        """Return what stands inline, or what a reference leads to if it is what was promised."""
        if isinstance(option, bytes):
            return option
        if option.length > LONGEST_REFERENCE:
            raise InvalidAnswer("a reference leads to more than is fetched")
        reply = self._repeat("GET", _secure(option.url), {}, None, SECONDS, most=option.length)
        if reply.status != 200:
            raise InvalidAnswer("a reference leads nowhere", reply.status)
        if len(reply.body) != option.length or hashlib.sha256(reply.body).digest() != option.sha256:
            raise InvalidAnswer("a reference leads to something else than it says")
        return reply.body

    def _repeat(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        seconds: float,
        answer: str = "",
        most: int = LONGEST_ANSWER,
    ) -> Reply:
        pause, reason = FIRST_PAUSE, "none came"
        for attempt in range(ATTEMPTS):
            if attempt:
                self._sleep(pause)
                pause *= 2
            try:
                reply = self._once(method, url, headers, body, seconds, most)
            except HTTPError as error:
                if isinstance(error, SSLError) and isinstance(error.args[0], ssl.SSLCertVerificationError):
                    raise  # Whoever it is, it is not who we mean, and will not be the next time.
                reason = f"{type(error).__name__}: {error}"
                continue
            if not reply.lost or (answer and reply.media_type == answer):
                return reply
            reason = f"status {reply.status}"
        raise NoAnswer(f"no answer after {ATTEMPTS} attempts: {reason}")

    def _once(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, seconds: float, most: int
    ) -> Reply:
        asked = {**headers, "Accept-Encoding": "identity"}  # So that a bound on bytes is one.
        answer = self._pool.request(
            method, url, body=body, headers=asked, timeout=seconds, preload_content=False, redirect=False
        )
        try:
            data = bytearray()
            while piece := answer.read(_PIECE):
                data += piece
                if len(data) > (most if answer.status < 400 else LONGEST_ANSWER):
                    raise InvalidAnswer("the answer is too long", answer.status)
            media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            return Reply(answer.status, media_type, bytes(data), dict(answer.headers))
        finally:
            answer.close()  # Which does nothing to a connection that is back in the pool already.
            answer.release_conn()


def _secure(url: str) -> str:
    if not url.startswith("https://"):
        raise InvalidAnswer("a link does not lead to HTTPS")
    return url


@dataclasses.dataclass(frozen=True)
class ServiceKey:
    """A key to seal to, and its number."""

    epoch: int
    key: bytes


@dataclasses.dataclass(frozen=True)
class Description:
    """What a delivery service says of itself: its name, where it is, and the keys that things are sealed to.

    `hub_key` is what it publishes as `state_key`: the state keys of sealed groups are sealed to it.
    """

    domain: str
    origin: str
    public_origin: str
    queue_config_key: ServiceKey
    hub_key: ServiceKey


def describe(https: Https) -> Description:
    """Fetch /.well-known/mimi-ds."""
    reply = https.get("/.well-known/mimi-ds")
    try:
        if reply.status != 200:
            raise InvalidAnswer("there is no description of a delivery service", reply.status)
        found = json.loads(reply.body)
        keys = [
            ServiceKey(int(found[name]["epoch"]), decode_base64url(found[name]["key"]))
            for name in ("queue_config_key", "state_key")
        ]
        return Description(str(found["domain"]), str(found["origin"]), str(found["public_origin"]), *keys)
    except (ValueError, KeyError, TypeError, DecodeError) as error:
        raise InvalidAnswer("this is not the description of a delivery service") from error
