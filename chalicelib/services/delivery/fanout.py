"""Delivering the log (-02 §6): each row to the queues of its recipients, in order, by workers that may die anywhere.

    take the shard → rows after its cursor → one request a domain → save the cursor → give the shard back

A worker that dies leaves its lease to run out; the next one begins at the cursor and may send rows again, which the
queueing service knows by their stream and number. A domain that cannot be reached is left behind and holds up nobody
else: it is tried again by itself, from the row it has, until the log no longer goes back that far. So is one that
answers slowly, and one that a row's worker had no time left for because of others. A row that a domain refuses for good
is passed over after some tries, as is one that cannot be read here: each costs itself and nothing else.
"""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence

from chalicelib.protocol.timestamps import MINUTE, SECOND
from chalicelib.services.delivery.memberships import MembershipLog
from chalicelib.services.delivery.ports import FanoutHints, Groups, Shards, StreamGap
from chalicelib.services.delivery.posting import Down, Posting, RefusedForGood
from chalicelib.services.delivery.recipients import Recipients, Unreadable
from chalicelib.services.delivery.sealed_rows import Recipient
from chalicelib.services.delivery.state import MEMBERSHIPS, Behind, GroupId, Kind, LogRow, Shard
from chalicelib.services.ports import Alarms, Clock, Lost

LEASE = 2 * MINUTE
WORK = MINUTE
"""How long one worker goes on before it gives its shard back; a request that it has begun then takes some seconds."""

SLOW = 5 * SECOND
"""After this time a domain has the others go first."""

ROWS = 50
LONGEST_BACKOFF = 10 * MINUTE

REFUSALS = 10
"""How often a domain may refuse a row for good before it is passed over, with pauses that make it some minutes."""

POISONED = 15 * MINUTE
"""How long it is tried to read a row before it is passed over: a defect may be repaired until then."""


@dataclasses.dataclass(frozen=True, slots=True)
class Fanout:
    """Delivers what groups' logs say, a shard at a time."""

    groups: Groups
    shards: Shards
    hints: FanoutHints
    recipients: Recipients
    posting: Posting
    memberships: MembershipLog
    alarms: Alarms
    clock: Clock

    def deliver(self, group_id: GroupId, number: int, work: int = WORK) -> None:
        """Deliver one shard's rows that are due; nothing happens while another worker has the shard.

        After so many milliseconds of work it is given back, with a hint that there is more.
        Raises `Unreadable` where it goes no further because of a row, after everything else is done.
        """
        began = self.clock()
        shard = self.shards.take(group_id, number, began, began + LEASE)
        if shard is None:
            return
        # Lost: the lease ran out and another worker has the shard. What was sent twice, the other side knows.
        with contextlib.suppress(Lost):
            self._work(shard, began + work)

    def due(self, shard: Shard) -> str | None:
        """Return the domain that was left behind and has been due longest, if one is."""
        now = self.clock()
        due = [domain for domain, behind in shard.behind.items() if behind.next_at <= now]
        return min(due, key=lambda domain: shard.behind[domain].next_at, default=None)

    def _work(self, shard: Shard, until: int) -> None:
        """Go on until everything is delivered or the time is up: what is new first, then what a domain missed."""
        unsaved = False
        stuck: Unreadable | None = None
        while self.clock() < until:
            rows = [] if stuck else self._rows(shard, shard.cursor)
            domain = None if rows else self.due(shard)
            if not rows and domain is None:
                break
            if unsaved:
                # A crash before this line delivers the rows before it again, under the same numbers.
                shard = self.shards.save(dataclasses.replace(shard, leased_until=self.clock() + LEASE))
            try:
                for row in rows:
                    shard = self._deliver_row(shard, row, until)
                    if self.clock() >= until:
                        break
            except Unreadable as unreadable:
                stuck = unreadable
                shard = self._noted(shard, [row for row in rows if row.seq > shard.cursor])
            if domain is not None:
                shard = self._catch_up(shard, domain, until)
            unsaved = True
        else:
            self.hints.fan_out(shard.group_id, [shard.shard])
        self.shards.save(dataclasses.replace(_tidy(shard), leased_until=0))
        if stuck is not None:
            raise stuck

    # One row.

    def _rows(self, shard: Shard, after: int) -> Sequence[LogRow]:
        """Return a page of the log as it is delivered; the index of memberships is told of rows as they are stored."""
        page = self.groups.log(shard.group_id, after, ROWS)
        if shard.shard == MEMBERSHIPS:
            return page
        return [one for row in page for one in self.recipients.as_delivered(shard.group_id, row, after)]

    def _deliver_row(self, shard: Shard, row: LogRow, until: int) -> Shard:
        if shard.shard == MEMBERSHIPS and row.kind != Kind.UNREADABLE:
            self.memberships.note(shard.group_id, row)
        else:
            for domain, recipients in self._recipients(shard, row).items():
                if domain in shard.behind:
                    continue
                if (now := self.clock()) < until:
                    shard = self._try(shard, row, domain, recipients)
                else:
                    # A worker that dies over a row begins it again: no row may need longer than a worker has.
                    shard = _behind(shard, domain, Behind(row.seq - 1, 0, now, now))
        return dataclasses.replace(shard, cursor=row.seq)

    def _recipients(self, shard: Shard, row: LogRow) -> Mapping[str, Sequence[Recipient]]:
        """Return who gets a row: nobody where it could not be read for so long that it is passed over."""
        try:
            return self.recipients.of(shard, row)
        except Unreadable:
            since = shard.unread.get(row.seq)
            if since is None or since + POISONED > self.clock():
                raise
            self.alarms.raise_("row-skipped", "unreadable")
            return {}

    def _noted(self, shard: Shard, rows: Sequence[LogRow]) -> Shard:
        """Remember since when rows cannot be read: the tries count, not their age, which an outage may have made.

        All of these are tried, so that many of them do not wait one after the other.
        """
        unread = dict(shard.unread)
        for row in rows:
            if row.seq not in unread and not self._is_readable(shard, row):
                self.alarms.raise_("row-unreadable", "")
                unread[row.seq] = self.clock()
        return dataclasses.replace(shard, unread=unread)

    def _is_readable(self, shard: Shard, row: LogRow) -> bool:
        if shard.shard == MEMBERSHIPS:
            return row.kind != Kind.UNREADABLE
        try:
            self.recipients.of(shard, row)
        except Unreadable:
            return False
        return True

    def _try(self, shard: Shard, row: LogRow, domain: str, recipients: Sequence[Recipient]) -> Shard:
        """Send a row to one domain; if that fails or takes its time, leave the domain behind."""
        began = self.clock()
        try:
            shard = self.posting.send(shard, row, domain, recipients)
        except Down as failure:
            now = self.clock()
            behind = Behind(row.seq - 1, 1, now + SECOND, now, refused=int(isinstance(failure, RefusedForGood)))
            self.alarms.raise_("domain-behind", domain)
            return _behind(shard, domain, behind)
        except StreamGap as gap:
            now = self.clock()
            return self._rewind(shard, domain, gap.expected, Behind(gap.expected, 0, now, now))
        now = self.clock()
        if now < began + SLOW:
            return shard
        self.alarms.raise_("domain-slow", domain)
        return _behind(shard, domain, Behind(row.seq, 0, now, now))

    def _rewind(self, shard: Shard, domain: str, expected: int, behind: Behind) -> Shard:
        """Begin again where the other side says it is: it lost rows that it had confirmed, or we lost our count."""
        self.alarms.raise_("stream-gap", domain)
        shard = dataclasses.replace(shard, sent={**shard.sent, domain: expected})
        return _behind(shard, domain, dataclasses.replace(behind, seq=expected))

    # A domain that was left behind.

    def _catch_up(self, shard: Shard, domain: str, until: int) -> Shard:
        """Send one domain a page of what it missed, in order; at the cursor it goes on with the others."""
        behind, until = shard.behind[domain], min(until, self.clock() + SLOW)
        rows = [row for row in self._rows(shard, behind.seq) if row.seq <= shard.cursor]
        if not rows:
            caught_up = {name: one for name, one in shard.behind.items() if name != domain}
            return dataclasses.replace(shard, behind=caught_up)
        for place, row in enumerate(rows):
            try:
                shard = self.posting.send(shard, row, domain, self._recipients(shard, row).get(domain, ()))
            except RefusedForGood:
                behind = dataclasses.replace(behind, refused=behind.refused + 1)
                if behind.refused < REFUSALS:
                    return _behind(shard, domain, self._later(behind))
                # The others behind it must not wait for it; the stream goes on from the row before.
                self.alarms.raise_("row-skipped", domain)
            except Down:
                return _behind(shard, domain, self._later(behind))
            except Unreadable:
                return _behind(self._noted(shard, rows[place:]), domain, self._later(behind))
            except StreamGap as gap:
                return self._rewind(shard, domain, gap.expected, self._later(behind))
            behind = dataclasses.replace(behind, seq=row.seq, attempts=0, refused=0, next_at=self.clock())
            if self.clock() >= until:
                break
        return _behind(shard, domain, behind)

    def _later(self, behind: Behind) -> Behind:
        pause = min(LONGEST_BACKOFF, SECOND << min(behind.attempts, 20))
        return dataclasses.replace(behind, attempts=behind.attempts + 1, next_at=self.clock() + pause)


def _behind(shard: Shard, domain: str, behind: Behind) -> Shard:
    return dataclasses.replace(shard, behind={**shard.behind, domain: behind})


def _tidy(shard: Shard) -> Shard:
    """Return a shard that has forgotten the rows which everybody is past."""
    past = min([shard.cursor, *(behind.seq for behind in shard.behind.values())])
    return dataclasses.replace(shard, unread={seq: since for seq, since in shard.unread.items() if seq > past})
