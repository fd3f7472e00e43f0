"""Offering one row of the log to one domain (-02 §6): the request, and what becomes of the answer.

The stream of a group's shard at a domain has a row's `seq` wherever the row has a recipient there; `prev_seq` is the
one before, so the other side sees a gap. A row that is too large for a request goes by reference (`enclosures`).

What fails while the request is made of the row is the row's own fault, and what fails while it is on its way is not,
whatever it is: a defect of ours, or a certificate that cannot be read, must not cost a single row.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from chalicelib.protocol.delivery.group_state import GroupState, RemovalReason
from chalicelib.protocol.delivery.parts import Domain
from chalicelib.protocol.delivery.queueing import (
    ClientQueueConfig,
    Delivery,
    EnqueueRequest,
    EnqueueResponse,
    QueueingServiceResponse,
)
from chalicelib.protocol.mls.framing import MLSMessage
from chalicelib.protocol.mls.welcome import Welcome
from chalicelib.protocol.tls import STORED_ELEMENTS, decode
from chalicelib.services.delivery.breaker import Breaker
from chalicelib.services.delivery.enclosures import Enclosures
from chalicelib.services.delivery.ports import QueueingServices, StreamGap
from chalicelib.services.delivery.recipients import is_spoiled
from chalicelib.services.delivery.removals import Removals
from chalicelib.services.delivery.sealed_rows import OpenRow, Recipient
from chalicelib.services.delivery.state import GroupId, Kind, LogRow, Shard
from chalicelib.services.ports import Alarms, Refused, Unreachable

LATER = frozenset({408, 425, 429})
"""Refusals that are none of the row's making; the other ones below 500 will be the same next time."""


class Down(Exception):
    """A domain did not take a row; it will be tried again."""


class RefusedForGood(Down):
    """A domain, or what is needed to ask it, would not have the row however often it is tried."""


@dataclasses.dataclass(frozen=True, slots=True)
class Posting:
    """Hands rows to queueing services; `domain` is this delivery service's."""

    queueing: QueueingServices
    enclosures: Enclosures
    removals: Removals
    breaker: Breaker
    alarms: Alarms
    domain: str

    def send(self, shard: Shard, row: LogRow, domain: str, recipients: Sequence[Recipient]) -> Shard:
        """Send a row to its recipients at one domain, and return the shard with the stream as it is then.

        Raises `Down` where it is to be tried again, `RefusedForGood` where that will not help, and `StreamGap`.
        """
        try:
            request, order = self._request(shard, row, domain, recipients)
        except Exception as failure:
            if is_spoiled(failure):
                raise RefusedForGood from failure
            raise
        if not order:
            return shard
        response = self._offer(domain, request)
        if len(response.results) != len(order):
            raise Down
        try:
            self._note(shard.group_id, row, order, response)
        except Exception:  # noqa: BLE001 (the row is delivered; a queue that is gone says so again with the next one)
            self.alarms.raise_("removal-failed", domain)
        return dataclasses.replace(shard, sent={**shard.sent, domain: row.seq})

    def _request(
        self, shard: Shard, row: LogRow, domain: str, recipients: Sequence[Recipient]
    ) -> tuple[EnqueueRequest, Sequence[Recipient]]:
        """Return what a domain is asked, and the recipients in the order in which it answers for them."""
        deliveries, order = _deliveries(row, recipients)
        request = EnqueueRequest(
            hub=Domain(self.domain),
            group_id=shard.group_id,
            shard=shard.shard,
            prev_seq=shard.sent.get(domain, 0),
            seq=row.seq,
            accepted_at_ms=row.accepted_at,
            deliveries=deliveries,
        )
        if order:
            request.encode()  # What cannot travel is found out here, where it is the row's fault.
        return request, order

    def _offer(self, domain: str, request: EnqueueRequest) -> EnqueueResponse:
        """Ask a domain and return its answer, or raise `Down`, `RefusedForGood` or `StreamGap`."""
        try:
            return self._ask(domain, request)
        except Unreachable as failure:
            raise Down from failure
        except Refused as failure:
            raise Down if failure.status in LATER or failure.status >= 500 else RefusedForGood from failure
        except StreamGap as gap:
            if gap.expected >= request.seq:
                raise Down from gap  # It claims to have more than it was ever sent; a row it has is no gap.
            raise
        except Exception as failure:
            if not is_spoiled(failure):
                raise
            # A defect on the way to one domain, and most likely the same the next time: the others must not wait.
            self.alarms.raise_("domain-call-failed", type(failure).__name__)
            raise Down from failure

    def _ask(self, domain: str, request: EnqueueRequest) -> EnqueueResponse:
        if domain == self.domain:
            return self.queueing.enqueue(domain, request)
        if self.breaker.is_open(domain):
            raise Unreachable("the domain did not answer a moment ago")
        fitting = self.enclosures.fit(domain, request)
        with self.breaker.asking(domain):
            return self.queueing.enqueue(domain, fitting)

    def _note(self, group_id: GroupId, row: LogRow, recipients: Sequence[Recipient], response: EnqueueResponse) -> None:
        """Act on what became of each recipient: a queue that is gone means a client that is gone (-02 §6)."""
        rejected: dict[int, ClientQueueConfig] = {}
        for recipient, result in zip(recipients, response.results, strict=True):
            if result == QueueingServiceResponse.INVALID_CLIENT_QUEUE_INFORMATION:
                rejected[recipient.leaf_index] = recipient.config
            elif result != QueueingServiceResponse.OK:
                self.alarms.raise_("queue-refused", result.name.lower())
        if not rejected:
            return
        if isinstance(row, OpenRow):
            self.removals.report(group_id, row.inbox_key, rejected.values())
            return

        def gone(state: GroupState) -> Iterable[tuple[int, RemovalReason]]:
            # Only if the queue still is the client's: it may have named another since, or left.
            for leaf_index, config in rejected.items():
                record = state.records.get(leaf_index)
                if record is not None and record.config == config:
                    yield leaf_index, RemovalReason.QUEUE_REJECTED

        self.removals.remove(group_id, gone)


def _deliveries(row: LogRow, recipients: Sequence[Recipient]) -> tuple[tuple[Delivery, ...], list[Recipient]]:
    """Return what goes to one domain, and the recipients in the order in which it answers for them."""
    if row.kind != Kind.WELCOME:
        return (Delivery(row.body, tuple(one.config for one in recipients)),) if recipients else (), list(recipients)
    by_leaf = {one.leaf_index: one for one in recipients}
    leaves: Mapping[bytes, int] = dict(row.joiners)
    deliveries, order = [], []
    for message in decode(lambda reader: reader.vector(MLSMessage.read), row.body, STORED_ELEMENTS):
        if not isinstance(message.body, Welcome):
            raise TypeError("a row of Welcomes holds something else")
        named = [leaves.get(entry.new_member) for entry in message.body.secrets]
        invited = [by_leaf[leaf_index] for leaf_index in named if leaf_index in by_leaf]
        if invited:
            deliveries.append(Delivery(message.encode(), tuple(one.config for one in invited)))
            order += invited
    return tuple(deliveries), order
