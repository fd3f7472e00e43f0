"""The port `GroupObjects`: immutable objects as rows of the table `groups`, or in S3 where a row is too small.

Both are sealed. What lies in S3 is there before its row. Beside the objects stands the row `wrote`, by which groups
that may have garbage are found, those that were never created among them.
"""

import dataclasses
import hashlib
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor

from chalicelib.protocol.mls.chunks import ChunkStore, Ref
from chalicelib.protocol.timestamps import end_of_day
from chalicelib.services.delivery.state import GroupId
from chalicelib.services.ports import Clock
from chalicelib.storage import delivery_rows as rows_of
from chalicelib.storage.delivery_rows import GROUPS
from chalicelib.storage.dynamodb import Database, Item, Put, blob
from chalicelib.storage.objects import Objects
from chalicelib.storage.sealing import Sealer

LARGEST_INLINE = 350_000
AT_ONCE = 8
WROTE_SHARDS = 8


def wrote_shard(group_id: GroupId) -> int:
    """Return the partition of the index `wrote` that a group stands in."""
    return hashlib.sha256(group_id).digest()[0] % WROTE_SHARDS


class AwsGroupObjects:
    """The objects of all groups of one stage."""

    def __init__(self, database: Database, objects: Objects, sealer: Sealer, clock: Clock) -> None:
        self.database = database
        self.objects = objects
        self.sealer = sealer
        self.clock = clock

    def of(self, group_id: GroupId) -> ChunkStore:
        """Return the reading side for one group."""
        return _OneGroup(self, group_id)

    def load(self, group_id: GroupId, refs: Collection[Ref]) -> dict[Ref, bytes]:
        """Return objects by their references; raise `LookupError` if one is not there."""
        asked = list(dict.fromkeys(refs))
        names = [rows_of.object_name(ref) for ref in asked]
        rows = self.database.batch_get([(GROUPS, rows_of.key(group_id, name)) for name in names])
        found: dict[Ref, bytes] = {}
        elsewhere: list[Ref] = []
        for ref, name, row in zip(asked, names, rows, strict=True):
            if row is None:
                raise LookupError("an object of a group is not there")
            if "sealed" in row:
                found[ref] = rows_of.unseal(self.sealer, group_id, name, blob(row, "sealed"))
            else:
                elsewhere.append(ref)
        if elsewhere:
            with ThreadPoolExecutor(AT_ONCE) as threads:
                found |= zip(elsewhere, threads.map(lambda ref: self._fetch(group_id, ref), elsewhere), strict=True)
        return found

    def put(self, group_id: GroupId, written: Mapping[Ref, bytes], *, by_day: bool = False) -> None:
        """Store objects; all are durable when this returns."""
        if not written:
            return
        now = self.clock()
        # Rounded up, and never down: nothing is taken for older than it is.
        written_at = end_of_day(now) if by_day else now
        marker: Item = {**rows_of.key(group_id, rows_of.WROTE), "wrote_shard": wrote_shard(group_id)}
        puts, elsewhere = [Put(GROUPS, marker)], {}
        for ref, content in written.items():
            name = rows_of.object_name(ref)
            row: Item = {**rows_of.key(group_id, name), "written_at": written_at}
            sealed = rows_of.seal(self.sealer, group_id, name, content)
            if len(sealed) <= LARGEST_INLINE:
                row["sealed"] = sealed
            else:
                elsewhere[rows_of.bucket_name(group_id, "objects", ref.hex())] = sealed
            puts.append(Put(GROUPS, row))
        if elsewhere:
            with ThreadPoolExecutor(AT_ONCE) as threads:
                list(threads.map(self.objects.put, elsewhere, elsewhere.values()))
        self.database.batch_write(puts)

    def _fetch(self, group_id: GroupId, ref: Ref) -> bytes:
        sealed = self.objects.get(rows_of.bucket_name(group_id, "objects", ref.hex()))
        return rows_of.unseal(self.sealer, group_id, rows_of.object_name(ref), sealed)


@dataclasses.dataclass(frozen=True, slots=True)
class _OneGroup:
    """The objects of one group, to be read."""

    objects: AwsGroupObjects
    group_id: GroupId

    def load(self, refs: Collection[Ref]) -> Mapping[Ref, bytes]:
        """Return objects by their references."""
        return self.objects.load(self.group_id, refs)
