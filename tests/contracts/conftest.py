"""The two sides of every contract: the fakes, and the adapters on an emulated AWS."""

import dataclasses

import pytest

from tests.contracts import aws
from tests.contracts.ports import Ports, memory


@pytest.fixture(params=["memory", "aws"])
def ports(request: pytest.FixtureRequest) -> Ports:
    if request.param == "memory":
        return memory()
    adapters = aws.ports()
    return Ports(**{field.name: getattr(adapters, field.name) for field in dataclasses.fields(Ports)})
