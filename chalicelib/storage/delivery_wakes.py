"""The port `Wakes`: the table `wakes`, one row for each group that may have something to deliver.

    wakes  g    seq, next_at, due_shard; found when due by the index `due`

A group that only waits stands in shards of its own, so that however many there are, others are found first. The row
is written over by each transaction that adds to the group's log, and removed by whoever delivered all of it.
"""

import hashlib
import heapq

from chalicelib.protocol.timestamps import SECOND
from chalicelib.services.delivery.state import GroupId
from chalicelib.storage.dynamodb import ConditionFailed, Database, Delete, Item, Put, Update, blob, number
from chalicelib.storage.rows import DUE_SHARDS

WAKES = "wakes"
DELAY = 5 * SECOND
"""How long a hint has time to do it before the schedule does."""


def wake(group_id: GroupId, seq: int, now: int) -> Put:
    """Return the operation that has a group's log delivered up to `seq`."""
    return Put(WAKES, {"g": group_id, "seq": seq, "next_at": now + DELAY, "due_shard": _due_shard(group_id)})


def _due_shard(group_id: GroupId, *, waiting: bool = False) -> int:
    return hashlib.sha256(group_id).digest()[0] % DUE_SHARDS + (DUE_SHARDS if waiting else 0)


class AwsWakes:
    """The wake-ups of one stage."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def due(self, now: int, most: int, *, waiting: bool = False) -> list[GroupId]:
        """Return the groups that have been due longest, from every shard of the index."""
        shards = (
            self.database.query(
                WAKES,
                "#due_shard = :shard AND #next_at <= :now",
                {"shard": shard, "now": now},
                index="due",
                most=most,
            )
            for shard in (range(DUE_SHARDS, 2 * DUE_SHARDS) if waiting else range(DUE_SHARDS))
        )
        found = [(number(row, "next_at"), blob(row, "g")) for rows in shards for row in rows]
        return [GroupId(group_id) for _, group_id in heapq.nsmallest(most, found)]

    def postpone(self, group_id: GroupId, next_at: int, *, waiting: bool = False) -> None:
        """Make a group due at another time, unless everything was delivered meanwhile."""
        values: Item = {"next_at": next_at, "shard": _due_shard(group_id, waiting=waiting)}
        move = "SET #next_at = :next_at, #due_shard = :shard"
        change = Update(WAKES, {"g": group_id}, move, "attribute_exists(#g)", values)
        try:
            self.database.write(change, repeatable=True)
        except ConditionFailed:
            return

    def settle(self, group_id: GroupId, seq: int) -> None:
        """Let a group rest that was delivered up to `seq`, unless its log has grown since."""
        done = Delete(WAKES, {"g": group_id}, "attribute_not_exists(#g) OR #seq <= :seq", {"seq": seq})
        try:
            self.database.write(done, repeatable=True)
        except ConditionFailed:
            return
