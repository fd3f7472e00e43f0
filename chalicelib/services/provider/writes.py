"""What a use case wants written, as values; `Store.commit` makes a list of them true at once or not at all.

Each write states its condition. A use case reads, judges, and hands over everything that must become true
together: the state, what will be sent because of it (outbox, events), and the limits it uses up. If one
condition fails, nothing is written and `Stale` names the write, so the service can look again and judge anew.
"""

import dataclasses
from typing import Literal

from chalicelib.protocol.glados.identifiers import Sii
from chalicelib.protocol.glados.mappings import Change
from chalicelib.services.provider.state import (
    Event,
    LimitKey,
    OutboxEntry,
    OutboxId,
    PairKey,
    StoredRecords,
    Verification,
    VerificationId,
    VerificationState,
)


class Stale(Exception):
    """The condition of `write` no longer holds; nothing was written."""

    def __init__(self, write: "Write") -> None:
        super().__init__(f"the condition of {type(write).__name__} does not hold")
        self.write = write


@dataclasses.dataclass(frozen=True, slots=True)
class ReplaceRecords:
    """Make `change.records` the SII's records, if they still are what `before` was read as.

    With it go the rows that find a user's identifiers, and one pending log entry when a filter bit may flip or
    a provider's count of users moves.
    """

    sii: Sii
    before: StoredRecords
    change: Change
    now: int


@dataclasses.dataclass(frozen=True, slots=True)
class OpenVerification:
    """Add a verification whose id is new."""

    verification: Verification


@dataclasses.dataclass(frozen=True, slots=True)
class SetLive:
    """Make a verification the pair's live one, if the live one still is `before`."""

    key: PairKey
    verification_id: VerificationId
    before: VerificationId | None


@dataclasses.dataclass(frozen=True, slots=True)
class MoveVerification:
    """Change a verification's state, if it still is `before`; `answer` is kept for repeats of the right code."""

    verification_id: VerificationId
    before: VerificationState
    after: VerificationState
    now: int
    answer: bytes | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class TakeAttempt:
    """Spend one attempt of a verification, if it is pending, not expired, and has one left.

    `right` is how the attempt came out: the same write then makes the verification matched. Nobody learns the
    outcome of an attempt whose write did not happen.
    """

    verification_id: VerificationId
    right: bool
    now: int


@dataclasses.dataclass(frozen=True, slots=True)
class SendAgain:
    """Count one more send of a pending verification, if it was sent `sends` times and has not expired."""

    verification_id: VerificationId
    sends: int
    resend_after: int
    now: int


@dataclasses.dataclass(frozen=True, slots=True)
class CountUp:
    """Add one to a counter, if it is below `at_most` and its delay is over; then delay it until `next_at`."""

    limit: LimitKey
    at_most: int
    now: int
    next_at: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class CheckBelow:
    """Change nothing, but only if the counter is below `at_most`."""

    limit: LimitKey
    at_most: int


@dataclasses.dataclass(frozen=True, slots=True)
class ClearDelay:
    """End a counter's delay and keep its count; a counter that has gone meanwhile stays gone."""

    limit: LimitKey


@dataclasses.dataclass(frozen=True, slots=True)
class RecordProof:
    """Note that the pair's user proved the address by this verification; it is good for one choice."""

    key: PairKey
    verification_id: VerificationId
    now: int


@dataclasses.dataclass(frozen=True, slots=True)
class SpendProof:
    """Use up the proof, if it is this one and unused, and note on which choice."""

    key: PairKey
    verification_id: VerificationId
    spent_on: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class RecordDelivery:
    """Note how far a verification's message has come; the latest send's word stands."""

    verification_id: VerificationId
    delivery: Literal["sent", "failed"]
    now: int
    reason: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class DropOutbox:
    """Remove an outbox entry whose work is done; one that has gone is gone."""

    outbox_id: OutboxId


@dataclasses.dataclass(frozen=True, slots=True)
class AddEvent:
    """Add an event to its provider's history; its id is new."""

    event: Event


@dataclasses.dataclass(frozen=True, slots=True)
class AddOutbox:
    """Add something to be sent; a repeat of the same id changes nothing."""

    entry: OutboxEntry


Write = (
    ReplaceRecords
    | OpenVerification
    | SetLive
    | MoveVerification
    | TakeAttempt
    | SendAgain
    | CountUp
    | CheckBelow
    | ClearDelay
    | RecordProof
    | SpendProof
    | RecordDelivery
    | DropOutbox
    | AddEvent
    | AddOutbox
)
