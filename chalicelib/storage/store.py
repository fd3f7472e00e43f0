"""The port `Store`: one DynamoDB transaction for whatever must become true together."""

from collections.abc import Sequence

from chalicelib.protocol.glados.identifiers import Sii
from chalicelib.services.provider.state import (
    Count,
    LimitKey,
    Pair,
    PairKey,
    StoredRecords,
    Verification,
    VerificationId,
)
from chalicelib.services.provider.writes import Stale, Write
from chalicelib.storage.dynamodb import Cancelled, Database, Operation
from chalicelib.storage.items import LIMIT, VERIFY, Items, ignorable


class AwsStore:
    """Mappings, verifications, limits, events and outbox of one stage."""

    def __init__(self, database: Database, items: Items) -> None:
        self.database = database
        self.items = items

    def commit(self, *writes: Write) -> None:
        """Make all writes true at once, or raise `Stale` with the first whose condition fails."""
        pending: list[tuple[Write, list[Operation]]] = [(write, self.items.of(write)) for write in writes]
        while pending:
            operations = [operation for _, made in pending for operation in made]
            owners = [place for place, (_, made) in enumerate(pending) for _ in made]
            try:
                self.database.transact(operations)
            except Cancelled as cancelled:
                failed = sorted({owners[place] for place in cancelled.failed})
                for place in failed:
                    if not ignorable(pending[place][0]):
                        raise Stale(pending[place][0]) from cancelled
                # What these wanted stands already or has gone; the rest is tried without them.
                pending = [both for place, both in enumerate(pending) if place not in failed]
            else:
                return

    def admission(
        self, verification_id: VerificationId, key: PairKey, limits: Sequence[LimitKey]
    ) -> tuple[Verification | None, Pair, tuple[Count, ...]]:
        """Read what opening a verification depends on in one round trip."""
        verification, pair, *counts = self.database.batch_get(
            [
                (VERIFY, {"id": verification_id}),
                (VERIFY, self.items.pair_key(key)),
                *((LIMIT, self.items.limit_key(limit)) for limit in limits),
            ]
        )
        return self.items.verification(verification), self.items.pair(pair), tuple(map(self.items.count, counts))

    def records(self, sii: Sii) -> StoredRecords:
        """Return the SII's records as they are now."""
        return self.items.records.read(self.database.batch_get(self.items.records.wanted(sii)))

    def verification(self, verification_id: VerificationId) -> Verification | None:
        """Return a verification as it is now, until a week after it expired."""
        return self.items.verification(self.database.get(VERIFY, {"id": verification_id}))

    def pair(self, key: PairKey) -> Pair:
        """Return what one provider has proved about one user and SII."""
        return self.items.pair(self.database.get(VERIFY, self.items.pair_key(key)))
