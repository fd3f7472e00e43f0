"""The bodies of the client API, between an application provider and its GP (draft §8), as typed values.

Decoding is strict: an unknown field, a wrong type or an over-long string is refused at the door, and these
types are also what `/openapi.json` is made from. Times are RFC 3339 in UTC with milliseconds; ids are opaque.
"""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from chalicelib.protocol.bodies import Answer, Body
from chalicelib.protocol.glados.identifiers import Channel
from chalicelib.protocol.glados.mappings import Mapping
from chalicelib.protocol.timestamps import format_time

# In Python's patterns `$` also lets a line end through; (?!\n) is how both it and JSON Schema refuse one.

SiiText = Annotated[str, Meta(min_length=1, max_length=1000, description="a tel: or mailto: URI")]
UserId = Annotated[str, Meta(min_length=1, max_length=256, description="the provider's own id of its user")]


class Query(Body, frozen=True, kw_only=True):
    """`POST /v1/queries`."""

    sii: SiiText


class VerificationRequest(Body, frozen=True, kw_only=True):
    """`POST /v1/verifications`."""

    sii: SiiText
    user_id: UserId
    locale: Annotated[str, Meta(max_length=35, pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*(?!\n)$")] | UnsetType = (
        UNSET
    )
    channel: Channel | UnsetType = UNSET


class Code(Body, frozen=True, kw_only=True):
    """`POST /v1/verifications/{id}/code`."""

    user_id: UserId
    code: Annotated[str, Meta(min_length=1, max_length=32)]


class Choice(Body, frozen=True, kw_only=True):
    """`POST /v1/preferences` (draft §8.2.1, §10)."""

    sii: SiiText
    user_id: UserId
    choice: Literal["prefer", "replace", "keep"]


class Search(Body, frozen=True, kw_only=True):
    """`POST /v1/mappings/search`: the caller's own records for one identifier."""

    sii: SiiText


class Webhook(Body, frozen=True, kw_only=True):
    """`PUT /v1/webhook`."""

    url: Annotated[str, Meta(min_length=1, max_length=2000)]


class Empty(Body, frozen=True, kw_only=True):
    """The body of a POST that takes none: nothing, or an empty object."""


class ProviderAnswer(Answer, frozen=True, kw_only=True):
    """An application provider as others are told of it."""

    provider_id: str
    provider_name: str
    gp: str


class MappingAnswer(Answer, frozen=True, kw_only=True):
    """One mapping. `mapping_id` and `state` are for the provider whose record it is."""

    mapping_id: str | UnsetType = UNSET
    provider_id: str
    provider_name: str
    user_id: str
    ssi: str
    gp: str
    source: Literal["verified", "bulk"]
    registered_at: str
    preferred_at: str | None
    tags: list[str]
    state: Literal["active", "superseded", "removed"] | UnsetType = UNSET

    @classmethod
    def of(cls, mapping: Mapping, *, own: bool) -> "MappingAnswer":
        """Write a mapping for its own provider (`own`) or for anybody else."""
        return cls(
            mapping_id=mapping.mapping_id if own else UNSET,
            provider_id=mapping.provider.provider_id,
            provider_name=mapping.provider.provider_name,
            user_id=mapping.user_id,
            ssi=mapping.ssi,
            gp=mapping.provider.gp,
            source=mapping.source,
            registered_at=format_time(mapping.registered_at),
            preferred_at=None if mapping.preferred_at is None else format_time(mapping.preferred_at),
            tags=list(mapping.tags),
            state=mapping.state if own else UNSET,
        )


class Consulted(Answer, frozen=True, kw_only=True):
    """What became of asking one peer."""

    gp: str
    outcome: Literal["answered", "unreachable", "skipped"]


class QueryAnswer(Answer, frozen=True, kw_only=True):
    """The preferred mapping, or none. `complete` is false where a peer that had to be asked did not answer."""

    found: bool
    mapping: MappingAnswer | None
    consulted: list[Consulted]
    complete: bool


class VerificationAnswer(Answer, frozen=True, kw_only=True):
    """A verification that was just opened or whose code was sent again."""

    verification_id: str
    channel: Channel
    expires_at: str
    attempts_left: int
    resend_after: str


class Delivery(Answer, frozen=True, kw_only=True):
    """How far the latest message has come: taken by the network (`sent`) does not mean read."""

    state: Literal["queued", "sent", "failed"]
    at: str
    reason: str | UnsetType = UNSET


class VerificationStatus(VerificationAnswer, frozen=True, kw_only=True):
    """`GET /v1/verifications/{id}`."""

    state: Literal["pending", "matched", "confirmed", "locked", "expired", "cancelled"]
    delivery: Delivery


class ConfirmAnswer(Answer, frozen=True, kw_only=True):
    """The mapping that a right code made, and who else holds the identifier (draft §8.2.1)."""

    mapping: MappingAnswer
    prior: list[ProviderAnswer]
    prior_complete: bool


class ChoiceAnswer(Answer, frozen=True, kw_only=True):
    """The mapping as chosen; `pending` names the peers that could not be asked and will be told later."""

    mapping: MappingAnswer
    choice: Literal["prefer", "replace", "keep"]
    pending: list[str]


class MappingList(Answer, frozen=True, kw_only=True):
    """The caller's own records for one identifier, tombstones included."""

    mappings: list[MappingAnswer]


class WebhookHealth(Answer, frozen=True, kw_only=True):
    """What the GP knows of the endpoint."""

    url: str
    state: Literal["enabled", "disabled"]
    since: str
    last_success_at: str | None
    last_failure_at: str | None
    last_failure: str | None


class WebhookSecret(Answer, frozen=True, kw_only=True):
    """The signing secret, shown this once."""

    url: str
    secret: str


class EventBy(ProviderAnswer, frozen=True, kw_only=True):
    """Whose doing an event is."""


class EventData(Answer, frozen=True, kw_only=True):
    """What an event is about; never the identifier itself. `sequence` orders the events of one mapping."""

    mapping_id: str | UnsetType = UNSET
    user_id: str | UnsetType = UNSET
    sequence: int | UnsetType = UNSET
    by: EventBy | UnsetType = UNSET
    detail: dict[str, Any] | UnsetType = UNSET


class EventBody(Answer, frozen=True, kw_only=True):
    """The body of a webhook (Standard Webhooks form)."""

    type: str
    timestamp: str
    data: EventData


class Try(Answer, frozen=True, kw_only=True):
    """One attempt to deliver an event."""

    at: str
    outcome: str


class EventAnswer(EventBody, frozen=True, kw_only=True):
    """An event as the history lists it."""

    id: str
    state: Literal["pending", "delivered", "failed", "undeliverable"]
    tries: list[Try]


class EventPage(Answer, frozen=True, kw_only=True):
    """A page of the history; `next` goes into `after` for the following one."""

    events: list[EventAnswer]
    next: str


class Redelivery(Answer, frozen=True, kw_only=True):
    """An event that will be sent again."""

    id: str
    state: Literal["pending"]


class AccountAnswer(Answer, frozen=True, kw_only=True):
    """`GET /v1/account`."""

    provider_id: str
    provider_name: str
    status: Literal["active", "suspended"]
    scopes: list[str]
    users: int
    limits: dict[str, int]
    strikes: int
    webhook: WebhookHealth | None
    certificates: list[dict[str, str]]
