"""A loopback listener: accepts connections, shakes hands, and gives each a thread of its own.

The TLS handshake happens in the connection's thread, so that a client that dawdles over it holds up nobody
else. The number of connections is bounded; further ones wait in the kernel's queue.
"""

import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

HANDSHAKE_SECONDS = 10.0
MAX_CONNECTIONS = 256
BACKLOG = 512

Serve = Callable[[socket.socket], None]


def reserve_port() -> socket.socket:
    """Return a listening socket on a free port of 127.0.0.1.

    Whoever holds it may hand it to a child process: clients that come early wait in its queue, and nobody
    else can take the port in between.
    """
    return socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)


def hold_port(port: int = 0) -> socket.socket:
    """Return a socket on a port of 127.0.0.1 that does not listen, for who cannot be handed one that does.

    Clients are refused, no connection is given the port for its own end, and whoever is told its number can listen
    there as servers do, with SO_REUSEADDR.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", port))
    return held


class Listener:
    """Serves every connection to one listening socket, which it owns from here on.

    `serve` is called with the connected socket in a thread of its own and returns when the connection is
    done; the listener closes it. Without `context` the connections are plain TCP.
    """

    def __init__(
        self,
        sock: socket.socket,
        serve: Serve,
        context: ssl.SSLContext | None = None,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self._socket = sock
        self._serve = serve
        self._context = context
        self._slots = threading.BoundedSemaphore(max_connections)
        self._open: dict[threading.Thread, socket.socket] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._acceptor = threading.Thread(target=self._accept, name="accept", daemon=True)
        self.port: int = sock.getsockname()[1]

    def start(self) -> None:
        """Begin to accept."""
        self._acceptor.start()

    def stop(self, seconds: float = 5.0) -> None:
        """Accept and read no more; what is being answered gets some time to be written."""
        self._stopping.set()
        _shut(self._socket, socket.SHUT_RDWR)  # Wakes the acceptor.
        self._acceptor.join(seconds)
        self._socket.close()
        with self._lock:
            still_open = dict(self._open)
        for sock in still_open.values():
            _shut(sock, socket.SHUT_RD)  # Whoever waits for a request sees the end of the connection.
        deadline = time.monotonic() + seconds
        for thread in still_open:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _accept(self) -> None:
        while not self._stopping.is_set():
            if not self._slots.acquire(timeout=0.5):
                continue
            try:
                sock, _ = self._socket.accept()
            except OSError as error:
                self._slots.release()
                if not self._stopping.is_set():
                    logger.warning("accept failed: %s", type(error).__name__)
                    self._stopping.wait(0.1)  # Out of descriptors, most likely: do not spin.
                continue
            thread = threading.Thread(target=self._run, args=(sock,), name="connection", daemon=True)
            with self._lock:
                self._open[thread] = sock
            thread.start()

    def _run(self, sock: socket.socket) -> None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                sock = self._shake_hands(sock, self._context)
            self._serve(sock)
        except OSError:
            pass  # No certificate, a foreign one, no TLS at all, or gone: there is nobody left to tell.
        finally:
            with self._lock:
                self._open.pop(threading.current_thread()).close()
            self._slots.release()

    def _shake_hands(self, sock: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
        sock.settimeout(HANDSHAKE_SECONDS)
        with self._lock:  # Wrapping moves the descriptor to a new object, which `stop` must find.
            secured = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            self._open[threading.current_thread()] = secured
        secured.do_handshake()
        return secured


def _shut(sock: socket.socket, how: int) -> None:
    """Shut `sock` down from outside, without touching the TLS state that its own thread is using."""
    with contextlib.suppress(OSError):  # It may have ended by itself.
        socket.socket.shutdown(sock, how)
