"""Where application providers tell a delivery service of their users: JSON, with an access token."""

from chalicelib.handlers.calls import Call
from chalicelib.handlers.routing import Door
from chalicelib.protocol.delivery import account_api as api
from chalicelib.wiring import groups

door = Door(__name__)


@door.serve("POST", "/ds/v1/users", "account", scope="delivery", takes=api.UserRegistration, gives=api.UserAnswer)
def register_user(call: Call[api.UserRegistration]) -> api.UserAnswer:
    """Register a user and the key that signs for the account, or give the user another key."""
    return groups.account_desk().register(call.account.provider_id, call.account.domain, call.body)


@door.serve("POST", "/ds/v1/account-events", "account", scope="delivery", takes=api.AccountEventBody, status=202)
def account_event(call: Call[api.AccountEventBody]) -> None:
    """Remove a deleted user, or a client that was removed from its account, from everything here."""
    groups.account_desk().take_in(call.account.provider_id, call.body)
