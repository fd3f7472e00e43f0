"""Going round all groups: inactive clients, unused groups, and objects that nothing refers to any more.

A round is made in steps, because there may be more groups than one worker has time for: where a step ended is
remembered, and the next one goes on from there. A group that fails is passed over, told, and met again next round; so
is one over which a worker dies.

Objects are collected by marking: what the kept roots lead to is kept, and so is what was written within a day, because
a change on its way may be about to refer to it. What is neither stays garbage, whenever it is listed: a new root leads
to what a kept one led to and to what its own attempt wrote, under names that no other attempt writes. So the roots are
followed once, and the list goes by in pages, each of which is freed at once. A client can make garbage faster than one
turn lists it; then each turn frees another part, because it begins at another place, and the names are random. Nobody
but this collector deletes; who loses a race leaves its objects to it.
"""

import dataclasses
import hashlib
from collections.abc import Iterator

from chalicelib.protocol.delivery.group_state import GroupState, RemovalReason
from chalicelib.protocol.delivery.reachable import reachable
from chalicelib.protocol.mls.chunks import REF_SIZE, Ref
from chalicelib.protocol.timestamps import DAY, MINUTE
from chalicelib.services.delivery.commits import JOINABLE
from chalicelib.services.delivery.heads import closed
from chalicelib.services.delivery.ports import NO_REF, Garbage, Groups, Rounds
from chalicelib.services.delivery.removals import Removals
from chalicelib.services.delivery.scribe import Scribe
from chalicelib.services.delivery.state import LOG_LIFE_DAYS, GroupId, Head
from chalicelib.services.delivery.vault import Vault
from chalicelib.services.ports import Alarms, Clock

YOUNG = DAY
STEP = 10 * MINUTE
TURN = 3 * MINUTE
PAGE = 50
PAGE_OF_OBJECTS = 1_000
ROUND = "groups"


@dataclasses.dataclass(frozen=True, slots=True)
class Upkeep:
    """Looks after groups that nobody asks about; `inactive` and `unused` are in milliseconds."""

    groups: Groups
    vault: Vault
    garbage: Garbage
    rounds: Rounds
    removals: Removals
    scribe: Scribe
    alarms: Alarms
    clock: Clock
    inactive: int
    unused: int

    def step(self) -> int:
        """Tend groups until the time is up or the round is done, and return how many those were."""
        began, tended = self.clock(), 0
        while self.clock() < began + STEP:
            page = self.garbage.groups(self.rounds.load(ROUND), PAGE)
            for group_id in page:
                if self.clock() >= began + STEP:
                    break
                # Before the work: a worker that dies over a group would begin with it each time.
                self.rounds.save(ROUND, group_id)
                try:
                    self.tend(group_id)
                except Exception:  # noqa: BLE001 (one group must not keep the others from being tended)
                    self.alarms.raise_("upkeep-failed", "")
                tended += 1
            if not page:
                self.rounds.save(ROUND, None)
                break
        return tended

    def tend(self, group_id: GroupId) -> None:
        """Do for one group whatever is due."""
        head, _ = self.groups.load(group_id, b"")
        now = self.clock()
        if head is not None and not head.deleted:
            # A group that was reinitialised is of use to nobody, once no Welcome to it can be joined any more.
            if head.used_until + (min(self.unused, JOINABLE) if head.frozen else self.unused) <= now:
                self._expire(head)
            elif not head.sealed:
                self._remove_inactive(group_id, now)
        self._collect(group_id, now)

    def _expire(self, head: Head) -> None:
        """Close a group that nobody has used for long; if somebody is using it just now, that somebody wins."""
        used_at = head.used(self.clock())
        self.scribe.advance(head, closed(dataclasses.replace(head, version=head.version + 1, used_at=used_at)))

    def _remove_inactive(self, group_id: GroupId, now: int) -> None:
        def inactive(state: GroupState) -> list[tuple[int, RemovalReason]]:
            return [
                (leaf_index, RemovalReason.INACTIVE)
                for leaf_index, record in state.records.all()
                if record.active_at + self.inactive <= now
            ]

        self.removals.remove(group_id, inactive)

    def _collect(self, group_id: GroupId, now: int) -> None:
        head, _ = self.groups.load(group_id, b"")
        if head is not None and head.deleted and head.used_until + (LOG_LIFE_DAYS + 1) * DAY <= now:
            self.garbage.purge(group_id)
            return
        kept: set[Ref] | None = None
        for old in self._old(group_id, now):
            # After `now`: a change that would refer to something old has come about, or never will.
            kept = self._kept(group_id, now) if kept is None else kept
            self.garbage.delete(group_id, [ref for ref in old if ref not in kept])

    def _old(self, group_id: GroupId, now: int) -> Iterator[list[Ref]]:
        """Give a group's objects of more than a day ago, from some place on and around, for one turn."""
        start = Ref(hashlib.sha256(str(now).encode()).digest()[:REF_SIZE])
        after, is_around = start, False
        while True:
            page = self.garbage.objects(group_id, after, PAGE_OF_OBJECTS)
            if old := [ref for ref, written_at in page.items() if written_at + YOUNG <= now]:
                yield old
            if self.clock() >= now + TURN:
                return
            if page and not (is_around and max(page) >= start):
                after = max(page)
            elif is_around:
                return
            else:
                after, is_around = NO_REF, True

    def _kept(self, group_id: GroupId, now: int) -> set[Ref]:
        """Return the objects to which a row of the group leads."""
        roots, others = self.garbage.named(group_id, now)
        head, _ = self.groups.load(group_id, b"")
        kept = {*roots, *others}
        for root in roots:
            # Without a head, a creation that failed has left objects, and no row names any.
            if head is not None and not head.sealed:
                kept |= reachable(self.vault.open(head, root))
        return kept
