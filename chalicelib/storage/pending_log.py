"""The port `PendingLog`: what the sequencer has yet to see, spread over 16 partitions.

    log     shard / id      ⟦sii, moves of the counts⟧

An entry is written in the transaction of its cause, so a consistent read of all partitions finds every entry
whose transaction returned before. It is deleted in the transaction that moves the counts of users by what it
says: once, however often it is asked.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from chalicelib.protocol.glados.identifiers import Sii
from chalicelib.services.ports import Entropy
from chalicelib.services.provider.state import PendingEntry
from chalicelib.services.ulids import ulid
from chalicelib.storage.accounts import APS
from chalicelib.storage.dynamodb import (
    MOST_IN_TRANSACTION,
    Cancelled,
    Database,
    Delete,
    Item,
    Operation,
    Put,
    Update,
    blob,
    number,
    text,
)
from chalicelib.storage.sealing import Sealer

LOG = "log"
SHARDS = 16


class _Sealed(msgspec.Struct, frozen=True):
    """What an entry holds when it is opened."""

    appears: str | None
    users: tuple[tuple[str, int], ...]


_sealed = msgspec.json.Decoder(_Sealed)


def adding(sealer: Sealer, entropy: Entropy, now: int, appears: str | None, users: tuple[tuple[str, int], ...]) -> Put:
    """Return the operation that tells the sequencer of an identifier that appears, and of counts that move."""
    entry_id = ulid(now, entropy(10))
    shard = int.from_bytes(entropy(1), "big") % SHARDS
    plain = msgspec.json.encode(_Sealed(appears, users))
    row: Item = {"shard": shard, "id": entry_id, "sealed": sealer.seal(LOG, entry_id, plain)}
    return Put(LOG, row, "attribute_not_exists(#id)")


class AwsPendingLog:
    """The pending log of one stage."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self.database = database
        self.sealer = sealer

    def read(self) -> list[PendingEntry]:
        """Return every entry, oldest first."""
        entries: list[PendingEntry] = []
        for shard in range(SHARDS):
            for row in self.database.query(LOG, "#shard = :shard", {"shard": shard}):
                entry_id = text(row, "id")
                opened = _sealed.decode(self.sealer.open(LOG, entry_id, blob(row, "sealed")))
                appears = None if opened.appears is None else Sii(opened.appears)
                entries.append(PendingEntry(entry_id, appears, opened.users, number(row, "shard")))
        return sorted(entries, key=lambda entry: entry.entry_id)

    def discard(self, entries: Iterable[PendingEntry]) -> None:
        """Delete entries and count what they say."""
        for batch in _batches(entries):
            self._discard(batch)

    def _discard(self, entries: list[PendingEntry]) -> None:
        """Delete a batch in one transaction, without what an earlier call deleted and without accounts that went."""
        gone: set[str] = set()
        while entries:
            moves: Counter[str] = Counter()
            for entry in entries:
                for provider_id, by in entry.users:
                    moves[provider_id] += by
            counted = [provider_id for provider_id, by in sorted(moves.items()) if by and provider_id not in gone]
            operations: list[Operation] = [*map(_delete, entries)]
            operations += [_count(provider_id, moves[provider_id]) for provider_id in counted]
            try:
                self.database.transact(operations)
            except Cancelled as cancelled:
                failed = set(cancelled.failed)
                gone |= {provider_id for place, provider_id in enumerate(counted, len(entries)) if place in failed}
                entries = [entry for place, entry in enumerate(entries) if place not in failed]
            else:
                return


def _batches(entries: Iterable[PendingEntry]) -> Iterator[list[PendingEntry]]:
    """Yield entries in groups that fit into one transaction with the accounts they count for."""
    batch: list[PendingEntry] = []
    providers: set[str] = set()
    for entry in {entry.entry_id: entry for entry in entries}.values():
        more = providers | {provider_id for provider_id, _ in entry.users}
        if batch and len(batch) + 1 + len(more) > MOST_IN_TRANSACTION:
            yield batch
            batch, more = [], {provider_id for provider_id, _ in entry.users}
        batch.append(entry)
        providers = more
    if batch:
        yield batch


def _delete(entry: PendingEntry) -> Delete:
    if not isinstance(entry.token, int):
        raise TypeError("the token of this entry is not one that was handed out")
    return Delete(LOG, {"shard": entry.token, "id": entry.entry_id}, "attribute_exists(#id)")


def _count(provider_id: str, by: int) -> Update:
    return Update(APS, {"provider_id": provider_id}, "ADD #mapped :by", "attribute_exists(#account)", {"by": by})
