"""Outgoing HTTPS within bounds: on bytes, on time as a whole, and without redirects.

A socket's own timeout bounds each read; a server that sends a byte now and then would hold us for hours. So a
timer closes the connection when the whole time is up.
"""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Protocol

import urllib3
import urllib3.exceptions

from chalicelib.services.ports import Unreachable

_PIECE = 64 << 10
_CUT_AGAIN = 0.2  # Seconds.


class Connection(Protocol):
    """What of a urllib3 connection is used here."""

    sock: socket.socket | None


class TooLong(Unreachable):
    """The answer has more bytes than it may have."""


def ask(
    pool: urllib3.PoolManager,
    who: str,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | None,
    seconds: float,
) -> urllib3.BaseHTTPResponse:
    """Ask a peer once and nobody else, whatever it answers, and return the answer with its body unread.

    Who does not answer within so many seconds is `Unreachable`.
    """
    try:
        return pool.request(
            method,
            url,
            body=body,
            headers=plain_headers(headers),
            timeout=urllib3.Timeout(total=seconds),
            retries=False,
            redirect=False,
            preload_content=False,
        )
    except urllib3.exceptions.HTTPError as error:
        raise Unreachable(f"the peer {who} did not answer: {type(error).__name__}") from error


def read_bounded(response: urllib3.BaseHTTPResponse, most: int, deadline: float) -> bytes:
    """Return the body of an answer of at most `most` bytes, or raise `Unreachable`."""
    data = bytearray()
    while len(data) <= most:
        if time.monotonic() > deadline:
            raise Unreachable("the answer took too long")
        piece = response.read1(_PIECE)
        if not piece:
            return bytes(data)
        data += piece
    raise TooLong("the answer is too long")


@contextlib.contextmanager
def closed_after(connection: Connection, seconds: float) -> Iterator[None]:
    """Cut a connection when the time is up, whatever it is waiting for.

    It is cut again until the block is left: while TLS is being set up the connection changes its socket, and a
    single cut could meet the one that is just being left behind.
    """
    left = threading.Event()

    def cut() -> None:
        wait = seconds
        while not left.wait(wait):
            wait = _CUT_AGAIN
            if connection.sock is not None:
                with contextlib.suppress(OSError):  # It closed by itself just now.
                    connection.sock.shutdown(socket.SHUT_RDWR)

    threading.Thread(target=cut, name="deadline", daemon=True).start()
    try:
        yield
    finally:
        left.set()


def trusting(authorities: str | None) -> ssl.SSLContext:
    """Return a client context that trusts the system's authorities and those given (PEM)."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if authorities:
        context.load_verify_locations(cadata=authorities)
    return context


def plain_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers that ask for no compression, so that a bound on bytes is a bound."""
    return {**headers, "Accept-Encoding": "identity"}
