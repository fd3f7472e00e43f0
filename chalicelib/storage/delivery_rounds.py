"""The port `Rounds`: one row for each round, in the table `rounds`.

rounds  name      after: the group that was tended last; absent between two rounds
"""

from chalicelib.services.delivery.state import GroupId
from chalicelib.storage.dynamodb import Database, Delete, Put, blob

TABLE = "rounds"


class AwsRounds:
    """The rounds of one stage."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def load(self, name: str) -> GroupId | None:
        """Return where a round goes on, or None at its beginning."""
        row = self.database.get(TABLE, {"name": name})
        return None if row is None else GroupId(blob(row, "after"))

    def save(self, name: str, after: GroupId | None) -> None:
        """Remember where a round goes on, or that it is done."""
        if after is None:
            self.database.write(Delete(TABLE, {"name": name}), repeatable=True)
        else:
            self.database.write(Put(TABLE, {"name": name, "after": after}), repeatable=True)
