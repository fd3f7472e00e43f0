"""The port `Outbox`: what waits to be sent, found by its id or, when due, by the index `due`."""

from chalicelib.services.provider.state import OutboxEntry, OutboxId, OutboxKind
from chalicelib.storage.dynamodb import ConditionFailed, Database, Delete, Update, blob, number, text
from chalicelib.storage.items import DUE, OUTBOX
from chalicelib.storage.sealing import Sealer

_KINDS: dict[str, OutboxKind] = {"code": "code", "event": "event", "claim": "claim"}


class AwsOutbox:
    """The outbox of one stage."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self.database = database
        self.sealer = sealer

    def take(self, outbox_id: OutboxId, now: int, until: int) -> OutboxEntry | None:
        """Lease an entry that is due; None if there is nothing to do for this worker."""
        try:
            row = self.database.write(
                Update(
                    OUTBOX,
                    {"id": outbox_id},
                    "SET #next_at = :until ADD #attempts :one",
                    "attribute_exists(#id) AND #next_at <= :now",
                    {"until": until, "one": 1, "now": now},
                ),
                returns="ALL_NEW",
            )
        except ConditionFailed:
            return None
        if row is None:
            raise RuntimeError("DynamoDB did not return the row it changed")
        return OutboxEntry(
            outbox_id=outbox_id,
            kind=_KINDS[text(row, "kind")],
            ref=self.sealer.open(OUTBOX, outbox_id, blob(row, "sealed")).decode(),
            created_at=number(row, "created_at"),
            next_at=number(row, "next_at"),
            attempts=number(row, "attempts"),
        )

    def postpone(self, entry: OutboxEntry, next_at: int) -> None:
        """Make an entry due at another time, unless it is gone or somebody took it since; theirs counts then."""
        try:
            self.database.write(
                Update(
                    OUTBOX,
                    {"id": entry.outbox_id},
                    "SET #next_at = :next_at",
                    "#attempts = :attempts",
                    {"next_at": next_at, "attempts": entry.attempts},
                )
            )
        except ConditionFailed:
            return

    def done(self, outbox_id: OutboxId) -> None:
        """Remove an entry; one that has gone is gone."""
        self.database.write(Delete(OUTBOX, {"id": outbox_id}), repeatable=True)

    def due(self, now: int, most: int) -> list[OutboxId]:
        """Return the ids that have been due longest."""
        return [OutboxId(text(row, "id")) for row in DUE.find(self.database, now, most)]
