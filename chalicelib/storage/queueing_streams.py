"""The port `Streams`: the table `streams`, one row for each hub, group and shard, named by a keyed digest of them.

A row that nothing came for in a year goes; the hub is then told that a new stream is expected, and begins one.
"""

from chalicelib.protocol.timestamps import DAY
from chalicelib.services.ports import Lost
from chalicelib.services.queueing.state import Stream, StreamKey
from chalicelib.storage.dynamodb import ConditionFailed, Database, Item, Put, blob, number
from chalicelib.storage.notation import gone_at

STREAMS = "streams"
FORGOTTEN_AFTER = 366 * DAY


class AwsStreams:
    """The streams into one stage."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def load(self, key: StreamKey) -> Stream | None:
        """Return a stream as it is now."""
        row = self.database.get(STREAMS, {"s": key})
        return None if row is None else _stream(row)

    def advance(self, key: StreamKey, before: Stream | None, after: Stream) -> None:
        """Move a stream on, if nobody has since it was loaded."""
        row: Item = {
            "s": key,
            "last_seq": after.last_seq,
            "results": after.results,
            "tokens": after.tokens,
            "at": after.at,
            "gone_at": gone_at(after.at + FORGOTTEN_AFTER),
        }
        condition, values = "attribute_not_exists(#s)", Item()
        if before is not None:
            condition, values = "#last_seq = :before", {"before": before.last_seq}
        try:
            self.database.write(Put(STREAMS, row, condition, values), repeatable=True)
        except ConditionFailed as failed:
            if failed.row is None or _stream(failed.row) != after:  # Else our own first try, whose answer was lost.
                raise Lost from failed


def _stream(row: Item) -> Stream:
    return Stream(number(row, "last_seq"), blob(row, "results"), number(row, "tokens"), number(row, "at"))
