"""What a whole run of the tests is told on the command line, how it goes about, and what every test may ask for."""

import os
from pathlib import Path

import hypothesis
import pytest

# Here, so that it holds in whatever order folders are collected: the same examples in every run, and none is too slow.
hypothesis.settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("repeatable")

ROOT = Path(__file__).parent.parent
CAMPAIGN = 15


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--campaign",
        type=int,
        default=CAMPAIGN,
        metavar="N",
        help="let the federation live through N random histories (default: 15), and other campaigns N/15 times as long",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "campaign_seed" in metafunc.fixturenames:
        metafunc.parametrize("campaign_seed", range(metafunc.config.getoption("--campaign")))


@pytest.fixture(scope="session")
def campaign(request: pytest.FixtureRequest) -> int:
    """Return how many times longer than by default a campaign runs that is no life of the federation."""
    length: int = request.config.getoption("--campaign")
    return max(1, length // CAMPAIGN)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of texts and vectors beside the repository, or skip."""
    folder = Path(os.environ.get("GLADOS_SHARED", ROOT.parent / "shared"))
    if not (folder / "vectors" / "mls").is_dir():
        # The texts and official vectors are no part of the project; it carries small vectors of its own.
        pytest.skip("neither GLADOS_SHARED nor ../shared is a folder with the MLS working group's files in vectors/mls")
    return folder
