"""A bounded load generator in a process of its own, so that its work is not charged to what it measures.

`put_load` is the caller's side. The process takes a plan on standard input and prints the outcome: one thread a
connection, each with one request in flight, kept alive, over mutual TLS or plain TCP, to 127.0.0.1 only.
"""

import dataclasses
import itertools
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from infra.local.authority import Identity, client_context

ANSWER_SECONDS = 90.0
RECEIVE_BYTES = 65_536

_REPOSITORY = Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """A server on this machine, the headers it wants, and how to authenticate; plain TCP without `ca`."""

    port: int
    headers: dict[str, str]
    ca: Path | None = None
    identity: Identity | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Sent:
    """One request of a load: a POST with a JSON body."""

    path: str
    body: str


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a load: the latencies of the requests in milliseconds, in ascending order.

    `answers` are the bodies in the order of the requests, where each request was sent once.
    """

    seconds: float
    latencies: list[float]
    statuses: dict[str, int]
    answers: list[str]

    @property
    def done(self) -> int:
        """How many requests were answered."""
        return len(self.latencies)

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.done / self.seconds

    def percentile(self, percent: float) -> float:
        """Return the latency in milliseconds that so many in a hundred requests stayed within."""
        return self.latencies[min(self.done - 1, int(self.done * percent / 100))]

    def check(self, *expected: int) -> None:
        """Raise if an answer had another status: a rate of refusals is no rate."""
        if set(self.statuses) - {str(status) for status in expected}:
            raise RuntimeError(f"the load was answered with {self.statuses}")


def put_load(target: Target, requests: Sequence[Sent], *, connections: int, seconds: float | None = None) -> Outcome:
    """Send each request once or, with `seconds`, the requests in turn until the time is up."""
    plan = {
        "target": dataclasses.asdict(target),
        "requests": [(request.path, request.body) for request in requests],
        "connections": connections,
        "seconds": seconds,
    }
    done = subprocess.run(
        [sys.executable, "-m", "infra.bench._load"],
        input=json.dumps(plan, default=str),
        capture_output=True,
        text=True,
        check=False,
        cwd=_REPOSITORY,
    )
    if done.returncode:
        raise RuntimeError(f"the load generator failed: {done.stderr.strip()[-2000:]}")
    return Outcome(**json.loads(done.stdout))


def main() -> None:
    """Carry out the plan on standard input."""
    plan = json.load(sys.stdin)
    identity = plan["target"]["identity"]
    target = Target(
        plan["target"]["port"],
        plan["target"]["headers"],
        plan["target"]["ca"] and Path(plan["target"]["ca"]),
        identity and Identity(Path(identity["cert"]), Path(identity["key"])),
    )
    requests = [_written(target, path, body) for path, body in plan["requests"]]
    json.dump(dataclasses.asdict(_Load(target, requests, plan["seconds"]).run(plan["connections"])), sys.stdout)


def _written(target: Target, path: str, body: str) -> bytes:
    content = body.encode()
    headers = {
        "Host": f"127.0.0.1:{target.port}",
        **target.headers,
        "Content-Type": "application/json",
        "Content-Length": str(len(content)),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + content


class _Load:
    def __init__(self, target: Target, requests: list[bytes], seconds: float | None) -> None:
        self._target = target
        self._requests = requests
        self._seconds = seconds
        # Each `next` is one step of the interpreter, so that threads need no lock.
        self._turns = iter(range(len(requests))) if seconds is None else itertools.count()
        self._latencies: list[float] = []
        self._statuses: Counter[str] = Counter()
        self._answers = [""] * (len(requests) if seconds is None else 0)
        self._failures: list[BaseException] = []
        self._deadline = float("inf")

    def run(self, connections: int) -> Outcome:
        context = None if self._target.ca is None else client_context(self._target.ca, self._target.identity)
        sockets = [self._connected(context) for _ in range(connections)]
        began = time.perf_counter()
        self._deadline = began + self._seconds if self._seconds is not None else self._deadline
        threads = [threading.Thread(target=self._work, args=(sock,), daemon=True) for sock in sockets]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - began
        if self._failures:
            raise self._failures[0]
        return Outcome(seconds, sorted(self._latencies), dict(self._statuses), self._answers)

    def _connected(self, context: ssl.SSLContext | None) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self._target.port), ANSWER_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock if context is None else context.wrap_socket(sock, server_hostname="127.0.0.1")

    def _work(self, sock: socket.socket) -> None:
        try:
            with sock:
                for turn in self._turns:
                    began = time.perf_counter()
                    if began >= self._deadline:
                        return
                    sock.sendall(self._requests[turn % len(self._requests)])
                    status, body = _answer(sock)
                    self._latencies.append((time.perf_counter() - began) * 1000)
                    self._statuses[status] += 1
                    if self._answers:
                        self._answers[turn] = body.decode()
        except BaseException as error:  # noqa: BLE001 - a thread has nobody else to tell
            self._failures.append(error)


def _answer(sock: socket.socket) -> tuple[str, bytes]:
    """Read one answer, which ends where its Content-Length or its last chunk says."""
    received = _more(sock, b"")
    while (end := received.find(b"\r\n\r\n")) < 0:
        received = _more(sock, received)
    head, rest = received[:end].lower(), received[end + 4 :]
    status = head[9:12].decode()
    _, found, after = head.partition(b"\r\ncontent-length:")
    if found:
        length = int(after.partition(b"\r\n")[0])
        while len(rest) < length:
            rest = _more(sock, rest)
        return status, rest
    if b"\r\ntransfer-encoding: chunked" not in head:
        return status, b""
    while not rest.endswith(b"0\r\n\r\n"):
        rest = _more(sock, rest)
    return status, _joined(rest)


def _joined(chunks: bytes) -> bytes:
    body = b""
    while True:
        size, _, chunks = chunks.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            return body
        body, chunks = body + chunks[:length], chunks[length + 2 :]


def _more(sock: socket.socket, received: bytes) -> bytes:
    data = sock.recv(RECEIVE_BYTES)
    if not data:
        raise ConnectionError("the server closed a connection that was to be kept alive")
    return received + data


if __name__ == "__main__":
    main()
