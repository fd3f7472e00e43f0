"""The port `FilterPointer`: the one row that says which versions of our filter live."""

import msgspec

from chalicelib.services.ports import Versioned
from chalicelib.services.provider.state import Pointer
from chalicelib.storage.dynamodb import Database, Item, number, text
from chalicelib.storage.peer_heads import replace_row

TABLE = "filter"
_KEY: Item = {"name": "pointer"}
_pointer = msgspec.json.Decoder(Pointer)


class AwsFilterPointer:
    """The pointer of one stage."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def load(self) -> Versioned[Pointer]:
        """Return the pointer as it is now."""
        row = self.database.get(TABLE, _KEY)
        if row is None:
            return Versioned(Pointer(), None)
        return Versioned(_pointer.decode(text(row, "pointer")), number(row, "v"))

    def replace(self, before: Versioned[Pointer], after: Pointer) -> None:
        """Swap the pointer, or raise `Lost` if it changed since it was read."""
        replace_row(self.database, TABLE, _KEY, before.token, {"pointer": msgspec.json.encode(after).decode()})
