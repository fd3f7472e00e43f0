"""A house with two users, alice and bob, and a group of them."""

import pytest

from tests.services.delivery.accounts.user import User
from tests.services.delivery.house import House, Person


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def bob(house: House) -> User:
    """A user with two clients."""
    user = User(house, "bob", Person(house, "phone", user="bob"), Person(house, "laptop", user="bob"))
    user.register()
    return user


@pytest.fixture
def alice(house: House) -> User:
    user = User(house, "alice")
    user.register()
    return user


@pytest.fixture
def group(house: House, alice: User, bob: User) -> House:
    """A house with a group of alice and bob's two clients, which the index of memberships knows."""
    (creator,) = alice.clients
    creator.create()
    creator.add(*bob.clients)
    house.deliver()
    return house
