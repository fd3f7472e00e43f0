"""The two sides of every contract: the fakes, and the adapters on an emulated AWS."""

import importlib
import importlib.util
from collections.abc import Iterator

import pytest

from tests.contracts.ports import Ports, memory

ADAPTERS = "tests.contracts.aws"  # Its `ports()` is a context manager that yields `Ports` on empty tables.


@pytest.fixture(params=["memory", "aws"])
def ports(request: pytest.FixtureRequest) -> Iterator[Ports]:
    if request.param == "memory":
        yield memory()
    elif importlib.util.find_spec(ADAPTERS) is None:
        pytest.skip(f"{ADAPTERS} does not exist yet, so no adapter is under contract")
    else:
        with importlib.import_module(ADAPTERS).ports() as adapters:
            yield adapters
