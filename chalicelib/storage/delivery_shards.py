"""The port `Shards`: who delivers which part of a group, and how far it is.

A group that grows by many shards at once says so in one row, which fits into the transaction of its commit. A shard
gets a row of its own when it is first taken.
"""

from chalicelib.services.delivery.state import GroupId, Shard
from chalicelib.services.ports import Lost
from chalicelib.storage import delivery_rows as rows_of
from chalicelib.storage.delivery_rows import GROUPS
from chalicelib.storage.dynamodb import ConditionFailed, Database, Item, Put, Update, number, text


class AwsShards:
    """The shards of all groups of one stage."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def take(self, group_id: GroupId, shard: int, now: int, until: int) -> Shard | None:
        """Lease a shard until then; None while another has it, or where there is no such shard."""
        lease = Update(
            GROUPS,
            rows_of.key(group_id, rows_of.shard_name(shard)),
            "SET #leased_until = :until ADD #version :one",
            "#leased_until <= :now",
            {"until": until, "one": 1, "now": now},
        )
        try:
            row = self.database.write(lease, returns="ALL_NEW")
        except ConditionFailed as failed:
            return self._take_new(group_id, shard, until) if failed.row is None else None
        if row is None:
            raise RuntimeError("DynamoDB did not return the row it changed")
        return rows_of.shard_of(row)

    def save(self, shard: Shard) -> Shard:
        """Write a shard that was taken, or raise `Lost` where somebody took it since."""
        saved = Shard(
            shard.group_id,
            shard.shard,
            shard.cursor,
            shard.version + 1,
            dict(shard.sent),
            dict(shard.behind),
            shard.leased_until,
            dict(shard.unread),
        )
        put = Put(GROUPS, rows_of.shard_row(saved), "#version = :version", {"version": shard.version})
        try:
            self.database.write(put, repeatable=True)
        except ConditionFailed as failed:
            # Versions are given to one worker each: what stands under the next one and is the same was our own write.
            if failed.row is None or rows_of.shard_of(failed.row) != saved:
                raise Lost from failed
        return saved

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

    def _take_new(self, group_id: GroupId, shard: int, until: int) -> Shard | None:
        """Lease a shard that nobody has taken before."""
        condition = "#g = :g AND begins_with(#r, :prefix)"
        for row in self.database.query(GROUPS, condition, {"g": group_id, "prefix": "shards#"}):
            if shard in _range(row):
                new = Shard(group_id, shard, number(row, "cursor"), version=1, leased_until=until)
                try:
                    self.database.write(Put(GROUPS, rows_of.shard_row(new), "attribute_not_exists(#g)"))
                except ConditionFailed:
                    return None
                return new
        return None


def _range(row: Item) -> range:
    return range(number(row, "first"), number(row, "until"))


def _new(group_id: GroupId, shard: int, row: Item) -> Shard:
    return Shard(group_id, shard, number(row, "cursor"))
