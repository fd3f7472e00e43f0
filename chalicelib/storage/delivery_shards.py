"""The port `Shards`: who delivers which part of a group, and how far it is.

A group that grows by many shards at once says so in one row, which fits into the transaction of its commit. A shard
gets a row of its own when it is first taken.
"""

from chalicelib.services.delivery.state import GroupId, Shard
from chalicelib.storage import delivery_rows as rows_of
from chalicelib.storage.delivery_rows import GROUPS
from chalicelib.storage.dynamodb import ConditionFailed, Database, Item, Put, number, text
from chalicelib.storage.leases import Lease

LEASE = Lease(GROUPS, "leased_until", "version")


class AwsShards:
    """The shards of all groups of one stage."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def take(self, group_id: GroupId, shard: int, now: int, until: int) -> Shard | None:
        """Lease a shard until then; None while another has it, or where there is no such shard."""
        key = rows_of.key(group_id, rows_of.shard_name(shard))
        row = LEASE.take(self.database, key, now, until, lambda: self._make(group_id, shard, until))
        return None if row is None else rows_of.shard_of(row)

    def save(self, shard: Shard) -> Shard:
        """Write a shard that was taken, or raise `Lost` where somebody took it since."""
        return rows_of.shard_of(LEASE.save(self.database, rows_of.shard_row(shard)))

    def of(self, group_id: GroupId) -> list[Shard]:
        """Return a group's shards in order, those too that nobody has taken yet."""
        condition = "#g = :g AND begins_with(#r, :prefix)"
        rows = list(self.database.query(GROUPS, condition, {"g": group_id, "prefix": "shard"}))
        shards: dict[int, Shard] = {}
        for row in rows:
            if text(row, "r").startswith("shards#"):
                shards |= {shard: _new(group_id, shard, row) for shard in _range(row)}
        taken = [rows_of.shard_of(row) for row in rows if text(row, "r").startswith("shard#")]
        shards |= {shard.shard: shard for shard in taken}
        return [shards[shard] for shard in sorted(shards)]

    def _make(self, group_id: GroupId, shard: int, until: int) -> Item | None:
        """Lease a shard that nobody has taken before."""
        condition = "#g = :g AND begins_with(#r, :prefix)"
        for row in self.database.query(GROUPS, condition, {"g": group_id, "prefix": "shards#"}):
            if shard in _range(row):
                made = rows_of.shard_row(Shard(group_id, shard, number(row, "cursor"), version=1, leased_until=until))
                try:
                    self.database.write(Put(GROUPS, made, "attribute_not_exists(#g)"))
                except ConditionFailed:
                    return None
                return made
        return None


def _range(row: Item) -> range:
    return range(number(row, "first"), number(row, "until"))


def _new(group_id: GroupId, shard: int, row: Item) -> Shard:
    return Shard(group_id, shard, number(row, "cursor"))
