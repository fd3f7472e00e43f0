"""Rows that become due at a time, and are found by an index then: what a schedule sweeps.

Rows are spread over a few partitions of the index, because one takes a thousand writes a second at most; who sweeps
asks them all. An index lags behind its table by a second or so.
"""

import dataclasses
import hashlib
import heapq

from chalicelib.storage.dynamodb import Database, Item, number

SHARDS = 8


@dataclasses.dataclass(frozen=True, slots=True)
class DueIndex:
    """A table's index by partition (`due_shard`, if the index is called `due`) and time; rows without are not in it.

    Rows of another lane are asked for by themselves, so that however many they are, those of the first are found.
    """

    table: str
    name: str = "due"
    time: str = "next_at"

    def place(self, identity: bytes, at: int, lane: int = 0) -> Item:
        """Return the attributes by which a row, told from others by `identity`, is found from a time on."""
        shard = hashlib.sha256(identity).digest()[0] % SHARDS + lane * SHARDS
        return {f"{self.name}_shard": shard, self.time: at}

    def find(self, database: Database, until: int, most: int, lane: int = 0) -> list[Item]:
        """Return the keys of the rows whose time has come by `until`, with that time, the earliest first."""
        condition = f"#{self.name}_shard = :shard AND #{self.time} <= :until"
        pages = (
            database.query(self.table, condition, {"shard": shard, "until": until}, index=self.name, most=most)
            for shard in range(lane * SHARDS, (lane + 1) * SHARDS)
        )
        return heapq.nsmallest(most, (row for page in pages for row in page), key=lambda row: number(row, self.time))
