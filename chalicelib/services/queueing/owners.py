"""A queue's life as its owner directs it: create, give it other keys, delete it.

The owner is whoever has the queue's signature key; nothing else is known of it. A request is good for five minutes
and at the service it names. Repeating one within that time changes nothing and is answered as the first time, so
none needs to be remembered.
"""

import dataclasses
import hashlib
from typing import TypeVar

from chalicelib.errors import AlreadyExists, InvalidValue, NotFound, NotFresh, NotPermitted
from chalicelib.protocol.crypto import InvalidSignature, UnsupportedCipherSuite, cipher_suite
from chalicelib.protocol.delivery.parts import Domain
from chalicelib.protocol.delivery.queue_requests import CreateQueue, DeleteQueue, QSBody, QSMessage, UpdateQueue
from chalicelib.services.ports import Clock, Digests, Lost
from chalicelib.services.queueing.creations import Creations
from chalicelib.services.queueing.ports import QueueEntries, QueueHeads
from chalicelib.services.queueing.state import Head, QueueId
from chalicelib.services.queueing.strangers import Strangers

MOST_DISCARDED = 1_000  # Rows by one request; it takes forty calls. What is left expires.

Wanted = TypeVar("Wanted", bound=QSBody)


def token_digest(digests: Digests, token: bytes) -> bytes:
    """Return what is stored of an enqueue token; being keyed, it may be compared like any other value."""
    return digests.digest("queue token", token)


def body_of(kind: type[Wanted], message: QSMessage) -> Wanted:
    """Return the request of a message that came to the route of its type."""
    if not isinstance(message.request.body, kind):
        raise InvalidValue("the message asks for something else than this route does")
    return message.request.body


@dataclasses.dataclass(frozen=True, slots=True)
class Authentication:
    """Tells whether a message about a queue was made by its owner, just now, for us."""

    heads: QueueHeads
    strangers: Strangers
    clock: Clock
    ds_domain: Domain

    def owned(self, message: QSMessage, source: str) -> Head:
        """Return the queue that a message is about, deleted or not, or refuse it; `source` is where it came from."""
        self.check_fresh(message)
        with self.strangers.counting_failures(source):
            (head,) = self.heads.load([QueueId(message.queue_id)])
            if head is None:
                raise NotFound("there is no such queue")
            check_signature(message, head.cipher_suite, head.signature_key)
        return head

    def living(self, message: QSMessage, source: str) -> Head:
        """Return the queue that a message is about, or refuse the message."""
        head = self.owned(message, source)
        if head.deleted:
            raise NotFound("there is no such queue")
        return head

    def known(self, message: QSMessage, update: bytes, source: str) -> bool:
        """Tell whether the queue that a message is about has been given the keys of this update already."""
        with self.strangers.counting_failures(source):
            (head,) = self.heads.load([QueueId(message.queue_id)])
        return head is not None and head.update == update and not head.deleted

    def check_fresh(self, message: QSMessage) -> None:
        """Refuse what was not made within five minutes of now, or was made for another service."""
        freshness, now = message.request.freshness, self.clock()
        if freshness.ds_domain != self.ds_domain:
            raise NotFresh("the request was made for another delivery service", now)
        if not freshness.is_timely(now):
            raise NotFresh("the request's time is more than five minutes from now", now)


def check_signature(message: QSMessage, suite: int, signature_key: bytes) -> None:
    """Refuse a message that this key did not sign."""
    try:
        message.verify(cipher_suite(suite), signature_key)
    except UnsupportedCipherSuite as error:
        raise InvalidValue("the cipher suite is not one that is served here", "cipher_suite") from error
    except InvalidSignature as error:
        raise NotPermitted("the request is not signed with the queue's key") from error


@dataclasses.dataclass(frozen=True, slots=True)
class Owners:
    """What the owner of a queue does with it as a whole."""

    heads: QueueHeads
    entries: QueueEntries
    authentication: Authentication
    creations: Creations
    digests: Digests
    clock: Clock

    def create(self, message: QSMessage, source: str) -> None:
        """Make the queue that the message names, signed with the key inside; `source` is the address it came from.

        A queue of that name which has the same keys is this one: the reply was lost.
        """
        asked = body_of(CreateQueue, message)
        self.authentication.check_fresh(message)
        queue_id, now = QueueId(message.queue_id), self.clock()
        self.creations.admit(source, now)
        token = token_digest(self.digests, asked.enqueue_token)
        new = Head(queue_id, asked.cipher_suite, asked.signature_key, token, now, active_at=now, updated_at=0)
        with self.authentication.strangers.counting_failures(source):
            check_signature(message, asked.cipher_suite, asked.signature_key)
            (head,) = self.heads.load([queue_id])
            if head is not None:
                if not head.deleted and _keys(head) == _keys(new):
                    return
                raise AlreadyExists("there is or was a queue of this name")
        self.creations.spend(source, now)
        self.heads.create(new)

    def update(self, message: QSMessage, source: str) -> None:
        """Give the queue another key, token, or both; the key it has signs.

        An update that is not newer than the last one is refused, or a captured one could bring a former key back.
        """
        asked, update = body_of(UpdateQueue, message), hashlib.sha256(message.signed).digest()
        self.authentication.check_fresh(message)  # Before anything is read, as everywhere: what is late costs nothing.
        if self.authentication.known(message, update, source):
            return  # A repeat. Its own key does not verify it any more, and nothing is told that was not known.
        head = self.authentication.living(message, source)
        if asked.freshness.time_ms <= head.updated_at:
            raise AlreadyExists("the queue was given other keys since")
        check_key(asked)
        after = dataclasses.replace(
            head,
            cipher_suite=asked.cipher_suite,
            signature_key=asked.signature_key,
            token=token_digest(self.digests, asked.enqueue_token),
            updated_at=asked.freshness.time_ms,
            update=update,
        )
        try:
            self.heads.rotate(head, after)
        except Lost as error:
            raise AlreadyExists("the queue was given other keys since") from error

    def delete(self, message: QSMessage, source: str) -> None:
        """Delete the queue and what is in it. From the burial on nothing is taken in and nothing given out."""
        body_of(DeleteQueue, message)
        head = self.authentication.owned(message, source)
        self.heads.bury(head.queue_id, self.clock())
        discard_all(self.heads, self.entries, head.queue_id)


def discard_all(heads: QueueHeads, entries: QueueEntries, queue_id: QueueId) -> None:
    """Remove what a deleted queue held, as far as one request may; the rest expires unseen."""
    (head,) = heads.load([queue_id])
    if head is not None:
        entries.discard(queue_id, head.discarded, min(head.seq, head.discarded + MOST_DISCARDED))


def check_key(asked: UpdateQueue) -> None:
    """Refuse a key that nobody could sign with: its owner would be locked out."""
    try:
        cipher_suite(asked.cipher_suite).check_signature_key(asked.signature_key)
    except UnsupportedCipherSuite as error:
        raise InvalidValue("the cipher suite is not one that is served here", "cipher_suite") from error
    except ValueError as error:
        raise InvalidValue("the key is not one of the cipher suite", "signature_key") from error


def _keys(head: Head) -> tuple[int, bytes, bytes]:
    return head.cipher_suite, head.signature_key, head.token
