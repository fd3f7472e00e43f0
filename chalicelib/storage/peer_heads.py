"""The port `PeerHeads`: what we hold of all peers' filters, in one row, so that a query reads it with the rest."""

import threading

import msgspec

from chalicelib.services.ports import Lost, Versioned
from chalicelib.services.provider.state import Heads
from chalicelib.storage.dynamodb import ConditionFailed, Database, Item, Put, number, text

PEERS = "peers"
HEADS_KEY: Item = {"gp": "heads#"}  # No GP id holds a #.

_heads = msgspec.json.Decoder(Heads)


class HeadsRow:
    """Reads the row, and decodes it only when it differs from the last one read."""

    def __init__(self) -> None:
        self._last = ("", Heads())
        self._lock = threading.Lock()

    def read(self, row: Item | None) -> Versioned[Heads]:
        """Return the heads of the row, and their version."""
        if row is None:
            return Versioned(Heads(), None)
        written = text(row, "heads")
        with self._lock:
            last, heads = self._last
        if last != written:
            heads = _heads.decode(written)
            with self._lock:
                self._last = (written, heads)
        return Versioned(heads, number(row, "v"))


class AwsPeerHeads:
    """The heads of one stage's peers."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.row = HeadsRow()

    def load(self) -> Versioned[Heads]:
        """Return the heads as they are now."""
        return self.row.read(self.database.get(PEERS, HEADS_KEY))

    def replace(self, before: Versioned[Heads], after: Heads) -> None:
        """Store the heads, or raise `Lost` if they changed since they were read."""
        replace_row(self.database, PEERS, HEADS_KEY, before.token, {"heads": msgspec.json.encode(after).decode()})


def replace_row(database: Database, table: str, key: Item, token: object, attributes: Item) -> None:
    """Write a row that holds one value under compare-and-swap; the token is its version, or None for no row."""
    version = token if isinstance(token, int) else 0
    condition = "attribute_not_exists(#v)" if token is None else "#v = :before"
    values: Item = {} if token is None else {"before": version}
    try:
        database.write(Put(table, {**key, "v": version + 1, **attributes}, condition, values))
    except ConditionFailed as failed:
        raise Lost("the row changed since it was read") from failed
