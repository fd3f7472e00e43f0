"""The port `AccountEvents`: the table `account-events`, a partition for each user that something was said about.

    digest of user / digest of the event     version, provider_id, created_at, ⟦user, client, queues⟧
                                             while it is to be done: next_at and due_shard, which the index `due` has,
                                             and after and again, how far the round over the user's groups has come
                                             once it is done: gone_at, when the mark ends

One row is both the work and the mark, so that an event is never one without the other. What is due is found without
opening it: a row that does not open is leased as any other, and comes again when that is over.
"""

import msgspec
from cryptography.exceptions import InvalidTag

from chalicelib.protocol.timestamps import SECOND
from chalicelib.services.delivery.ports import Spoiled
from chalicelib.services.delivery.state import MARK_LIFE, AccountEvent, EventName, GroupId
from chalicelib.storage.datakeys import DataKeys
from chalicelib.storage.due import DueIndex
from chalicelib.storage.dynamodb import SCHEMA, Database, Item, Update, blob, number, text
from chalicelib.storage.leases import Lease
from chalicelib.storage.notation import gone_at
from chalicelib.storage.sealing import Sealer, keyed_hash

EVENTS = "account-events"
DUE = DueIndex(EVENTS)
LEASE = Lease(EVENTS, "next_at", "version")
NAME_BYTES = 32

# What the row is to blame for, and not the call for its key: a certificate that is refused is a ValueError too.
_SPOILED = (InvalidTag, LookupError, TypeError, ValueError, msgspec.MsgspecError)


class _Sealed(msgspec.Struct, array_like=True, frozen=True):
    """What is sealed of an event."""

    user: bytes
    client: bytes | None
    queues: tuple[bytes, ...]


_sealed = msgspec.msgpack.Decoder(_Sealed)


class AwsAccountEvents:
    """What providers said of the accounts of one stage."""

    def __init__(self, database: Database, keys: DataKeys, sealer: Sealer) -> None:
        self.database = database
        self.keys = keys
        self.sealer = sealer

    def add(self, event: AccountEvent) -> EventName:
        """Store an event, or make it due again."""
        key = self._key(event)
        plain = msgspec.msgpack.encode(_Sealed(event.user, event.client, event.queues))
        change = (
            "SET #sealed = :sealed, #provider_id = :provider_id, #created_at = :created_at, #next_at = :next_at, "
            "#due_shard = :due_shard, #schema = :schema, #again = if_not_exists(#after, :beginning) "
            "REMOVE #gone_at ADD #version :one"
        )
        values: Item = {
            "sealed": self.sealer.seal(EVENTS, _row(key), plain),
            "provider_id": event.provider_id,
            "created_at": event.created_at,
            **DUE.place(_row(key), event.next_at),
            "schema": SCHEMA,
            "beginning": b"",
            "one": 1,
        }
        self.database.write(Update(EVENTS, key, change, values=values), repeatable=True)
        return EventName(_row(key))

    def due(self, now: int, most: int) -> list[EventName]:
        """Return the events that have been due longest, as far as the index knows."""
        return [EventName(_row(row)) for row in DUE.find(self.database, now, most)]

    def take(self, name: EventName, now: int, until: int) -> AccountEvent | None:
        """Lease an event that is due; None if there is nothing to do for this worker, `Spoiled` if nobody can do it."""
        key: Item = {"user": name[:NAME_BYTES], "event": name[NAME_BYTES:]}
        row = LEASE.take(self.database, key, now, until)
        return None if row is None else self._event(row)

    def postpone(self, event: AccountEvent, next_at: int) -> None:
        """Make an event due at another time, as long as it is this worker's."""
        values: Item = {"next_at": next_at}
        LEASE.settle(self.database, self._key(event), event.version, "SET #next_at = :next_at", values)

    def advance(self, event: AccountEvent) -> bool:
        """Remember how far an event has come and when it goes on, and say so, as long as it is this worker's."""
        values: Item = {"next_at": event.next_at, "again": event.again or b""}
        change = "SET #next_at = :next_at, #again = :again"
        if event.after is None:
            change += " REMOVE #after"
        else:
            change += ", #after = :after"
            values["after"] = event.after
        return LEASE.settle(self.database, self._key(event), event.version, change, values)

    def done(self, event: AccountEvent, now: int) -> None:
        """Leave the mark alone, as long as the event is this worker's."""
        change = "SET #gone_at = :gone_at REMOVE #next_at, #due_shard, #after, #again"
        values: Item = {"gone_at": gone_at(now + MARK_LIFE)}
        LEASE.settle(self.database, self._key(event), event.version, change, values)

    def removed(self, user: bytes, now: int) -> list[AccountEvent]:
        """Return what was said of a user and still counts; raise `Spoiled` where some of it cannot be read."""
        rows = self.database.query(EVENTS, "#user = :user", {"user": self._name(user)})
        read, is_spoiled = list[AccountEvent](), False
        for row in rows:
            try:
                if "gone_at" not in row or number(row, "gone_at") * SECOND > now:
                    read.append(self._event(row))
            except (Spoiled, TypeError):
                is_spoiled = True
        if is_spoiled:
            raise Spoiled(read)
        return read

    def _key(self, event: AccountEvent) -> Item:
        parts: list[str | bytes] = [event.provider_id, event.client or b"", *event.queues]
        named = keyed_hash(self.keys.in_use("digest").key, "row of an account event", event.user, *parts)
        return {"user": self._name(event.user), "event": named}

    def _name(self, user: bytes) -> bytes:
        return keyed_hash(self.keys.in_use("digest").key, "rows of an account", user)

    def _event(self, row: Item) -> AccountEvent:
        try:
            return self._read(row)
        except _SPOILED as failure:
            if isinstance(failure, OSError):
                raise
            raise Spoiled from failure

    def _read(self, row: Item) -> AccountEvent:
        held = _sealed.decode(self.sealer.open(EVENTS, _row(row), blob(row, "sealed")))
        after, again = blob({"after": b"", **row}, "after"), blob({"again": b"", **row}, "again")
        return AccountEvent(
            held.user,
            held.client,
            held.queues,
            provider_id=text(row, "provider_id"),
            created_at=number(row, "created_at"),
            next_at=number(row, "next_at", 0),
            version=number(row, "version"),
            after=GroupId(after) if after else None,
            again=GroupId(again) if again else None,
        )


def _row(row: Item) -> bytes:
    return blob(row, "user") + blob(row, "event")
