"""Removing clients on the service's own account (-02 §2.2): propose, wait an hour, quarantine."""

import dataclasses
from collections.abc import Callable, Iterable

from chalicelib.errors import Unavailable
from chalicelib.protocol.delivery.group_state import Change, GroupState, RemovalReason
from chalicelib.protocol.delivery.removals import LAPSE, blocked_since, lapse, nobody_left, want_removed
from chalicelib.protocol.mls.chunks import Ref
from chalicelib.services.delivery.ports import Groups
from chalicelib.services.delivery.scribe import Scribe
from chalicelib.services.delivery.state import GroupId, Head, Kind, LogRow
from chalicelib.services.delivery.vault import Vault
from chalicelib.services.ports import Alarms, Clock

TRIES = 5

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

    def remove(self, group_id: GroupId, choose: Choose) -> bool:
        """Propose to remove what `choose` names, and say whether there was anything; a repeat finds nothing."""
        for _ in range(TRIES):
            head, _ = self.groups.load(group_id, b"")
            if head is None or head.deleted or head.frozen or head.sealed:
                return False
            state, now = self.vault.open(head), self.clock()
            signer = self.vault.signer(group_id, state.group.suite.number)
            wanted = want_removed(state, choose(state), now, signer)
            if wanted is None:
                return False
            change, proposals = wanted
            root = self.vault.store(group_id, change)
            after = _after(head, change, root)
            rows = [LogRow(0, Kind.PROPOSAL, head.epoch, root, now, proposal) for proposal in proposals]
            # Members hear of the proposals from the log; from here on the group waits for a commit that covers them.
            if self.scribe.advance(head, after, rows):
                self.alarms.raise_("DsRemovals", change.state.removals[-1].reason.name.lower())
                return True
        raise Unavailable("the group changes too fast to propose a removal")

    def lapse_overdue(self, head: Head, now: int) -> Head:
        """Return the head after removals that nobody covered within the hour were given up, if there are any."""
        for _ in range(TRIES):
            if not head.blocked_since or head.blocked_since + LAPSE > now:
                return head
            change = lapse(self.vault.open(head), now)
            if change is None:
                return head
            self.scribe.advance(head, _after(head, change, self.vault.store(head.group_id, change)))
            fresh, _ = self.groups.load(head.group_id, b"")
            if fresh is None:
                raise LookupError("a group's head is gone")
            head = fresh
        raise Unavailable("the group changes too fast to give up a removal")


def _after(head: Head, change: Change, root: Ref) -> Head:
    """Return the head with a change; it closes the group where everybody is quarantined."""
    closed = nobody_left(change.state)
    return dataclasses.replace(
        head,
        version=head.version + 1,
        root=Ref(b"") if closed else root,
        blocked_since=0 if closed else blocked_since(change.state),
        deleted=closed,
    )
