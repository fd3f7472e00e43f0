"""The port `QueueEntries`: the rows `e#NUMBER` of the table `queues`, each put together with its head's new count.

Of whom an entry is, and for which group, is sealed: who holds the table sees how many there are, how large and when
they expire. An entry whose time is over is not read, whether or not DynamoDB has come round to deleting it.
"""

from collections.abc import Sequence

import msgspec
from botocore.exceptions import ClientError

from chalicelib.protocol.delivery.parts import Domain
from chalicelib.protocol.timestamps import SECOND
from chalicelib.services.queueing.state import Append, Entry, QueueId
from chalicelib.storage.dynamodb import Cancelled, Database, Delete, Item, Operation, Put, Update, blob, number, text
from chalicelib.storage.notation import gone_at
from chalicelib.storage.queueing_heads import QUEUES, head_key
from chalicelib.storage.queueing_shares import encode_shares
from chalicelib.storage.resending import cancellation_reasons
from chalicelib.storage.sealing import Sealer

NEXT_PAGE = 50
"""How many rows are read after the first ones, if those have all expired and are there still."""

_STILL = "#seq = :before AND attribute_not_exists(#deleted_at)"
_ON = "SET #seq = :seq, #total = :total, #last_stream = :last_stream, #last_seq = :last_seq, #shares = :shares"


class _Sealed(msgspec.Struct, frozen=True, array_like=True):
    hub: str
    group_id: bytes
    seq: int
    accepted_at: int
    body: bytes


_opened = msgspec.msgpack.Decoder(_Sealed)


class AwsQueueEntries:
    """What lies in the queues of one stage."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self.database = database
        self.sealer = sealer

    def append(self, appends: Sequence[Append]) -> frozenset[QueueId]:
        """Do all appends in one transaction, or none and return whose head moved or could not be written."""
        operations: list[Operation] = []
        owners: list[QueueId] = []
        for append in appends:
            operations.append(self._head_on(append))
            operations += [self._put(append.before.queue_id, entry) for entry in append.entries]
            owners += [append.before.queue_id] * (1 + len(append.entries))
        try:
            self.database.transact(operations)
        except Cancelled as cancelled:
            return frozenset(owners[place] for place in cancelled.failed)
        except ClientError as error:
            reasons = zip(owners, cancellation_reasons(error), strict=False)
            busy = frozenset(owner for owner, reason in reasons if reason != "None")
            if not busy:
                raise
            return busy
        return frozenset()

    def read(self, queue_id: QueueId, after: int, until: int, most: int, now: int) -> list[Entry]:
        """Return entries in order, at most so many, without those that have expired."""
        found: list[Entry] = []
        page = most
        while after < until and len(found) < most:
            values: Item = {"q": queue_id, "first": _name(after + 1), "last": _name(until)}
            rows = list(self.database.query(QUEUES, "#q = :q AND #r BETWEEN :first AND :last", values, most=page))
            living = [row for row in rows if number(row, "gone_at") * SECOND > now]
            found += [self._entry(row) for row in living[: most - len(found)]]
            if len(rows) < page:
                break
            after = _number(rows[-1])
            page = max(NEXT_PAGE, 2 * page)  # Where many have expired, the next one that has not may be far.
        return found

    def discard(self, queue_id: QueueId, after: int, up_to: int) -> None:
        """Remove entries by their numbers, whether they are there or not."""
        self.database.batch_write([Delete(QUEUES, _key(queue_id, one)) for one in range(after + 1, up_to + 1)])

    def _head_on(self, append: Append) -> Update:
        last = append.entries[-1]
        values: Item = {
            "before": append.before.seq,
            "seq": last.number,
            "total": last.total,
            "last_stream": append.stream,
            "last_seq": append.seq,
            "shares": encode_shares(append.shares),
        }
        return Update(QUEUES, head_key(append.before.queue_id), _ON, _STILL, values)

    def _put(self, queue_id: QueueId, entry: Entry) -> Put:
        key = _key(queue_id, entry.number)
        sealed = _Sealed(entry.hub, entry.group_id, entry.seq, entry.accepted_at, entry.body)
        item: Item = {
            **key,
            "size": entry.size,
            "total": entry.total,
            "gone_at": gone_at(entry.gone_at),
            "sealed": self.sealer.seal(QUEUES, _bound(key), msgspec.msgpack.encode(sealed)),
        }
        # What a former queue of this name left under the number is overwritten: the head says that it is free.
        return Put(QUEUES, item)

    def _entry(self, row: Item) -> Entry:
        opened = _opened.decode(self.sealer.open(QUEUES, _bound(row), blob(row, "sealed")))
        return Entry(
            number=_number(row),
            hub=Domain(opened.hub),
            group_id=opened.group_id,
            seq=opened.seq,
            accepted_at=opened.accepted_at,
            body=opened.body,
            size=number(row, "size"),
            total=number(row, "total"),
            gone_at=number(row, "gone_at") * SECOND,
        )


def _name(entry: int) -> str:
    return f"e#{entry:016x}"


def _key(queue_id: QueueId, entry: int) -> Item:
    return {"q": queue_id, "r": _name(entry)}


def _number(row: Item) -> int:
    return int(text(row, "r").removeprefix("e#"), 16)


def _bound(row: Item) -> bytes:
    return blob(row, "q") + text(row, "r").encode()
