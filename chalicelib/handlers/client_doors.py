"""The client API's doors, for application providers (draft §8)."""

from typing import Any

from chalicelib.handlers.calls import Call, Reply
from chalicelib.handlers.routing import Door
from chalicelib.protocol.glados import client_api as api
from chalicelib.services.provider import account as account_service
from chalicelib.wiring import provider

door = Door(__name__)


@door.serve("POST", "/v1/queries", "token", scope="query", takes=api.Query, gives=api.QueryAnswer)
def query(call: Call[api.Query]) -> Reply:
    """Find the preferred mapping of one identifier."""
    answer, allowance = provider.queries().find(call.presented, call.body.sii)
    return Reply(answer, allowance=allowance)


@door.serve(
    "POST",
    "/v1/verifications",
    "account",
    scope="register",
    takes=api.VerificationRequest,
    gives=api.VerificationAnswer,
    status=201,
    repeatable=True,
)
def open_verification(call: Call[api.VerificationRequest]) -> Reply:
    """Send a code to an identifier that a user claims."""
    answer, allowance = provider.verifications().open(call.account, call.body, call.idempotency_key)
    location = {"Location": f"/v1/verifications/{answer.verification_id}"}
    return Reply(answer, 201, location, allowance)


@door.serve("GET", "/v1/verifications/{verification_id}", "account", scope="register", gives=api.VerificationStatus)
def show_verification(call: Call[Any]) -> api.VerificationStatus:
    """Show a verification and the delivery of its message."""
    return provider.verifications().status(call.account, call.parameters["verification_id"])


@door.serve("DELETE", "/v1/verifications/{verification_id}", "account", scope="register", status=204)
def cancel_verification(call: Call[Any]) -> None:
    """Cancel a verification."""
    provider.verifications().cancel(call.account, call.parameters["verification_id"])


@door.serve(
    "POST",
    "/v1/verifications/{verification_id}/resend",
    "account",
    scope="register",
    takes=api.Empty,
    gives=api.VerificationAnswer,
    repeatable=True,
)
def resend_code(call: Call[api.Empty]) -> Reply:
    """Send the same code again."""
    answer, allowance = provider.verifications().resend(call.account, call.parameters["verification_id"])
    return Reply(answer, allowance=allowance)


@door.serve(
    "POST",
    "/v1/verifications/{verification_id}/code",
    "account",
    scope="register",
    takes=api.Code,
    gives=api.ConfirmAnswer,
    repeatable=True,
)
def enter_code(call: Call[api.Code]) -> api.ConfirmAnswer:
    """Check a code and, if it is right, map the identifier to the user."""
    return provider.confirmation().confirm(call.account, call.parameters["verification_id"], call.body)


@door.serve(
    "POST", "/v1/preferences", "account", scope="register", takes=api.Choice, gives=api.ChoiceAnswer, repeatable=True
)
def choose(call: Call[api.Choice]) -> api.ChoiceAnswer:
    """Record which application a user wants to be reached at."""
    return provider.preferences().choose(call.account, call.body, call.idempotency_key)


@door.serve("POST", "/v1/mappings/search", "account", scope="register", takes=api.Search, gives=api.MappingList)
def search_mappings(call: Call[api.Search]) -> api.MappingList:
    """List the caller's own records of an identifier."""
    return provider.preferences().search(call.account, call.body.sii)


@door.serve("GET", "/v1/mappings/{mapping_id}", "account", scope="register", gives=api.MappingAnswer)
def show_mapping(call: Call[Any]) -> api.MappingAnswer:
    """Show one of the caller's own mappings or tombstones."""
    return provider.preferences().show(call.account, call.parameters["mapping_id"])


@door.serve("DELETE", "/v1/mappings/{mapping_id}", "account", scope="register", gives=api.MappingAnswer)
def remove_mapping(call: Call[Any]) -> api.MappingAnswer:
    """End one of the caller's own mappings."""
    return provider.preferences().remove(call.account, call.parameters["mapping_id"])


@door.serve(
    "POST",
    "/v1/mappings/{mapping_id}/restore",
    "account",
    scope="register",
    takes=api.Empty,
    gives=api.MappingAnswer,
    repeatable=True,
)
def restore_mapping(call: Call[api.Empty]) -> api.MappingAnswer:
    """Bring one of the caller's own tombstones back."""
    return provider.preferences().restore(call.account, call.parameters["mapping_id"])


@door.serve("GET", "/v1/account", "account", scope="account", gives=api.AccountAnswer)
def show_account(call: Call[Any]) -> api.AccountAnswer:
    """Show the caller's own account."""
    return account_service.show(call.account)


@door.serve("PUT", "/v1/webhook", "account", scope="webhooks", takes=api.Webhook, gives=api.WebhookSecret)
def set_webhook(call: Call[api.Webhook]) -> api.WebhookSecret:
    """Point the webhook at a URL; the answer holds its signing secret."""
    return provider.webhooks().set(call.account, call.body.url)


@door.serve("GET", "/v1/webhook", "account", scope="webhooks", gives=api.WebhookHealth)
def show_webhook(call: Call[Any]) -> api.WebhookHealth:
    """Show the webhook and how it fares."""
    return provider.webhooks().show(call.account)


@door.serve("DELETE", "/v1/webhook", "account", scope="webhooks", status=204)
def delete_webhook(call: Call[Any]) -> None:
    """Remove the webhook; events go on being kept."""
    provider.webhooks().delete(call.account)


@door.serve(
    "POST", "/v1/webhook/test", "account", scope="webhooks", takes=api.Empty, gives=api.Redelivery, status=202,
    repeatable=True,
)  # fmt: skip
def test_webhook(call: Call[api.Empty]) -> api.Redelivery:
    """Send a test event to the webhook."""
    return provider.webhooks().test(call.account)


@door.serve(
    "POST", "/v1/webhook/rotate", "account", scope="webhooks", takes=api.Empty, gives=api.WebhookSecret, repeatable=True
)
def rotate_webhook(call: Call[api.Empty]) -> api.WebhookSecret:
    """Replace the signing secret; the old one signs beside the new one for 24 h."""
    return provider.webhooks().rotate(call.account)


@door.serve("GET", "/v1/events", "account", scope="webhooks", gives=api.EventPage)
def list_events(call: Call[Any]) -> api.EventPage:
    """List what the caller was told, from after an event on."""
    return provider.webhooks().history(call.account, call.query.get("after") or None)


@door.serve(
    "POST", "/v1/events/{event_id}/redeliver", "account", scope="webhooks", takes=api.Empty, gives=api.Redelivery,
    status=202, repeatable=True,
)  # fmt: skip
def redeliver_event(call: Call[api.Empty]) -> api.Redelivery:
    """Send an event again."""
    return provider.webhooks().redeliver(call.account, call.parameters["event_id"])
