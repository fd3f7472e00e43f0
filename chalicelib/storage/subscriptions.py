"""The port `Subscriptions`: the table `subs`, one row for each peer and subscription."""

import functools

from pynamodb.attributes import NumberAttribute, UnicodeAttribute
from pynamodb.exceptions import DoesNotExist, UpdateError
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action
from pynamodb.models import Model

from chalicelib.services.provider.state import Subscription
from chalicelib.storage import clients
from chalicelib.storage.dynamodb import SCHEMA

SUBS = "subs"


class SubscriptionRow(Model):
    """A row of `subs`; `model` gives it the name of its stage's table."""

    gp = UnicodeAttribute(hash_key=True)
    id = UnicodeAttribute(range_key=True)
    version = NumberAttribute()
    callback = UnicodeAttribute()
    acked_seq = NumberAttribute()
    next_at = NumberAttribute()
    failures = NumberAttribute()
    schema = NumberAttribute(default=SCHEMA)


@functools.cache
def model(stage: str) -> type[SubscriptionRow]:
    """Return the row class of one stage: pynamodb ties a class to a table."""

    class Staged(SubscriptionRow):
        class Meta:
            table_name = f"glados-{stage}-{SUBS}"
            connect_timeout_seconds = clients.CONNECT_SECONDS
            read_timeout_seconds = clients.READ_SECONDS

    return Staged


class AwsSubscriptions:
    """Subscriptions of one stage's peers."""

    def __init__(self, stage: str) -> None:
        self.rows = model(stage)

    def put(self, subscription: Subscription) -> None:
        """Add or replace a subscription."""
        self.rows(
            subscription.gp,
            subscription.subscription_id,
            version=subscription.version,
            callback=subscription.callback,
            acked_seq=subscription.acked_seq,
            next_at=subscription.next_at,
            failures=subscription.failures,
        ).save()

    def get(self, gp: str, subscription_id: str) -> Subscription | None:
        """Return a subscription as it is now."""
        try:
            return _read(self.rows.get(gp, subscription_id, consistent_read=True))
        except DoesNotExist:
            return None

    def of_version(self, version: int) -> list[Subscription]:
        """Return every subscription to a version, in no order.

        This reads the whole table: a few rows for each peer, a page or two at the most, and consistently, which
        an index could not do. A subscriber is in it from the moment its subscription was answered.
        """
        rows = self.rows.scan(self.rows.version == version, consistent_read=True)
        return [_read(row) for row in rows]

    def acknowledge(self, subscription: Subscription, seq: int) -> None:
        """Raise the acknowledged seq and forget failures; a lower one, or a subscription that went, changes nothing."""
        self._update(
            subscription,
            [self.rows.acked_seq.set(seq), self.rows.failures.set(0), self.rows.next_at.set(0)],
            self.rows.acked_seq <= seq,
        )

    def failed(self, subscription: Subscription, next_at: int) -> None:
        """Count a failure and put the next notification off; a subscription that went stays gone."""
        self._update(subscription, [self.rows.failures.add(1), self.rows.next_at.set(next_at)], self.rows.gp.exists())

    def delete(self, gp: str, subscription_id: str) -> None:
        """Remove a subscription; one that has gone is gone."""
        self.rows(gp, subscription_id).delete()

    def _update(self, subscription: Subscription, actions: list[Action], condition: Condition) -> None:
        """Change a row where the condition holds, and nothing where it does not."""
        row = self.rows(subscription.gp, subscription.subscription_id)
        try:
            row.update(actions, condition=condition)
        except UpdateError as error:
            if error.cause_response_code != "ConditionalCheckFailedException":
                raise


def _read(row: SubscriptionRow) -> Subscription:
    return Subscription(
        gp=row.gp,
        subscription_id=row.id,
        version=int(row.version),
        callback=row.callback,
        acked_seq=int(row.acked_seq),
        next_at=int(row.next_at),
        failures=int(row.failures),
    )
