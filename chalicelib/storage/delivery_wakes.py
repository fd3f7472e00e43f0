"""The port `Wakes`: the table `wakes`, one row for each group that may have something to deliver.

    wakes  g    seq, next_at, due_shard; found when due by the index `due`

A group that only waits stands in a lane of its own, so that however many there are, others are found first. The row
is written over by each transaction that adds to the group's log, and removed by whoever delivered all of it.
"""

from chalicelib.protocol.timestamps import SECOND
from chalicelib.services.delivery.state import GroupId
from chalicelib.storage.delivery_rows import GROUPS, HEAD, key
from chalicelib.storage.due import DueIndex
from chalicelib.storage.dynamodb import Cancelled, Check, ConditionFailed, Database, Delete, Put, Update, blob

WAKES = "wakes"
DUE = DueIndex(WAKES)
DELAY = 5 * SECOND
"""How long a hint has time to do it before the schedule does."""


def wake(group_id: GroupId, seq: int, now: int) -> Put:
    """Return the operation that has a group's log delivered up to `seq`."""
    return Put(WAKES, {"g": group_id, "seq": seq, **DUE.place(group_id, now + DELAY)})


class AwsWakes:
    """The wake-ups of one stage."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def due(self, now: int, most: int, *, waiting: bool = False) -> list[GroupId]:
        """Return the groups that have been due longest."""
        return [GroupId(blob(row, "g")) for row in DUE.find(self.database, now, most, lane=int(waiting))]

    def postpone(self, group_id: GroupId, next_at: int, seq: int | None = None, *, waiting: bool = False) -> None:
        """Make a group due at another time, unless everything was delivered meanwhile, or its log has grown."""
        values = DUE.place(group_id, next_at, lane=int(waiting))
        move = "SET #next_at = :next_at, #due_shard = :due_shard"
        condition = "attribute_exists(#g)"
        if seq is not None:
            condition, values = f"{condition} AND #seq <= :seq", {**values, "seq": seq}
        change = Update(WAKES, {"g": group_id}, move, condition, values)
        try:
            self.database.write(change, repeatable=True)
        except ConditionFailed:
            return

    def settle(self, group_id: GroupId, seq: int) -> bool:
        """Let a group rest that was delivered up to `seq`, unless its log has grown since."""
        done = Delete(WAKES, {"g": group_id}, "attribute_not_exists(#g) OR #seq <= :seq", {"seq": seq})
        try:
            self.database.write(done, repeatable=True)
        except ConditionFailed:
            return False
        return True

    def retire(self, group_id: GroupId, seq: int | None) -> bool:
        """Let a group go that has no head, or whose head ends the log at `seq`."""
        head = key(group_id, HEAD)
        nothing_more = Check(GROUPS, head, "attribute_not_exists(#g)")
        if seq is not None:
            nothing_more = Check(GROUPS, head, "#seq = :seq", {"seq": seq})
        try:
            self.database.transact([nothing_more, Delete(WAKES, {"g": group_id})])
        except Cancelled:
            return False
        return True
