"""Working off the outbox: codes, webhooks and claims, each at least once.

    hint or schedule → take (a lease on the row) → do → done, or postponed to the next attempt

The row is the truth and the queue only a hint, so a message that comes twice, late or never changes nothing: an
entry that has gone is finished, and one that was taken comes back when its lease ends.
"""

import dataclasses
from typing import Literal

import msgspec

from chalicelib.protocol.glados import webhooks as standard
from chalicelib.protocol.timestamps import MINUTE, SECOND
from chalicelib.services.accounts.ports import Accounts
from chalicelib.services.accounts.state import Account, ProviderId, WebhookEndpoint
from chalicelib.services.failures import Failures
from chalicelib.services.ports import Alarms, Clock, Lost, Unreachable
from chalicelib.services.provider.claims import ClaimSender
from chalicelib.services.provider.ports import Events, Hints, Outbox, Store, WebhookSender
from chalicelib.services.provider.state import Event, EventId, OutboxEntry, OutboxId, VerificationId
from chalicelib.services.provider.verifications import RETRY_SEND, Verifications, state_of
from chalicelib.services.provider.webhooks import OldEndpoint, body_of

LEASE = MINUTE
LONGEST_HINT_SECONDS = 900  # SQS delays end at a quarter of an hour.
SWEEP = 500


@dataclasses.dataclass(frozen=True, slots=True)
class Dispatch:
    """Does what the outbox says, whoever wakes it."""

    outbox: Outbox
    store: Store
    accounts: Accounts
    events: Events
    verifications: Verifications
    webhook_sender: WebhookSender
    claims: ClaimSender
    hints: Hints
    alarms: Alarms
    clock: Clock

    def work_off(self, outbox_id: OutboxId) -> None:
        """Do one entry's work if it is due; one that has gone or is being worked on is left alone."""
        now = self.clock()
        entry = self.outbox.take(outbox_id, now, until=now + LEASE)
        if entry is None:
            return
        match entry.kind:
            case "code":
                again_at = self._send_code(entry)
            case "event":
                again_at = self._send_event(entry)
            case "claim":
                again_at = self.claims.send(entry)
        if again_at is None:
            self.outbox.done(entry.outbox_id)
            return
        self.outbox.postpone(entry, again_at)
        if (delay := -(-(again_at - self.clock()) // SECOND)) <= LONGEST_HINT_SECONDS:
            self.hints.outbox(entry.outbox_id, max(0, delay))

    def sweep(self) -> int:
        """Deliver everything that is due and return how many entries that was; a schedule calls it each minute."""
        due = self.outbox.due(self.clock(), SWEEP)
        with Failures() as failures:
            for outbox_id in due:
                with failures.kept():
                    self.work_off(outbox_id)
        return len(due)

    def _send_code(self, entry: OutboxEntry) -> int | None:
        verification = self.store.verification(VerificationId(entry.ref))
        now = self.clock()
        if verification is None or state_of(verification, now) != "pending":
            return None
        account = self.accounts.recent(verification.provider_id)
        if account is None:
            return None
        self.verifications.send(account, verification, entry.outbox_id)
        return now + RETRY_SEND  # `send` removes the entry; where it could not send, this is the next try.

    def _send_event(self, entry: OutboxEntry) -> int | None:
        """POST an event to its provider's endpoint; return when to try again, or None when that is over."""
        if entry.ref.startswith("{"):
            return self._send_to_old(entry)
        provider_id, event_id = entry.ref.split(" ")
        stored = self.accounts.load(ProviderId(provider_id))
        event = self.events.get(ProviderId(provider_id), EventId(event_id))
        if stored is None or event is None:
            return None
        endpoint, now = stored.value.webhook, self.clock()
        if endpoint is None or endpoint.state == "disabled":
            self.events.record(event, "failed", now, "no webhook is enabled")
            return None
        secrets = [one.secret for one in endpoint.secrets if one.until is None or one.until > now]
        status, outcome = self._post(endpoint.url, event, secrets)
        delivered = status is not None and 200 <= status < 300
        again_at = None
        if not delivered and status != 410:
            again_at = standard.next_attempt(entry.created_at, entry.attempts, self.clock())
        state: Literal["delivered", "failed", "pending"] = "delivered" if delivered else "pending"
        if again_at is None and not delivered:
            state = "failed"
        self.events.record(event, state, now, outcome)
        self._note_health(stored.value, delivered=delivered, gone=status == 410, outcome=outcome)
        return again_at

    def _send_to_old(self, entry: OutboxEntry) -> int | None:
        old = msgspec.json.decode(entry.ref, type=OldEndpoint)
        event = self.events.get(ProviderId(old.provider_id), EventId(old.event_id))
        if event is None:
            return None
        status, _ = self._post(old.url, event, old.secrets)
        done = status is not None and (200 <= status < 300 or status == 410)
        return None if done else standard.next_attempt(entry.created_at, entry.attempts, self.clock())

    def _post(self, url: str, event: Event, secrets: list[bytes]) -> tuple[int | None, str]:
        body = msgspec.json.encode(body_of(event))
        headers = standard.headers(event.event_id, self.clock() // SECOND, body, secrets)
        try:
            status = self.webhook_sender.post(url, headers, body)
        except Unreachable as error:
            return None, str(error)
        return status, f"status {status}"

    def _note_health(self, account: Account, *, delivered: bool, gone: bool, outcome: str) -> None:
        """Keep the endpoint's health, and disable one that says 410; a change made meanwhile wins."""
        stored = self.accounts.load(account.provider_id)
        if stored is None or account.webhook is None or stored.value.webhook is None:
            return
        endpoint = stored.value.webhook
        if endpoint.url != account.webhook.url:
            return
        now = self.clock()
        after = _healthier(endpoint, now, delivered=delivered, gone=gone, outcome=outcome)
        if gone:
            self.alarms.raise_("webhook-disabled", account.provider_id)
        if after == endpoint:
            return
        try:
            self.accounts.replace(stored, dataclasses.replace(stored.value, webhook=after))
        except Lost:
            if gone:
                raise  # Being disabled must not be lost: the entry comes back and says it again.


HEALTH_GRAIN = MINUTE  # A busy endpoint's success is not written down more often.


def _healthier(endpoint: WebhookEndpoint, now: int, *, delivered: bool, gone: bool, outcome: str) -> WebhookEndpoint:
    if delivered:
        recent = endpoint.last_success_at is not None and now - endpoint.last_success_at < HEALTH_GRAIN
        return endpoint if recent else dataclasses.replace(endpoint, last_success_at=now)
    state = "disabled" if gone else endpoint.state
    return dataclasses.replace(endpoint, state=state, last_failure_at=now, last_failure=outcome)
