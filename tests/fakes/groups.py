"""The rows and objects of groups, in memory: the epoch never skips, objects never change and stand before their names.

`GroupTables` is what several of the ports look at; tests may look too.
"""

import dataclasses
import itertools
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from chalicelib.protocol.mls.chunks import ATTEMPT_SIZE, REF_SIZE, ChunkStore, Ref, reference
from chalicelib.protocol.timestamps import DAY, SECOND, end_of_day
from chalicelib.services.delivery.ports import MOST_NOTES, NO_REF, Exists
from chalicelib.services.delivery.state import (
    LOG_LIFE_DAYS,
    MEMBERSHIPS,
    SILENT,
    GroupId,
    Head,
    KeptAnswer,
    LogRow,
    PastEpoch,
    Shard,
)
from chalicelib.services.ports import Clock, Lost
from tests.fakes.faults import Fake, Faults, fallible, require

LOG_LIFE = LOG_LIFE_DAYS * DAY
WAKE_DELAY = 5 * SECOND
MOST_IN_TRANSACTION = 100

Name = TypeVar("Name")
Value = TypeVar("Value")


@dataclasses.dataclass
class Wake:
    """A group with something to deliver: up to which row, when, and since when the index may know."""

    seq: int
    next_at: int
    touched: int
    waiting: bool = False


@dataclasses.dataclass
class GroupTables:
    """Everything that one delivery service has stored of its groups."""

    lock: threading.RLock = dataclasses.field(default_factory=threading.RLock)
    inboxes: dict[GroupId, frozenset[bytes]] = dataclasses.field(default_factory=dict)
    heads: dict[GroupId, Head] = dataclasses.field(default_factory=dict)
    logs: dict[GroupId, dict[int, LogRow]] = dataclasses.field(default_factory=dict)
    pasts: dict[tuple[GroupId, int], PastEpoch] = dataclasses.field(default_factory=dict)
    answers: dict[tuple[GroupId, bytes], KeptAnswer] = dataclasses.field(default_factory=dict)
    shards: dict[tuple[GroupId, int], Shard] = dataclasses.field(default_factory=dict)
    wakes: dict[GroupId, Wake] = dataclasses.field(default_factory=dict)
    objects: dict[GroupId, dict[Ref, bytes]] = dataclasses.field(default_factory=dict)
    written_at: dict[tuple[GroupId, Ref], int] = dataclasses.field(default_factory=dict)
    wrote: dict[GroupId, int] = dataclasses.field(default_factory=dict)


class MemoryGroups(Fake):
    port = "groups"

    def __init__(self, faults: Faults, tables: GroupTables, clock: Clock) -> None:
        super().__init__(faults, tables.lock)
        self.tables = tables
        self.clock = clock

    @fallible
    def load(self, group_id: GroupId, digest: bytes) -> tuple[Head | None, bytes | None]:
        answer = self._standing(group_id, digest)
        return self.tables.heads.get(group_id), None if answer is None else answer.response

    @fallible
    def create(self, head: Head, rows: Sequence[LogRow], answer: KeptAnswer) -> None:
        require(not (head.deleted or head.frozen or head.blocked_since), "a group begins at an end")
        self._check_rows(head, head.seq - len(rows), rows)
        if head.group_id in self.tables.heads:
            raise Exists
        self._refuse_repeat(head.group_id, answer)
        begins = head.seq - len(rows)
        self._check_fits(rows, answer, None, 1 if head.sealed else 2)
        if not head.sealed:
            self.tables.shards[head.group_id, MEMBERSHIPS] = Shard(head.group_id, MEMBERSHIPS, begins)
        self._become(head, 0, begins, rows)
        self._keep(head.group_id, answer)

    @fallible
    def advance(
        self,
        before: Head,
        after: Head,
        rows: Sequence[LogRow] = (),
        past: PastEpoch | None = None,
        answer: KeptAnswer | None = None,
    ) -> None:
        self._check_step(before, after)
        self._check_rows(after, before.seq, rows)
        self._refuse_unless(before, before.epoch, before.seq, before.version)
        self._refuse_repeat(before.group_id, answer)
        self._check_fits(rows, answer, past, 1 if after.shards > before.shards else 0)
        if past is not None:
            require(past.epoch <= after.epoch, "an epoch that is still to come is past")
            self._check_there(before.group_id, (past.root, past.joiners))
            self.tables.pasts[before.group_id, past.epoch] = past
        self._become(after, before.shards, before.seq, rows)
        self._keep(before.group_id, answer)

    @fallible
    def append(self, before: Head, rows: Sequence[LogRow], answer: KeptAnswer) -> None:
        require(bool(rows), "an append of nothing")
        require(not (before.deleted or before.frozen or before.blocked_since), "a message to a group that takes none")
        known = self._refuse_unless(before, before.epoch, before.seq)
        if known.deleted or known.frozen or known.blocked_since:
            raise Lost
        self._refuse_repeat(before.group_id, answer)
        used_at = known.used(max(row.accepted_at for row in rows))
        after = dataclasses.replace(known, seq=before.seq + len(rows), used_at=used_at)
        self._check_rows(after, before.seq, rows)
        self._check_fits(rows, answer, None, 0)
        self._become(after, known.shards, before.seq, rows)
        self._keep(before.group_id, answer)

    @fallible
    def log(self, group_id: GroupId, after: int, most: int) -> list[LogRow]:
        require(most > 0, "a page of nothing")
        return self.rows(group_id, after)[:most]

    @fallible
    def forget(self, group_id: GroupId, up_to: int) -> None:
        shards = [shard for (group, _), shard in self.tables.shards.items() if group == group_id]
        behind = [one.seq for shard in shards for one in shard.behind.values()]
        cursors = [shard.cursor for shard in shards]
        require(up_to <= min(cursors + behind), "rows are forgotten that somebody has yet to get")
        log = self.tables.logs.get(group_id, {})
        for seq in [seq for seq in log if seq <= up_to]:
            del log[seq]

    @fallible
    def past(self, group_id: GroupId, epoch: int) -> PastEpoch | None:
        past = self.tables.pasts.get((group_id, epoch))
        return past if past is not None and past.until > self.clock() else None

    def rows(self, group_id: GroupId, after: int = 0) -> list[LogRow]:
        """Return what the log holds after a seq, without a call that counts."""
        oldest = self.clock() - LOG_LIFE
        log = self.tables.logs.get(group_id, {})
        return [log[seq] for seq in sorted(log) if seq > after and log[seq].accepted_at > oldest]

    # --- what holds of every caller

    def _check_step(self, before: Head, after: Head) -> None:
        def same(head: Head) -> tuple[object, ...]:
            return head.group_id, head.created_at, head.sealed

        require(same(before) == same(after), "a group changes what never changes of it")
        require(not before.deleted, "a group that was deleted changes")
        require(after.version == before.version + 1, "the version counts changes one by one")
        require(after.epoch in {before.epoch, before.epoch + 1}, "the epoch skips or falls")
        require(after.shards >= before.shards, "a group has fewer shards than before")
        require(not before.frozen or after.frozen or after.deleted, "a frozen group thaws")

    def _check_rows(self, after: Head, before_seq: int, rows: Sequence[LogRow]) -> None:
        require(after.shards > 0, "a group that nobody delivers to")
        require(bool(after.root) != after.deleted, "a group has a root until it is deleted")
        ends = list(itertools.accumulate((row.count for row in rows), initial=before_seq))
        require([row.seq for row in rows] == ends[1:] and after.seq == ends[-1], "the log has a gap")
        require(all(row.epoch <= after.epoch for row in rows), "a message of an epoch to come")
        require(all(row.body or row.recipients or row.kind in SILENT for row in rows), "a message that says nothing")
        self._check_there(after.group_id, (after.root, *(row.root for row in rows)))

    def _check_there(self, group_id: GroupId, refs: Iterable[Ref]) -> None:
        there = self.tables.objects.get(group_id, {})
        require(all(ref in there for ref in refs if ref), "a row names an object that is not there yet")

    def _check_fits(
        self, rows: Sequence[LogRow], answer: KeptAnswer | None, past: PastEpoch | None, others: int
    ) -> None:
        """Count as the adapter does: the head, each row, answer, past epoch, new shards, and the wake-up."""
        items = 1 + len(rows) + bool(rows) + (answer is not None) + (past is not None) + others
        if items > MOST_IN_TRANSACTION:
            raise ValueError(f"a transaction of {items} items")

    def _check_answer(self, answer: KeptAnswer) -> None:
        require(len(answer.digest) == 32, "an answer to what is no SHA-256")
        require(bool(answer.response) and answer.until > self.clock(), "an answer that is never given")

    # --- what is stored

    def _standing(self, group_id: GroupId, digest: bytes) -> KeptAnswer | None:
        answer = self.tables.answers.get((group_id, digest))
        return answer if answer is not None and answer.until > self.clock() else None

    def _refuse_unless(self, before: Head, epoch: int, seq: int, version: int | None = None) -> Head:
        known = self.tables.heads.get(before.group_id)
        if known is None or (known.epoch, known.seq) != (epoch, seq) or version not in {None, known.version}:
            raise Lost
        if version is not None:
            require(known == before, "a head that no read gave out")
        return known

    def _refuse_repeat(self, group_id: GroupId, answer: KeptAnswer | None) -> None:
        if answer is not None:
            self._check_answer(answer)
            if self._standing(group_id, answer.digest) is not None:
                raise Lost

    def _become(self, head: Head, shards_before: int, seq_before: int, rows: Sequence[LogRow]) -> None:
        self.tables.heads[head.group_id] = head
        log = self.tables.logs.setdefault(head.group_id, {})
        log.update({row.seq: row for row in rows})
        for shard in range(shards_before, head.shards):
            self.tables.shards[head.group_id, shard] = Shard(head.group_id, shard, seq_before)
        if rows:
            now = self.clock()
            self.tables.wakes[head.group_id] = Wake(head.seq, now + WAKE_DELAY, now)

    def _keep(self, group_id: GroupId, answer: KeptAnswer | None) -> None:
        if answer is not None:
            self.tables.answers[group_id, answer.digest] = answer


@dataclasses.dataclass(frozen=True)
class _Objects:
    """The objects of one group; each load counts as a call of the port."""

    port: "MemoryGroupObjects"
    group_id: GroupId

    def load(self, refs: Collection[Ref]) -> Mapping[Ref, bytes]:
        return self.port.load(self.group_id, refs)


class MemoryGroupObjects(Fake):
    port = "objects"

    def __init__(self, faults: Faults, tables: GroupTables, clock: Clock) -> None:
        super().__init__(faults, tables.lock)
        self.tables = tables
        self.clock = clock

    def of(self, group_id: GroupId) -> ChunkStore:
        return _Objects(self, group_id)

    @fallible
    def load(self, group_id: GroupId, refs: Collection[Ref]) -> Mapping[Ref, bytes]:
        there = self.tables.objects.get(group_id, {})
        if any(ref not in there for ref in refs):
            raise LookupError("an object of a group is not there")
        return {ref: there[ref] for ref in refs}

    @fallible
    def put(self, group_id: GroupId, written: Mapping[Ref, bytes], *, by_day: bool = False) -> None:
        there = self.tables.objects.setdefault(group_id, {})
        for ref, content in written.items():
            require(len(ref) == REF_SIZE, "a reference of another length")
            require(reference(ref[:ATTEMPT_SIZE], content) == ref, "an object under another one's reference")
            there[ref] = content
            self.tables.written_at[group_id, ref] = end_of_day(self.clock()) if by_day else self.clock()
        if written:
            self.tables.wrote.setdefault(group_id, self.clock())


class MemoryRounds(Fake):
    port = "rounds"

    def __init__(self, faults: Faults) -> None:
        super().__init__(faults, threading.RLock())
        self._after: dict[str, GroupId] = {}

    @fallible
    def load(self, name: str) -> GroupId | None:
        return self._after.get(name)

    @fallible
    def save(self, name: str, after: GroupId | None) -> None:
        require(bool(name), "a round without a name")
        if after is None:
            self._after.pop(name, None)
        else:
            self._after[name] = after


class MemoryInboxes(Fake):
    port = "inboxes"

    def __init__(self, faults: Faults, tables: GroupTables) -> None:
        super().__init__(faults, tables.lock)
        self.tables = tables

    @fallible
    def add(self, group_id: GroupId, notes: Sequence[bytes]) -> None:
        head = self.tables.heads.get(group_id)
        require(bool(notes) and head is not None and head.sealed, "a note to nobody, or of nothing")
        there = self.tables.inboxes.get(group_id, frozenset())
        if len(there) < MOST_NOTES:
            self.tables.inboxes[group_id] = there | set(notes[:MOST_NOTES])

    @fallible
    def of(self, group_id: GroupId) -> Sequence[bytes]:
        return list(self.tables.inboxes.get(group_id, ()))

    @fallible
    def clear(self, group_id: GroupId, notes: Sequence[bytes]) -> None:
        if self.tables.inboxes.get(group_id) == frozenset(notes):
            self.tables.inboxes.pop(group_id, None)


class MemoryGarbage(Fake):
    port = "garbage"

    def __init__(self, faults: Faults, tables: GroupTables, clock: Clock) -> None:
        super().__init__(faults, tables.lock)
        self.tables = tables
        self.clock = clock

    @fallible
    def groups(self, after: GroupId | None, most: int) -> list[GroupId]:
        """Go backwards, for no order is promised; miss what was first written in the last second."""
        require(most > 0, "a page of nothing")
        settled = self.clock() - SECOND
        known = sorted((group for group, since in self.tables.wrote.items() if since <= settled), reverse=True)
        return list(itertools.islice((group for group in known if after is None or group < after), most))

    @fallible
    def objects(self, group_id: GroupId, after: Ref = NO_REF, most: int = 1_000) -> Mapping[Ref, int]:
        refs = sorted(ref for ref in self.tables.objects.get(group_id, {}) if ref > after)
        return {ref: self.tables.written_at[group_id, ref] for ref in refs[:most]}

    @fallible
    def named(self, group_id: GroupId, now: int) -> tuple[frozenset[Ref], frozenset[Ref]]:
        return self._named(group_id, now)

    def _named(self, group_id: GroupId, now: int) -> tuple[frozenset[Ref], frozenset[Ref]]:
        head = self.tables.heads.get(group_id)
        if head is None:
            return frozenset(), frozenset()
        pasts = [past for (group, _), past in self.tables.pasts.items() if group == group_id and past.until > now]
        shards = [shard for (group, _), shard in self.tables.shards.items() if group == group_id]
        behind = [domain.seq for shard in shards for domain in shard.behind.values()]
        delivered = min([*(shard.cursor for shard in shards), *behind], default=head.seq)
        log = self.tables.logs.get(group_id, {})
        rows = [row for seq, row in log.items() if seq > delivered and row.accepted_at > now - LOG_LIFE]
        roots = {head.root, *(past.root for past in pasts), *(row.root for row in rows)}
        none = {Ref(b"")}
        return frozenset(roots - none), frozenset({past.joiners for past in pasts} - none)

    @fallible
    def delete(self, group_id: GroupId, refs: Sequence[Ref]) -> None:
        roots, others = self._named(group_id, self.clock())
        require(not (roots | others) & set(refs), "an object is deleted that a row names")
        for ref in refs:
            self.tables.objects.get(group_id, {}).pop(ref, None)
            self.tables.written_at.pop((group_id, ref), None)

    @fallible
    def purge(self, group_id: GroupId) -> None:
        head = self.tables.heads.get(group_id)
        require(head is None or head.deleted, "a group is purged that lives")
        for table in (self.tables.logs, self.tables.objects, self.tables.wrote, self.tables.wakes, self.tables.inboxes):
            table.pop(group_id, None)
        _forget(self.tables.pasts, group_id)
        _forget(self.tables.answers, group_id)
        _forget(self.tables.shards, group_id)
        _forget(self.tables.written_at, group_id)


def _forget(rows: dict[tuple[GroupId, Name], Value], group_id: GroupId) -> None:
    for key in [key for key in rows if key[0] == group_id]:
        del rows[key]
