"""HTTP/1.1 as a strict server reads and writes it (RFC 9112), one connection at a time.

A request is accepted only if two readers could not disagree about where it ends: one grammar for the whole
header section, no folded lines, no bare CR or LF, one Content-Length or one `chunked` but never both. All
else is refused and the connection closed, for what follows on it can no longer be told apart.

The parser is one regular expression over the section rather than a mail parser, because the serving
process's time per request is something we measure.
"""

import http
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate

from infra.local.problems import GatewayProblem

HEADER_SECTION_LIMIT = 10_240
RECEIVE_BYTES = 65_536

_SECTION = re.compile(
    rb"([A-Z]{1,16}) (/[!-~]*) HTTP/1\.1\r\n"
    rb"((?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[^\x00-\x08\x0a-\x1f\x7f]*\r\n)*)\r\n"
)
_DIGITS = re.compile(r"[0-9]{1,15}")
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}")
_REASONS = {status.value: status.phrase for status in http.HTTPStatus}
_BODILESS = frozenset({204, 304})


class RequestRefused(Exception):
    """The connection carried something that is not an acceptable request; it must be closed."""

    def __init__(self, problem: GatewayProblem, detail: str | None = None) -> None:
        super().__init__(detail or problem.detail)
        self.problem = problem
        self.detail = detail


class ConnectionEnded(Exception):
    """The client went away, or stayed silent between two requests for too long."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a client may be silent, and take for each part of a request, in seconds.

    `idle` bounds both the wait for a next request and the wait for a client to take an answer.
    """

    idle: float = 60.0
    headers: float = 10.0
    body: float = 30.0


@dataclass(frozen=True, slots=True)
class Request:
    """One request; header names are in lower case, and each has its values in the order received."""

    method: str
    target: str
    headers: dict[str, list[str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the last value of a header, as API Gateway does."""
        values = self.headers.get(name)
        return values[-1] if values else None

    @property
    def keeps_alive(self) -> bool:
        """Whether the client wants to send another request on this connection."""
        connection = self.header("connection")
        return connection is None or "close" not in connection.lower()


class Connection:
    """The server's end of one connection: requests are read from it and answers written to it."""

    def __init__(self, sock: socket.socket, body_limit: int, timeouts: Timeouts) -> None:
        self._socket = sock
        self._body_limit = body_limit
        self._timeouts = timeouts
        self._buffer = b""
        self._deadline = 0.0
        self._timeout: float | None = None

    def read_request(self) -> Request:
        """Wait for the next request, or raise `RequestRefused` or `ConnectionEnded`."""
        section = self._read_section()
        match = _SECTION.fullmatch(section)
        if match is None:
            raise RequestRefused(GatewayProblem.MALFORMED_REQUEST)
        method, target, lines = match.groups()
        headers: dict[str, list[str]] = {}
        for line in lines.decode("latin-1").split("\r\n")[:-1]:
            name, _, value = line.partition(":")
            headers.setdefault(name.lower(), []).append(value.strip(" \t"))
        # RFC 9112 §3.2: a request without exactly one Host is refused.
        if len(headers.get("host", ())) != 1:
            raise RequestRefused(GatewayProblem.MALFORMED_REQUEST, "exactly one Host header is needed")
        if b"#" in target:
            raise RequestRefused(GatewayProblem.MALFORMED_REQUEST, "a request target has no fragment")
        return Request(method.decode(), target.decode(), headers, self._read_body(headers))

    def _read_section(self) -> bytes:
        if not self._buffer:
            self._wait_at_most(self._timeouts.idle)
            try:
                self._buffer = self._socket.recv(RECEIVE_BYTES)
            except OSError as error:  # Silence, a reset, or a certificate refused after the handshake.
                raise ConnectionEnded from error
            if not self._buffer:
                raise ConnectionEnded
        self._deadline = time.monotonic() + self._timeouts.headers
        while (end := self._buffer.find(b"\r\n\r\n", 0, HEADER_SECTION_LIMIT)) < 0:
            if len(self._buffer) >= HEADER_SECTION_LIMIT:
                raise RequestRefused(GatewayProblem.HEADERS_TOO_LARGE)
            self._buffer += self._receive()
        section = self._buffer[: end + 4]
        self._buffer = self._buffer[end + 4 :]
        return section

    def _read_body(self, headers: Mapping[str, list[str]]) -> bytes:
        lengths = headers.get("content-length")
        codings = headers.get("transfer-encoding")
        if lengths is None and codings is None:
            return b""
        self._deadline = time.monotonic() + self._timeouts.body
        if lengths is not None and codings is not None:
            raise RequestRefused(
                GatewayProblem.MALFORMED_REQUEST, "Content-Length and Transfer-Encoding exclude one another"
            )
        if codings is not None:
            if [coding.lower() for coding in codings] != ["chunked"]:
                raise RequestRefused(GatewayProblem.MALFORMED_REQUEST, "only the coding chunked is known")
            self._invite_body(headers)
            return self._read_chunks()
        if len(lengths or ()) != 1 or not _DIGITS.fullmatch((lengths or [""])[0]):
            raise RequestRefused(GatewayProblem.MALFORMED_REQUEST, "Content-Length is not one number")
        length = int((lengths or [""])[0])
        self._check_body_size(length)
        if length > len(self._buffer):
            self._invite_body(headers)
        return self._read_exactly(length)

    def _invite_body(self, headers: Mapping[str, list[str]]) -> None:
        """Tell a client that asked to be told that its body is welcome (RFC 9110 §10.1.1)."""
        expectations = headers.get("expect")
        if expectations is None:
            return
        if [expectation.lower() for expectation in expectations] != ["100-continue"]:
            raise RequestRefused(GatewayProblem.MALFORMED_REQUEST, "the expectation is not known")
        self._send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _read_chunks(self) -> bytes:
        """Read a chunked body (RFC 9112 §7.1); extensions and trailers are refused."""
        chunks: list[bytes] = []
        total = 0
        while True:
            line = self._read_chunk_line()
            if not _CHUNK_SIZE.fullmatch(line):
                raise RequestRefused(GatewayProblem.MALFORMED_REQUEST, "a chunk size is malformed")
            size = int(line, 16)
            total += size
            self._check_body_size(total)
            chunks.append(self._read_exactly(size))
            if self._read_exactly(2) != b"\r\n":
                raise RequestRefused(GatewayProblem.MALFORMED_REQUEST, "a chunk does not end where it says")
            if size == 0:
                return b"".join(chunks)

    def _read_chunk_line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n", 0, 12)) < 0:
            if len(self._buffer) >= 12:
                raise RequestRefused(GatewayProblem.MALFORMED_REQUEST, "a chunk size is malformed")
            self._buffer += self._receive()
        line = self._buffer[:end]
        self._buffer = self._buffer[end + 2 :]
        return line

    def _read_exactly(self, length: int) -> bytes:
        parts = [self._buffer]
        missing = length - len(self._buffer)
        while missing > 0:
            parts.append(self._receive())
            missing -= len(parts[-1])
        whole = b"".join(parts)
        self._buffer = whole[length:]
        return whole[:length]

    def _check_body_size(self, size: int) -> None:
        if size > self._body_limit:
            raise RequestRefused(GatewayProblem.BODY_TOO_LARGE, f"at most {self._body_limit} bytes of body are taken")

    def _receive(self) -> bytes:
        """Return some bytes of a request that has begun, within the deadline of its present part."""
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise RequestRefused(GatewayProblem.REQUEST_TIMEOUT)
        self._wait_at_most(remaining)
        try:
            received = self._socket.recv(RECEIVE_BYTES)
        except TimeoutError as error:
            raise RequestRefused(GatewayProblem.REQUEST_TIMEOUT) from error
        except OSError as error:
            raise ConnectionEnded from error
        if not received:
            raise ConnectionEnded
        return received

    def send_response(
        self,
        status: int,
        headers: list[tuple[str, str]],
        body: bytes,
        *,
        method: str = "GET",
        keep_alive: bool = True,
    ) -> None:
        """Write one whole answer in one piece, so that no half of it waits for an acknowledgement."""
        head = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}\r\nDate: {_http_date()}\r\n"]
        head += [f"{name}: {value}\r\n" for name, value in headers]
        if status not in _BODILESS:
            head.append(f"Content-Length: {len(body)}\r\n")
        head.append("\r\n" if keep_alive else "Connection: close\r\n\r\n")
        message = "".join(head).encode("latin-1", "replace")
        if status not in _BODILESS and method != "HEAD":
            message += body
        self._send(message)

    def _send(self, message: bytes) -> None:
        try:
            self._wait_at_most(self._timeouts.idle)
            self._socket.sendall(message)
        except OSError as error:
            raise ConnectionEnded from error

    def _wait_at_most(self, seconds: float) -> None:
        """Bound the next operation; setting a timeout costs a system call, so only a new one is set."""
        if seconds != self._timeout:
            self._socket.settimeout(seconds)
            self._timeout = seconds

    def drain(self, limit: int = 32 * 1024 * 1024, seconds: float = 2.0) -> None:
        """Read what the client is still sending, so that closing does not destroy the answer on its way.

        A socket closed with unread bytes resets the connection, and the client would see that instead of
        the refusal. Bounded in bytes and time: a client that never ends is cut off.
        """
        try:
            deadline = time.monotonic() + seconds
            self._socket.shutdown(socket.SHUT_WR)
            while limit > 0 and (remaining := deadline - time.monotonic()) > 0:
                self._wait_at_most(remaining)
                received = self._socket.recv(RECEIVE_BYTES)
                if not received:
                    return
                limit -= len(received)
        except OSError:
            return  # The client has gone, which is what was waited for.


_date: tuple[int, str] = (0, "")


def _http_date() -> str:
    """Return the Date header's value, made once a second."""
    global _date  # noqa: PLW0603 - a cache of one value; a race writes the same value twice
    now = int(time.time())
    if _date[0] != now:
        _date = (now, formatdate(now, usegmt=True))
    return _date[1]
