"""One delivery service with three people in a group: alice, bob, and carol, whose queue is at another domain."""

import pytest

from chalicelib.services.delivery.state import GroupId
from tests.services.delivery.house import GROUP, House, Person, settled


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def alice(house: House) -> Person:
    return Person(house, "alice")


@pytest.fixture
def bob(house: House) -> Person:
    return Person(house, "bob")


@pytest.fixture
def carol(house: House) -> Person:
    return Person(house, "carol", "us.ds.example")


@pytest.fixture
def group(alice: Person, bob: Person, carol: Person) -> GroupId:
    """All three, in epoch 1."""
    settled(alice, bob, carol)
    return GROUP
