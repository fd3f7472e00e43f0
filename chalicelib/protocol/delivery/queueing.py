"""The queueing service's wire: what a hub enqueues, and what a queue's owner asks of it.

A client draws `queue_id` and `enqueue_token` itself, creates the queue with them, and seals both as a QueueConfig to
its queueing service, anew for each group. Hubs carry the sealed config about and cannot read it. The queue's owner
signs with a key that is this queue's only, so that nothing here says who it is.

`EnqueueRequest` is the draft's QueueingServiceRequest for many clients at once. For one (hub, group_id, shard),
`prev_seq` is the `seq` of the request before it: that is how the queueing service sees a gap, or a repeat. A message
that would make the request too large is referred to (`BodyOption`), and the queueing service fetches it from the hub.
"""

import dataclasses
import enum
from typing import Final, Self

from chalicelib.errors import DecodeError
from chalicelib.protocol.delivery.parts import (
    BodyReference,
    Domain,
    Reference,
    encode_option,
    enumeration,
    read_domain,
    read_option,
    read_option_of,
    text,
)
from chalicelib.protocol.delivery.sealed import QUEUE_CONFIG, Sealed, open_sealed, seal_to
from chalicelib.protocol.tls import Reader, decode, opaque, uint8, uint32, uint64, vector

QUEUE_ID_SIZE: Final = 16
TOKEN_SIZE: Final = 16
QUEUE_CONFIG_SIZE: Final = QUEUE_ID_SIZE + TOKEN_SIZE


@dataclasses.dataclass(frozen=True, slots=True)
class QueueConfig:
    """Which queue, and the right to put something into it: what only the queueing service reads."""

    queue_id: bytes
    enqueue_token: bytes

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.take(QUEUE_ID_SIZE), reader.take(TOKEN_SIZE))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return self.queue_id + self.enqueue_token


@dataclasses.dataclass(frozen=True, slots=True)
class ClientQueueConfig:
    """Where a client's messages go: a queueing service, and what only that service can read."""

    ds_domain: Domain
    sealed_config: Sealed

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct; what is sealed has the length of a QueueConfig."""
        return cls(read_domain(reader), Sealed.read_of(reader, QUEUE_CONFIG_SIZE))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return text(self.ds_domain) + self.sealed_config.encode()

    @classmethod
    def seal(cls, ds_domain: Domain, key_epoch: int, public_key: bytes, config: QueueConfig) -> Self:
        """Seal a queue's config to its queueing service."""
        context = ds_domain.encode("ascii")
        return cls(ds_domain, seal_to(public_key, key_epoch, QUEUE_CONFIG, context, config.encode()))

    def open(self, private_key: bytes) -> QueueConfig:
        """Return the config inside, as the queueing service that `ds_domain` names; or raise a refusal."""
        context = self.ds_domain.encode("ascii")
        return decode(QueueConfig.read, open_sealed(private_key, QUEUE_CONFIG, context, self.sealed_config))


class QueueingServiceResponse(enum.IntEnum):
    """What became of a message for one client; the draft has the first two.

    A queue is full for everybody; a sender is limited where its hub or its group holds too much of the queue already,
    and others still find room. Neither is tried again.
    """

    OK = 0
    INVALID_CLIENT_QUEUE_INFORMATION = 1
    QUEUE_FULL = 2
    MESSAGE_TOO_LARGE = 3
    SENDER_LIMITED = 4


BodyOption = bytes | BodyReference
"""A message, or what to ask the hub for."""


@dataclasses.dataclass(frozen=True, slots=True)
class Delivery:
    """A message and all it goes to. It is an encoded MLSMessage, which the queueing service does not look into.

    struct { BodyOption message; ClientQueueConfig recipients<V>; } where BodyOption is inline(0) `opaque message<V>`
    or reference(1) BodyReference { opaque sha256[32]; uint64 length; }.
    """

    message: BodyOption
    recipients: tuple[ClientQueueConfig, ...]

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(read_option_of(reader, BodyReference.read), reader.vector(ClientQueueConfig.read))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return encode_option(self.message) + vector(self.recipients)


@dataclasses.dataclass(frozen=True, slots=True)
class EnqueueRequest:
    """One row of a group's log for one shard of its members."""

    hub: Domain
    group_id: bytes
    shard: int
    prev_seq: int
    seq: int
    accepted_at_ms: int
    deliveries: tuple[Delivery, ...]

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct; a stream only goes forward."""
        request = cls(
            read_domain(reader),
            reader.opaque(),
            reader.uint32(),
            reader.uint64(),
            reader.uint64(),
            reader.uint64(),
            reader.vector(Delivery.read),
        )
        if request.prev_seq >= request.seq:
            raise DecodeError("a stream's next number is not greater than the one before")
        return request

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return (
            text(self.hub)
            + opaque(self.group_id)
            + uint32(self.shard)
            + uint64(self.prev_seq)
            + uint64(self.seq)
            + uint64(self.accepted_at_ms)
            + vector(self.deliveries)
        )


@dataclasses.dataclass(frozen=True, slots=True)
class EnqueueResponse:
    """One result for each recipient, over all deliveries, in the order of the request."""

    results: tuple[QueueingServiceResponse, ...]

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.vector(enumeration(QueueingServiceResponse)))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return opaque(b"".join([uint8(result) for result in self.results]))


@dataclasses.dataclass(frozen=True, slots=True)
class QueueEntry:
    """What lies in a queue. `number` counts within the queue; `seq` is the hub's, for the group."""

    number: int
    hub: Domain
    group_id: bytes
    seq: int
    accepted_at_ms: int
    message: bytes | Reference

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(
            reader.uint64(),
            read_domain(reader),
            reader.opaque(),
            reader.uint64(),
            reader.uint64(),
            read_option(reader),
        )

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return (
            uint64(self.number)
            + text(self.hub)
            + opaque(self.group_id)
            + uint64(self.seq)
            + uint64(self.accepted_at_ms)
            + encode_option(self.message)
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Fetched:
    """Entries of a queue in order, up to which number its owner has acknowledged, and the last number there is.

    Where there are no entries, nothing is left of what was asked for up to `last`; more may come after that.
    """

    entries: tuple[QueueEntry, ...]
    acknowledged: int
    last: int

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.vector(QueueEntry.read), reader.uint64(), reader.uint64())

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return vector(self.entries) + uint64(self.acknowledged) + uint64(self.last)
