"""The port `PeerClient`: other GPs over mutual TLS.

Every URL lies under the peer's listed origins, every answer has a bound on its bytes, every call one on its
time, and nothing is tried twice here. A download may be redirected once, to another place under those origins.
"""

import concurrent.futures
import hashlib
import re
import threading
import time
from collections import Counter
from collections.abc import Mapping as Map
from collections.abc import Sequence
from typing import Literal, TypeVar
from urllib.parse import urljoin

import msgspec
import urllib3
import urllib3.exceptions

from chalicelib.errors import DecodeError, InvalidValue
from chalicelib.protocol.glados.federation_api import (
    ClaimAnswer,
    ClaimRequest,
    FilterAnswer,
    Notification,
    PeerMappings,
    PeerQuery,
    SubscriptionAnswer,
    SubscriptionRequest,
)
from chalicelib.protocol.glados.identifiers import Sii
from chalicelib.protocol.glados.mappings import Mapping
from chalicelib.protocol.glados.trust import Peer
from chalicelib.services.ports import Refused, Unreachable
from chalicelib.services.provider.ports import Outcome
from chalicelib.storage.breaker import Breaker
from chalicelib.storage.federation_tls import FederationTls
from chalicelib.storage.https import ask, read_bounded

ASK_SECONDS = 1.5
CALL_SECONDS = 10.0
DOWNLOAD_SECONDS = 120.0
MOST_BYTES = 1 << 20
MOST_REFUSAL_BYTES = 16 << 10
MOST_AT_ONCE = 64
MOST_AT_ONE_PEER = 8  # A peer that drips its answers holds threads beyond the deadline, and these are all it gets.

_PROBLEM = re.compile(rb'"urn:glados:problem:([a-z0-9-]{1,64})"')
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

Body = TypeVar("Body")


class HttpsPeerClient:
    """Calls peers as the GP whose certificate `tls` holds."""

    def __init__(self, tls: FederationTls, ask_seconds: float = ASK_SECONDS) -> None:
        self.tls = tls
        self.ask_seconds = ask_seconds
        self.breaker = Breaker()
        self._threads: concurrent.futures.ThreadPoolExecutor | None = None
        self._in_flight: Counter[str] = Counter()
        self._counting = threading.Lock()

    def ask(
        self, peers: Sequence[Peer], sii: Sii, asker: str, now: int
    ) -> dict[str, tuple[Outcome, tuple[Mapping, ...]]]:
        """Ask all peers at once; who has not answered when the time is up is unreachable."""
        answers: dict[str, tuple[Outcome, tuple[Mapping, ...]]] = {}
        asked: dict[str, concurrent.futures.Future[tuple[Mapping, ...]]] = {}
        deadline = time.monotonic() + self.ask_seconds
        threads = self._threads = self._threads or concurrent.futures.ThreadPoolExecutor(MOST_AT_ONCE, "peers")
        query = msgspec.json.encode(PeerQuery(sii=sii.uri, asker=asker))
        for peer in peers:
            if self._in_flight[peer.gp] < MOST_AT_ONE_PEER and self.breaker.allows(peer.gp, now):
                asked[peer.gp] = threads.submit(self._ask, peer, query, deadline)
            else:
                answers[peer.gp] = ("skipped", ())
        concurrent.futures.wait(asked.values(), timeout=max(0.0, deadline - time.monotonic()))
        for gp, future in asked.items():
            answers[gp] = _outcome(future)
            self.breaker.note(gp, now, answered=answers[gp][0] == "answered")
        return answers

    def _ask(self, peer: Peer, query: bytes, deadline: float) -> tuple[Mapping, ...]:
        url = peer.origins[0] + "/federation/v1/queries"
        with self._counting:
            self._in_flight[peer.gp] += 1
        try:
            data = self._call(peer, "POST", url, query, deadline=deadline)
        finally:
            with self._counting:
                self._in_flight[peer.gp] -= 1
        return tuple(mapping.read(peer.gp) for mapping in _decode(data, PeerMappings).mappings)

    def filter(self, peer: Peer) -> FilterAnswer:
        """Fetch a peer's manifest, head and newest deltas."""
        return _decode(self._call(peer, "GET", peer.origins[0] + "/federation/v1/filter"), FilterAnswer)

    def download(self, peer: Peer, path: str, size: int, sha256: str) -> bytes:
        """Fetch an immutable object, which must have this size and digest."""
        url = urljoin(peer.origins[0] + "/", path)
        deadline = time.monotonic() + DOWNLOAD_SECONDS
        response = self._send(self.tls.identified(), peer, "GET", url, None, deadline)
        try:
            if response.status in _REDIRECTS:
                url = _target(url, response.headers.get("Location", ""))
                response.close()
                response = self._send(self.tls.anonymous(), peer, "GET", url, None, deadline)
            data = _read(response, size, deadline)
        finally:
            response.close()
        if len(data) != size or hashlib.sha256(data).hexdigest() != sha256:
            raise Unreachable("the object is not the one that was announced")
        return data

    def subscribe(self, peer: Peer, request: SubscriptionRequest) -> SubscriptionAnswer:
        """Subscribe to a version of a peer's filter."""
        url = peer.origins[0] + "/federation/v1/subscriptions"
        return _decode(self._call(peer, "POST", url, msgspec.json.encode(request)), SubscriptionAnswer)

    def notify(self, peer: Peer, callback: str, notification: Notification) -> None:
        """Tell a subscriber what it missed."""
        self._call(peer, "POST", callback, msgspec.json.encode(notification))

    def claim(self, peer: Peer, claim: str) -> ClaimAnswer:
        """Tell a peer of a choice."""
        body = msgspec.json.encode(ClaimRequest(claim=claim))
        return _decode(self._call(peer, "POST", peer.origins[0] + "/federation/v1/claims", body), ClaimAnswer)

    def _call(
        self,
        peer: Peer,
        method: Literal["GET", "POST"],
        url: str,
        body: bytes | None = None,
        *,
        deadline: float | None = None,
    ) -> bytes:
        """Return the body of a successful answer."""
        deadline = deadline or time.monotonic() + CALL_SECONDS
        response = self._send(self.tls.identified(), peer, method, url, body, deadline)
        try:
            return _read(response, MOST_BYTES, deadline)
        except BaseException:  # Whatever broke off: what is left of the answer must not be read as the next one.
            response.close()
            raise

    def _send(
        self,
        pool: urllib3.PoolManager,
        peer: Peer,
        method: Literal["GET", "POST"],
        url: str,
        body: bytes | None,
        deadline: float,
    ) -> urllib3.BaseHTTPResponse:
        try:
            peer.check_origin(url)
        except InvalidValue as error:
            raise Unreachable("the URL does not lie under the peer's origins") from error
        left = deadline - time.monotonic()
        if left <= 0:
            raise Unreachable("there was no time left to ask")
        headers: Map[str, str] = {"Accept": "application/json"} if method == "GET" else _JSON
        return ask(pool, peer.gp, method, url, headers, body, left)


_JSON = {"Accept": "application/json", "Content-Type": "application/json"}


def _target(url: str, location: str) -> str:
    """Return where a redirect leads."""
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise Unreachable("the peer redirects to what is no URL") from error


def _outcome(future: "concurrent.futures.Future[tuple[Mapping, ...]]") -> tuple[Outcome, tuple[Mapping, ...]]:
    if not future.done():
        future.cancel()
        return ("unreachable", ())
    try:
        return ("answered", future.result())
    except (Unreachable, Refused, DecodeError):
        return ("unreachable", ())


def _read(response: urllib3.BaseHTTPResponse, most: int, deadline: float) -> bytes:
    """Return the body of a success; raise `Refused` for a client's error and `Unreachable` for anything else."""
    try:
        if 200 <= response.status < 300:
            return read_bounded(response, most, deadline)
        if 400 <= response.status < 500:
            problem = _PROBLEM.search(read_bounded(response, MOST_REFUSAL_BYTES, deadline))
            raise Refused(response.status, problem[1].decode() if problem else "no reason given")
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise Unreachable(f"the answer broke off: {type(error).__name__}") from error
    raise Unreachable(f"the peer answered with status {response.status}")


def _decode(data: bytes, as_type: type[Body]) -> Body:
    try:
        return msgspec.json.decode(data, type=as_type)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unreachable("the peer's answer is not what its route answers") from error
