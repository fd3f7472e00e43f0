"""What a GP keeps, as values: verifications, events, the outbox, limits, filter versions.

Times are milliseconds since 1970. Nothing here knows how a value is keyed or sealed at rest; that is storage's
business (nothing derived from an identifier, a user id or a body is stored unkeyed).
"""

import dataclasses
from typing import Literal, NewType

from chalicelib.protocol.glados.codes import MOST_ATTEMPTS, Purpose
from chalicelib.protocol.glados.federation_api import DeltaRef
from chalicelib.protocol.glados.filters import Parameters
from chalicelib.protocol.glados.identifiers import Channel, Sii
from chalicelib.protocol.glados.mappings import Provider, Records
from chalicelib.services.accounts.state import ProviderId

VerificationId = NewType("VerificationId", str)
EventId = NewType("EventId", str)
OutboxId = NewType("OutboxId", str)


@dataclasses.dataclass(frozen=True, slots=True)
class StoredRecords:
    """The records of an SII as read; `token` is the adapter's and must come back unchanged."""

    records: Records
    token: object


VerificationState = Literal["pending", "matched", "confirmed", "locked", "cancelled"]


@dataclasses.dataclass(frozen=True, slots=True)
class Verification:
    """One attempt to prove that a user holds an address (draft §8.2)."""

    verification_id: VerificationId
    provider_id: ProviderId
    sii: Sii
    user_id: str
    purpose: Purpose
    opened_at: int
    expires_at: int
    resend_after: int
    locale: str = "en"
    state: VerificationState = "pending"
    attempts: int = 0
    sends: int = 1
    matched_at: int | None = None
    delivery: Literal["queued", "sent", "failed"] = "queued"
    delivery_at: int = 0
    delivery_reason: str | None = None
    answer: bytes | None = None

    @property
    def attempts_left(self) -> int:
        """How many more codes it takes."""
        return max(0, MOST_ATTEMPTS - self.attempts)

    @property
    def channel(self) -> Channel:
        """How the code travels."""
        return self.sii.channel

    def __repr__(self) -> str:
        """Leave user and address out of tracebacks."""
        return f"<Verification {self.state}>"


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """What one provider has proved about one user and SII: the live verification, and the last proof.

    `proof` is the verification whose code was checked at `proof_at`; `proof_used` says that a choice spent it, and
    `spent_on` which request, so that the same one asked again is known.
    """

    live: VerificationId | None = None
    proof: VerificationId | None = None
    proof_at: int = 0
    proof_used: bool = False
    spent_on: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class PairKey:
    """Whose pair: the provider, the identifier, the provider's user."""

    provider_id: ProviderId
    sii: Sii
    user_id: str


@dataclasses.dataclass(frozen=True, slots=True)
class LimitKey:
    """A counter: what is counted (`kind`), for whom (`value`), from when (`window`) to when (`ends`)."""

    kind: str
    value: str
    window: int
    ends: int


@dataclasses.dataclass(frozen=True, slots=True)
class Count:
    """A counter as read; `next_at` is the earliest next time, for counters that delay."""

    count: int = 0
    next_at: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """Something an application provider is told, by webhook and in its history."""

    event_id: EventId
    provider_id: ProviderId
    type: str
    at: int
    mapping_id: str | None = None
    user_id: str | None = None
    sequence: int | None = None
    by: Provider | None = None
    detail: str | None = None
    state: Literal["pending", "delivered", "failed", "undeliverable"] = "pending"
    tries: tuple[tuple[int, str], ...] = ()


OutboxKind = Literal["code", "event", "claim"]


@dataclasses.dataclass(frozen=True, slots=True)
class OutboxEntry:
    """Something that must be sent, written in the transaction that caused it.

    `ref` says what: a verification id, an event id, a claim's JSON. It is sealed at rest.
    `attempts` counts the takings; `next_at` is when it is due.
    """

    outbox_id: OutboxId
    kind: OutboxKind
    ref: str = dataclasses.field(repr=False)
    created_at: int
    next_at: int
    attempts: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class PendingEntry:
    """One change that the sequencer has yet to see: a bit that may flip, and how users' counts move."""

    entry_id: str
    appears: Sii | None
    users: tuple[tuple[str, int], ...]
    token: object


VersionState = Literal["building", "current", "retiring"]


@dataclasses.dataclass(frozen=True, slots=True)
class StoredObject:
    """An immutable object: its name, and its bytes' number and SHA-256 (hex)."""

    name: str
    size: int
    sha256: str


@dataclasses.dataclass(frozen=True, slots=True)
class StoredDelta:
    """A delta object and what `DeltaRef` says of it."""

    from_seq: int
    to_seq: int
    at: int
    bits: int
    stored: StoredObject

    def ref(self, at: str) -> DeltaRef:
        """Return the delta as the wire names it."""
        return DeltaRef(
            from_seq=self.from_seq,
            to_seq=self.to_seq,
            at=at,
            bits=self.bits,
            bytes=self.stored.size,
            sha256=self.stored.sha256,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class FilterVersion:
    """One version of our own filter. `raw`, `rice` and `manifest` (a JWS) are set when it is published.

    `seq`, `at`, `bits_set` and `digest` are what `head` (a JWS) says; `cut_at` is the moment after which deltas
    complete the base. While it is building, `bits_set` counts the deltas alone.
    """

    version: int
    state: VersionState
    parameters: Parameters
    cut_at: int
    at: int
    seq: int = 0
    digest: str = "0" * 64
    bits_set: int = 0
    base_bits: int = 0
    keys: int = 0
    raw: StoredObject | None = None
    rice: StoredObject | None = None
    deltas: tuple[StoredDelta, ...] = ()
    manifest: str = ""
    head: str = ""
    ends_at: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Pointer:
    """The one row that says which filter versions live."""

    versions: tuple[FilterVersion, ...] = ()

    def find(self, version: int) -> FilterVersion | None:
        """Return a live version, or None where it is unknown or retired."""
        return next((known for known in self.versions if known.version == version), None)

    def in_state(self, state: VersionState) -> FilterVersion | None:
        """Return the version that is building or current, or None."""
        return next((known for known in self.versions if known.state == state), None)


@dataclasses.dataclass(frozen=True, slots=True)
class Subscription:
    """A peer that is told of additions to one version, level-triggered from `acked_seq`."""

    gp: str
    subscription_id: str
    version: int
    callback: str
    acked_seq: int
    next_at: int = 0
    failures: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class PeerHead:
    """What we hold of a peer's filter: base and delta objects in our own bucket, complete up to `seq`.

    `checked_at` is when the peer last confirmed it, by a signed head that we verified.
    """

    gp: str
    version: int
    seq: int
    at: int
    parameters: Parameters
    base: StoredObject
    deltas: tuple[StoredObject, ...]
    bits_set: int
    base_bits: int
    checked_at: int
    subscription_id: str | None = None
    quarantine: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Heads:
    """All peers' heads: one row, so that a query reads them with everything else."""

    by_gp: tuple[PeerHead, ...] = ()

    def of(self, gp: str) -> PeerHead | None:
        """Return what we hold of a peer's filter, or None."""
        return next((head for head in self.by_gp if head.gp == gp), None)

    def with_(self, head: PeerHead) -> "Heads":
        """Return the heads with one replaced or added."""
        return Heads((*(known for known in self.by_gp if known.gp != head.gp), head))


@dataclasses.dataclass(frozen=True, slots=True)
class RebuildJob:
    """How far the rebuild of a filter version has come; every step can be repeated.

    `not_before` is when scanning may begin. A segment is done once its positions stand in an object.
    """

    version: int
    not_before: int
    segments: int
    done: tuple[tuple[int, StoredObject, int], ...] = ()
