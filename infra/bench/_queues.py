"""Queues with something in them, and logs with a past, made for benchmarks by the code that makes them in earnest."""

import os

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chalicelib import wiring
from chalicelib.protocol.delivery import media
from chalicelib.protocol.delivery.parts import NONCE_SIZE, Domain, Freshness
from chalicelib.protocol.delivery.queue_requests import TBS_LABEL, Fetch, QSMessage, QSRequest
from chalicelib.protocol.delivery.queueing import Fetched
from chalicelib.protocol.mls.chunks import Ref
from chalicelib.protocol.timestamps import DAY
from chalicelib.protocol.tls import decode
from chalicelib.services.delivery.state import GroupId, Kind, LogRow
from chalicelib.services.queueing.shares import ENTRY_COST, Sender
from chalicelib.services.queueing.state import Append, Entry, QueueId, StreamKey
from chalicelib.storage import delivery_rows as rows_of
from chalicelib.storage.dynamodb import Put
from chalicelib.wiring import delivery
from infra.bench._counted import Tally, counted
from infra.bench._delivery import DOMAIN, Service, milliseconds
from infra.bench.commit import SUITE

MESSAGE = 1_100
TOGETHER = 99
BATCH = 25
"""Writes that go together in one call."""


class Owner:
    """Whoever has the key of some queues."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.public = self.key.public_key().public_bytes_raw()

    def fill(self, queue_id: QueueId, messages: list[bytes]) -> None:
        """Put messages into a queue, as many at a time as go together."""
        for start in range(0, len(messages), TOGETHER):
            self.append(queue_id, messages[start : start + TOGETHER], milliseconds())

    def append(self, queue_id: QueueId, messages: list[bytes], now: int) -> None:
        """Put messages into a queue, and store them."""
        (head,) = delivery.queue_heads().load([queue_id])
        if head is None:
            raise LookupError("there is no such queue")
        for message in set(messages):
            delivery.bodies().put(SUITE.hash(message), message, now + DAY)
        entries = []
        for place, message in enumerate(messages, 1):
            sha256 = SUITE.hash(message)
            number, total = head.seq + place, head.total + place * MESSAGE
            group = b"a group of many"
            entries.append(Entry(number, Domain(DOMAIN), group, number, now, sha256, MESSAGE, total, now + DAY))
        sender = Sender(b"the hub.", b"a group.")
        shares = head.shares.as_of(head.beginning, head.end).plus(sender, len(messages) * (MESSAGE + ENTRY_COST))
        append = Append(head, StreamKey(b"a stream"), head.seq + len(messages), tuple(entries), shares)
        if delivery.queue_entries().append([append]):
            raise RuntimeError("somebody else filled the queue")

    def fetch(self, service: Service, queue_id: QueueId, most: int) -> int:
        """Fetch entries from the beginning, and return how many came."""
        fresh = Freshness(milliseconds(), os.urandom(NONCE_SIZE), Domain(DOMAIN))
        unsigned = QSMessage(queue_id, QSRequest(Fetch(0, most, 0, fresh)), b"")
        signature = SUITE.sign_with_label(self.key.private_bytes_raw(), TBS_LABEL, unsigned.signed)
        message = QSMessage(queue_id, unsigned.request, signature)
        return len(decode(Fetched.read, service.post("/qs/v1/fetch", media.QS_MESSAGE, message.encode())).entries)

    def spend(self, service: Service, what: str, queue_id: QueueId) -> Tally:
        """Return what one fetch or one append comes to."""
        with counted() as tally:
            if what == "append":
                self.append(queue_id, [bytes(MESSAGE)], milliseconds())
            elif self.fetch(service, queue_id, 10) != 10:
                raise RuntimeError("the queue did not give out what was put into it")
        return tally


def fill_log(group_id: GroupId, count: int) -> None:
    """Write rows of application messages up to a seq, as they would stand there."""
    now, sealer = milliseconds(), wiring.sealer()
    body = os.urandom(MESSAGE)
    for start in range(1, count, BATCH):
        puts = []
        for seq in range(start, min(start + BATCH, count)):
            row = LogRow(seq, Kind.APPLICATION, 1, Ref(bytes(24)), now, body, sender=0)
            sealed = rows_of.seal(sealer, group_id, rows_of.log_name(seq), rows_of.content_of(row))
            puts.append(Put(rows_of.GROUPS, {**rows_of.log_row(group_id, row), "sealed": sealed}))
        wiring.database().batch_write(puts)
