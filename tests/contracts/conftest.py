"""The two sides of every contract: the fakes, and the adapters on an emulated AWS."""

import dataclasses

import pytest

from tests.contracts import aws, delivery
from tests.contracts.delivery import DsPorts
from tests.contracts.ports import Ports, memory


@pytest.fixture(params=["memory", "aws"])
def ports(request: pytest.FixtureRequest) -> Ports:
    if request.param == "memory":
        return memory()
    adapters = aws.ports()
    return Ports(**{field.name: getattr(adapters, field.name) for field in dataclasses.fields(Ports)})


@pytest.fixture(params=["memory", "aws"])
def ds(request: pytest.FixtureRequest) -> DsPorts:
    return delivery.memory() if request.param == "memory" else delivery.new_on_aws()
