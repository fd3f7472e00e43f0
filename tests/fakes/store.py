"""What changes together: every write of a commit, or none.

Each write is judged against the rows as they were when the commit began, as DynamoDB judges a transaction, and
like there no two writes may touch one row. Beyond the conditions that `writes.py` states, the fake holds its
callers to the rules that a store cannot see: what a record may become, which way a verification may move, what
an event may say.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Hashable, Sequence

from chalicelib.protocol.glados.codes import MOST_ATTEMPTS
from chalicelib.protocol.glados.identifiers import Sii
from chalicelib.protocol.glados.mappings import MOST_ACTIVE, TOMBSTONE_LIFE, Mapping, Records
from chalicelib.services.accounts.state import Account, ProviderId
from chalicelib.services.ports import Clock
from chalicelib.services.provider.state import (
    Count,
    Heads,
    LimitKey,
    OutboxId,
    Pair,
    PairKey,
    PendingEntry,
    StoredRecords,
    Verification,
    VerificationId,
    VerificationState,
)
from chalicelib.services.provider.writes import (
    AddEvent,
    AddOutbox,
    CheckBelow,
    ClearDelay,
    CountUp,
    DropOutbox,
    MoveVerification,
    OpenVerification,
    RecordDelivery,
    RecordProof,
    ReplaceRecords,
    SendAgain,
    SetLive,
    SpendProof,
    Stale,
    TakeAttempt,
    Write,
)
from tests.fakes.faults import Fake, Faults, fallible, require
from tests.fakes.tables import Row, Tables, Token

MOST_ITEMS = 100  # Of one DynamoDB transaction.

EDGES: frozenset[tuple[VerificationState, VerificationState]] = frozenset(
    {
        ("pending", "locked"),
        ("pending", "cancelled"),
        ("matched", "confirmed"),
        ("matched", "cancelled"),
    }
)

Effect = Callable[[], None]


class MemoryStore(Fake):
    port = "store"

    def __init__(self, faults: Faults, tables: Tables, clock: Clock) -> None:
        super().__init__(faults, tables.lock)
        self.tables = tables
        self.clock = clock

    @fallible
    def records(self, sii: Sii) -> StoredRecords:
        return read_records(self.tables, sii)

    @fallible
    def verification(self, verification_id: VerificationId) -> Verification | None:
        return self.tables.verifications.get(verification_id)

    @fallible
    def pair(self, key: PairKey) -> Pair:
        return self.tables.pairs.get(key, Pair())

    @fallible
    def admission(
        self, verification_id: VerificationId, key: PairKey, limits: Sequence[LimitKey]
    ) -> tuple[Verification | None, Pair, tuple[Count, ...]]:
        counts = tuple(self.tables.counts.get(limit, Count()) for limit in limits)
        return self.tables.verifications.get(verification_id), self.tables.pairs.get(key, Pair()), counts

    @fallible
    def commit(self, *writes: Write) -> None:
        require(bool(writes), "a commit of nothing")
        require(sum(map(items_of, writes)) <= MOST_ITEMS, f"a commit of more than {MOST_ITEMS} items")
        rows = Counter(map(row_of, writes))
        require(max(rows.values()) == 1, "two writes of one commit touch one row")
        check_told(writes)
        effects = [self._judge(write, writes) for write in writes]
        for effect in effects:
            effect()

    def _judge(self, write: Write, together: tuple[Write, ...]) -> Effect:
        """Raise `Stale` if the write's condition fails, else return what it does."""
        match write:
            case ReplaceRecords():
                return self._replace_records(write)
            case RecordDelivery():
                return self._record_delivery(write)
            case OpenVerification() | MoveVerification() | TakeAttempt() | SendAgain():
                return self._verification(self._judge_verification(write))
            case SetLive() | RecordProof() | SpendProof():
                return self._pair(write.key, self._judge_pair(write, together))
            case CountUp() | CheckBelow() | ClearDelay():
                return self._count(write.limit, self._judge_count(write))
            case AddEvent():
                return self._add_event(write)
            case AddOutbox():
                return self._add_outbox(write)
            case DropOutbox(outbox_id):
                return lambda: self._drop(outbox_id)

    # --- limits

    def _judge_count(self, write: CountUp | CheckBelow | ClearDelay) -> Count | None:
        known = self.tables.counts.get(write.limit)
        match write:
            case CountUp(limit, at_most, now, next_at):
                require(limit.window <= now < limit.ends, "a count outside its window")
                count = known or Count()
                if count.count >= at_most or count.next_at > now:
                    raise Stale(write)
                return Count(count.count + 1, next_at)
            case CheckBelow(_, at_most):
                if known is not None and known.count >= at_most:
                    raise Stale(write)
                return known
            case ClearDelay():
                return known and dataclasses.replace(known, next_at=0)

    # --- pairs

    def _judge_pair(self, write: SetLive | RecordProof | SpendProof, together: tuple[Write, ...]) -> Pair:
        pair = self.tables.pairs.get(write.key, Pair())
        match write:
            case SetLive(key, verification_id, before):
                if pair.live != before:
                    raise Stale(write)
                self._check_owner(key, verification_id, together)
                return dataclasses.replace(pair, live=verification_id)
            case RecordProof(key, verification_id, now):
                self._check_owner(key, verification_id, together)
                require(pair.proof != verification_id, "one verification gives one proof, spent or not")
                return dataclasses.replace(pair, proof=verification_id, proof_at=now, proof_used=False, spent_on="")
            case SpendProof(_, verification_id, choice):
                if pair.proof != verification_id or pair.proof_used:
                    raise Stale(write)
                return dataclasses.replace(pair, proof_used=True, spent_on=choice)

    # --- records

    def _replace_records(self, write: ReplaceRecords) -> Effect:
        row = self.tables.records.get(write.sii, Row(Records()))
        require(isinstance(write.before.token, Token), "a token that no read gave out")
        if write.before.token != records_token(write.sii, row):
            raise Stale(write)
        require(write.before.records == row.value, "the records are not the ones that the token was read with")
        check_change(row.value, write)
        entry = self._pending_entry(write)

        def replace() -> None:
            self.tables.records[write.sii] = row.next(write.change.records)
            if entry is not None:
                self.tables.pending[entry.entry_id] = entry
                self.tables.pending_ever += 1

        return replace

    def _pending_entry(self, write: ReplaceRecords) -> PendingEntry | None:
        """Return the one log entry of a change, or None where no bit may flip and no count moves."""
        appears = write.sii if write.change.appears and not write.sii.is_test_number else None
        if appears is None and not write.change.users:
            return None
        entry_id = f"{self.tables.pending_ever:08d}"
        return PendingEntry(entry_id, appears, write.change.users, Token(f"pending {entry_id}", 1))

    # --- verifications

    def _judge_verification(self, write: OpenVerification | MoveVerification | TakeAttempt | SendAgain) -> Verification:
        match write:
            case OpenVerification(verification):
                if verification.verification_id in self.tables.verifications:
                    raise Stale(write)
                untouched = verification.state == "pending" and not verification.attempts and not verification.answer
                require(untouched, "a new verification is pending and untouched")
                require(verification.opened_at < verification.expires_at, "a new verification has a life")
                return verification
            case MoveVerification():
                return self._move(write)
            case TakeAttempt(verification_id, right, now):
                found = self._live(write, verification_id, now)
                if found.attempts >= MOST_ATTEMPTS:
                    raise Stale(write)
                tried = dataclasses.replace(found, attempts=found.attempts + 1)
                return dataclasses.replace(tried, state="matched", matched_at=now) if right else tried
            case SendAgain(verification_id, sends, resend_after, now):
                found = self._live(write, verification_id, now)
                if found.sends != sends:
                    raise Stale(write)
                again = dataclasses.replace(found, sends=sends + 1, resend_after=resend_after)
                return dataclasses.replace(again, delivery="queued", delivery_at=now, delivery_reason=None)

    def _record_delivery(self, write: RecordDelivery) -> Effect:
        found = self.tables.verifications.get(write.verification_id)
        require(found is not None, "a delivery of a verification that does not exist")
        if found is None or found.delivery_at > write.now:
            return lambda: None  # A later send has been recorded already.
        told = dataclasses.replace(found, delivery=write.delivery, delivery_at=write.now, delivery_reason=write.reason)
        return self._verification(told)

    def _move(self, write: MoveVerification) -> Verification:
        require((write.before, write.after) in EDGES, f"no way leads from {write.before} to {write.after}")
        found = self.tables.verifications.get(write.verification_id)
        if found is None or found.state != write.before:
            raise Stale(write)
        if write.answer is not None:
            require(write.after in {"matched", "confirmed"}, "only a right code has an answer to repeat")
            found = dataclasses.replace(found, answer=write.answer)
        return dataclasses.replace(found, state=write.after)

    def _live(self, write: Write, verification_id: VerificationId, now: int) -> Verification:
        found = self.tables.verifications.get(verification_id)
        if found is None or found.state != "pending" or found.expires_at <= now:
            raise Stale(write)
        return found

    def _check_owner(self, key: PairKey, verification_id: VerificationId, together: tuple[Write, ...]) -> None:
        opened = {
            write.verification.verification_id: write.verification
            for write in together
            if isinstance(write, OpenVerification)
        }
        found = opened.get(verification_id) or self.tables.verifications.get(verification_id)
        require(found is not None, "a pair names a verification that does not exist")
        if found is not None:
            owner = PairKey(found.provider_id, found.sii, found.user_id)
            require(owner == key, "a pair names a verification of somebody else")

    def _verification(self, verification: Verification) -> Effect:
        return lambda: self.tables.verifications.update({verification.verification_id: verification})

    def _pair(self, key: PairKey, pair: Pair) -> Effect:
        return lambda: self.tables.pairs.update({key: pair})

    def _count(self, limit: LimitKey, count: Count | None) -> Effect:
        return lambda: self.tables.counts.update({} if count is None else {limit: count})

    # --- what is told and sent

    def _add_event(self, write: AddEvent) -> Effect:
        event = write.event
        if event.event_id in self.tables.events:
            raise Stale(write)
        require(event.state in {"pending", "undeliverable"} and not event.tries, "a new event has not been tried")
        about = (event.provider_id, event.mapping_id or "")
        if event.sequence is not None:
            require(event.sequence > self.tables.sequences.get(about, 0), "a mapping's sequence strictly increases")

        def add() -> None:
            self.tables.events[event.event_id] = event
            if event.sequence is not None:
                self.tables.sequences[about] = max(event.sequence, self.tables.sequences.get(about, 0))

        return add

    def _drop(self, outbox_id: OutboxId) -> None:
        self.tables.outbox.pop(outbox_id, None)

    def _add_outbox(self, write: AddOutbox) -> Effect:
        entry = write.entry
        known = self.tables.outbox.get(entry.outbox_id)
        if known is not None:
            require((known.kind, known.ref) == (entry.kind, entry.ref), "one outbox id stands for two things")
        require(entry.attempts == 0, "a new outbox entry has not been taken")

        def add() -> None:
            if known is None:
                self.tables.outbox[entry.outbox_id] = entry
                self.tables.outbox_touched[entry.outbox_id] = self.clock()
                self.tables.outbox_ever.add(entry.outbox_id)

        return add


class MemorySnapshots(Fake):
    port = "snapshots"

    def __init__(self, faults: Faults, tables: Tables) -> None:
        super().__init__(faults, tables.lock)
        self.tables = tables

    @fallible
    def read(self, sii: Sii, provider_id: ProviderId) -> tuple[StoredRecords, Account | None, Heads]:
        return read_records(self.tables, sii), self.tables.account(provider_id), self.tables.heads.value


def read_records(tables: Tables, sii: Sii) -> StoredRecords:
    row = tables.records.get(sii, Row(Records()))
    return StoredRecords(row.value, records_token(sii, row))


def records_token(sii: Sii, row: Row[Records]) -> Token:
    return Token(f"sii {sii.uri}", row.version)


def row_of(write: Write) -> Hashable:
    """Name the row that a write conditions and changes."""
    match write:
        case ReplaceRecords(sii):
            return ("sii", sii)
        case OpenVerification(verification):
            return ("verify", verification.verification_id)
        case RecordDelivery(verification_id):
            return ("verify", verification_id)
        case MoveVerification(verification_id) | TakeAttempt(verification_id) | SendAgain(verification_id):
            return ("verify", verification_id)
        case SetLive(key) | RecordProof(key) | SpendProof(key):
            return ("pair", key)
        case CountUp(limit) | CheckBelow(limit) | ClearDelay(limit):
            return ("limit", limit)
        case AddEvent(event):
            return ("event", event.event_id)
        case AddOutbox(entry):
            return ("outbox", entry.outbox_id)
        case DropOutbox(outbox_id):
            return ("outbox", outbox_id)


def items_of(write: Write) -> int:
    """Count the items of a write: with records go their users' rows, where they changed, and a log entry."""
    if not isinstance(write, ReplaceRecords):
        return 1
    users = holders(write.before.records.all) ^ holders(write.change.records.all)
    return 1 + len(users) + bool(write.change.appears or write.change.users)


def holders(records: tuple[Mapping, ...]) -> set[tuple[str, str]]:
    """Return whose identifier it is; a tombstone is still its user's data."""
    return {(record.provider.provider_id, record.user_id) for record in records}


def check_told(writes: tuple[Write, ...]) -> None:
    """Require that the events of a commit are exactly the notices of its change."""
    notices = {
        (notice.provider_id, notice.mapping_id, notice.sequence, notice.type)
        for write in writes
        if isinstance(write, ReplaceRecords)
        for notice in write.change.notices
    }
    events = {
        (write.event.provider_id, write.event.mapping_id, write.event.sequence, write.event.type)
        for write in writes
        if isinstance(write, AddEvent) and write.event.sequence is not None
    }
    require(notices == events, "the events of a commit are not the notices of its change")


def check_change(before: Records, write: ReplaceRecords) -> None:
    """Require that what is stored could have come about by one legal change of `before`."""
    after = write.change.records
    require(after.floor >= before.floor, "the floor falls")
    require(len({record.mapping_id for record in after.all}) == len(after.all), "two records have one id")
    active = Counter(record.provider.provider_id for record in after.active)
    require(max(active.values(), default=1) == 1, "a provider has two active records of one identifier")
    require(len(after.active) <= MOST_ACTIVE, f"more than {MOST_ACTIVE} active records")
    kept = {record.mapping_id: record for record in after.all}
    for record in before.all:
        if record.mapping_id in kept:
            check_record(record, kept[record.mapping_id])
        else:
            expired = record.ended_at is not None and record.ended_at <= write.now - TOMBSTONE_LIFE
            require(expired, "a record vanished that is no expired tombstone")
    was = Counter(record.provider.provider_id for record in before.active)
    moved = {provider: active[provider] - was[provider] for provider in was | active}
    said = Counter(dict(write.change.users))
    require(
        {provider: by for provider, by in moved.items() if by} == {provider: by for provider, by in said.items() if by},
        "the counts of users do not move as the records do",
    )
    require(
        write.change.appears == (bool(after.active) and not before.active),
        "`appears` does not say whether the identifier came to have an active record",
    )


def check_record(before: Mapping, after: Mapping) -> None:
    """Require that a record keeps what it is and that its owner is told of nothing twice."""
    same = ("provider", "user_id", "registered_at", "test")
    require(all(getattr(before, name) == getattr(after, name) for name in same), "a record became another one")
    require(after.sequence >= before.sequence, "a record's sequence falls")
    require((after.state == "active") == (after.ended_at is None), "a tombstone has an end, and only a tombstone")
    if "active" not in {before.state, after.state}:
        require(before == after, "a tombstone changed")
    if before.state != after.state:
        require(after.sequence > before.sequence, "a record's state changed without a notice")
