"""The ports of a GP: what its use cases need of the world, and what they may rely on.

Reads are strongly consistent unless a docstring says otherwise. A write is durable once its method returns. It
may also have happened although the method raised, when the reply was lost; every caller can be repeated. What
must become true together goes through `Store.commit`; every other write is one row with one condition.

What is not named here raises as it comes: an adapter neither hides an outage nor retries for longer than a
request may take.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, Protocol

from chalicelib.protocol.glados.federation_api import (
    ClaimAnswer,
    FilterAnswer,
    Notification,
    SubscriptionAnswer,
    SubscriptionRequest,
)
from chalicelib.protocol.glados.filters import Parameters
from chalicelib.protocol.glados.identifiers import Sii
from chalicelib.protocol.glados.mappings import Mapping, MappingId
from chalicelib.protocol.glados.trust import Peer, TrustList
from chalicelib.services.accounts.ports import SigningKeys
from chalicelib.services.accounts.state import Account, ProviderId
from chalicelib.services.ports import Versioned
from chalicelib.services.provider.state import (
    Count,
    Event,
    EventId,
    Heads,
    LimitKey,
    OutboxEntry,
    OutboxId,
    Pair,
    PairKey,
    PeerHead,
    PendingEntry,
    Pointer,
    RebuildJob,
    StoredObject,
    StoredRecords,
    Subscription,
    Verification,
    VerificationId,
)
from chalicelib.services.provider.writes import Write


class Store(Protocol):
    """Mappings, verifications, limits, events and outbox: what changes together.

    `commit` makes all writes true at once or none, and raises `Stale` naming the first whose condition fails.
    It may raise something else after it took effect, if the reply was lost.
    `admission` reads what opening a verification depends on in one round trip.
    """

    def commit(self, *writes: Write) -> None: ...
    def admission(
        self, verification_id: VerificationId, key: PairKey, limits: Sequence[LimitKey]
    ) -> tuple[Verification | None, Pair, tuple[Count, ...]]: ...
    def records(self, sii: Sii) -> StoredRecords: ...
    def verification(self, verification_id: VerificationId) -> Verification | None: ...
    def pair(self, key: PairKey) -> Pair: ...


class Snapshots(Protocol):
    """What a query needs, read in one round trip: the SII's records, its asker's account, all peers' heads.

    The three are each consistent; together they are not a transaction, and a query needs none.
    """

    def read(self, sii: Sii, provider_id: ProviderId) -> tuple[StoredRecords, Account | None, Heads]: ...


class Outbox(Protocol):
    """What is waiting to be sent, at least once each.

    `take` leases an entry that is due: it counts an attempt and moves `next_at` to `until`, so that a worker
    that dies gives it up by itself; it returns None if the entry is gone, not due, or taken by another. `due`
    may miss entries of the last second, and is asked again each minute.
    """

    def take(self, outbox_id: OutboxId, now: int, until: int) -> OutboxEntry | None: ...
    def postpone(self, entry: OutboxEntry, next_at: int) -> None: ...
    def done(self, outbox_id: OutboxId) -> None: ...
    def due(self, now: int, most: int) -> list[OutboxId]: ...


class Events(Protocol):
    """The history of what each application provider was told, kept for 30 days.

    `after` and `until` are event ids' times; the page is ordered by event id. `record` adds a try and a state,
    and is repeatable; a delivered event stays delivered.
    """

    def get(self, provider_id: ProviderId, event_id: EventId) -> Event | None: ...
    def page(self, provider_id: ProviderId, after: EventId | None, until: int, most: int) -> list[Event]: ...
    def record(
        self, event: Event, state: Literal["pending", "delivered", "failed"], now: int, outcome: str
    ) -> None: ...


class Keyring(SigningKeys, Protocol):
    """All keys of a GP.

    `mapping_id` seals an SII for its provider alone; `open_mapping_id` returns None for any other id, and `fresh`
    makes two ids of the same pair differ.
    """

    def code_key(self) -> bytes: ...
    def mapping_id(self, provider_id: str, sii: Sii, fresh: bytes) -> MappingId: ...
    def open_mapping_id(self, provider_id: str, mapping_id: MappingId) -> Sii | None: ...


class Hints(Protocol):
    """Wake a worker soon. A hint may be lost, doubled or late; schedules do the same work without it.

    It never raises: the work it hints at is already durable, and the adapter logs and counts its failures.
    """

    def outbox(self, outbox_id: OutboxId, delay_seconds: int = 0) -> None: ...
    def sequence(self) -> None: ...
    def follow(self, gp: str) -> None: ...
    def scan(self, version: int, segment: int) -> None: ...


class Messenger(Protocol):
    """SMS and e-mail. Raises `Undeliverable` when the network says never, `Unreachable` when it may yet work."""

    def send_sms(self, number: str, text: str) -> None: ...
    def send_email(self, address: str, subject: str, text: str) -> None: ...


class WebhookSender(Protocol):
    """POST to a webhook, and nowhere else.

    The name is resolved once, every address it has is checked, and the connection goes to a checked one; no
    redirect is followed. Returns the status; raises `Unreachable` when there is none.
    """

    def post(self, url: str, headers: dict[str, str], body: bytes) -> int: ...


class TrustLists(Protocol):
    """The peers that the authority's latest list names; `load` may be up to 60 s old.

    `replace` raises `Lost` unless the list's version is higher than the stored one, and `AlreadyExists` when it
    names a thumbprint of an enrolled AP.
    """

    def load(self) -> TrustList: ...
    def replace(self, listed: TrustList) -> None: ...


class PeerHeads(Protocol):
    """The row of all peers' heads. `replace` raises `Lost` when it changed since."""

    def load(self) -> Versioned[Heads]: ...
    def replace(self, before: Versioned[Heads], after: Heads) -> None: ...


Outcome = Literal["answered", "unreachable", "skipped"]


class PeerClient(Protocol):
    """Other GPs over mutual TLS, within their listed origins and with bounds on bytes and time.

    `ask` asks all peers in parallel, once each, under one deadline; a peer that keeps failing is `skipped`, and
    its mappings are None unless it answered. The others raise `Unreachable` or `Refused`.
    """

    def ask(
        self, peers: Sequence[Peer], sii: Sii, asker: str, now: int
    ) -> dict[str, tuple[Outcome, tuple[Mapping, ...]]]: ...
    def filter(self, peer: Peer) -> FilterAnswer: ...
    def download(self, peer: Peer, path: str, size: int, sha256: str) -> bytes: ...
    def subscribe(self, peer: Peer, request: SubscriptionRequest) -> SubscriptionAnswer: ...
    def notify(self, peer: Peer, callback: str, notification: Notification) -> None: ...
    def claim(self, peer: Peer, claim: str) -> ClaimAnswer: ...


class FilterObjects(Protocol):
    """Immutable objects named by what they hold. Writing one again writes the same bytes.

    `put` returns once the object is durable. `get` raises `LookupError` when there is none. `link` is a URL by
    which a peer may fetch the object for five minutes.
    """

    def put(self, name: str, data: bytes) -> StoredObject: ...
    def get(self, name: str) -> bytes: ...
    def link(self, name: str) -> str: ...
    def delete(self, name: str) -> None: ...


class PeerFilters(Protocol):
    """Tests of positions in what a `PeerHead` names: whether all of them are set in base ∪ deltas.

    A base of size 0 has no position set. Objects are immutable, so a container keeps what it has read.
    """

    def may_hold(self, head: PeerHead, positions: Sequence[int]) -> bool: ...


class FilterPointer(Protocol):
    """The one row that says which filter versions live; `replace` raises `Lost` when it changed since."""

    def load(self) -> Versioned[Pointer]: ...
    def replace(self, before: Versioned[Pointer], after: Pointer) -> None: ...


class PendingLog(Protocol):
    """Changes that the sequencer has yet to see; `ReplaceRecords` adds to it.

    `read` returns every entry whose transaction returned before the call. `discard` deletes entries and moves
    the providers' user counts by what they say, each entry exactly once however often it is asked.
    """

    def read(self) -> list[PendingEntry]: ...
    def discard(self, entries: Iterable[PendingEntry]) -> None: ...


class Scans(Protocol):
    """All identifiers with an active mapping, by segment: what a rebuilt filter is made of.

    `positions` yields each identifier's positions; identifiers of test numbers are left out. `outdated` yields
    those whose row is still named under an index key that is being replaced; writing their records moves them.
    `count` estimates the identifiers (it may be hours old).
    """

    def positions(self, segment: int, segments: int, parameters: Parameters) -> Iterator[tuple[int, ...]]: ...
    def outdated(self, segment: int, segments: int) -> Iterator[Sii]: ...
    def count(self) -> int: ...


class Subscriptions(Protocol):
    """Which peer is told of which version. `put` adds or replaces; `acknowledge` only ever raises the seq."""

    def put(self, subscription: Subscription) -> None: ...
    def get(self, gp: str, subscription_id: str) -> Subscription | None: ...
    def of_version(self, version: int) -> list[Subscription]: ...
    def acknowledge(self, subscription: Subscription, seq: int) -> None: ...
    def failed(self, subscription: Subscription, next_at: int) -> None: ...
    def delete(self, gp: str, subscription_id: str) -> None: ...


class RebuildJobs(Protocol):
    """The rebuild under way, if any. `finish_segment` is repeatable; `create` leaves an existing job alone."""

    def load(self, version: int) -> RebuildJob | None: ...
    def create(self, job: RebuildJob) -> None: ...
    def finish_segment(self, version: int, segment: int, positions: StoredObject, keys: int) -> None: ...
    def delete(self, version: int) -> None: ...
