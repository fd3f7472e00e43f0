"""The tables `sii` and `users`: all records of an identifier in one row, and the rows that find a user's identifiers.

    sii    h = HMAC(index key, SII)                          v, epoch, ⟦SII, records, floor⟧
    users  u = HMAC(provider, user id) / h = HMAC(SII)       ⟦SII⟧

The row of an SII is named under the index key of some epoch. While more than one epoch is live every read looks
under each, and every write requires that the others hold nothing, so there is never a second row for one SII; a
write of a row under an older epoch moves it. The rows of `users` are named by the digest key, which has one
epoch, so they stay where they are.
"""

import dataclasses

import msgspec

from chalicelib.protocol.glados.identifiers import Sii
from chalicelib.protocol.glados.mappings import Mapping, Records
from chalicelib.services.provider.state import StoredRecords
from chalicelib.services.provider.writes import ReplaceRecords
from chalicelib.storage.datakeys import DataKey, DataKeys
from chalicelib.storage.dynamodb import Check, Delete, Item, Operation, Put, blob, number
from chalicelib.storage.sealing import Sealer, keyed_hash

SII = "sii"
USERS = "users"


@dataclasses.dataclass(frozen=True, slots=True)
class RecordsToken:
    """Where the records stood when they were read: under which index epoch, in which version of the row."""

    epoch: int
    version: int


class SealedRecords(msgspec.Struct, frozen=True):
    """What the row of an SII holds when it is opened."""

    sii: str
    records: tuple[Mapping, ...]
    floor: int


_sealed = msgspec.json.Decoder(SealedRecords)


class RecordRows:
    """Turns records into rows and rows into records; reads and writes nothing itself."""

    def __init__(self, keys: DataKeys, sealer: Sealer) -> None:
        self.keys = keys
        self.sealer = sealer

    def wanted(self, sii: Sii) -> list[tuple[str, Item]]:
        """Return the rows in which the SII's records may stand, one for each live epoch of the index key."""
        return [(SII, {"h": row_name(key, sii)}) for key in self.keys.live("index")]

    def read(self, rows: list[Item | None]) -> StoredRecords:
        """Return the records from what was found in the wanted rows; at most one of them exists."""
        row = next((row for row in rows if row is not None), None)
        if row is None:
            return StoredRecords(Records(), None)
        opened = self.open(row)
        return StoredRecords(
            Records(opened.records, opened.floor), RecordsToken(number(row, "epoch"), number(row, "v"))
        )

    def open(self, row: Item) -> SealedRecords:
        """Return what a row holds."""
        return _sealed.decode(self.sealer.open(SII, blob(row, "h"), blob(row, "sealed")))

    def replace(self, write: ReplaceRecords) -> list[Operation]:
        """Return the operations that make `write` true; the first fails if the records have changed since."""
        token = write.before.token
        if token is not None and not isinstance(token, RecordsToken):
            raise TypeError("the token of these records is not one that was handed out")
        return [*self._replace_row(write, token), *self._replace_users(write)]

    def moves(self, write: ReplaceRecords) -> bool:
        """Tell whether a write takes the row to a later index epoch, and so to another place in the table."""
        token = write.before.token
        return isinstance(token, RecordsToken) and token.epoch < self.keys.in_use("index").epoch

    def _replace_row(self, write: ReplaceRecords, token: RecordsToken | None) -> list[Operation]:
        live = {key.epoch: key for key in self.keys.live("index")}
        in_use = self.keys.in_use("index")
        if token is None:
            row = self._row(in_use, write, 1)
            others = [key for key in live.values() if key.epoch != in_use.epoch]
            return [
                Put(SII, row, "attribute_not_exists(#h)"),
                *(Check(SII, {"h": row_name(key, write.sii)}, "attribute_not_exists(#h)") for key in others),
            ]
        unchanged: Item = {"before": token.version}
        if token.epoch >= in_use.epoch:
            # A container whose clock is ahead may already write under a later epoch; the row stays there.
            row = self._row(live[token.epoch], write, token.version + 1)
            return [Put(SII, row, "#v = :before", unchanged)]
        old = row_name(live[token.epoch], write.sii)
        return [
            Delete(SII, {"h": old}, "#v = :before", unchanged),
            Put(SII, self._row(in_use, write, token.version + 1), "attribute_not_exists(#h)"),
        ]

    def _row(self, key: DataKey, write: ReplaceRecords, version: int) -> Item:
        name = row_name(key, write.sii)
        records = write.change.records
        plain = msgspec.json.encode(SealedRecords(write.sii.uri, records.all, records.floor))
        return {"h": name, "v": version, "epoch": key.epoch, "sealed": self.sealer.seal(SII, name, plain)}

    def _replace_users(self, write: ReplaceRecords) -> list[Operation]:
        """Add and remove the rows of users whose identifier it came to be or ceased to be; tombstones count."""
        before, after = _holders(write.before.records), _holders(write.change.records)
        added: list[Operation] = [Put(USERS, self._user_row(holder, write.sii)) for holder in sorted(after - before)]
        removed = [Delete(USERS, self._user_key(holder, write.sii)) for holder in sorted(before - after)]
        return [*added, *removed]

    def _user_key(self, holder: tuple[str, str], sii: Sii) -> Item:
        digest = self.keys.in_use("digest").key
        return {"u": keyed_hash(digest, "row of a user", *holder), "h": keyed_hash(digest, "row of an sii", sii.uri)}

    def _user_row(self, holder: tuple[str, str], sii: Sii) -> Item:
        key = self._user_key(holder, sii)
        name = blob(key, "u") + blob(key, "h")
        return {**key, "sealed": self.sealer.seal(USERS, name, sii.uri.encode())}


def row_name(key: DataKey, sii: Sii) -> bytes:
    """Return the name of the SII's row under one epoch of the index key."""
    return keyed_hash(key.key, "row of an sii", sii.uri)


def _holders(records: Records) -> set[tuple[str, str]]:
    return {(record.provider.provider_id, record.user_id) for record in records.all}
