import pytest

from tests.contracts.aws import AwsPorts, ports


@pytest.fixture
def aws() -> AwsPorts:
    """All adapters on a stage of their own."""
    return ports()
