"""What every test may ask for."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let long campaigns be asked for; their default is short."""
    parser.addoption("--campaign", type=int, default=1, metavar="N", help="run random campaigns N times as long")


@pytest.fixture(scope="session")
def campaign(request: pytest.FixtureRequest) -> int:
    """Return how many times longer than by default a random campaign runs."""
    length: int = request.config.getoption("--campaign")
    return length


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of texts and vectors beside the repository, or skip."""
    folder = Path(os.environ.get("GLADOS_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip("there is no ../shared, and GLADOS_SHARED names no folder")
    return folder
