"""The ports of a queueing service, as a fake and on AWS."""

import pytest

from tests.contracts import aws, queueing
from tests.contracts.queueing import QueuePorts
from tests.fakes.clock import SettableClock


@pytest.fixture(params=["memory", "aws"])
def ports(request: pytest.FixtureRequest) -> QueuePorts:
    if request.param == "memory":
        return queueing.memory()
    return queueing.on_aws(aws.new_stage("delivery"), SettableClock())
