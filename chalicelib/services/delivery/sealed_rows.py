"""Rows of the log of a sealed group: what is to be delivered and to whom, without the state that says so.

When a message is accepted the group's state is open, and its recipients are looked up then: the queues go into the
row, encrypted under a key of this service, because delivery has to go on while nobody is asking. Leaves are left out;
a recipient is known by its place in the list.

    struct { opaque reference<V>; uint32 place; } Invited;
    struct {
        opaque kind<V>;
        opaque inbox_key[32];              // to which it is told that a queue was rejected
        opaque body<V>;
        ClientQueueConfig queues<V>;
        Invited joiners<V>;
    } RowContent;
"""

import dataclasses
from collections.abc import Iterable, Iterator

from chalicelib.protocol.delivery.queueing import ClientQueueConfig
from chalicelib.protocol.delivery.records import DeliveryRecord
from chalicelib.protocol.mls.chunks import Ref
from chalicelib.protocol.tls import STORED_ELEMENTS, Reader, decode, opaque, uint32, vector
from chalicelib.services.delivery.state import Kind, LogRow

KEY_SIZE = 32
PURPOSE = "log row"
"""What the encryption under this service's key is for."""


@dataclasses.dataclass(frozen=True, slots=True)
class Recipient:
    """A leaf, or a place in a sealed group's row; and the queue that its client had."""

    leaf_index: int
    config: ClientQueueConfig


@dataclasses.dataclass(frozen=True, slots=True)
class OpenRow(LogRow):
    """A row of a sealed group as it is delivered: its own recipients, and where to note that one is gone."""

    queues: tuple[ClientQueueConfig, ...] = ()
    inbox_key: bytes = b""


def addressees(row: LogRow, records: Iterable[tuple[int, DeliveryRecord]]) -> Iterator[Recipient]:
    """Give those of some members who get a row.

    The sender does not, nor who was quarantined; a Welcome is for the joiners alone.
    """
    joiners = {leaf_index for _, leaf_index in row.joiners}
    for leaf_index, record in records:
        if record.quarantined or leaf_index == row.sender:
            continue
        if row.kind != Kind.WELCOME or leaf_index in joiners:
            yield Recipient(leaf_index, record.config)


def encode_row(row: LogRow, records: Iterable[tuple[int, DeliveryRecord]], inbox_key: bytes) -> bytes:
    """Return what a row's delivery needs, to be encrypted."""
    recipients = list(addressees(row, records))
    places = {recipient.leaf_index: place for place, recipient in enumerate(recipients)}
    joiners = [opaque(name) + uint32(places[leaf_index]) for name, leaf_index in row.joiners if leaf_index in places]
    return (
        opaque(row.kind.value.encode())
        + inbox_key
        + opaque(row.body)
        + vector([recipient.config for recipient in recipients])
        + opaque(b"".join(joiners))
    )


def sealed_row(row: LogRow, recipients: bytes) -> LogRow:
    """Return a row as it is stored, with nothing but what was encrypted of it."""
    return LogRow(
        row.seq, Kind.SEALED, row.epoch, Ref(b""), row.accepted_at, b"", recipients=recipients, count=row.count
    )


def open_row(row: LogRow, content: bytes) -> OpenRow:
    """Return a stored row as it is delivered, by its content decrypted."""
    return decode(lambda reader: _read(reader, row), content, STORED_ELEMENTS)


def _read(reader: Reader, row: LogRow) -> OpenRow:
    kind, inbox_key, body = Kind(reader.opaque().decode()), reader.take(KEY_SIZE), reader.opaque()
    queues = reader.vector(ClientQueueConfig.read)
    joiners = reader.vector(lambda inner: (inner.opaque(), inner.uint32()))
    return OpenRow(
        row.seq,
        kind,
        row.epoch,
        row.root,
        row.accepted_at,
        body,
        joiners=joiners,
        count=row.count,
        queues=queues,
        inbox_key=inbox_key,
    )
