"""What each write of `writes.py` becomes in DynamoDB: its items, and its condition.

    verify  id = verification id             sealed parts, state, attempts, sends, times; kept 7 days past expiry
    verify  id = pair#HMAC(pair)             live, proof, proof_at, proof_used, spent_on
    limit   HMAC(kind, value) / window       count, next_at

Events, the outbox and the pending log have their items beside what reads them, and so have records.
`ignorable` writes change nothing where their condition fails, as their docstrings say; all others are then
`Stale`. Rows that expire carry `gone_at` in seconds, which DynamoDB reads as time to live.
"""

import os

import msgspec

from chalicelib.protocol.glados.codes import MOST_ATTEMPTS
from chalicelib.protocol.timestamps import DAY, SECOND
from chalicelib.services.ports import Clock, Entropy
from chalicelib.services.provider.state import Count, LimitKey, Pair, PairKey, Verification
from chalicelib.services.provider.state import VerificationId as Id
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
    TakeAttempt,
    Write,
)
from chalicelib.storage import events, outbox, pending_log
from chalicelib.storage.datakeys import DataKeys
from chalicelib.storage.dynamodb import SCHEMA, Check, Item, Operation, Put, Update, blob, number, text
from chalicelib.storage.notation import gone_at
from chalicelib.storage.records import RecordRows
from chalicelib.storage.sealing import Sealer, keyed_hash

VERIFY = "verify"
LIMIT = "limit"

KEPT = 7 * DAY

_UNTAKEN = "attribute_not_exists(#id)"


def ignorable(write: Write) -> bool:
    """Tell whether a failed condition means that there is nothing left to do."""
    return isinstance(write, AddOutbox | ClearDelay | RecordDelivery | DropOutbox)


class Items:
    """Turns writes into operations, and rows back into what was written."""

    def __init__(self, keys: DataKeys, sealer: Sealer, clock: Clock, entropy: Entropy = os.urandom) -> None:
        self.keys = keys
        self.sealer = sealer
        self.records = RecordRows(keys, sealer)
        self.clock = clock
        self.entropy = entropy

    def of(self, write: Write) -> list[Operation]:
        """Return the operations of a write; whichever of them fails, it is the write that failed."""
        match write:
            case ReplaceRecords():
                return [*self.records.replace(write), *self._pending(write)]
            case OpenVerification(verification):
                return [Put(VERIFY, self._verification_row(verification), _UNTAKEN)]
            case MoveVerification():
                return [self._move(write)]
            case TakeAttempt():
                return [_take_attempt(write)]
            case SendAgain(verification_id, sends, resend_after, now):
                return [
                    Update(
                        VERIFY,
                        {"id": verification_id},
                        "SET #sends = :next, #resend_after = :resend_after, #delivery = :queued, #delivery_at = :now "
                        "REMOVE #delivery_reason",
                        "#state = :pending AND #sends = :sends AND #expires_at > :now",
                        {
                            "next": sends + 1,
                            "sends": sends,
                            "resend_after": resend_after,
                            "queued": "queued",
                            "pending": "pending",
                            "now": now,
                        },
                    )
                ]
            case RecordDelivery(verification_id, delivery, now, reason):
                return [self._record_delivery(verification_id, delivery, now, reason)]
            case SetLive() | RecordProof() | SpendProof():
                return [self._change_pair(write)]
            case CountUp() | CheckBelow() | ClearDelay():
                return [self._change_count(write)]
            case AddEvent(event):
                return [events.adding(event, self.sealer)]
            case AddOutbox(entry):
                return [outbox.adding(entry, self.sealer)]
            case DropOutbox(outbox_id):
                return [outbox.dropping(outbox_id)]

    # --- the pending log

    def _pending(self, write: ReplaceRecords) -> list[Operation]:
        """Return the one log entry of a change, or none where no bit may flip and no count moves."""
        hidden = all(record.test for record in write.change.records.active)
        # A row that moves to a new index epoch might slip past a scan under way; its entry makes up for that.
        appears = write.change.appears or (self.records.moves(write) and bool(write.change.records.active))
        named = write.sii.uri if appears and not hidden else None
        if named is None and not write.change.users:
            return []
        return [pending_log.adding(self.sealer, self.entropy, write.now, named, write.change.users)]

    # --- verifications

    def _verification_row(self, verification: Verification) -> Item:
        row: Item = {
            "id": verification.verification_id,
            "provider_id": verification.provider_id,
            "state": verification.state,
            "attempts": verification.attempts,
            "sends": verification.sends,
            "expires_at": verification.expires_at,
            "resend_after": verification.resend_after,
            "delivery": verification.delivery,
            "delivery_at": verification.delivery_at,
            "sealed": self.sealer.seal(VERIFY, verification.verification_id, msgspec.json.encode(verification)),
            "gone_at": gone_at(verification.expires_at + KEPT),
        }
        return row

    def verification(self, row: Item | None) -> Verification | None:
        """Return a verification from its row; one whose time to live is over is gone, deleted or not."""
        if row is None or number(row, "gone_at") * SECOND <= self.clock():
            return None
        identity = text(row, "id")
        opened = msgspec.json.decode(self.sealer.open(VERIFY, identity, blob(row, "sealed")), type=dict[str, object])
        now: dict[str, object] = {
            name: row[name]
            for name in ("state", "attempts", "sends", "resend_after", "delivery", "delivery_at", "matched_at")
            if name in row
        }
        if "delivery_reason" in row:
            now["delivery_reason"] = self.sealer.open(VERIFY, identity, blob(row, "delivery_reason")).decode()
        if "answer" in row:
            now["answer"] = self.sealer.open(VERIFY, identity, blob(row, "answer"))
        return msgspec.convert({**opened, **now}, Verification)

    def _move(self, write: MoveVerification) -> Update:
        change = "SET #state = :after"
        values: Item = {"after": write.after, "before": write.before}
        if write.after == "matched":
            change += ", #matched_at = :now"
            values["now"] = write.now
        if write.answer is not None:
            change += ", #answer = :answer"
            values["answer"] = self.sealer.seal(VERIFY, write.verification_id, write.answer)
        return Update(VERIFY, {"id": write.verification_id}, change, "#state = :before", values)

    def _record_delivery(self, verification_id: Id, delivery: str, now: int, reason: str | None) -> Update:
        values: Item = {"delivery": delivery, "now": now}
        change = "SET #delivery = :delivery, #delivery_at = :now"
        if reason is None:
            change += " REMOVE #delivery_reason"
        else:
            change += ", #delivery_reason = :reason"
            values["reason"] = self.sealer.seal(VERIFY, verification_id, reason.encode())
        return Update(VERIFY, {"id": verification_id}, change, "attribute_exists(#id) AND #delivery_at <= :now", values)

    # --- pairs

    def pair_key(self, key: PairKey) -> Item:
        """Return the key of a pair's row."""
        name = keyed_hash(self.keys.in_use("digest").key, "row of a pair", key.provider_id, key.sii.uri, key.user_id)
        return {"id": "pair#" + name.hex()}

    def pair(self, row: Item | None) -> Pair:
        """Return a pair from its row."""
        if row is None:
            return Pair()
        return Pair(
            live=Id(text(row, "live")) if "live" in row else None,
            proof=Id(text(row, "proof")) if "proof" in row else None,
            proof_at=number(row, "proof_at", 0),
            proof_used=bool(row.get("proof_used", False)),
            spent_on=text(row, "spent_on") if row.get("proof_used") and "spent_on" in row else "",
        )

    def _change_pair(self, write: SetLive | RecordProof | SpendProof) -> Update:
        """Pairs are kept as long as the verifications they name."""
        kept: Item = {
            "verification": write.verification_id,
            "gone_at": gone_at(self.clock() + KEPT),
            "schema": SCHEMA,
        }
        key = self.pair_key(write.key)
        match write:
            case SetLive(before=None):
                change, condition = "SET #live = :verification", "attribute_not_exists(#live)"
            case SetLive(before=str(before)):
                change, condition = "SET #live = :verification", "#live = :before"
                kept["before"] = before
            case RecordProof(now=now):
                change, condition = "SET #proof = :verification, #proof_at = :now, #proof_used = :used", ""
                kept |= {"now": now, "used": False}
            case SpendProof(spent_on=spent_on):
                change = "SET #proof_used = :used, #spent_on = :spent_on"
                condition = "#proof = :verification AND #proof_used = :unused"
                kept |= {"used": True, "unused": False, "spent_on": spent_on}
        return Update(VERIFY, key, change + ", #gone_at = :gone_at, #schema = :schema", condition, kept)

    # --- limits

    def limit_key(self, limit: LimitKey) -> Item:
        """Return the key of a counter's row."""
        name = keyed_hash(self.keys.in_use("digest").key, "row of a limit", limit.kind, limit.value)
        return {"owner": name, "window": limit.window}

    def count(self, row: Item | None) -> Count:
        """Return a counter from its row."""
        return Count() if row is None else Count(number(row, "count", 0), number(row, "next_at", 0))

    def _change_count(self, write: CountUp | CheckBelow | ClearDelay) -> Operation:
        key = self.limit_key(write.limit)
        match write:
            case CountUp(limit, at_most, now, next_at):
                return Update(
                    LIMIT,
                    key,
                    "SET #next_at = :next_at, #gone_at = :gone_at, #schema = :schema ADD #count :one",
                    f"({_below(at_most)}) AND (attribute_not_exists(#next_at) OR #next_at <= :now)",
                    {
                        "one": 1,
                        "at_most": at_most,
                        "now": now,
                        "next_at": next_at,
                        "gone_at": gone_at(limit.ends + DAY),
                        "schema": SCHEMA,
                    },
                )
            case CheckBelow(_, at_most):
                return Check(LIMIT, key, _below(at_most), {"at_most": at_most})
            case ClearDelay():
                return Update(LIMIT, key, "SET #next_at = :now", "attribute_exists(#count)", {"now": 0})


def _take_attempt(write: TakeAttempt) -> Update:
    change = "SET #attempts = #attempts + :one"
    values: Item = {"one": 1, "most": MOST_ATTEMPTS, "pending": "pending", "now": write.now}
    if write.right:
        change += ", #state = :matched, #matched_at = :now"
        values["matched"] = "matched"
    condition = "#state = :pending AND #attempts < :most AND #expires_at > :now"
    return Update(VERIFY, {"id": write.verification_id}, change, condition, values)


def _below(at_most: int) -> str:
    """Return the condition that a counter is below a bound; a counter that is not there counts zero."""
    return "attribute_not_exists(#count) OR #count < :at_most" if at_most > 0 else "#count < :at_most"
