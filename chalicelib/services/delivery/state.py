"""What is stored of a group beside its objects, as values.

    head      one row a group: the epoch that everyone agrees on, and the root that says the rest
    log       one row for each message that was accepted, in order: what is to be delivered, and to whom
    past      one row for each epoch whose Welcomes somebody may still join by
    shard     one row for each 500 leaves: how far the log has been delivered to them
    inbox     one row of a sealed group: what was noticed while nobody could look into it

Times are milliseconds since 1970. A `Ref` names an immutable object of the group (`protocol.mls.chunks`).
"""

import dataclasses
import enum
from collections.abc import Mapping
from typing import NewType

from chalicelib.protocol.mls.chunks import Ref
from chalicelib.protocol.timestamps import DAY, start_of_month

GroupId = NewType("GroupId", bytes)

SHARD_LEAVES = 500
"""How many leaves one worker delivers to."""

MEMBERSHIPS = 99_999_999
"""The number of the shard that delivers to nobody: it keeps the index of users and their groups up to date."""

LOG_LIFE_DAYS = 30
"""How long a message can wait for a domain that is down."""

MARK_LIFE = 40 * DAY
"""How long a user or client that was removed is remembered: longer than a row of the log, which may tell of it late."""


@dataclasses.dataclass(frozen=True, slots=True)
class Head:
    """The row that every change of a group goes through.

    `version` counts changes of state, `seq` rows of the log; sending a message moves `seq` alone. `root` names the
    object that holds the state, or is empty once the group is deleted. `blocked_since` is when a removal by this DS
    became mandatory that no commit has covered yet, or 0. `shards` never falls.

    `sealed` is a group in privacy mode: its state opens with a key that the service does not keep. Its head says no
    more than ordering needs: of its times the month, it has one shard, and whether it is blocked stands in the state.
    """

    group_id: GroupId
    epoch: int
    version: int
    seq: int
    root: Ref
    shards: int
    created_at: int
    used_at: int
    blocked_since: int = 0
    frozen: bool = False
    deleted: bool = False
    sealed: bool = False

    def used(self, now: int) -> int:
        """Return what the head says of a use: of a sealed group's only the month."""
        return max(self.used_at, start_of_month(now) if self.sealed else now)

    @property
    def used_until(self) -> int:
        """Return when the group was used last at the latest."""
        return self.used_at + 31 * DAY if self.sealed else self.used_at


class Kind(enum.StrEnum):
    """What a row of the log delivers.

    `CREATED` delivers nothing, and begins the log; nor does `WAITING`, by which a group stays awake. `PROPOSALS` is all
    that one change proposes, and is delivered as so many rows of the kind `PROPOSAL`. `SEALED` is a row of a sealed
    group: what it is stands where its recipients do. No row is stored as `UNREADABLE`: it is one of which no more than
    its place in the log is left.
    """

    CREATED = "created"
    COMMIT = "commit"
    WELCOME = "welcome"
    PROPOSALS = "proposals"
    PROPOSAL = "proposal"
    APPLICATION = "application"
    SEALED = "sealed"
    WAITING = "waiting"
    UNREADABLE = "unreadable"


SILENT = frozenset({Kind.CREATED, Kind.WAITING})
"""Rows that are for nobody."""


@dataclasses.dataclass(frozen=True, slots=True)
class LogRow:
    """A message that was accepted.

    Its recipients are the delivery records of `root`: all of them but the leaf `sender`, or for Welcomes those leaves
    that `joiners` names by KeyPackageRef. `body` is the MLSMessage; for Welcomes it is `MLSMessage welcomes<V>`,
    and for what one change proposes `MLSMessage proposals<V>`. Each of `count` proposals has a number of its own, and
    `seq` is the last one's: so a row takes one place in a transaction, however many there are. `joined` and `left` are
    the users of whom a client came, or whose last one went, with a commit.

    In a sealed group `recipients` holds all of this, the queues in place of leaves, encrypted under a key of this DS
    (`sealed_rows`), and the row is deleted once it is delivered.
    """

    seq: int
    kind: Kind
    epoch: int
    root: Ref
    accepted_at: int
    body: bytes
    sender: int | None = None
    joiners: tuple[tuple[bytes, int], ...] = ()
    joined: tuple[bytes, ...] = ()
    left: tuple[bytes, ...] = ()
    recipients: bytes = b""
    count: int = 1


@dataclasses.dataclass(frozen=True, slots=True)
class PastEpoch:
    """An epoch that members may still join by a Welcome: its root, and the object that lists the joiners."""

    epoch: int
    root: Ref
    joiners: Ref
    until: int


@dataclasses.dataclass(frozen=True, slots=True)
class KeptAnswer:
    """What a request was answered, by the SHA-256 of what it signs; a repeat gets it again for 24 hours."""

    digest: bytes
    response: bytes
    until: int


@dataclasses.dataclass(frozen=True, slots=True)
class Behind:
    """A domain that could not be reached: `seq` is the last row it has, `next_at` when to try again.

    `refused` counts how often it refused the row after that for good.
    """

    seq: int
    attempts: int
    next_at: int
    since: int
    refused: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Shard:
    """How far the log was delivered to the leaves of one shard.

    Every row up to `cursor` is delivered to each domain, except to those in `behind`. `sent` is each domain's last
    row that had a recipient there: what its queueing service expects as `prev_seq`. `unread` says of rows that could
    not be read since when that is. `version` is for the compare-and-swap; a lease holds until `leased_until`.
    """

    group_id: GroupId
    shard: int
    cursor: int
    version: int = 0
    sent: Mapping[str, int] = dataclasses.field(default_factory=dict)
    behind: Mapping[str, Behind] = dataclasses.field(default_factory=dict)
    leased_until: int = 0
    unread: Mapping[int, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class DsPeer:
    """Another delivery service, as the operator admitted it: where it is, and by which certificates it is known."""

    domain: str
    origin: str
    thumbprints: frozenset[str]


@dataclasses.dataclass(frozen=True, slots=True)
class User:
    """A user of this DS, as its provider registered it: the key that signs for the account, and its suite."""

    user: bytes
    provider_id: str
    cipher_suite: int
    signature_key: bytes

    def __post_init__(self) -> None:
        if not self.user or not self.signature_key:
            raise ValueError("a user has a name and a key")


EventName = NewType("EventName", bytes)
"""What an account event is found by; it tells nothing of the event."""


@dataclasses.dataclass(frozen=True, slots=True)
class AccountEvent:
    """A provider's word that a user was deleted or, where a client is named, that this one was removed.

    `queues` are the queues that go with it. All of these are its name: the same said again is the same event.
    `version` counts how often it was added and taken, and is only compared.

    The user's groups are gone round in their order: `after` is the one that was begun last, None before the first.
    `again` is set where another round is needed: to the group that failed last, or at which the event was said again.
    """

    user: bytes
    client: bytes | None
    queues: tuple[bytes, ...]
    provider_id: str
    created_at: int
    next_at: int
    version: int = 0
    after: GroupId | None = None
    again: GroupId | None = None

    def __post_init__(self) -> None:
        if not self.user or self.client == b"":
            raise ValueError("an event is about a user, or about one client of a user")

    def concerns(self, client: bytes) -> bool:
        """Say whether this client of the event's user is to go."""
        return self.client in {None, client}
