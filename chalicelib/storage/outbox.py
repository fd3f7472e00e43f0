"""The port `Outbox`: what waits to be sent, found by its id or, when due, by the index `due`.

outbox  id      kind, ⟦ref⟧, attempts, next_at, due_shard
"""

from chalicelib.services.provider.state import OutboxEntry, OutboxId, OutboxKind
from chalicelib.storage.due import DueIndex
from chalicelib.storage.dynamodb import Database, Delete, Item, Put, blob, number, text
from chalicelib.storage.leases import Lease
from chalicelib.storage.sealing import Sealer

OUTBOX = "outbox"
DUE = DueIndex(OUTBOX)
LEASE = Lease(OUTBOX, "next_at", "attempts")

_KINDS: dict[str, OutboxKind] = {"code": "code", "event": "event", "claim": "claim"}


def adding(entry: OutboxEntry, sealer: Sealer) -> Put:
    """Return the operation that has an entry sent."""
    row: Item = {
        "id": entry.outbox_id,
        "kind": entry.kind,
        "sealed": sealer.seal(OUTBOX, entry.outbox_id, entry.ref.encode()),
        "attempts": entry.attempts,
        "created_at": entry.created_at,
        **DUE.place(entry.outbox_id.encode(), entry.next_at),
    }
    return Put(OUTBOX, row, "attribute_not_exists(#id)")


def dropping(outbox_id: OutboxId) -> Delete:
    """Return the operation that removes an entry; one that has gone is gone."""
    return Delete(OUTBOX, {"id": outbox_id})


class AwsOutbox:
    """The outbox of one stage."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self.database = database
        self.sealer = sealer

    def take(self, outbox_id: OutboxId, now: int, until: int) -> OutboxEntry | None:
        """Lease an entry that is due; None if there is nothing to do for this worker."""
        row = LEASE.take(self.database, {"id": outbox_id}, now, until)
        if row is None:
            return None
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
        values: Item = {"next_at": next_at}
        LEASE.settle(self.database, {"id": entry.outbox_id}, entry.attempts, "SET #next_at = :next_at", values)

    def done(self, outbox_id: OutboxId) -> None:
        """Remove an entry; one that has gone is gone."""
        self.database.write(dropping(outbox_id), repeatable=True)

    def due(self, now: int, most: int) -> list[OutboxId]:
        """Return the ids that have been due longest."""
        return [OutboxId(text(row, "id")) for row in DUE.find(self.database, now, most)]
