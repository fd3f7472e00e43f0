"""Our own connections to DynamoDB: what they take for an answer, and what for none."""

import queue
import socket
import threading
from collections.abc import Iterator

import pytest
from botocore.exceptions import EndpointConnectionError, HTTPClientError

from chalicelib.storage.signed_call import Connections

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Server:
    """Gives each connection the answers of one script, and then ends it."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.threads: list[threading.Thread] = []
        self.ended: queue.Queue[None] = queue.Queue()

    def connections(self, *scripts: list[bytes]) -> Connections:
        port = self.listener.getsockname()[1]
        self.threads.append(threading.Thread(target=self._serve, args=(scripts,)))
        self.threads[-1].start()
        return Connections(f"http://127.0.0.1:{port}/", "127.0.0.1", port, None)

    def _serve(self, scripts: tuple[list[bytes], ...]) -> None:
        for script in scripts:
            sock, _ = self.listener.accept()
            with sock:
                for answer in script:
                    sock.recv(65_536)
                    sock.sendall(answer)
            self.ended.put(None)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    for thread in server.threads:
        thread.join(60)
    server.listener.close()


def test_a_connection_is_kept_for_the_next_request(server: Server) -> None:
    connections = server.connections([OK, OK])
    assert connections.post({}, b"1") == (200, b"{}")
    assert connections.post({}, b"2") == (200, b"{}")


def test_a_connection_that_ended_while_it_was_idle_is_replaced(server: Server) -> None:
    connections = server.connections([OK], [OK])
    assert connections.post({}, b"") == (200, b"{}")
    server.ended.get(timeout=60)
    assert connections.post({}, b"") == (200, b"{}")


def test_a_server_that_ends_the_connection_is_heard(server: Server) -> None:
    connections = server.connections([OK.replace(b"Content", b"Connection: close\r\nContent")], [OK])
    for _ in range(2):
        assert connections.post({}, b"") == (200, b"{}")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}",
        b"HTTP/1.1 2",
        b"",
    ],
)
def test_an_answer_that_does_not_say_where_it_ends_is_none(server: Server, answer: bytes) -> None:
    with pytest.raises(HTTPClientError):
        server.connections([answer]).post({}, b"")


def test_where_nobody_listens_nothing_was_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(EndpointConnectionError):
        Connections("http://127.0.0.1/", "127.0.0.1", port, None).post({}, b"")
