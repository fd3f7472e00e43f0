"""Delivering the log (-02 §6): each row to the queues of its recipients, in order, by workers that may die anywhere.

    take the shard → rows after its cursor → one request a domain → save the cursor → give the shard back

A worker that dies leaves its lease to run out; the next one begins at the cursor and may send rows again, which the
queueing service knows by their stream and number. A row that is too large for a request goes by reference
(`enclosures`). A domain that cannot be reached is left behind and holds up nobody else: it is tried again by itself,
from the row it has, until the log no longer goes back that far. A row that it refuses for good is passed over after
some tries, as is one that cannot be read here: each costs itself and nothing else.

The stream of a group's shard at a domain has a row's `seq` wherever the row has a recipient there; `prev_seq` is the
one before, so the other side sees a gap.
"""

import contextlib
import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from chalicelib.errors import DecodeError
from chalicelib.protocol.delivery.errors import CannotOpen
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
from chalicelib.protocol.timestamps import MINUTE, SECOND
from chalicelib.protocol.tls import STORED_ELEMENTS, decode
from chalicelib.services.delivery.enclosures import Enclosures
from chalicelib.services.delivery.memberships import MembershipLog
from chalicelib.services.delivery.ports import (
    FanoutHints,
    Groups,
    QueueingServices,
    Shards,
    StreamGap,
    Wakes,
)
from chalicelib.services.delivery.recipients import Recipients
from chalicelib.services.delivery.removals import Removals
from chalicelib.services.delivery.sealed_rows import OpenRow, Recipient
from chalicelib.services.delivery.state import (
    MEMBERSHIPS,
    Behind,
    GroupId,
    Head,
    Kind,
    LogRow,
    Shard,
)
from chalicelib.services.ports import Alarms, Clock, Lost, Refused, Unreachable

LEASE = 2 * MINUTE
WORK = MINUTE
"""How long one worker goes on before it gives its shard back."""

ROWS = 50
LONGEST_BACKOFF = 10 * MINUTE
SWEEP = 200
"""How many groups one sweep looks after that have something new."""

SWEEP_WAITING = 100
"""How many it looks after that wait for a domain, or that failed before."""


REFUSALS = 10
"""How often a domain may refuse a row for good before it is passed over, with pauses that make it some minutes."""

POISONED = 15 * MINUTE
"""How old a row is that nobody here can read before it is passed over: a defect may have been repaired until then."""

LATER = frozenset({408, 425, 429})
"""Refusals that are none of the row's making; the other ones below 500 will be the same next time."""

_POISON = (DecodeError, CannotOpen, ValueError, TypeError, LookupError, ArithmeticError)


class _Down(Exception):
    """A domain did not take a row; it will be tried again."""


class _RefusedForGood(_Down):
    """A domain, or what is needed to ask it, would not have the row however often it is tried."""


@dataclasses.dataclass(frozen=True, slots=True)
class Fanout:
    """Delivers what groups' logs say; `domain` is this delivery service's."""

    groups: Groups
    shards: Shards
    wakes: Wakes
    hints: FanoutHints
    recipients: Recipients
    queueing: QueueingServices
    enclosures: Enclosures
    memberships: MembershipLog
    removals: Removals
    alarms: Alarms
    clock: Clock
    domain: str

    def deliver(self, group_id: GroupId, number: int) -> None:
        """Deliver one shard's rows that are due; nothing happens while another worker has the shard."""
        began = self.clock()
        shard = self.shards.take(group_id, number, began, began + LEASE)
        if shard is None:
            return
        # Lost: the lease ran out and another worker has the shard. What was sent twice, the other side knows.
        with contextlib.suppress(Lost):
            self._work(shard, began + WORK)

    def _work(self, shard: Shard, until: int) -> None:
        """Go on until everything is delivered or the time is up: what is new first, then what a domain missed."""
        unsaved = False
        while self.clock() < until:
            rows = self._rows(shard.group_id, shard.cursor)
            domain = None if rows else self._due(shard)
            if not rows and domain is None:
                break
            if unsaved:
                # A crash before this line delivers the rows before it again, under the same numbers.
                shard = self.shards.save(dataclasses.replace(shard, leased_until=self.clock() + LEASE))
            for row in rows:
                shard = self._deliver_row(shard, row)
                if self.clock() >= until:
                    break
            if domain is not None:
                shard = self._catch_up(shard, domain, until)
            unsaved = True
        else:
            self.hints.fan_out(shard.group_id, [shard.shard])
        self.shards.save(dataclasses.replace(shard, leased_until=0))

    def sweep(self) -> int:
        """Deliver for every group that is due, whether or not a hint came, and return how many those were."""
        # Groups that only wait for a domain which is down may be many: they come after those with something new.
        due = self.wakes.due(self.clock(), SWEEP)
        due += self.wakes.due(self.clock(), SWEEP_WAITING, waiting=True)
        failures: list[Exception] = []
        for group_id in due:
            try:
                self.wake(group_id)
            except Exception as error:  # noqa: BLE001 (one group that fails must not hold up the others)
                failures.append(error)
                self.wakes.postpone(group_id, self.clock() + MINUTE, waiting=True)
        if failures:
            raise failures[0]
        return len(due)

    def wake(self, group_id: GroupId) -> None:
        """Bring one group's deliveries forward, and forget the group once nothing is left to do."""
        head, _ = self.groups.load(group_id, b"")
        if head is None:
            raise LookupError("a group that is to be delivered has no head")
        shards = {shard.shard: shard for shard in self.shards.of(group_id)}
        undone = [number for number in _numbers(head) if self._is_undone(shards.get(number), head)]
        failures: list[Exception] = []
        for number in undone:
            try:
                self.deliver(group_id, number)
            except Exception as error:  # noqa: BLE001 (one shard that fails must not hold up the others)
                failures.append(error)
        if failures:
            raise failures[0]
        if undone:
            shards = {shard.shard: shard for shard in self.shards.of(group_id)}
        finished = all(number in shards and shards[number].cursor >= head.seq for number in _numbers(head))
        waiting = [behind.next_at for shard in shards.values() for behind in shard.behind.values()]
        if head.sealed:
            # What everybody has got stays no longer: nothing else that is kept tells who is in the group.
            shard = shards[0]
            self.groups.forget(group_id, min([shard.cursor, *(behind.seq for behind in shard.behind.values())]))
        if finished and not waiting:
            # Rows that came meanwhile keep the group awake: it is settled up to this row only.
            self.wakes.settle(group_id, head.seq)
            return
        now = self.clock()
        next_at = max(now + SECOND, min(waiting, default=now + MINUTE // 2))
        self.wakes.postpone(group_id, next_at, waiting=finished)

    def _is_undone(self, shard: Shard | None, head: Head) -> bool:
        return shard is None or shard.cursor < head.seq or self._due(shard) is not None

    # One row.

    def _rows(self, group_id: GroupId, after: int) -> Sequence[LogRow]:
        """Return a page of the log as it is delivered."""
        rows: list[LogRow] = []
        for row in self.recipients.log(group_id, after, ROWS):
            try:
                rows += self.recipients.disclose(group_id, row, after)
            except _POISON:
                if rows:
                    break  # What stands before it goes first.
                self._pass_over(row)
                rows.append(dataclasses.replace(row, kind=Kind.CREATED))
        return rows

    def _pass_over(self, row: LogRow) -> None:
        """Go on without a row that cannot be read, or raise what is being handled while it may still be helped."""
        if row.accepted_at + POISONED > self.clock():
            raise  # noqa: PLE0704 (only called where something is being handled)
        self.alarms.raise_("row-skipped", "unreadable")

    def _recipients(self, shard: Shard, row: LogRow) -> Mapping[str, Sequence[Recipient]]:
        try:
            return self.recipients.of(shard, row)
        except _POISON:
            self._pass_over(row)
            return {}

    def _deliver_row(self, shard: Shard, row: LogRow) -> Shard:
        if shard.shard == MEMBERSHIPS:
            self.memberships.note(shard.group_id, row)
        else:
            for domain, recipients in self._recipients(shard, row).items():
                if domain not in shard.behind:
                    shard = self._try(shard, row, domain, recipients)
        return dataclasses.replace(shard, cursor=row.seq)

    def _try(self, shard: Shard, row: LogRow, domain: str, recipients: Sequence[Recipient]) -> Shard:
        """Send a row to one domain; if that fails, leave the domain behind."""
        try:
            return self._send(shard, row, domain, recipients)
        except _Down as failure:
            now = self.clock()
            behind = Behind(row.seq - 1, 1, now + SECOND, now, refused=int(isinstance(failure, _RefusedForGood)))
            self.alarms.raise_("domain-behind", domain)
            return _behind(shard, domain, behind)
        except StreamGap as gap:
            now = self.clock()
            return self._rewind(shard, domain, gap.expected, Behind(gap.expected, 0, now, now))

    def _rewind(self, shard: Shard, domain: str, expected: int, behind: Behind) -> Shard:
        """Begin again where the other side says it is: it lost rows that it had confirmed, or we lost our count."""
        self.alarms.raise_("stream-gap", domain)
        shard = dataclasses.replace(shard, sent={**shard.sent, domain: expected})
        return _behind(shard, domain, dataclasses.replace(behind, seq=expected))

    def _send(self, shard: Shard, row: LogRow, domain: str, recipients: Sequence[Recipient]) -> Shard:
        try:
            return self._offer(shard, row, domain, recipients)
        except _POISON as failure:
            raise _RefusedForGood from failure

    def _offer(self, shard: Shard, row: LogRow, domain: str, recipients: Sequence[Recipient]) -> Shard:
        deliveries, order = _deliveries(row, recipients)
        if not order:
            return shard
        request = EnqueueRequest(
            hub=Domain(self.domain),
            group_id=shard.group_id,
            shard=shard.shard,
            prev_seq=shard.sent.get(domain, 0),
            seq=row.seq,
            accepted_at_ms=row.accepted_at,
            deliveries=deliveries,
        )
        try:
            response = self.queueing.enqueue(domain, self.enclosures.fit(domain, request))
        except Unreachable as failure:
            raise _Down from failure
        except Refused as failure:
            raise _Down if failure.status in LATER or failure.status >= 500 else _RefusedForGood from failure
        except StreamGap as gap:
            if gap.expected >= row.seq:
                raise _Down from gap  # It claims to have more than it was ever sent; a row it has is no gap.
            raise
        if len(response.results) != len(order):
            raise _Down
        try:
            self._note(shard.group_id, row, order, response)
        except Exception:  # noqa: BLE001 (the row is delivered; a queue that is gone says so again with the next one)
            self.alarms.raise_("removal-failed", domain)
        return dataclasses.replace(shard, sent={**shard.sent, domain: row.seq})

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

    # A domain that was left behind.

    def _due(self, shard: Shard) -> str | None:
        now = self.clock()
        return next((domain for domain, behind in shard.behind.items() if behind.next_at <= now), None)

    def _catch_up(self, shard: Shard, domain: str, until: int) -> Shard:
        """Send one domain a page of what it missed, in order; at the cursor it goes on with the others."""
        behind = shard.behind[domain]
        rows = [row for row in self._rows(shard.group_id, behind.seq) if row.seq <= shard.cursor]
        if not rows:
            caught_up = {name: one for name, one in shard.behind.items() if name != domain}
            return dataclasses.replace(shard, behind=caught_up)
        for row in rows:
            try:
                shard = self._send(shard, row, domain, self._recipients(shard, row).get(domain, ()))
            except _RefusedForGood:
                behind = dataclasses.replace(behind, refused=behind.refused + 1)
                if behind.refused < REFUSALS:
                    return _behind(shard, domain, self._later(behind))
                # The others behind it must not wait for it; the stream goes on from the row before.
                self.alarms.raise_("row-skipped", domain)
            except _Down:
                return _behind(shard, domain, self._later(behind))
            except StreamGap as gap:
                return self._rewind(shard, domain, gap.expected, self._later(behind))
            behind = dataclasses.replace(behind, seq=row.seq, attempts=0, refused=0)
            if self.clock() >= until:
                break
        return _behind(shard, domain, behind)

    def _later(self, behind: Behind) -> Behind:
        pause = min(LONGEST_BACKOFF, SECOND << min(behind.attempts, 20))
        return dataclasses.replace(behind, attempts=behind.attempts + 1, next_at=self.clock() + pause)


def _behind(shard: Shard, domain: str, behind: Behind) -> Shard:
    return dataclasses.replace(shard, behind={**shard.behind, domain: behind})


def _numbers(head: Head) -> Sequence[int]:
    return [*range(head.shards), *(() if head.sealed else (MEMBERSHIPS,))]


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
