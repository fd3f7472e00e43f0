"""What an application provider may know of its own account."""

from chalicelib.protocol.glados.client_api import AccountAnswer
from chalicelib.protocol.timestamps import format_time
from chalicelib.services.accounts.state import Account
from chalicelib.services.provider.limits import FLOOR_BURST, FLOOR_RATE, RATE_A_USER, SENDS_A_MINUTE
from chalicelib.services.provider.webhooks import health


def show(account: Account) -> AccountAnswer:
    """Return status, counts, limits, webhook health and when each client certificate ends."""
    rate = account.query_rate or max(FLOOR_RATE, account.users * RATE_A_USER)
    return AccountAnswer(
        provider_id=account.provider_id,
        provider_name=account.name,
        status=account.status,
        scopes=list(account.scopes),
        users=account.users,
        limits={
            "queries_per_second": int(rate),
            "query_burst": max(FLOOR_BURST, int(2 * rate)),
            "sends_per_minute": account.send_rate or SENDS_A_MINUTE,
        },
        strikes=account.strikes,
        webhook=None if account.webhook is None else health(account.webhook),
        certificates=[
            {"x5t#S256": thumbprint, "expires_at": format_time(expires_at)}
            for thumbprint, expires_at in account.certificate_expiry
        ],
    )
