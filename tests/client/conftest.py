"""A TLS server to be a delivery service, for the clients."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from chalicelib.client import (
    DeliveryClient,
)
from chalicelib.client.signer import Signer
from chalicelib.protocol.crypto import cipher_suite
from chalicelib.protocol.delivery import media
from chalicelib.protocol.delivery.messages import ROUTES, DSMessage, DSSenderID
from chalicelib.protocol.delivery.responses import (
    Answer,
)
from chalicelib.protocol.tls import decode
from infra.local.authority import Authority
from tests.client.hub import KEY, NONCE, Serve, reply
from tests.protocol.delivery.requests import DOMAIN
from tests.storage.tls_server import Asked, Reply, Server, serving


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def ca(authority: Authority) -> str:
    return str(authority.cert)


@pytest.fixture
def server(authority: Authority) -> Iterator[Server]:
    with serving(authority.issue_server("eu"), lambda _: Reply(404)) as running:
        yield running


@pytest.fixture
def pauses() -> list[float]:
    """Return the pauses that a client made instead of sleeping, once it has run."""
    return []


@pytest.fixture
def tmp_ca(tmp_path: Path) -> str:
    """Return an authority that nobody is certified by."""
    return str(Authority(tmp_path / "stranger").cert)


@pytest.fixture
def serve(server: Server) -> Serve:
    """Have the server take every well signed message that comes to its route, and answer all alike."""

    def serving(answer: Answer, signer: Signer = KEY) -> list[DSMessage]:
        taken: list[DSMessage] = []

        def answer_one(asked: Asked) -> Reply:
            message = decode(DSMessage.read, asked.body)
            assert asked.headers["Content-Type"] == media.DS_MESSAGE
            assert ROUTES[asked.path.removeprefix("/ds/v1/")] is message.request.request_type
            message.verify(cipher_suite(signer.cipher_suite), signer.signature_key)
            taken.append(message)
            return reply(asked, answer)

        server.answer = answer_one
        return taken

    return serving


@pytest.fixture
def client(server: Server, ca: str, pauses: list[float]) -> DeliveryClient:
    return DeliveryClient(
        server.origin,
        DOMAIN,
        KEY,
        uploader=(KEY, DSSenderID.user(b"h" * 32)),
        ca=ca,
        clock=lambda: 1_700_000_000.5,
        entropy=lambda size: NONCE[:size],
        sleep=pauses.append,
    )
