"""One GP with two application providers."""

import pytest

from chalicelib.services.accounts.state import Account
from tests.fakes.world import World
from tests.services.provider.providers import Gp, provider


@pytest.fixture
def gp() -> Gp:
    return provider(World(gp="eu"))


@pytest.fixture
def world(gp: Gp) -> World:
    return gp.world


@pytest.fixture
def alpha(gp: Gp) -> Account:
    return gp.enrol("alpha", webhook=True)


@pytest.fixture
def beta(gp: Gp) -> Account:
    return gp.enrol("beta", webhook=True)
