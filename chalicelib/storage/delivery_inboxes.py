"""The port `Inboxes`: one row beside the head of a sealed group, with a set of notes that only the group can read."""

import contextlib
from collections.abc import Sequence

from chalicelib.services.delivery.ports import MOST_NOTES
from chalicelib.services.delivery.state import GroupId
from chalicelib.storage import delivery_rows as rows_of
from chalicelib.storage.delivery_rows import GROUPS
from chalicelib.storage.dynamodb import ConditionFailed, Database, Delete, Item, Update

NOTES = "notes"


class AwsInboxes:
    """The inboxes of one stage's sealed groups."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def add(self, group_id: GroupId, notes: Sequence[bytes]) -> None:
        """Add notes, unless there are enough."""
        more = frozenset(note.hex() for note in notes[:MOST_NOTES])
        room = "attribute_not_exists(#notes) OR size(#notes) < :most"
        values: Item = {"notes": more, "most": MOST_NOTES}
        with contextlib.suppress(ConditionFailed):
            update = Update(GROUPS, rows_of.key(group_id, rows_of.INBOX), "ADD #notes :notes", room, values)
            self.database.write(update, repeatable=True)

    def of(self, group_id: GroupId) -> Sequence[bytes]:
        """Return what is in a group's inbox."""
        row = self.database.get(GROUPS, rows_of.key(group_id, rows_of.INBOX))
        notes = None if row is None else row[NOTES]
        return [bytes.fromhex(note) for note in sorted(notes)] if isinstance(notes, frozenset) else []

    def clear(self, group_id: GroupId, notes: Sequence[bytes]) -> None:
        """Empty an inbox, if no note has come since these were read."""
        seen = frozenset(note.hex() for note in notes)
        with contextlib.suppress(ConditionFailed):
            empty = Delete(GROUPS, rows_of.key(group_id, rows_of.INBOX), "#notes = :notes", {"notes": seen})
            self.database.write(empty, repeatable=True)
