"""Looking after every group that has something due: rows to deliver, a domain to try again, a removal that lapses.

A group is awake from the transaction that gave it something to do until all of it is done. Hints make it faster; what
this schedule finds by itself needs none.

A sweep gives each shard some seconds; where more is to do, a hint has a worker go on with it. Who waits longest comes
first, among the shards of a group, too: so a domain that keeps a sweep busy delays the others, and starves none.

After a table was restored a group may be awake that is not there, or for rows that its log does not have. They cannot
be on their way: they were written with the wake-up in one transaction, and are read after it was seen. Should they be
written just now, a new wake-up came with them; it stays, because the head is asked once more, in the transaction that
removes the old one.
"""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence

from chalicelib.protocol.delivery.refusals import UnknownGroup
from chalicelib.protocol.delivery.removals import LAPSE
from chalicelib.protocol.timestamps import MINUTE, SECOND
from chalicelib.services.delivery.fanout import Fanout
from chalicelib.services.delivery.ports import Groups, Shards, Wakes
from chalicelib.services.delivery.removals import Removals
from chalicelib.services.delivery.state import MEMBERSHIPS, GroupId, Head, Shard
from chalicelib.services.delivery.vault import Vault
from chalicelib.services.failures import Failures
from chalicelib.services.ports import Alarms, Clock

WORK = MINUTE
"""How long one sweep begins further shards; half of it is for groups that have something new."""

TURN = 10 * SECOND
"""How long it stays with one of them; a request that it has begun then takes some seconds."""

SWEEP = 200
"""How many groups one sweep looks after that have something new."""

SWEEP_WAITING = 100
"""How many it looks after that wait for a domain or for the time, or that failed before."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sweep:
    """Wakes groups whose time has come."""

    groups: Groups
    shards: Shards
    wakes: Wakes
    fanout: Fanout
    vault: Vault
    removals: Removals
    alarms: Alarms
    clock: Clock

    def sweep(self) -> int:
        """Do what is due for every group, whether or not a hint came, and return how many those were."""
        began = self.clock()
        with Failures() as failures:
            # Groups that only wait for a domain which is down may be many: they come after those with something new.
            new = self._sweep(failures, self.wakes.due(began, SWEEP), began + WORK // 2)
            # Those may take all the time there is, where a domain is slow: so they have half of it.
            waiting = self.wakes.due(began, SWEEP_WAITING, waiting=True)
            return new + self._sweep(failures, waiting, began + WORK)

    def _sweep(self, failures: Failures, due: Sequence[GroupId], until: int) -> int:
        """Bring groups forward until the time is up; the others stay due, and come first the next time."""
        for number, group_id in enumerate(due):
            if self.clock() >= until:
                return number
            with failures.kept():
                # Before the work: who dies over it says nothing after, and no sweep must begin with it again.
                self.wakes.postpone(group_id, self.clock() + MINUTE, waiting=True)
                self.wake(group_id, until)
        return len(due)

    def wake(self, group_id: GroupId, until: int) -> None:
        """Bring one group forward, and forget it once nothing is left to do; no shard is begun after `until`."""
        head, _ = self.groups.load(group_id, b"")
        if head is None:
            # A crash after this line counts it twice; the other way round it might never be told.
            self.alarms.raise_("wake-without-group", "")
            self.wakes.retire(group_id, None)
            return
        shards = self._shards(group_id)
        if head.deleted and not shards:
            # It was purged: what nobody had come for until then is older than the log goes back.
            self._rest(head)
            return
        undone = self._undone(head, shards)
        lapses_at: int | None = None
        with Failures() as failures:
            for number in undone:
                if self.clock() >= until:
                    break
                with failures.kept():
                    self.fanout.deliver(group_id, number, TURN)
            with failures.kept():
                lapses_at = self._lapse(head)
        if undone:
            shards = self._shards(group_id)
        finished = all(number in shards and shards[number].cursor >= head.seq for number in _numbers(head))
        waiting = [behind.next_at for shard in shards.values() for behind in shard.behind.values()]
        waiting += [] if lapses_at is None else [lapses_at]
        if head.sealed:
            # What everybody has got stays no longer: nothing else that is kept tells who is in the group.
            shard = shards[0]
            self.groups.forget(group_id, min([shard.cursor, *(behind.seq for behind in shard.behind.values())]))
        if finished and not waiting:
            self._rest(head)
            return
        now = self.clock()
        next_at = max(now + SECOND, min(waiting, default=now + MINUTE // 2))
        self.wakes.postpone(group_id, next_at, head.seq, waiting=finished)

    def _rest(self, head: Head) -> None:
        """Let a group rest; rows that came meanwhile keep it awake."""
        settled = self.wakes.settle(head.group_id, head.seq)
        # If none came, it was woken for rows that are no more.
        if not settled and self.wakes.retire(head.group_id, head.seq):
            self.alarms.raise_("wake-without-rows", "")

    def _lapse(self, head: Head) -> int | None:
        """Give up removals that nobody covered in time, and return when the next are due if any are pending.

        Requests do the same when they come; in a group that is silent none does. Nobody can look into a sealed one.
        """
        if not head.blocked_since or head.deleted or head.frozen:
            return None
        now, since = self.clock(), head.blocked_since
        if since + LAPSE <= now:
            since = 0
            with contextlib.suppress(UnknownGroup):  # With the last of its members the group is closed.
                since = self.removals.settle(self.vault.unlock(head, None), now).head.blocked_since
        return since + LAPSE if since else None

    def _shards(self, group_id: GroupId) -> dict[int, Shard]:
        return {shard.shard: shard for shard in self.shards.of(group_id)}

    def _undone(self, head: Head, shards: Mapping[int, Shard]) -> Sequence[int]:
        """Return the shards with something to do: those with new rows first, then by how long a domain has been due."""
        since = dict[int, int]()
        for number in _numbers(head):
            shard = shards.get(number)
            if shard is None or shard.cursor < head.seq:
                since[number] = 0
            elif (domain := self.fanout.due(shard)) is not None:
                since[number] = shard.behind[domain].next_at
        return sorted(since, key=lambda number: since[number])


def _numbers(head: Head) -> Sequence[int]:
    return [*range(head.shards), *(() if head.sealed else (MEMBERSHIPS,))]
