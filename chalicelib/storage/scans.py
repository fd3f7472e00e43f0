"""The port `Scans`: every identifier with an active mapping, segment by segment, for a filter's rebuild."""

from collections.abc import Iterator

from chalicelib.protocol.glados.filters import Parameters, indexes
from chalicelib.protocol.glados.identifiers import Sii
from chalicelib.storage import clients
from chalicelib.storage.dynamodb import Database, number
from chalicelib.storage.records import SII, RecordRows


class AwsScans:
    """Scans of one stage."""

    def __init__(self, database: Database, rows: RecordRows) -> None:
        self.database = database
        self.rows = rows

    def positions(self, segment: int, segments: int, parameters: Parameters) -> Iterator[tuple[int, ...]]:
        """Yield each identifier's positions, from a consistent scan of one segment."""
        for row in self.database.scan(SII, segment, segments):
            opened = self.rows.open(row)
            if any(record.state == "active" and not record.test for record in opened.records):
                yield indexes(parameters, Sii(opened.sii))

    def outdated(self, segment: int, segments: int) -> Iterator[Sii]:
        """Yield the identifiers of one segment whose row is named under an index epoch that is being left."""
        if len(self.rows.keys.live("index")) > 1:
            in_use = self.rows.keys.in_use("index").epoch
            for row in self.database.scan(SII, segment, segments):
                if number(row, "epoch") < in_use:
                    yield Sii(self.rows.open(row).sii)

    def count(self) -> int:
        """Return about how many identifiers there are; DynamoDB counts a few times a day."""
        described = clients.client("dynamodb", 3).describe_table(TableName=self.database.name(SII))
        count: int = described["Table"]["ItemCount"]
        return count
