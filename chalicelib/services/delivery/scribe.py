"""Making a change of a group true: one transaction, repeated while only the log has grown meanwhile.

    objects are stored → advance: head, log, past epoch, answer, wake-up, all at once → hint to deliver

A crash before the transaction leaves objects that nothing names; they are collected. After it everything is true, and
the wake-up is a row too, so a hint that never went delays delivery and loses nothing. Who repeats the request finds
its answer.
"""

import dataclasses
import itertools
from collections.abc import Sequence

from chalicelib.errors import Unavailable
from chalicelib.protocol.mls.chunks import Ref
from chalicelib.protocol.tls import opaque
from chalicelib.services.delivery.ports import FanoutHints, Groups
from chalicelib.services.delivery.state import MEMBERSHIPS, Head, KeptAnswer, Kind, LogRow, PastEpoch
from chalicelib.services.ports import Lost

MOST_TRIES = 40
"""How often a write makes way for messages that were sent at the same time."""

HURRIED = 25
"""How many changes of membership are not too much to do between two deliveries."""


def proposed(messages: Sequence[bytes], epoch: int, root: Ref, now: int, sender: int | None = None) -> Sequence[LogRow]:
    """Return the row by which all that a change proposes is delivered; none where it proposes nothing."""
    if not messages:
        return ()
    body = opaque(b"".join(messages))
    return (LogRow(0, Kind.PROPOSALS, epoch, root, now, body, sender=sender, count=len(messages)),)


@dataclasses.dataclass(frozen=True, slots=True)
class Scribe:
    """Writes changes of groups."""

    groups: Groups
    hints: FanoutHints

    def advance(
        self,
        before: Head,
        after: Head,
        rows: Sequence[LogRow] = (),
        past: PastEpoch | None = None,
        answer: KeptAnswer | None = None,
    ) -> bool:
        """Make a change true, and say so; False where the state has moved, and the change must be judged again."""
        digest = b"" if answer is None else answer.digest
        for _ in range(MOST_TRIES):
            ends = list(itertools.accumulate((row.count for row in rows), initial=before.seq))
            numbered = [dataclasses.replace(row, seq=seq) for row, seq in zip(rows, ends[1:], strict=True)]
            now_after = dataclasses.replace(after, seq=ends[-1])
            try:
                self.groups.advance(before, now_after, numbered, past, answer)
            except Lost:
                fresh, known = self.groups.load(before.group_id, digest)
                if known is None and (fresh is None or fresh.version != before.version):
                    return False
                if known is None and fresh is not None:
                    before = fresh  # Only messages came between; what was judged still holds.
                    continue
            if rows:
                self.hints.fan_out(before.group_id, [*range(after.shards), *_index(after, numbered)])
            return True
        raise Unavailable("too many messages are sent to the group at once")


def _index(head: Head, rows: Sequence[LogRow]) -> Sequence[int]:
    """Hurry the index of memberships along where it changes: an account event finds groups by it.

    A crowd is left to the sweep, because hints are worked off one after the other and delivery would wait for it.
    """
    changes = sum(len(row.joined) + len(row.left) for row in rows)
    return [MEMBERSHIPS] if 0 < changes <= HURRIED and not head.sealed else []
