"""A TLS server on the loopback that answers what a test tells it to, and remembers who asked what."""

import dataclasses
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from infra.local.authority import Authority, Identity, server_context

LATE = 20.0
"""Seconds that what comes late takes: so many that whoever gave up before it came has not waited for it."""


@dataclasses.dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    client: bool


@dataclasses.dataclass(frozen=True)
class Reply:
    """`pieces` are sent one by one, with `pause` seconds after each."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    pieces: tuple[bytes, ...] = ()
    pause: float = 0.0
    delay: float = 0.0


NEVER = Reply(delay=LATE)
DRIP = Reply(pieces=(b" ",) * 100, pause=LATE / 100)


@dataclasses.dataclass
class Server:
    port: int
    answer: Callable[[Asked], Reply]
    asked: list[Asked] = dataclasses.field(default_factory=list)
    names: list[str | None] = dataclasses.field(default_factory=list)

    @property
    def origin(self) -> str:
        return f"https://localhost:{self.port}"


@contextmanager
def serving(
    identity: Identity, answer: Callable[[Asked], Reply], *, client_ca: Authority | None = None
) -> Iterator[Server]:
    """Serve until the test is over; with `client_ca`, a client may show a certificate of that authority."""
    server: Server

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            connection = self.connection
            assert isinstance(connection, ssl.SSLSocket)
            shown = bool(connection.getpeercert(binary_form=True))
            asked = Asked(self.command, self.path, dict(self.headers.items()), body, shown)
            server.asked.append(asked)
            reply = server.answer(asked)
            time.sleep(reply.delay)
            self.send_response(reply.status)
            for name, value in reply.headers:
                self.send_header(name, value)
            data = reply.pieces or (reply.body,)
            self.send_header("Content-Length", str(sum(map(len, data))))
            self.end_headers()
            for piece in data:
                self.wfile.write(piece)
                self.wfile.flush()
                time.sleep(reply.pause)

        do_GET = do_PUT = do_POST  # noqa: N815 - the library's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # Callers that hang up are what some tests are about.

    context = server_context(identity, client_ca.cert if client_ca else None)
    if client_ca:
        context.verify_mode = ssl.CERT_OPTIONAL
    http = Quiet(("127.0.0.1", 0), Handler)
    server = Server(http.server_address[1], answer)
    context.sni_callback = lambda _connection, name, _context: server.names.append(name)
    http.socket = context.wrap_socket(http.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
