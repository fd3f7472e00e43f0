"""The port `WebhookSender`: a POST to an address that was looked at first.

An application provider names the URL, so it must not lead inside. The name is resolved once, every address that
it has must be public, and the connection goes to one of those addresses: a name that answers differently the
second time is never asked a second time. TLS still names and checks the host. Redirects are not followed, and
of the answer only the status is read.
"""

import http.client
import socket
import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

import urllib3.exceptions
from urllib3.connection import HTTPSConnection

from chalicelib.errors import InvalidValue
from chalicelib.protocol.glados.webhooks import check_url, is_public, origin_of
from chalicelib.services.ports import Unreachable
from chalicelib.storage.https import closed_after, plain_headers, trusting

SECONDS = 15.0

Resolve = Callable[[str, int], list[str]]


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class HttpsWebhookSender:
    """Posts to webhooks; `exempt_origin` may lead anywhere, and is for the local run's own inbox alone."""

    def __init__(
        self,
        exempt_origin: str | None = None,
        authorities: str | None = None,
        resolve: Resolve = resolve,
        seconds: float = SECONDS,
    ) -> None:
        self.exempt_origin = exempt_origin
        self.authorities = authorities
        self.resolve = resolve
        self.seconds = seconds
        self._context: ssl.SSLContext | None = None

    def post(self, url: str, headers: dict[str, str], body: bytes) -> int:
        """Return the status of one attempt."""
        try:
            check_url(url, self.exempt_origin)
        except InvalidValue as error:
            raise Unreachable("the webhook's URL is not one we call") from error
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 443
        address = self._address(host, port, exempt=origin_of(url) == self.exempt_origin)
        context = self._context = self._context or trusting(self.authorities)
        connection = HTTPSConnection(
            address, port, server_hostname=host, assert_hostname=host, ssl_context=context, timeout=self.seconds
        )
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        host_header = f"[{host}]" if ":" in host else host
        sent = plain_headers({**headers, "Host": host_header if port == 443 else f"{host_header}:{port}"})
        try:
            with closed_after(connection, self.seconds):
                connection.connect()
                connection.request("POST", target, body=body, headers=sent, preload_content=False)
                return connection.getresponse().status
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError) as error:
            # At this level urllib3 does not wrap what a malformed answer raises.
            raise Unreachable(f"the webhook did not answer: {type(error).__name__}") from error
        finally:
            connection.close()

    def _address(self, host: str, port: int, *, exempt: bool) -> str:
        """Return the address to connect to, after every address of the name was checked."""
        try:
            addresses = self.resolve(host, port)
        except (OSError, UnicodeError) as error:  # A label can be too long or empty for the resolver's encoding.
            raise Unreachable("the webhook's name does not resolve") from error
        if not addresses:
            raise Unreachable("the webhook's name has no address")
        if not exempt and not all(map(is_public, addresses)):
            raise Unreachable("the webhook's name leads to an address that is not public")
        return addresses[0]
