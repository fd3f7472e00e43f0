"""One delivery service over an in-process AWS; providers enrol and call on it as on any other stage.

What the parent makes of its edge, or of its authority, is made here anew, by importing it. pytest would hand on what it
has made for the parent's tests, if those came first: it looks for a fixture by name and keeps it for the folder that
defines it, whatever took the place of what it was made of.
"""

import sys
from collections.abc import Iterator

import pytest

from chalicelib.handlers.routing import GladosApp
from tests.fakes.clock import SettableClock
from tests.handlers.conftest import REGION, authority, deployed, enrol, stranger
from tests.handlers.edge import Edge

__all__ = ["authority", "enrol", "stranger"]

DOMAIN = "eu.ds.example"
ENVIRONMENT = {
    "GLADOS_ROLE": "delivery",
    "GLADOS_STAGE": "ds-eu",
    "GLADOS_DS_DOMAIN": DOMAIN,
    "GLADOS_ORIGIN": "https://eu.ds.example",
    "GLADOS_PUBLIC_ORIGIN": "https://public.eu.ds.example",
    "AWS_DEFAULT_REGION": REGION,
}


@pytest.fixture(scope="package")
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture(scope="package")
def stage(clock: SettableClock) -> Iterator[None]:
    """The stage of a delivery service."""
    with deployed(ENVIRONMENT, clock, "delivery"):
        yield


@pytest.fixture(scope="package")
def edge(stage: None) -> Edge:
    return Edge(fresh_app())


def fresh_app() -> GladosApp:
    """Import the app as a process of this role does, and leave the doors of this process as they were.

    Both roles have some doors, and a door can be registered in one app only.
    """
    before = {name: module for name, module in sys.modules.items() if _is_of_the_app(name)}
    for name in before:
        del sys.modules[name]
    try:
        from app import app  # noqa: PLC0415 - importing it reads the stage's settings
    finally:
        for name in [name for name in sys.modules if _is_of_the_app(name)]:
            del sys.modules[name]
        sys.modules.update(before)
    return app


def _is_of_the_app(name: str) -> bool:
    doors = ("_doors", "_jobs", "_api", "_description", ".well_known")
    return name == "app" or (name.startswith("chalicelib.handlers.") and name.endswith(doors))
