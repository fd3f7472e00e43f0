"""What a whole run of the tests is told on the command line."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--campaign",
        type=int,
        default=15,
        metavar="N",
        help="let the federation live through N random histories (default: 15)",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "campaign_seed" in metafunc.fixturenames:
        metafunc.parametrize("campaign_seed", range(metafunc.config.getoption("--campaign")))
