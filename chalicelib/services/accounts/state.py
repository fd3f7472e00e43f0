"""Application providers' accounts, what their tokens say, and their answered requests, as values.

Times are milliseconds since 1970. Some of an account is for one role alone, which the other leaves as it is.
"""

import dataclasses
from typing import Literal, NewType

ProviderId = NewType("ProviderId", str)

SCOPES_OF = {  # What a token can be good for, by the role of the stage.
    "provider": ("query", "register", "bulk", "webhooks", "reports", "account"),
    "delivery": ("delivery",),
}
SCOPES = tuple(scope for scopes in SCOPES_OF.values() for scope in scopes)


@dataclasses.dataclass(frozen=True, slots=True)
class WebhookSigningSecret:
    """One secret of a webhook; `until` is when a rotated one stops signing."""

    secret: bytes = dataclasses.field(repr=False)
    until: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class WebhookEndpoint:
    """Where an application provider wants its events."""

    url: str
    secrets: tuple[WebhookSigningSecret, ...]
    state: Literal["enabled", "disabled"]
    since: int
    last_success_at: int | None = None
    last_failure_at: int | None = None
    last_failure: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Account:
    """An application provider as its operator enrolled it (draft §7).

    `secret_tag` is a keyed digest of the client secret. `users` counts mapped users; the sequencer moves it.
    `sms_regions` lists ISO 3166 regions, or `*`. `review` is the evidence of the manual review. `query_rate`
    (a second) and `send_rate` (a minute) override the limits that follow from the contract, where the operator
    set them.
    """

    provider_id: ProviderId
    name: str
    domain: str
    client_id: str
    secret_tag: bytes = dataclasses.field(repr=False)
    status: Literal["active", "suspended"]
    thumbprints: tuple[str, ...]
    scopes: tuple[str, ...]
    review: str
    created_at: int
    trusted_bulk: bool = False
    test_numbers: bool = False
    sms_regions: tuple[str, ...] = ()
    certificate_expiry: tuple[tuple[str, int], ...] = ()
    webhook: WebhookEndpoint | None = None
    query_rate: int | None = None
    send_rate: int | None = None
    users: int = 0
    strikes: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Presented:
    """A token that verified, with the certificate it is bound to; the account behind it is not yet checked."""

    provider_id: ProviderId
    scopes: frozenset[str]
    thumbprint: str
    expires_at: int


StoredAnswer = tuple[int, dict[str, str], bytes]
"""The answer to a request that may be repeated: status, headers, body."""
