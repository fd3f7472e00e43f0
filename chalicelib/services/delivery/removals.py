"""Removing clients on the service's own account (-02 §2.2): propose, wait an hour, quarantine.

Into a sealed group nobody can look between requests. What falls due meanwhile is done by the next request that opens
its state; that a queue was rejected waits until then in the group's inbox, encrypted to the group.
"""

import contextlib
import dataclasses
import enum
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence

from chalicelib.errors import Unavailable
from chalicelib.protocol.delivery.errors import CannotOpen
from chalicelib.protocol.delivery.group_state import Change, GroupState, RemovalReason
from chalicelib.protocol.delivery.queueing import ClientQueueConfig
from chalicelib.protocol.delivery.removals import (
    LAPSE,
    MOST_AT_ONCE,
    MOST_PENDING,
    blocked_since,
    lapse,
    nobody_left,
    want_removed,
)
from chalicelib.protocol.delivery.sealed import QUEUE_REJECTION, Sealed, open_sealed, seal_to
from chalicelib.protocol.tls import decode
from chalicelib.services.delivery.heads import closed
from chalicelib.services.delivery.ports import Groups, Inboxes
from chalicelib.services.delivery.scribe import Scribe, proposed
from chalicelib.services.delivery.state import GroupId, Kind, LogRow
from chalicelib.services.delivery.vault import Opened, Vault
from chalicelib.services.ports import Alarms, Clock

TRIES = 5
STEPS = TRIES + MOST_PENDING // MOST_AT_ONCE
"""How often a group is looked at: so many removals may be wanted that they are proposed one after the other."""


_OUT_OF_ACCOUNT = frozenset({RemovalReason.CLIENT_REMOVED, RemovalReason.USER_DELETED})


class Unfinished(Exception):
    """As many removals are pending as a group may have; the caller comes back for the rest."""


class _Step(enum.Enum):
    """How far one change brought what is wanted."""

    NOTHING = enum.auto()
    ALL = enum.auto()
    SOME = enum.auto()
    FULL = enum.auto()
    MOVED = enum.auto()


Choose = Callable[[GroupState], Iterable[tuple[int, RemovalReason]]]
"""Looks at a group and names the leaves that should go, and why."""


@dataclasses.dataclass(frozen=True, slots=True)
class Removals:
    """Proposes that clients be removed, and quarantines those whose removal nobody commits."""

    groups: Groups
    vault: Vault
    scribe: Scribe
    alarms: Alarms
    clock: Clock
    inboxes: Inboxes

    def remove(self, group_id: GroupId, choose: Choose) -> bool:
        """Propose to remove what `choose` names, and say whether there was anything; a repeat finds nothing.

        In a group that was reinitialised only who is out of its account goes. Queues and commits are of no more use.

        Raises `Unfinished` where more is wanted than may be pending at once.
        """
        anything = False
        for _ in range(STEPS):
            head, _ = self.groups.load(group_id, b"")
            if head is None or head.deleted or head.sealed:
                return anything
            step = self._propose(self.vault.unlock(head, None), choose, self.clock())
            anything = anything or step in {_Step.ALL, _Step.SOME}
            if step is _Step.FULL:
                raise Unfinished
            if step in {_Step.ALL, _Step.NOTHING}:
                return anything
        raise Unavailable("the group changes too fast to propose a removal")

    def report(self, group_id: GroupId, inbox_key: bytes, rejected: Iterable[ClientQueueConfig]) -> None:
        """Leave a note in a sealed group's inbox for each of its queues that was rejected."""
        notes = [seal_to(inbox_key, 0, QUEUE_REJECTION, group_id, _digest(config)).encode() for config in rejected]
        self.inboxes.add(group_id, notes)

    def settle(self, opened: Opened, now: int) -> Opened:
        """Return a group after what had fallen due in it: removals that nobody covered in time are given up.

        In a sealed group, clients whose queues were rejected meanwhile are proposed to be removed. In a group that was
        reinitialised nothing falls due: nobody can commit there, so nobody is late.
        """
        for _ in range(STEPS):
            head = opened.head
            if head.frozen:
                return opened
            overdue = head.blocked_since and head.blocked_since + LAPSE <= now
            if not (self._settle_sealed(opened, now) if head.sealed else overdue and self._lapse(opened, now)):
                return opened
            fresh, _ = self.groups.load(head.group_id, b"")
            if fresh is None:
                raise LookupError("a group's head is gone")
            opened = self.vault.again(opened, fresh)
        raise Unavailable("the group changes too fast to give up a removal")

    def _settle_sealed(self, opened: Opened, now: int) -> bool:
        """Do one thing that is due in a sealed group, and say whether there was any."""
        if self._lapse(opened, now):
            return True
        notes = self.inboxes.of(opened.head.group_id)
        gone = set(_read_notes(opened, notes))

        def rejected(state: GroupState) -> Iterator[tuple[int, RemovalReason]]:
            # Only if the queue still is the client's: it may have named another since, or left.
            for leaf_index, record in state.records.all() if gone else ():
                if _digest(record.config) in gone:
                    yield leaf_index, RemovalReason.QUEUE_REJECTED

        step = self._propose(opened, rejected, now)
        if notes and step in {_Step.ALL, _Step.NOTHING}:
            # A crash before this line finds the removals proposed already, and comes here again.
            self.inboxes.clear(opened.head.group_id, notes)
        return step in {_Step.ALL, _Step.SOME, _Step.MOVED}

    def _propose(self, opened: Opened, choose: Choose, now: int) -> _Step:
        """Propose what there is, as much of it as can be at once, and say how far that goes."""
        head, state = opened.head, opened.state
        signer = self.vault.signer(head.group_id, state.group.suite.number)
        targets = choose(state)
        if head.frozen:
            targets = [(leaf_index, reason) for leaf_index, reason in targets if reason in _OUT_OF_ACCOUNT]
        wanted = want_removed(state, targets, now, signer)
        change = wanted.change
        if change is None:
            return _Step.FULL if wanted.more else _Step.NOTHING
        rows = proposed(wanted.proposals, head.epoch, change.root, now)
        if not rows and blocked_since(change.state) and not head.sealed:
            # What its client proposed itself stands for the removal. The group is kept awake until that lapses.
            rows = [LogRow(0, Kind.WAITING, head.epoch, change.root, now, b"")]
        # Members hear of the proposals from the log; from here on the group waits for a commit that covers them.
        if not self._advance(opened, change, rows, now):
            return _Step.MOVED
        self.alarms.raise_("ds-removals", change.state.removals[-1].reason.name.lower())
        return _Step.SOME if wanted.more else _Step.ALL

    def _lapse(self, opened: Opened, now: int) -> bool:
        """Give up what is overdue, and say whether anything was."""
        change = lapse(opened.state, now)
        if change is not None:
            self._advance(opened, change, (), now)
        return change is not None

    def _advance(self, opened: Opened, change: Change, rows: Sequence[LogRow], now: int) -> bool:
        stored = self.vault.store(opened, change, rows, now=now)
        after = closed(stored.head) if nobody_left(change.state) else stored.head
        return self.scribe.advance(opened.head, after, stored.rows)


def _digest(config: ClientQueueConfig) -> bytes:
    return hashlib.sha256(config.encode()).digest()


def _read_notes(opened: Opened, notes: Sequence[bytes]) -> Iterator[bytes]:
    """Give the digests of the queues that notes are about; one that does not open is no note of ours."""
    if opened.safe is None:
        return
    for note in notes:
        with contextlib.suppress(CannotOpen):
            yield open_sealed(opened.safe.inbox_key, QUEUE_REJECTION, opened.head.group_id, decode(Sealed.read, note))
