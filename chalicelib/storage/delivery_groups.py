"""The port `Groups`: the head of a group and all that changes with it, one transaction a change.

The head is what a transaction turns on: its condition says what `before` was, so of all that race one wins. A body
too large for a row lies in S3 and is there before the row. Where another was faster it stays behind; the bucket
forgets bodies when the log would.
"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from chalicelib.services.delivery.ports import Exists
from chalicelib.services.delivery.state import MEMBERSHIPS, GroupId, Head, KeptAnswer, LogRow, PastEpoch
from chalicelib.services.ports import Clock, Lost
from chalicelib.storage import delivery_rows as rows_of
from chalicelib.storage.delivery_rows import GROUPS
from chalicelib.storage.delivery_wakes import wake
from chalicelib.storage.dynamodb import Cancelled, Database, Delete, Item, Operation, Put, Update, blob, number
from chalicelib.storage.dynamodb import text as text_of
from chalicelib.storage.objects import Objects
from chalicelib.storage.sealing import Sealer

LARGEST_BODY = 64 << 10
"""What of a message a row of the log holds itself."""

LARGEST_PAGE = 64 << 20
"""How many bytes of large messages are read from the log together, unless a single one is larger: a worker has to hold
them, and members may send more of them than that."""

AT_ONCE = 8

_UNMOVED = "#epoch = :epoch AND #seq = :seq"
_OPEN = " AND #blocked_since = :never AND #frozen = :no AND #deleted = :no"
_UNANSWERED = "attribute_not_exists(#g) OR #until <= :now"


class AwsGroups:
    """The groups of one stage."""

    def __init__(self, database: Database, objects: Objects, sealer: Sealer, clock: Clock) -> None:
        self.database = database
        self.objects = objects
        self.sealer = sealer
        self.clock = clock

    def load(self, group_id: GroupId, digest: bytes) -> tuple[Head | None, bytes | None]:
        """Return a group's head, and the answer to a request that was answered before."""
        name = rows_of.answer_name(digest)
        head, answer = self.database.batch_get(
            [(GROUPS, rows_of.key(group_id, rows_of.HEAD)), (GROUPS, rows_of.key(group_id, name))]
        )
        response = None
        if answer is not None and number(answer, "until") > self.clock():
            response = rows_of.unseal(self.sealer, group_id, name, blob(answer, "sealed"))
        return None if head is None else rows_of.head_of(head), response

    def create(self, head: Head, rows: Sequence[LogRow], answer: KeptAnswer) -> None:
        """Add a group, or raise `Exists`."""
        first = Put(GROUPS, rows_of.head_row(head), "attribute_not_exists(#g)")
        begins = head.seq - len(rows)
        memberships = Put(GROUPS, rows_of.grown_row(head.group_id, MEMBERSHIPS, MEMBERSHIPS + 1, begins))
        try:
            self._commit(first, head, 0, begins, rows, answer=answer, also=() if head.sealed else (memberships,))
        except _HeadMoved as moved:
            raise Exists from moved

    def advance(
        self,
        before: Head,
        after: Head,
        rows: Sequence[LogRow] = (),
        past: PastEpoch | None = None,
        answer: KeptAnswer | None = None,
    ) -> None:
        """Make `after` the head with all that comes with it, or raise `Lost` and change nothing."""
        values: Item = {"version": before.version, "epoch": before.epoch, "seq": before.seq}
        first = Put(GROUPS, rows_of.head_row(after), f"#version = :version AND {_UNMOVED}", values)
        self._commit(first, after, before.shards, before.seq, rows, past, answer)

    def append(self, before: Head, rows: Sequence[LogRow], answer: KeptAnswer) -> None:
        """Add messages that change no state, or raise `Lost` and change nothing."""
        after = before.seq + len(rows)
        values: Item = {"epoch": before.epoch, "seq": before.seq, "never": 0, "no": False, "after": after}
        values["used_at"] = before.used(max(row.accepted_at for row in rows))
        change = "SET #seq = :after, #used_at = :used_at"
        first = Update(GROUPS, rows_of.key(before.group_id, rows_of.HEAD), change, _UNMOVED + _OPEN, values)
        self._commit(first, before, before.shards, before.seq, rows, answer=answer)

    def log(self, group_id: GroupId, after: int, most: int) -> list[LogRow]:
        """Return rows after a seq; those that are gone stand before all others."""
        found: list[Item] = []
        oldest = self.clock() - rows_of.LOG_LIFE
        while len(found) < most and after < rows_of.LAST_SEQ:
            wanted = most - len(found)
            values: Item = {
                "g": group_id,
                "first": rows_of.log_name(after + 1),
                "last": rows_of.log_name(rows_of.LAST_SEQ),
            }
            condition = "#g = :g AND #r BETWEEN :first AND :last"
            page = list(self.database.query(GROUPS, condition, values, most=wanted))
            found += [row for row in page if number(row, "accepted_at") > oldest]
            if len(page) < wanted:
                break
            after = int(text_of(page[-1], "r").removeprefix("log#"), 16)
        found = _page(found)
        if not any("stored_as" in row for row in found):
            return [self._log_row(group_id, row) for row in found]
        with ThreadPoolExecutor(AT_ONCE) as threads:
            return list(threads.map(lambda row: self._log_row(group_id, row), found))

    def forget(self, group_id: GroupId, up_to: int) -> None:
        """Delete the rows of the log up to a seq, and before them what they have in S3."""
        values: Item = {"g": group_id, "first": rows_of.log_name(0), "last": rows_of.log_name(up_to)}
        condition = "#g = :g AND #r BETWEEN :first AND :last"
        rows = list(self.database.query(GROUPS, condition, values, only=("r", "stored_as")))
        self.objects.delete(text_of(row, "stored_as") for row in rows if "stored_as" in row)
        self.database.batch_write([Delete(GROUPS, rows_of.key(group_id, text_of(row, "r"))) for row in rows])

    def past(self, group_id: GroupId, epoch: int) -> PastEpoch | None:
        """Return an epoch that may still be joined by its Welcomes."""
        row = self.database.get(GROUPS, rows_of.key(group_id, rows_of.past_name(epoch)))
        return None if row is None or number(row, "until") <= self.clock() else rows_of.past_of(row)

    def _commit(
        self,
        first: Put | Update,
        head: Head,
        shards_before: int,
        seq_before: int,
        rows: Sequence[LogRow],
        past: PastEpoch | None = None,
        answer: KeptAnswer | None = None,
        also: Sequence[Operation] = (),
    ) -> None:
        """Write the head and all that comes with it at once; raise `_HeadMoved` or `Lost` if nothing was written."""
        group_id, now = head.group_id, self.clock()
        operations: list[Operation] = [first]
        if answer is not None:
            # Head and answer are not read at one moment, so a head may be new to who asks and the answer unseen.
            row = rows_of.answer_row(self.sealer, group_id, answer)
            operations.append(Put(GROUPS, row, _UNANSWERED, {"now": now}))
        decisive = len(operations)
        operations += [Put(GROUPS, self._item(group_id, row), "attribute_not_exists(#g)") for row in rows]
        operations += also
        if past is not None:
            operations.append(Put(GROUPS, rows_of.past_row(group_id, past)))
        if head.shards > shards_before:
            operations.append(Put(GROUPS, rows_of.grown_row(group_id, shards_before, head.shards, seq_before)))
        if rows:
            operations.append(wake(group_id, rows[-1].seq, now))
        try:
            # A lost reply is no matter here: under its token the transaction is sent again and found done.
            self.database.transact(operations)
        except Cancelled as cancelled:
            if 0 in cancelled.failed:
                raise _HeadMoved from cancelled
            if cancelled.failed[0] < decisive:
                raise Lost from cancelled
            raise

    def _item(self, group_id: GroupId, row: LogRow) -> Item:
        """Return the item of a row of the log; what is too large for it is stored first."""
        item = rows_of.log_row(group_id, row)
        name = rows_of.log_name(row.seq)
        sealed = rows_of.seal(self.sealer, group_id, name, rows_of.content_of(row))
        if len(sealed) <= LARGEST_BODY:
            return {**item, "sealed": sealed}
        # Two that race for one place write different bodies, and so under different names.
        attempt = hashlib.sha256(sealed).hexdigest()[:32]
        stored_as = rows_of.bucket_name(group_id, "log", f"{row.seq:016x}-{attempt}")
        self.objects.put(stored_as, sealed)
        return {**item, "stored_as": stored_as, "stored_size": len(sealed)}

    def _log_row(self, group_id: GroupId, row: Item) -> LogRow:
        """Return a row of the log, as `UNREADABLE` if its contents are gone or spoiled; raise where a call fails."""
        stored = "stored_as" in row
        try:
            sealed = self.objects.get(text_of(row, "stored_as")) if stored else blob(row, "sealed")
            content = rows_of.unseal(self.sealer, group_id, text_of(row, "r"), sealed)
        except LookupError:
            return rows_of.unreadable_log(row)
        try:
            return rows_of.log_of(row, content)
        except (msgspec.DecodeError, ValueError):
            return rows_of.unreadable_log(row)


def _page(rows: list[Item]) -> list[Item]:
    """Return as many of the rows, from the first on, as are read together."""
    room = LARGEST_PAGE
    for place, row in enumerate(rows):
        room -= number(row, "stored_size") if "stored_as" in row else 0
        if room < 0 and place:
            return rows[:place]
    return rows


class _HeadMoved(Lost):
    """The head is not the one that was read."""
