import pytest

from tests.contracts.aws import AwsPorts, new_stage


@pytest.fixture
def aws() -> AwsPorts:
    """All adapters on a stage of their own."""
    return new_stage()
