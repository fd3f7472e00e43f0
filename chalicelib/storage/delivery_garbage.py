"""The port `Garbage`: what groups have stored, what their rows still name, and how it is taken away.

Listing a group's objects costs as much as reading them, for DynamoDB counts whole items; it is a schedule's work.
S3 is emptied before the rows that lead there, so that a crash in between leaves rows by which it can be repeated.
"""

from collections.abc import Iterable, Mapping, Sequence

from chalicelib.protocol.mls.chunks import Ref
from chalicelib.services.delivery.ports import NO_REF
from chalicelib.services.delivery.state import GroupId
from chalicelib.storage import delivery_rows as rows_of
from chalicelib.storage.delivery_objects import WROTE_SHARDS, wrote_shard
from chalicelib.storage.delivery_rows import GROUPS
from chalicelib.storage.delivery_shards import AwsShards
from chalicelib.storage.delivery_wakes import WAKES
from chalicelib.storage.dynamodb import Database, Delete, Item, blob, number, text
from chalicelib.storage.objects import Objects


class AwsGarbage:
    """The garbage of one stage."""

    def __init__(self, database: Database, objects_in_bucket: Objects, shards: AwsShards) -> None:
        self.database = database
        self.bucket = objects_in_bucket
        self.shards = shards

    def groups(self, after: GroupId | None, most: int) -> list[GroupId]:
        """Return groups that wrote objects, from each partition of the index in turn."""
        found: list[GroupId] = []
        for shard in range(0 if after is None else wrote_shard(after), WROTE_SHARDS):
            condition = "#wrote_shard = :shard"
            values: Item = {"shard": shard}
            if after is not None and shard == wrote_shard(after):
                condition += " AND #g > :after"
                values["after"] = after
            rows = self.database.query(GROUPS, condition, values, index="wrote", most=most - len(found))
            found += [GroupId(blob(row, "g")) for row in rows]
            if len(found) == most:
                break
        return found

    def objects(self, group_id: GroupId, after: Ref = NO_REF, most: int = 1_000) -> Mapping[Ref, int]:
        """Return the first objects of a group that come after one, and when each was written."""
        # A hexadecimal digit is more than "!" and less than "~".
        between: Item = {"g": group_id, "first": rows_of.object_name(after) + "!", "last": "o#~"}
        condition = "#g = :g AND #r BETWEEN :first AND :last"
        rows = self.database.query(GROUPS, condition, between, only=("r", "written_at"), most=most)
        return {Ref(bytes.fromhex(text(row, "r")[2:])): number(row, "written_at") for row in rows}

    def named(self, group_id: GroupId, now: int) -> tuple[frozenset[Ref], frozenset[Ref]]:
        """Return what the rows of a group name: the roots of states, and the lists of those who may join one."""
        head = self.database.get(GROUPS, rows_of.key(group_id, rows_of.HEAD))
        if head is None:
            return frozenset(), frozenset()
        roots, others = {rows_of.root_of(head)}, set[Ref]()
        for row in self._beginning(group_id, "past#"):
            past = rows_of.past_of(row)
            if past.until > now:
                roots.add(past.root)
                others.add(past.joiners)
        first, last = rows_of.log_name(self._delivered(group_id, head) + 1), rows_of.log_name(rows_of.LAST_SEQ)
        condition = "#g = :g AND #r BETWEEN :first AND :last"
        between: Item = {"g": group_id, "first": first, "last": last}
        for row in self.database.query(GROUPS, condition, between, only=("root", "accepted_at")):
            if number(row, "accepted_at") > now - rows_of.LOG_LIFE:
                roots.add(rows_of.root_of(row))
        none = {Ref(b"")}
        return frozenset(roots - none), frozenset(others - none)

    def _delivered(self, group_id: GroupId, head: Item) -> int:
        """Return the last row of the log that every shard and every domain has."""
        shards = self.shards.of(group_id)
        cursors = [shard.cursor for shard in shards]
        behind = [domain.seq for shard in shards for domain in shard.behind.values()]
        return min([*cursors, *behind], default=number(head, "seq"))

    def delete(self, group_id: GroupId, refs: Sequence[Ref]) -> None:
        """Remove objects, wherever they lie."""
        self.bucket.delete(rows_of.bucket_name(group_id, "objects", ref.hex()) for ref in refs)
        self._delete_rows(group_id, map(rows_of.object_name, refs))

    def purge(self, group_id: GroupId) -> None:
        """Remove all that a deleted group has left, but its head; last the row by which the group is found.

        First it is no more due to be delivered: without its rows there would never be an end of that.
        """
        self.database.write(Delete(WAKES, {"g": group_id}), repeatable=True)
        for kind in ("objects", "log"):
            self.bucket.delete(self.bucket.names(rows_of.bucket_name(group_id, kind)))
        rows = self.database.query(GROUPS, "#g = :g", {"g": group_id}, only=("r",))
        kept = {rows_of.HEAD, rows_of.WROTE}
        self._delete_rows(group_id, [name for row in rows if (name := text(row, "r")) not in kept])
        self._delete_rows(group_id, [rows_of.WROTE])

    def _beginning(self, group_id: GroupId, prefix: str, only: Sequence[str] = ()) -> Iterable[Item]:
        condition = "#g = :g AND begins_with(#r, :prefix)"
        return self.database.query(GROUPS, condition, {"g": group_id, "prefix": prefix}, only=only)

    def _delete_rows(self, group_id: GroupId, names: Iterable[str]) -> None:
        self.database.batch_write([Delete(GROUPS, rows_of.key(group_id, name)) for name in dict.fromkeys(names)])
