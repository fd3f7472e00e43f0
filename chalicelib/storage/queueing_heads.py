"""The port `QueueHeads`: the row `head` of each partition of the table `queues`.

    queues  queue id / head       suite, key, token, times, counters, last_stream, last_seq, shares
    queues  queue id / e#NUMBER   total, size, gone_at, ⟦hub, group, seq, accepted_at, body⟧

The name of a queue says nothing of its owner. The token is there as a keyed digest only, and so are the hubs and groups
whose shares are counted: each queue has its own names for them. Heads, and nothing else, have `idle_shard`, by which
the index `idle` finds those that nobody has fetched from for long.
"""

from collections.abc import Sequence

from chalicelib.errors import AlreadyExists
from chalicelib.protocol.timestamps import DAY
from chalicelib.services.ports import Lost
from chalicelib.services.queueing.shares import NOBODYS
from chalicelib.services.queueing.state import Head, QueueId
from chalicelib.storage.due import DueIndex
from chalicelib.storage.dynamodb import ConditionFailed, Database, Item, Put, Update, blob, number
from chalicelib.storage.notation import gone_at
from chalicelib.storage.queueing_shares import decode_shares

QUEUES = "queues"
HEAD = "head"
IDLE = DueIndex(QUEUES, "idle", "active_at")
BURIED_FOR = DAY

_LIVES = "attribute_exists(#q) AND attribute_not_exists(#deleted_at)"


class AwsQueueHeads:
    """The queues of one stage."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def create(self, head: Head) -> None:
        """Make a queue; one that stands with the same keys is left as it is."""
        try:
            self.database.write(Put(QUEUES, _row(head), "attribute_not_exists(#q)"), repeatable=True)
        except ConditionFailed as failed:
            stands = None if failed.row is None else _head(failed.row)
            if stands is None or stands.deleted or _keys(stands) != _keys(head):
                raise AlreadyExists("there is or was a queue of this name") from failed

    def load(self, queue_ids: Sequence[QueueId]) -> list[Head | None]:
        """Return heads as they are now, in the order they are asked for."""
        rows = self.database.batch_get([(QUEUES, head_key(queue_id)) for queue_id in queue_ids])
        return [None if row is None else _head(row) for row in rows]

    def rotate(self, before: Head, after: Head) -> None:
        """Give a queue other keys, if nobody has since it was loaded."""
        change = (
            "SET #suite = :suite, #signature_key = :signature_key, #token = :token,"
            " #updated_at = :updated_at, #update = :update"
        )
        values: Item = {
            "suite": after.cipher_suite,
            "signature_key": after.signature_key,
            "token": after.token,
            "updated_at": after.updated_at,
            "update": after.update,
            "before": before.updated_at,
        }
        condition = f"{_LIVES} AND #updated_at = :before"
        try:
            self.database.write(Update(QUEUES, head_key(before.queue_id), change, condition, values), repeatable=True)
        except ConditionFailed as failed:
            stands = None if failed.row is None else _head(failed.row)
            if stands is None or stands.deleted or (stands.update, _keys(stands)) != (after.update, _keys(after)):
                raise Lost from failed

    def touch(self, queue_id: QueueId, now: int) -> None:
        """Note that the client has been here."""
        self._try(queue_id, "SET #active_at = :now", f"{_LIVES} AND #active_at < :now", {"now": now})

    def mark(self, queue_id: QueueId, up_to: int, freed: int, look_again_at: int, discarded: int) -> None:
        """Raise the marks up to which entries are gone; they never go back."""
        change = "SET #acknowledged = :up_to, #freed = :freed, #look_again_at = :look_again_at, #discarded = :discarded"
        values: Item = {"up_to": up_to, "freed": freed, "look_again_at": look_again_at, "discarded": discarded}
        condition = f"{_LIVES} AND #acknowledged <= :up_to AND #freed <= :freed"
        self._try(queue_id, change, condition, values)

    def bury(self, queue_id: QueueId, now: int, unless_active_after: int | None = None) -> bool:
        """Delete a queue; its row stays for a day, so that repeats are answered and the name is not taken again."""
        values: Item = {"now": now, "gone_at": gone_at(now + BURIED_FOR)}
        condition = _LIVES
        if unless_active_after is not None:
            values["since"] = unless_active_after
            condition += " AND #active_at <= :since"
        change = "SET #deleted_at = :now, #gone_at = :gone_at REMOVE #idle_shard"
        return self._try(queue_id, change, condition, values)

    def unused(self, since: int, most: int) -> list[QueueId]:
        """Return the queues that have been without their client longest."""
        return [QueueId(blob(row, "q")) for row in IDLE.find(self.database, since, most)]

    def _try(self, queue_id: QueueId, change: str, condition: str, values: Item) -> bool:
        try:
            self.database.write(Update(QUEUES, head_key(queue_id), change, condition, values), repeatable=True)
        except ConditionFailed:
            return False
        return True


def head_key(queue_id: QueueId) -> Item:
    """Return the key of a queue's head."""
    return {"q": queue_id, "r": HEAD}


def _keys(head: Head) -> tuple[int, bytes, bytes]:
    return head.cipher_suite, head.signature_key, head.token


def _row(head: Head) -> Item:
    return {
        **head_key(head.queue_id),
        **IDLE.place(head.queue_id, head.active_at),
        "suite": head.cipher_suite,
        "signature_key": head.signature_key,
        "token": head.token,
        "created_at": head.created_at,
        "updated_at": head.updated_at,
        "update": head.update,
        "seq": head.seq,
        "total": head.total,
        "acknowledged": head.acknowledged,
        "freed": head.freed,
        "discarded": head.discarded,
        "look_again_at": head.look_again_at,
        "last_stream": head.last_stream,
        "last_seq": head.last_seq,
    }


def _head(row: Item) -> Head:
    return Head(
        queue_id=QueueId(blob(row, "q")),
        cipher_suite=number(row, "suite"),
        signature_key=blob(row, "signature_key"),
        token=blob(row, "token"),
        created_at=number(row, "created_at"),
        active_at=number(row, "active_at"),
        updated_at=number(row, "updated_at"),
        update=blob(row, "update"),
        seq=number(row, "seq"),
        total=number(row, "total"),
        acknowledged=number(row, "acknowledged"),
        freed=number(row, "freed"),
        discarded=number(row, "discarded", number(row, "acknowledged")),
        look_again_at=number(row, "look_again_at"),
        last_stream=blob(row, "last_stream"),
        last_seq=number(row, "last_seq"),
        deleted="deleted_at" in row,
        shares=decode_shares(blob(row, "shares")) if "shares" in row else NOBODYS,
    )
