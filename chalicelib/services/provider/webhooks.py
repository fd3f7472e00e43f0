"""An application provider's webhook and the history of what it was told (draft §8.2.1).

Events are facts of their own, written in the transaction that caused them; the webhook is only how they hurry.
An AP whose endpoint was down reads the history, or asks for one to be sent again.
"""

import dataclasses

import msgspec
from msgspec import UNSET, UnsetType

from chalicelib.errors import InvalidValue, NotFound, Unavailable
from chalicelib.protocol.glados.client_api import (
    EventAnswer,
    EventBody,
    EventBy,
    EventData,
    EventPage,
    Redelivery,
    Try,
    WebhookHealth,
    WebhookSecret,
)
from chalicelib.protocol.glados.webhooks import ROTATION_OVERLAP, SECRET_BYTES, check_url, write_secret
from chalicelib.protocol.timestamps import MINUTE, format_time
from chalicelib.services.accounts.ports import Accounts
from chalicelib.services.accounts.state import Account, WebhookEndpoint, WebhookSigningSecret
from chalicelib.services.ports import Alarms, Clock, Entropy, Lost, Versioned
from chalicelib.services.provider.notices import outbox_entry, send_events
from chalicelib.services.provider.ports import Events, Hints, Store
from chalicelib.services.provider.state import Event, EventId, OutboxEntry, OutboxId
from chalicelib.services.provider.writes import AddOutbox
from chalicelib.services.ulids import time_of, ulid

MOST_TRIES = 5
WITHHELD = MINUTE  # Writers of one moment may finish in any order; a page ends where all have.
PAGE = 100
AUDIT_ONLY = frozenset({"mapping.kept"})


@dataclasses.dataclass(frozen=True, slots=True)
class Webhooks:
    """Sets an AP's endpoint up and shows what was sent there."""

    accounts: Accounts
    store: Store
    events: Events
    hints: Hints
    alarms: Alarms
    clock: Clock
    entropy: Entropy
    exempt_origin: str | None

    def set(self, account: Account, url: str) -> WebhookSecret:
        """Point the webhook at a URL and return its new signing secret, which is shown this once.

        A changed URL is announced to the old one and to the operator, because taking over an AP's webhook is
        how a thief would hide from its users.
        """
        check_url(url, self.exempt_origin)
        secret = self.entropy(SECRET_BYTES)
        endpoint = WebhookEndpoint(url, (WebhookSigningSecret(secret),), "enabled", since=self.clock())
        self._replace(account, endpoint)
        return WebhookSecret(url=url, secret=write_secret(secret))

    def show(self, account: Account) -> WebhookHealth:
        """Return the endpoint and how it fares."""
        return health(self._endpoint(self._load(account).value))

    def delete(self, account: Account) -> None:
        """Remove the webhook; events go on being kept. Removing it again is no error."""
        if self._load(account).value.webhook is not None:
            self._replace(account, None)

    def rotate(self, account: Account) -> WebhookSecret:
        """Add a new signing secret and return it; the old one signs beside it for 24 h more."""
        now = self.clock()
        secret = self.entropy(SECRET_BYTES)
        for _ in range(MOST_TRIES):
            stored = self._load(account)
            endpoint = self._endpoint(stored.value)
            overlapping = tuple(
                dataclasses.replace(old, until=old.until or now + ROTATION_OVERLAP)
                for old in endpoint.secrets
                if old.until is None or old.until > now
            )
            after = dataclasses.replace(endpoint, secrets=(WebhookSigningSecret(secret), *overlapping))
            try:
                self.accounts.replace(stored, dataclasses.replace(stored.value, webhook=after))
            except Lost:
                continue
            return WebhookSecret(url=endpoint.url, secret=write_secret(secret))
        raise Unavailable("other changes to the account came first")

    def test(self, account: Account) -> Redelivery:
        """Send a `webhook.test` event to the endpoint."""
        self._endpoint(self._load(account).value)
        event = self._event(account, "webhook.test", self.clock())
        writes, hinted = send_events([event])
        self.store.commit(*writes)
        for outbox_id in hinted:
            self.hints.outbox(outbox_id)
        return Redelivery(id=event.event_id, state="pending")

    def history(self, account: Account, after: str | None) -> EventPage:
        """Return up to 100 events in order, from after an id (or from the start of the 30 days kept).

        The last minute is withheld, so that reading on from `next` never skips an event that was written late.
        """
        if after is not None and time_of(after) is None:
            raise InvalidValue("after takes the next of an earlier page", "after")
        since = None if after is None else EventId(after)
        events = self.events.page(account.provider_id, since, self.clock() - WITHHELD, PAGE)
        last = events[-1].event_id if events else (after or "")
        return EventPage(events=[_shown(event) for event in events if event.type not in AUDIT_ONLY], next=last)

    def redeliver(self, account: Account, event_id: str) -> Redelivery:
        """Send an event of the history again, by the whole schedule; asking twice within a minute sends once."""
        event = None
        if time_of(event_id) is not None:
            event = self.events.get(account.provider_id, EventId(event_id))
        if event is None or event.type in AUDIT_ONLY:
            raise NotFound("there is no such event")
        self._endpoint(self._load(account).value)
        now = self.clock()
        entry = outbox_entry(event, now, round_=now // MINUTE)
        self.events.record(event, "pending", now, "redelivery asked for")
        self.store.commit(AddOutbox(entry))
        self.hints.outbox(entry.outbox_id)
        return Redelivery(id=event.event_id, state="pending")

    def _announce_to_old(self, account: Account, before: WebhookEndpoint, now: int) -> list[OutboxId]:
        """Tell the endpoint that is replaced, signed with the secrets it knows; return what to hint at."""
        event = self._event(account, "webhook.changed", now)
        old = OldEndpoint(
            url=before.url, secrets=[secret.secret for secret in before.secrets], event_id=event.event_id,
            provider_id=account.provider_id,
        )  # fmt: skip
        entry = OutboxEntry(
            OutboxId(f"event.{event.event_id}.old"), "event", msgspec.json.encode(old).decode(), now, now
        )
        writes, hinted = send_events([event])
        self.store.commit(*writes, AddOutbox(entry))
        return [*hinted, entry.outbox_id]

    def _event(self, account: Account, type_: str, now: int) -> Event:
        return Event(EventId(ulid(now, self.entropy(10))), account.provider_id, type_, now)

    def _replace(self, account: Account, endpoint: WebhookEndpoint | None) -> None:
        """Store the endpoint; what it replaces is told before.

        A death in between has announced a change that did not happen. The other way round, a change could happen
        that nobody is ever told of.
        """
        told = set() if endpoint is None else {endpoint.url}
        hinted: list[OutboxId] = []
        for _ in range(MOST_TRIES):
            stored = self._load(account)
            before = stored.value.webhook
            if before is not None and before.url not in told:
                self.alarms.raise_("webhook-changed", account.provider_id)
                hinted += self._announce_to_old(account, before, self.clock())
                told.add(before.url)
            try:
                self.accounts.replace(stored, dataclasses.replace(stored.value, webhook=endpoint))
            except Lost:
                continue
            for outbox_id in hinted:
                self.hints.outbox(outbox_id)
            return
        raise Unavailable("other changes to the account came first")

    def _load(self, account: Account) -> Versioned[Account]:
        stored = self.accounts.load(account.provider_id)
        if stored is None:
            raise NotFound("the account has gone")
        return stored

    def _endpoint(self, account: Account) -> WebhookEndpoint:
        if account.webhook is None:
            raise NotFound("no webhook is set")
        return account.webhook


class OldEndpoint(msgspec.Struct, frozen=True):
    """A webhook that was replaced, as the outbox keeps it until it has been told so."""

    url: str
    secrets: list[bytes]
    event_id: str
    provider_id: str


def health(endpoint: WebhookEndpoint) -> WebhookHealth:
    """Write an endpoint's state for its owner."""
    return WebhookHealth(
        url=endpoint.url,
        state=endpoint.state,
        since=format_time(endpoint.since),
        last_success_at=None if endpoint.last_success_at is None else format_time(endpoint.last_success_at),
        last_failure_at=None if endpoint.last_failure_at is None else format_time(endpoint.last_failure_at),
        last_failure=endpoint.last_failure,
    )


def body_of(event: Event) -> EventBody:
    """Return what a webhook says of an event: never the identifier."""
    by: EventBy | UnsetType = UNSET
    if event.by is not None:
        by = EventBy(provider_id=event.by.provider_id, provider_name=event.by.provider_name, gp=event.by.gp)
    return EventBody(
        type=event.type,
        timestamp=format_time(event.at),
        data=EventData(
            mapping_id=UNSET if event.mapping_id is None else event.mapping_id,
            user_id=UNSET if event.user_id is None else event.user_id,
            sequence=UNSET if event.sequence is None else event.sequence,
            by=by,
            detail=UNSET if event.detail is None else {"message": event.detail},
        ),
    )


def _shown(event: Event) -> EventAnswer:
    body = body_of(event)
    return EventAnswer(
        id=event.event_id,
        type=body.type,
        timestamp=body.timestamp,
        data=body.data,
        state=event.state,
        tries=[Try(at=format_time(at), outcome=outcome) for at, outcome in event.tries],
    )
