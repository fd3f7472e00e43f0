"""What a schedule does for queues: those whose client has stayed away for 90 days are deleted."""

import dataclasses

from chalicelib.protocol.timestamps import DAY, MINUTE
from chalicelib.services.ports import Clock
from chalicelib.services.queueing.owners import discard_all
from chalicelib.services.queueing.ports import QueueEntries, QueueHeads

UNUSED = 90 * DAY
A_STEP = 50
TIME = 4 * MINUTE


@dataclasses.dataclass(frozen=True, slots=True)
class Upkeep:
    """Deletes unused queues, some at a time."""

    heads: QueueHeads
    entries: QueueEntries
    clock: Clock

    def run(self) -> int:
        """Delete unused queues until none is left or the time is up, and return how many; the next run goes on."""
        until, deleted = self.clock() + TIME, 0
        while self.clock() < until and (buried := self.step()):
            deleted += buried
        return deleted

    def step(self) -> int:
        """Delete some queues that are unused and return how many; call again while it is not 0."""
        now = self.clock()
        unused = self.heads.unused(now - UNUSED, A_STEP)
        # The index that found them may lag: whoever was fetched from meanwhile stays.
        buried = [queue_id for queue_id in unused if self.heads.bury(queue_id, now, unless_active_after=now - UNUSED)]
        for queue_id in buried:
            discard_all(self.heads, self.entries, queue_id)
        return len(buried)
