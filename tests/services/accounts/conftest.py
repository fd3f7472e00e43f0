"""A stage with one application provider: its operator's hand, and its check of tokens."""

import dataclasses
import hashlib

import pytest

from chalicelib.protocol.base64url import encode_base64url
from chalicelib.services.accounts.access import Access
from chalicelib.services.accounts.enrolment import Enrolment
from chalicelib.services.accounts.state import Account
from tests.fakes.world import World


def thumbprint(name: str) -> str:
    """Return a certificate thumbprint that nobody else has."""
    return encode_base64url(hashlib.sha256(name.encode()).digest())


@dataclasses.dataclass(frozen=True)
class Stage:
    """What both roles have of application providers."""

    world: World
    access: Access
    enrolment: Enrolment


@pytest.fixture
def stage(world: World) -> Stage:
    access = Access(world.accounts, world.keyring, world.clock, world.entropy, "https://eu.example")
    return Stage(world, access, Enrolment(world.accounts, world.keyring, world.clock, world.entropy))


@pytest.fixture
def world() -> World:
    return World(gp="eu")


@pytest.fixture
def alpha(stage: Stage) -> Account:
    certificates = ((thumbprint("alpha"), stage.world.clock() + 10**10),)
    account, _ = stage.enrolment.enrol("alpha", "Alpha", "alpha.example", review="ticket 7", certificates=certificates)
    return account
