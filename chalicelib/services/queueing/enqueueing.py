"""A hub's rows come in: each goes into the queues of the clients that it names, in the hub's order.

A *stream* is what one hub sends for one shard of one group. Its row says which of the hub's rows came last, and what
was answered. So a gap is refused, a repeat is answered as the first time, and the hub's order is each queue's order.

    stream row read → limits → what the hub only refers to fetched (`fetching`) → messages stored
        → appended, 50 queues a transaction → stream row advanced

The last step is the point of no return. A crash before it leaves a row that some queues have and others do not, and
the hub sends it again. A queue's head says which row came last, so most are not given it twice; where another
group's message came in between, a client gets the row twice and knows it by (hub, group_id, seq). Nothing is lost:
the stream never passes a row before every queue has it or has an answer why not. Such an answer is final, also that a
sender holds too much of the queue already (`shares`): what one client does not fetch must not hold up the others.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence

from chalicelib.errors import InvalidValue, NotPermitted, StreamGap, Unavailable, WrongBody
from chalicelib.protocol.delivery.parts import LONGEST_GROUP_ID, BodyReference, Domain
from chalicelib.protocol.delivery.queueing import BodyOption, ClientQueueConfig, EnqueueRequest, EnqueueResponse
from chalicelib.protocol.delivery.queueing import QueueingServiceResponse as Result
from chalicelib.protocol.timestamps import DAY
from chalicelib.protocol.tls import uint32
from chalicelib.services.fetching import Fetching
from chalicelib.services.ports import Clock, Digests, Lost
from chalicelib.services.queueing.configs import Configs
from chalicelib.services.queueing.limits import HubLimits, tokens_left
from chalicelib.services.queueing.owners import token_digest
from chalicelib.services.queueing.ports import Bodies, QueueEntries, QueueHeads, Streams, Wait
from chalicelib.services.queueing.shares import ENTRY_COST, LARGEST_MESSAGE, Sender
from chalicelib.services.queueing.state import (
    RETENTION,
    Append,
    Entry,
    Head,
    QueueId,
    Stream,
    StreamKey,
)

MOST_RECIPIENTS = 2_000
MOST_MESSAGES_A_QUEUE = 32
MOST_TOGETHER = 100  # Heads and entries that change together.
BODY_LIFE = RETENTION + 7 * DAY
NAME_SIZE = 8  # Of a sender in a queue's counters.
LOTS_READ = 2  # Whose heads are read together: one call reads a hundred rows, and each queue changes two.
ROUNDS = 7
FIRST_WAIT, LONGEST_WAIT = 10, 200


@dataclasses.dataclass(frozen=True, slots=True)
class _Message:
    sha256: bytes
    size: int


@dataclasses.dataclass(frozen=True, slots=True)
class _Post:
    """One recipient's message, and its place in the answer."""

    place: int
    token: bytes
    message: _Message


@dataclasses.dataclass(slots=True)
class _Row:
    """A request on its way: what each recipient's result is, as far as it is known."""

    request: EnqueueRequest
    stream: StreamKey
    now: int
    results: list[Result]
    posts: dict[QueueId, list[_Post]] = dataclasses.field(default_factory=dict)
    contents: dict[bytes, bytes] = dataclasses.field(default_factory=dict, repr=False)
    busy: bool = False

    @property
    def accepted_at(self) -> int:
        """When time begins to run for the row, which a hub whose clock is ahead cannot put off."""
        return min(self.request.accepted_at_ms, self.now)

    def message(self, body: BodyOption) -> _Message:
        """Name a message; the content of one that stands in the request is remembered."""
        if isinstance(body, BodyReference):
            return _Message(body.sha256, body.length)
        sha256 = hashlib.sha256(body).digest()
        self.contents[sha256] = body
        return _Message(sha256, len(body))

    def settle(self, posts: Sequence[_Post], result: Result) -> None:
        for post in posts:
            self.results[post.place] = result


@dataclasses.dataclass(frozen=True, slots=True)
class Enqueueing:
    """Takes in what hubs send for the clients whose queues are here."""

    heads: QueueHeads
    entries: QueueEntries
    streams: Streams
    bodies: Bodies
    fetching: Fetching
    configs: Configs
    limits: HubLimits
    digests: Digests
    clock: Clock
    wait: Wait
    ds_domain: Domain

    def enqueue(self, request: EnqueueRequest, from_domain: Domain) -> EnqueueResponse:
        """Put a row into its queues and say for each recipient what became of it; `from_domain` is who sends it.

        Every answer is final. Where a group is faster than its queues may be filled, `TooManyRequests` is raised,
        nothing was appended, and the hub sends the row again a little later.
        """
        if request.hub != from_domain:
            raise NotPermitted("a hub enqueues in its own name only")
        now = self.clock()
        if from_domain != self.ds_domain:
            self.limits.admit(from_domain, now)
        key = StreamKey(self.digests.digest("stream", request.hub, request.group_id, uint32(request.shard)))
        stream = self.streams.load(key)
        if (answer := _answered(stream, request)) is not None:
            return answer
        row = self._row(request, key, now)
        left = tokens_left(stream, _rows_a_queue(row), now)
        self._store_messages(row)
        lots = list(_together(row.posts))
        for start in range(0, len(lots), LOTS_READ):
            self._deliver(row, lots[start : start + LOTS_READ], ROUNDS)
        if row.busy:
            raise Unavailable("some queues are too busy; the others have the row")
        # From here on the row is history. Until here, a repeat does again what is not done.
        try:
            self.streams.advance(key, stream, Stream(request.seq, bytes(row.results), left, now))
        except Lost:
            answer = _answered(self.streams.load(key), request)  # Another worker of the hub has sent the same.
            if answer is None:
                raise Unavailable("the stream was begun anew meanwhile") from None
            return answer
        return EnqueueResponse(tuple(row.results))

    def _row(self, request: EnqueueRequest, key: StreamKey, now: int) -> _Row:
        """Find out for whom each message is; who cannot be found has a result already."""
        if len(request.group_id) > LONGEST_GROUP_ID:
            raise InvalidValue("the group id is too long")
        count = sum(len(delivery.recipients) for delivery in request.deliveries)
        if count > MOST_RECIPIENTS:
            raise InvalidValue(f"a request has at most {MOST_RECIPIENTS} recipients")
        row = _Row(request, key, now, [Result.INVALID_CLIENT_QUEUE_INFORMATION] * count)
        place = 0
        for delivery in request.deliveries:
            message = row.message(delivery.message)
            for recipient in delivery.recipients:
                self._address(row, place, message, recipient)
                place += 1
        for posts in row.posts.values():
            # One who is in a group too often must not keep the others from what the row has for them.
            taken = {message.sha256 for message in _messages(posts)[:MOST_MESSAGES_A_QUEUE]}
            row.settle([post for post in posts if post.message.sha256 not in taken], Result.QUEUE_FULL)
            posts[:] = [post for post in posts if post.message.sha256 in taken]
        return row

    def _address(self, row: _Row, place: int, message: _Message, recipient: ClientQueueConfig) -> None:
        if message.size > LARGEST_MESSAGE:
            row.results[place] = Result.MESSAGE_TOO_LARGE
            return
        opened = self.configs.open(recipient)
        if opened is None:
            return
        token = token_digest(self.digests, opened.enqueue_token)
        row.posts.setdefault(QueueId(opened.queue_id), []).append(_Post(place, token, message))

    def _store_messages(self, row: _Row) -> None:
        """Store what somebody here is to get, and fetch it first where the hub only refers to it."""
        lengths = {sha256: len(content) for sha256, content in row.contents.items()}
        wanted: dict[bytes, int] = {}
        for message in (post.message for posts in row.posts.values() for post in posts):
            wanted[message.sha256] = message.size
            if lengths.setdefault(message.sha256, message.size) != message.size:
                raise WrongBody("a message has two lengths")
        missing = {sha256: size for sha256, size in wanted.items() if sha256 not in row.contents}
        row.contents |= self.fetching.fetch(row.request.hub, missing)
        for sha256 in wanted:
            self.bodies.put(sha256, row.contents[sha256], row.accepted_at + BODY_LIFE)

    def _deliver(self, row: _Row, lots: Sequence[Sequence[QueueId]], rounds: int) -> None:
        """Append to some queues, as their heads are now."""
        heads = iter(self.heads.load([queue_id for lot in lots for queue_id in lot]))
        for lot in lots:
            judged = (self._judge(row, queue_id, next(heads)) for queue_id in lot)
            self._append(row, [append for append in judged if append is not None], rounds)

    def _append(self, row: _Row, appends: Sequence[Append], rounds: int) -> None:
        """Append where nothing is in the way at once; look at the others again, in halves, lest one holds up many."""
        if not appends:
            return
        moved = self.entries.append(appends)
        if not moved:
            return
        self._append(row, [append for append in appends if append.before.queue_id not in moved], rounds)
        if not rounds:
            row.busy = True
            return
        self.wait(min(FIRST_WAIT << (ROUNDS - rounds), LONGEST_WAIT))
        again = [append.before.queue_id for append in appends if append.before.queue_id in moved]
        middle = (len(again) + 1) // 2
        for half in (again[:middle], again[middle:]):
            if half:
                self._deliver(row, [half], rounds - 1)

    def _judge(self, row: _Row, queue_id: QueueId, head: Head | None) -> Append | None:
        """Settle what becomes of a queue's posts, and return what must be appended for that, if anything."""
        posts = row.posts[queue_id]
        if head is None or head.deleted:
            row.settle(posts, Result.INVALID_CLIENT_QUEUE_INFORMATION)
            return None
        right = [post for post in posts if post.token == head.token]
        row.settle([post for post in posts if post.token != head.token], Result.INVALID_CLIENT_QUEUE_INFORMATION)
        if not right:
            return None
        if head.last_stream == row.stream and head.last_seq >= row.request.seq:
            row.settle(right, Result.OK)  # It has the row, from a try that did not come to its end.
            return None
        messages, sender = _messages(right), self._sender(queue_id, row.request)
        cost = sum(message.size + ENTRY_COST for message in messages)
        shares = head.shares_with(sender, cost)
        if shares is None:
            head = self._make_room(head, row.now)
            shares = head.shares_with(sender, cost)
        if shares is None:
            row.settle(right, Result.SENDER_LIMITED if head.left(cost) >= 0 else Result.QUEUE_FULL)
            return None
        row.settle(right, Result.OK)
        return Append(head, row.stream, row.request.seq, _entries(head, row, messages), shares)

    def _sender(self, queue_id: QueueId, request: EnqueueRequest) -> Sender:
        """Name hub and group as this queue alone does, so that the counters of two queues cannot be matched."""
        hub = self.digests.digest("queue's hub", queue_id, request.hub)
        group = self.digests.digest("queue's group", queue_id, request.hub, request.group_id)
        return Sender(hub[:NAME_SIZE], group[:NAME_SIZE])

    def _make_room(self, head: Head, now: int) -> Head:
        """Stop counting what expired. A queue that nobody reads is looked into once for each entry that expires."""
        if now < head.look_again_at:
            return head
        oldest = self.entries.read(head.queue_id, head.acknowledged, head.seq, 1, now)
        up_to, freed, look_again_at = head.seq, head.total, now
        if oldest:
            up_to, freed = oldest[0].number - 1, oldest[0].total - oldest[0].size
            look_again_at = oldest[0].gone_at
        # The rows of what expired go by themselves.
        discarded = up_to if up_to > head.acknowledged else head.discarded
        self.heads.mark(head.queue_id, up_to, freed, look_again_at, discarded)
        return dataclasses.replace(head, acknowledged=up_to, freed=freed, discarded=discarded)


def _answered(stream: Stream | None, request: EnqueueRequest) -> EnqueueResponse | None:
    """Return the answer to a row that came before, None for the next one; refuse one that is further on."""
    last = 0 if stream is None else stream.last_seq
    if request.seq > last:
        if request.prev_seq != last:
            raise StreamGap(last)
        return None
    count = sum(len(delivery.recipients) for delivery in request.deliveries)
    if stream is not None and request.seq == last and len(stream.results) == count:
        return EnqueueResponse(tuple(map(Result, stream.results)))
    return EnqueueResponse((Result.OK,) * count)


def _messages(posts: Sequence[_Post]) -> list[_Message]:
    """Return what a queue is to get, each message once."""
    return list({post.message.sha256: post.message for post in posts}.values())


def _rows_a_queue(row: _Row) -> int:
    return max((len(_messages(posts)) for posts in row.posts.values()), default=1)


def _entries(head: Head, row: _Row, messages: Sequence[_Message]) -> tuple[Entry, ...]:
    entries, total = [], head.total
    for number, message in enumerate(messages, head.seq + 1):
        total += message.size
        entries.append(
            Entry(
                number,
                row.request.hub,
                row.request.group_id,
                row.request.seq,
                row.request.accepted_at_ms,
                message.sha256,
                message.size,
                total,
                row.accepted_at + RETENTION,
            )
        )
    return tuple(entries)


def _together(posts: dict[QueueId, list[_Post]]) -> Iterator[list[QueueId]]:
    """Yield queues in lots whose heads and entries can change together."""
    lot: list[QueueId] = []
    room = MOST_TOGETHER
    for queue_id, to_one in posts.items():
        needed = 1 + len(_messages(to_one))
        if needed > room:
            yield lot
            lot, room = [], MOST_TOGETHER
        lot.append(queue_id)
        room -= needed
    if lot:
        yield lot
