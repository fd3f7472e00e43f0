"""Rows that one worker at a time has, and only until a time.

A row says until when it is taken, and counts how often it was. Whoever dies gives a row up by itself, when its time
is over. The count tells the workers apart: who was late may still write, unless another took the row since.
"""

import contextlib
import dataclasses
from collections.abc import Callable

from chalicelib.services.ports import Lost
from chalicelib.storage.dynamodb import SCHEMA, ConditionFailed, Database, Item, Put, Update, number


@dataclasses.dataclass(frozen=True, slots=True)
class Lease:
    """How the rows of a table are taken: the attributes `until` and `count`; a row without `until` is never."""

    table: str
    until: str
    count: str

    def take(
        self, database: Database, key: Item, now: int, until: int, absent: Callable[[], Item | None] = lambda: None
    ) -> Item | None:
        """Return a row, taken until then; None while another has it, and what `absent` says where there is none."""
        change = f"SET #{self.until} = :until ADD #{self.count} :one"
        values: Item = {"until": until, "one": 1, "now": now}
        try:
            return database.write(Update(self.table, key, change, f"#{self.until} <= :now", values), returns="ALL_NEW")
        except ConditionFailed as failed:
            return None if failed.row else absent()

    def settle(self, database: Database, key: Item, taken: int, change: str, values: Item) -> bool:
        """Change a row as of the count it was taken with, and say so, unless another took it or it is settled."""
        condition = f"attribute_exists(#{self.until}) AND #{self.count} = :taken"
        with contextlib.suppress(ConditionFailed):
            update = Update(self.table, key, change, condition, {**values, "taken": taken})
            database.write(update, repeatable=True)
            return True
        return False

    def save(self, database: Database, row: Item) -> Item:
        """Write a row that was taken, and return it with the count it has then; raise `Lost` where another took it."""
        taken = number(row, self.count)
        saved: Item = {**row, self.count: taken + 1}
        try:
            put = Put(self.table, saved, f"#{self.count} = :taken", {"taken": taken})
            database.write(put, repeatable=True)
        except ConditionFailed as failed:
            # A count is given to one worker: what stands under the next one and is the same was our own write.
            if failed.row != {**saved, "schema": SCHEMA}:
                raise Lost from failed
        return saved
