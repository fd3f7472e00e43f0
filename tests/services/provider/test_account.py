"""What an application provider sees of its own account."""

from chalicelib.services.accounts.state import Account
from chalicelib.services.provider.account import show
from tests.services.provider.providers import Gp, endpoint_of, presented, settle


def test_a_provider_sees_its_users_limits_and_webhook(gp: Gp, alpha: Account) -> None:
    gp.register(alpha)
    settle(gp)
    answer = show(gp.world.account("alpha"))
    assert answer.users == 1
    assert answer.limits == {"queries_per_second": 10, "query_burst": 200, "sends_per_minute": 60}
    assert answer.webhook is not None
    assert (answer.webhook.url, answer.webhook.state) == (endpoint_of("alpha"), "enabled")
    assert [certificate["x5t#S256"] for certificate in answer.certificates] == [presented(alpha).thumbprint]
