"""The port `PeerCalls`: other delivery services over mutual TLS.

Every call goes to the origin that the operator admitted, shows our certificate, follows no redirect, and has a bound
on its time and on the bytes of its answer. Nothing is tried twice here: who calls knows what may be repeated.
"""

import time
from collections.abc import Mapping

import urllib3
import urllib3.exceptions

from chalicelib.services.delivery.state import DsPeer
from chalicelib.services.ports import Unreachable
from chalicelib.storage.federation_tls import FederationTls
from chalicelib.storage.https import ask, read_bounded

CALL_SECONDS = 20.0  # A caller of ours may wait for the answer, and the gateway gives up after 29.
MOST_BYTES = 4_500_000  # What a route of ours can pass on.


class HttpsPeerCalls:
    """Calls peers as the delivery service whose certificate `tls` holds."""

    def __init__(self, tls: FederationTls, call_seconds: float = CALL_SECONDS) -> None:
        self.tls = tls
        self.call_seconds = call_seconds

    def post(self, peer: DsPeer, path: str, media_type: str, body: bytes) -> tuple[int, str, bytes]:
        """Return status, media type and body of what the peer answers; a redirect or a 5xx is no answer."""
        headers = {"Content-Type": media_type}
        status, answered, answer = self._call(peer, "POST", path, headers, body, MOST_BYTES, self.call_seconds)
        return status, answered.get("content-type", "").partition(";")[0].strip().lower(), answer

    def get(self, peer: DsPeer, path: str, most: int, seconds: float) -> tuple[int, Mapping[str, str], bytes]:
        """Return status, headers and body of what the peer answers within so many bytes and seconds."""
        return self._call(peer, "GET", path, {}, None, most, min(seconds, self.call_seconds))

    def _call(
        self,
        peer: DsPeer,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        most: int,
        seconds: float,
    ) -> tuple[int, Mapping[str, str], bytes]:
        if not path.startswith("/"):
            raise ValueError("a path begins with /")
        deadline = time.monotonic() + seconds
        url = peer.origin + path
        response = ask(self.tls.identified(), peer.domain, method, url, headers, body, seconds)
        try:
            answer = read_bounded(response, most, deadline)
        except BaseException as error:
            response.close()  # What is left of the answer must not be read as the next one.
            if isinstance(error, urllib3.exceptions.HTTPError | OSError):
                raise Unreachable(f"the answer of {peer.domain} broke off: {type(error).__name__}") from error
            raise
        if not (200 <= response.status < 300 or 400 <= response.status < 500):
            raise Unreachable(f"the peer {peer.domain} answered with status {response.status}")
        return response.status, {name.lower(): value for name, value in response.headers.items()}, answer
