"""A TLS server to be a delivery service, for the clients."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.authority import Authority
from tests.storage.tls_server import Reply, Server, serving


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
