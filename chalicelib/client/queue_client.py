"""A queueing service from the side of a queue's owner.

    queue = Queue.draw(1, os.urandom)  # To be kept: whoever has it has the queue.
    client = QueueClient("https://eu.ds.example", "eu.ds.example", queue)
    client.create_queue()
    config = client.client_queue_config(client.describe().queue_config_key)  # Anew for each group.
    for entry in client.entries():
        handle(entry.hub, entry.group_id, entry.seq, entry.message)

A refusal raises `QueueRefused` with the service's problem document.
"""

import dataclasses
import hashlib
import os
import time
from collections.abc import Callable, Generator
from typing import Any, Final, Self

from chalicelib.client.ds_https import (
    DeliveryError,
    Description,
    Https,
    InvalidAnswer,
    NoAnswer,
    Reply,
    ServiceKey,
    describe,
)
from chalicelib.client.signer import SignatureKey
from chalicelib.errors import DecodeError
from chalicelib.protocol.delivery import media
from chalicelib.protocol.delivery.parts import NONCE_SIZE, Domain, Freshness
from chalicelib.protocol.delivery.queue_requests import (
    Acknowledge,
    CreateQueue,
    DeleteQueue,
    Fetch,
    QSBody,
    QSMessage,
    QSRequest,
    UpdateQueue,
    sign_queue_message,
)
from chalicelib.protocol.delivery.queueing import (
    QUEUE_ID_SIZE,
    TOKEN_SIZE,
    ClientQueueConfig,
    Fetched,
    QueueConfig,
    QueueEntry,
)
from chalicelib.protocol.tls import decode

SECONDS: Final = 30.0
REMEMBERED: Final = 10_000
"""Entries that are recognised when they come a second time."""

Seen = tuple[str, bytes, int, bytes]


class QueueRefused(DeliveryError):
    """The queueing service refused; `problem` is its RFC 9457 document, or {}."""

    def __init__(self, status: int, problem: dict[str, Any], retry_after: float | None) -> None:
        super().__init__(f"{status} {problem.get('type', 'no problem document')}: {problem.get('detail', '')}")
        self.status = status
        self.problem = problem
        self.retry_after = retry_after


@dataclasses.dataclass(frozen=True)
class Queue:
    """A queue's name, the right to put something in, and the key that it is read with."""

    queue_id: bytes
    enqueue_token: bytes = dataclasses.field(repr=False)
    key: SignatureKey

    @classmethod
    def draw(cls, cipher_suite: int, random: Callable[[int], bytes]) -> Self:
        """Return a new queue's, for a cipher suite whose private keys are 32 bytes."""
        return cls(random(QUEUE_ID_SIZE), random(TOKEN_SIZE), SignatureKey(cipher_suite, random(32)))


class QueueClient:
    """Reads one queue. One thread at a time may run through `entries`; everything else serves many."""

    def __init__(
        self,
        url: str,
        ds_domain: str,
        queue: Queue,
        *,
        ca: str | None = None,
        clock: Callable[[], float] = time.time,
        entropy: Callable[[int], bytes] = os.urandom,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.ds_domain = Domain(ds_domain)
        self.queue = queue
        self._https = Https(url, ca, sleep)
        self._clock, self._entropy = clock, entropy
        self._seen: dict[Seen, None] = {}

    def close(self) -> None:
        """Close the connections."""
        self._https.close()

    def describe(self) -> Description:
        """Return what the service says of itself, with the key to seal configs to."""
        return describe(self._https)

    def client_queue_config(self, config_key: ServiceKey) -> ClientQueueConfig:
        """Seal for a group's hub where to send messages: anew for each group, so that no two can be linked."""
        config = QueueConfig(self.queue.queue_id, self.queue.enqueue_token)
        return ClientQueueConfig.seal(self.ds_domain, config_key.epoch, config_key.key, config)

    def create_queue(self) -> None:
        """Create the queue; once more does no harm."""
        self._ask("create-queue", CreateQueue(*self._keys(self.queue), self._fresh()))

    def update_queue(self, queue: Queue) -> None:
        """Give the queue another key, another token, or both; configs sealed with a former token are dead."""
        if queue.queue_id != self.queue.queue_id:
            raise ValueError("a queue keeps its name")
        self._ask("update-queue", UpdateQueue(*self._keys(queue), self._fresh()))
        self.queue = queue

    def delete(self) -> None:
        """Delete the queue with all in it."""
        self._ask("delete-queue", DeleteQueue(self._fresh()))

    def fetch(self, after: int = 0, wait: float = 0.0, most: int = 100) -> Fetched:
        """Return entries after a number, waiting up to so many seconds for the first; bodies may be references.

        A service waits 20 seconds at most, and for one fetch of a queue at a time: nothing may come earlier.
        """
        body = Fetch(after, most, int(wait * 1000), self._fresh())
        reply = self._ask("fetch", body, SECONDS + wait)
        if reply.media_type != media.QS_FETCHED:
            raise InvalidAnswer("this is not the answer of a queueing service", reply.status)
        try:
            return decode(Fetched.read, reply.body)
        except DecodeError as error:
            raise InvalidAnswer(str(error), reply.status) from error

    def acknowledge(self, up_to: int) -> None:
        """Let go of all entries up to and including a number."""
        self._ask("acknowledge", Acknowledge(up_to, self._fresh()))

    def entries(
        self, wait: float = 20.0, most: int = 100, *, forever: bool = True
    ) -> Generator[QueueEntry, None, None]:
        """Return what comes, each once and in order, with its message fetched; or stop where nothing is waiting.

        By asking for the next entry the caller says that it has finished the one before. What is finished is
        acknowledged, page by page and on leaving the loop; what is not comes again. A client that is started anew
        can see an entry twice, so a caller's own work must bear that.
        """
        finished = acknowledged = 0
        try:
            while True:
                page = self.fetch(finished, wait, most)
                acknowledged = page.acknowledged
                finished = max(finished, acknowledged)
                passed = not page.entries and page.last > finished
                for entry in page.entries:
                    if self._is_new(entry):
                        try:
                            message = self._https.resolve(entry.message)
                        except InvalidAnswer:
                            if entry == page.entries[0]:
                                raise
                            break  # Links are good for minutes, and the caller took its time: a new page has new ones.
                        yield dataclasses.replace(entry, message=message)
                        self._remember(entry)
                    finished = entry.number
                if passed:
                    finished = page.last  # What there was has expired or is lost.
                if finished > acknowledged:
                    self.acknowledge(finished)
                    acknowledged = finished
                if not (page.entries or passed or forever):
                    return
        except GeneratorExit:
            if finished > acknowledged:
                self.acknowledge(finished)
            raise

    def send(self, message: QSMessage, name: str, seconds: float = SECONDS) -> Reply:
        """Send a signed message to the route of this name, the first time or again; raise `QueueRefused`."""
        try:
            reply = self._https.post(f"/qs/v1/{name}", media.QS_MESSAGE, message.encode(), media.QS_FETCHED, seconds)
        except NoAnswer as lost:
            lost.message = message
            raise
        if reply.status >= 400:
            raise QueueRefused(reply.status, reply.problem(), reply.retry_after)
        if not 200 <= reply.status < 300:
            raise InvalidAnswer("this is not the answer of a queueing service", reply.status)
        return reply

    def _ask(self, name: str, body: QSBody, seconds: float = SECONDS) -> Reply:
        return self.send(sign_queue_message(self.queue.queue_id, QSRequest(body), self.queue.key.sign), name, seconds)

    def _keys(self, queue: Queue) -> tuple[int, bytes, bytes]:
        return queue.key.cipher_suite, queue.key.signature_key, queue.enqueue_token

    def _fresh(self) -> Freshness:
        return Freshness(int(self._clock() * 1000), self._entropy(NONCE_SIZE), self.ds_domain)

    def _is_new(self, entry: QueueEntry) -> bool:
        return _identity(entry) not in self._seen

    def _remember(self, entry: QueueEntry) -> None:
        self._seen[_identity(entry)] = None
        if len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]


def _identity(entry: QueueEntry) -> Seen:
    """Return what tells an entry from others.

    A commit and a Welcome of one group may share their `seq`, for a client that is removed and added at once.
    """
    message = entry.message
    digest = hashlib.sha256(message).digest() if isinstance(message, bytes) else message.sha256
    return entry.hub, entry.group_id, entry.seq, digest
