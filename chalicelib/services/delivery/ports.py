"""The ports of a delivery service: what its use cases need of the world, and what they may rely on.

Reads are strongly consistent. A write is durable once its method returns; it may also have happened although the
method raised, when the reply was lost, and every caller can be repeated. What is not named here raises as it comes.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from chalicelib.protocol.delivery.directory import AddPackage
from chalicelib.protocol.delivery.queueing import EnqueueRequest, EnqueueResponse
from chalicelib.protocol.mls.chunks import ChunkStore, Ref
from chalicelib.services.delivery.state import (
    AccountEvent,
    DsPeer,
    EventName,
    GroupId,
    Head,
    KeptAnswer,
    LogRow,
    PastEpoch,
    Shard,
    User,
)

NO_REF = Ref(b"")
"""Comes before every reference."""

MOST_NOTES = 64
"""How much waits in the inbox of a sealed group."""


class Exists(Exception):
    """There is, or was, a group with this id."""


class StreamGap(Exception):
    """A queueing service misses rows of a stream: the last one that it has is `expected`."""

    def __init__(self, expected: int) -> None:
        super().__init__("the queueing service misses rows of the stream")
        self.expected = expected


class Spoiled(Exception):
    """A row is not what was stored, or its key is no more; `others` are those of the same call that can be read."""

    def __init__(self, others: Sequence[AccountEvent] = ()) -> None:
        super().__init__("a row of an account event cannot be opened")
        self.others = others


class Groups(Protocol):
    """The rows of groups. Whatever one change makes true is written together.

    `load` returns a group's head and what was answered to the request with this digest, in one round trip.
    `create` adds a group whose id was never used, with the rows of its log, and raises `Exists`.
    `advance` makes `after` the head if head, version and seq are still those of `before`, and adds the rows (numbered
    from `before.seq` + 1), the past epoch and the answer; it raises `Lost` where another was faster. With each comes
    a wake-up for delivery, unless there is no row. Where `after.shards` is more than before, the new shards start
    behind the rows that stood already.
    `append` does the same for messages that change no state: it asks that epoch and seq are still those of `before`
    and that the group is neither blocked, frozen nor deleted; the version may have moved. The group was used then.
    Where the request was answered meanwhile, `create`, `advance` and `append` raise `Lost` too.
    `log` returns rows after a seq, oldest first; rows older than `LOG_LIFE_DAYS` are gone. It returns one if there is
    one, and fewer than asked for where they are too large to be held together. A row whose contents are gone for good,
    or not what was stored, stands there as `UNREADABLE`; what may be read yet raises. `forget` deletes the rows up to
    a seq, that one among them.
    """

    def load(self, group_id: GroupId, digest: bytes) -> tuple[Head | None, bytes | None]: ...
    def create(self, head: Head, rows: Sequence[LogRow], answer: KeptAnswer) -> None: ...
    def advance(
        self,
        before: Head,
        after: Head,
        rows: Sequence[LogRow] = (),
        past: PastEpoch | None = None,
        answer: KeptAnswer | None = None,
    ) -> None: ...
    def append(self, before: Head, rows: Sequence[LogRow], answer: KeptAnswer) -> None: ...
    def log(self, group_id: GroupId, after: int, most: int) -> list[LogRow]: ...
    def forget(self, group_id: GroupId, up_to: int) -> None: ...
    def past(self, group_id: GroupId, epoch: int) -> PastEpoch | None: ...


class GroupObjects(Protocol):
    """Immutable objects of groups, named by their references.

    `of` is the reading side for one group: it loads many at once and raises `LookupError` for one that is not there, or
    not as it was stored.
    `put` returns once all are durable; writing one again writes the same bytes. They are written before anything
    refers to them, so those of an attempt that lost stay unreferenced until they are collected. When that was stays
    with them for the collector; of those written `by_day` only when the day was over.
    """

    def of(self, group_id: GroupId) -> ChunkStore: ...
    def put(self, group_id: GroupId, written: Mapping[Ref, bytes], *, by_day: bool = False) -> None: ...


class Inboxes(Protocol):
    """Notes to sealed groups, encrypted to each, which wait until a request opens its state.

    `add` adds notes, at most `MOST_NOTES` at once; an inbox that has as many takes no more, and what it does not take
    will be noticed again. `of` returns what is in a group's inbox, in no order. `clear` empties it if it still holds
    exactly these notes.
    """

    def add(self, group_id: GroupId, notes: Sequence[bytes]) -> None: ...
    def of(self, group_id: GroupId) -> Sequence[bytes]: ...
    def clear(self, group_id: GroupId, notes: Sequence[bytes]) -> None: ...


class Garbage(Protocol):
    """What is needed to collect objects that nothing refers to any more.

    `groups` names some groups that wrote objects, a page at a time. `objects` lists the first of a group's objects
    whose references come after one, in their order, with the times they were written, or the end of that day; never one
    before. `named` is what the rows of the group name: the roots
    of states (of the head, of past epochs, and of rows of the log that some shard or some domain has yet to get), and
    beside them objects that lead to no other, such as lists of joiners; expired rows do not count. `delete` removes
    objects; one that has gone is gone. `purge` removes every row of a group that was deleted and delivered long ago,
    but the head, which keeps its id from being used.
    """

    def groups(self, after: GroupId | None, most: int) -> list[GroupId]: ...
    def objects(self, group_id: GroupId, after: Ref = NO_REF, most: int = 1_000) -> Mapping[Ref, int]: ...
    def named(self, group_id: GroupId, now: int) -> tuple[frozenset[Ref], frozenset[Ref]]: ...
    def delete(self, group_id: GroupId, refs: Sequence[Ref]) -> None: ...
    def purge(self, group_id: GroupId) -> None: ...


class Rounds(Protocol):
    """How far a round over all groups has come; None at its beginning and end."""

    def load(self, name: str) -> GroupId | None: ...
    def save(self, name: str, after: GroupId | None) -> None: ...


class Shards(Protocol):
    """How far each shard of a group was delivered.

    `take` leases a shard to one worker until `until`, or returns None while another has it. `save` writes a shard
    that was taken, if nobody took it since, and raises `Lost` otherwise; a lease in the past gives it back. `of`
    lists a group's shards. Beside those that deliver to leaves every group has the one called `MEMBERSHIPS`, which
    begins with its log.
    """

    def take(self, group_id: GroupId, shard: int, now: int, until: int) -> Shard | None: ...
    def save(self, shard: Shard) -> Shard: ...
    def of(self, group_id: GroupId) -> list[Shard]: ...


class Wakes(Protocol):
    """Groups with something to deliver. Each change of the log adds its group, due a little later.

    `due` lists groups whose time has come, those first that have waited longest; `postpone` moves one, `settle` removes
    it, either one unless the log has grown beyond `seq` since; `settle` says whether it is gone. A group that is
    postponed as `waiting` is among those alone that are asked for so, until its log grows. `retire` removes one
    whatever rows it speaks of, if the group's head ends the log at `seq` at that moment, or there is no head where that
    is None; it says whether it did.
    """

    def due(self, now: int, most: int, *, waiting: bool = False) -> list[GroupId]: ...
    def postpone(self, group_id: GroupId, next_at: int, seq: int | None = None, *, waiting: bool = False) -> None: ...
    def settle(self, group_id: GroupId, seq: int) -> bool: ...
    def retire(self, group_id: GroupId, seq: int | None) -> bool: ...


class FanoutHints(Protocol):
    """Wake workers for shards soon. A hint may be lost, doubled or late; a schedule does without. It never raises."""

    def fan_out(self, group_id: GroupId, shards: Sequence[int]) -> None: ...


class QueueingServices(Protocol):
    """The queueing services of all domains, our own among them.

    `enqueue` raises `StreamGap` where the service misses rows, `Refused` where it refuses the request as a whole
    (429 among them), `Unreachable` where it does not answer or the domain is not one we know.
    """

    def enqueue(self, domain: str, request: EnqueueRequest) -> EnqueueResponse: ...


class PeerBodies(Protocol):
    """Messages that peers may come for, by whom they are for and their SHA-256.

    `keep` returns once the message is there for a day at least; a repeat prolongs that. `read` returns at most `most`
    bytes from an offset, and the length of the whole, without reading the whole. It raises `LookupError` where
    nothing is kept for that domain, or not any more, or what is kept ends before the offset.
    """

    def keep(self, domain: str, sha256: bytes, content: bytes) -> None: ...
    def read(self, domain: str, sha256: bytes, offset: int, most: int) -> tuple[bytes, int]: ...


class Memberships(Protocol):
    """In which groups a user has clients; `add` and `remove` are repeatable. It may lag behind the groups.

    `of` returns the first groups of a user that come after one, in an order that is always the same.
    """

    def add(self, user: bytes, group_id: GroupId) -> None: ...
    def remove(self, user: bytes, group_id: GroupId) -> None: ...
    def of(self, user: bytes, after: GroupId | None = None, most: int = 1_000) -> list[GroupId]: ...


class Users(Protocol):
    """The users that providers registered here.

    `register` adds or replaces a user, and raises `AlreadyExists` where another provider has it. `by_key_hash` finds
    a user by the SHA-256 of its signature key.
    """

    def register(self, user: User) -> None: ...
    def of(self, user: bytes) -> User | None: ...
    def by_key_hash(self, key_hash: bytes) -> User | None: ...
    def remove(self, user: bytes) -> None: ...


class Directory(Protocol):
    """The KeyPackages that clients offer, by user and client.

    `publish` replaces all packages of one client and suite. `claim` takes one package of every client of a user for a
    suite: each one-time package is given out once, whatever else claims at the same time; where none is left, the
    last-resort one. Packages whose lifetime is over at `now` are never given out. `find` returns a package that is
    offered, or was given out within its lifetime, by its KeyPackageRef. `remove` takes away all packages of a client,
    or of the user where no client is named. `others` counts the user's clients that offer something and are not among
    those named.

    `record_keys` remembers until a time whose signature keys a user published while it was a provider's, longer than
    the packages: `remove` leaves them. `published_keys` returns which of some keys are remembered so.
    """

    def publish(
        self, user: bytes, client: bytes, cipher_suite: int, packages: Sequence[tuple[bytes, AddPackage]]
    ) -> None: ...
    def claim(self, user: bytes, cipher_suite: int, now: int) -> list[AddPackage]: ...
    def find(self, reference: bytes) -> AddPackage | None: ...
    def remove(self, user: bytes, client: bytes | None = None) -> None: ...
    def others(self, user: bytes, clients: Collection[bytes]) -> int: ...
    def record_keys(self, user: bytes, provider_id: str, keys: Collection[bytes], until: int) -> None: ...
    def published_keys(self, user: bytes, provider_id: str, keys: Collection[bytes], now: int) -> frozenset[bytes]: ...


class AccountEvents(Protocol):
    """What providers said of accounts: work to be done once at least, and then a mark for `MARK_LIFE`.

    `add` stores an event, due at its `next_at`; one that stands already, done or not, becomes due again, and a round
    that is under way goes on with another to follow. `take` leases an event to one worker until `until`, and returns
    it as it is then, or None where it is not due; it raises `Spoiled` for one that cannot be opened, which is leased
    all the same. `postpone`, `advance` and `done` change the event as it was taken, and nothing where it was added or
    taken since; `advance` says whether it wrote when the event is due and how far it has come, and what is done is due
    no more. `removed` returns the events about a user, done or not, but those that were done `MARK_LIFE` ago or longer;
    where some cannot be opened it raises `Spoiled` with the others. `due` lists events whose time has come, those first
    that have waited longest, whether they can be opened or not; it may lag by a second.
    """

    def add(self, event: AccountEvent) -> EventName: ...
    def due(self, now: int, most: int) -> list[EventName]: ...
    def take(self, name: EventName, now: int, until: int) -> AccountEvent | None: ...
    def postpone(self, event: AccountEvent, next_at: int) -> None: ...
    def advance(self, event: AccountEvent) -> bool: ...
    def done(self, event: AccountEvent, now: int) -> None: ...
    def removed(self, user: bytes, now: int) -> list[AccountEvent]: ...


class QueueRemover(Protocol):
    """Deletes queues of our queueing service by their ids; one that is not there is gone. Repeatable."""

    def remove(self, queue_id: bytes) -> None: ...


class DsKeys(Protocol):
    """Keys of this DS, derived from secrets that KMS holds.

    `sender_key` is the private key with which this DS is an external sender of a group, in the suite's form; it is
    always the same for a group and suite. `hub_key` is the current epoch and public key to which clients seal the
    keys of sealed groups; `open_state_key` opens what they sealed, or raises `CannotOpen`. `digest` is a keyed
    one-way function, separate for each purpose. `seal` and `open` encrypt what must wait in a row; `open` raises
    `CannotOpen` for what was not sealed so, or under a key that is no more.
    """

    def sender_key(self, group_id: GroupId, cipher_suite: int) -> bytes: ...
    def hub_key(self) -> tuple[int, bytes]: ...
    def open_state_key(self, key_epoch: int, ciphertext: bytes, context: bytes) -> bytes: ...
    def digest(self, purpose: str, *parts: str | bytes) -> bytes: ...
    def seal(self, purpose: str, name: bytes, plain: bytes) -> bytes: ...
    def open(self, purpose: str, name: bytes, sealed: bytes) -> bytes: ...


class DsPeers(Protocol):
    """The delivery services that the operator admitted; a certificate belongs to one of them alone.

    `put` raises `AlreadyExists` where a thumbprint is another's. Answers may be up to 60 s old.
    """

    def of_domain(self, domain: str) -> DsPeer | None: ...
    def of_thumbprint(self, thumbprint: str) -> DsPeer | None: ...
    def put(self, peer: DsPeer) -> None: ...
    def remove(self, domain: str) -> None: ...


class PeerCalls(Protocol):
    """Calls to other delivery services over mutual TLS, within bounds on bytes and time.

    `post` returns status, media type and body of any answer below 500, and raises `Unreachable` otherwise. `get`
    does the same with an answer of at most `most` bytes, within so many seconds; it returns the answer's headers, by
    their names in lower case.
    """

    def post(self, peer: DsPeer, path: str, media_type: str, body: bytes) -> tuple[int, str, bytes]: ...
    def get(self, peer: DsPeer, path: str, most: int, seconds: float) -> tuple[int, Mapping[str, str], bytes]: ...


class Uploads(Protocol):
    """Large bodies on their way in, and large trees on their way out; both by links that expire.

    `link_in` is a URL that takes exactly one PUT of `length` bytes with this digest, `fetch` what came (LookupError
    if nothing did). `put_out` stores bytes under their digest for a day and returns a URL to fetch them.
    """

    def link_in(self, sha256: bytes, length: int) -> str: ...
    def fetch(self, sha256: bytes, length: int) -> bytes: ...
    def put_out(self, content: bytes) -> str: ...
