import pytest

from tests.fakes.queueing import QueueWorld
from tests.services.queueing.queues import Hub, Owner, Qs


@pytest.fixture
def world() -> QueueWorld:
    return QueueWorld()


@pytest.fixture
def qs(world: QueueWorld) -> Qs:
    return Qs.in_memory(world)


@pytest.fixture
def alice(qs: Qs) -> Owner:
    return qs.owner("alice")


@pytest.fixture
def hub(qs: Qs) -> Hub:
    return Hub(qs)
