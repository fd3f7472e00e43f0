"""One authority, one emulator and one gateway for all tests of the local run."""

import contextlib
import http.client
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra.local.authority import Authority, Identity, client_context, server_context
from infra.local.emulator import Emulator
from infra.local.gateway import Gateway, Limits
from infra.local.http1 import Timeouts
from infra.local.listener import reserve_port
from infra.local.supervisor import Supervisor
from tests.infra.local import toy

REGION = "eu-central-1"
LIMITS = Limits(integration_seconds=1.0)
TIMEOUTS = Timeouts(idle=5.0, headers=0.4, body=0.4)
"""What a hasty gateway goes by. All others have AWS's own, so that no test of them is about how busy the machine is."""


@dataclass(frozen=True)
class Doors:
    """The toy application's two listeners, and what callers need."""

    main: int
    public: int
    ca: Path
    alice: Identity
    log: list[str]

    def trusting(self, identity: Identity | None = None) -> ssl.SSLContext:
        return client_context(self.ca, identity)

    def connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("127.0.0.1", self.main, context=self.trusting(self.alice), timeout=10)

    def call(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[Any, bytes]:
        connection = self.connect()
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def send_raw(self, data: bytes, *more: bytes) -> bytes:
        """Send bytes as they are, and return all that comes until the other side closes."""
        answer = b""
        raw = http.client.socket.create_connection(("127.0.0.1", self.main), timeout=10)  # type: ignore[attr-defined]
        with self.trusting(self.alice).wrap_socket(raw, server_hostname="127.0.0.1") as sock:
            for part in (data, *more):
                sock.sendall(part)
            while received := sock.recv(65_536):
                answer += received
        return answer


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def supervisor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervisor]:
    with Supervisor(tmp_path_factory.mktemp("run")) as supervisor:
        yield supervisor


@pytest.fixture(scope="session")
def emulator(supervisor: Supervisor) -> Emulator:
    return Emulator.start(supervisor)


@pytest.fixture
def aws(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    """Make this process a client of the emulator."""
    for name, value in emulator.environment(REGION).items():
        monkeypatch.setenv(name, value)
    return emulator


@pytest.fixture(scope="session")
def doors(authority: Authority) -> Iterator[Doors]:
    with opened(authority, Limits(), Timeouts()) as doors:
        yield doors


@pytest.fixture(scope="session")
def hasty(authority: Authority) -> Iterator[Doors]:
    with opened(authority, LIMITS, TIMEOUTS) as doors:
        yield doors


@contextlib.contextmanager
def opened(authority: Authority, limits: Limits, timeouts: Timeouts) -> Iterator[Doors]:
    log: list[str] = []
    gateway = Gateway(toy.app, "toy", limits=limits, timeouts=timeouts, access_log=log.append)
    server = authority.issue_server("server")
    main, public = reserve_port(), reserve_port()
    ports = main.getsockname()[1], public.getsockname()[1]
    gateway.listen(main, server_context(server, client_ca=authority.cert))
    gateway.listen(public, server_context(server))
    yield Doors(*ports, authority.cert, authority.issue_client("alice"), log)
    gateway.stop()


def problem(body: bytes) -> dict[str, Any]:
    """Decode a problem document, and check that it is whole."""
    document: dict[str, Any] = json.loads(body)
    assert set(document) == {"type", "title", "status", "detail", "request_id"}
    return document
