"""One sealed group in a house."""

import pytest

from tests.services.delivery.house import House
from tests.services.delivery.sealed.insiders import Cast, Insider


@pytest.fixture
def cast() -> Cast:
    house = House()
    return Cast(house, Insider(house, "alice"), Insider(house, "bob"), Insider(house, "carol", "us.ds.example"))
