"""What a queue's owner asks of its queueing service, signed with the queue's own key."""

import dataclasses
import enum
from collections.abc import Callable
from typing import Self

from chalicelib.errors import DecodeError
from chalicelib.protocol.crypto import CipherSuite
from chalicelib.protocol.delivery.parts import Freshness, encode_signature, enumeration, read_signature
from chalicelib.protocol.delivery.queueing import QUEUE_ID_SIZE, TOKEN_SIZE
from chalicelib.protocol.tls import Reader, opaque, uint8, uint16, uint32, uint64

TBS_LABEL = "MIMI QSMessageTBS"


class QSRequestType(enum.IntEnum):
    """What can be asked, each by POST /qs/v1/NAME with the member's name in lower case, with dashes."""

    CREATE_QUEUE = 0
    FETCH = 1
    ACKNOWLEDGE = 2
    DELETE_QUEUE = 3
    UPDATE_QUEUE = 4


@dataclasses.dataclass(frozen=True, slots=True)
class _QueueKeys:
    cipher_suite: int
    signature_key: bytes
    enqueue_token: bytes
    freshness: Freshness

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.uint16(), reader.opaque(), reader.take(TOKEN_SIZE), Freshness.read(reader))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return uint16(self.cipher_suite) + opaque(self.signature_key) + self.enqueue_token + self.freshness.encode()


@dataclasses.dataclass(frozen=True, slots=True)
class CreateQueue(_QueueKeys):
    """Create the queue that the message names; it is signed with the key inside."""


@dataclasses.dataclass(frozen=True, slots=True)
class UpdateQueue(_QueueKeys):
    """Give a queue another key and another token, each of which may be the old one; the old key signs."""


@dataclasses.dataclass(frozen=True, slots=True)
class Fetch:
    """Ask for at most `most` entries after a number, and wait for one that long."""

    after: int
    most: int
    wait_ms: int
    freshness: Freshness

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.uint64(), reader.uint32(), reader.uint32(), Freshness.read(reader))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return uint64(self.after) + uint32(self.most) + uint32(self.wait_ms) + self.freshness.encode()


@dataclasses.dataclass(frozen=True, slots=True)
class Acknowledge:
    """Let go of all entries up to and including a number."""

    up_to: int
    freshness: Freshness

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.uint64(), Freshness.read(reader))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return uint64(self.up_to) + self.freshness.encode()


@dataclasses.dataclass(frozen=True, slots=True)
class DeleteQueue:
    """Delete the queue with all in it."""

    freshness: Freshness

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(Freshness.read(reader))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return self.freshness.encode()


QSBody = CreateQueue | Fetch | Acknowledge | DeleteQueue | UpdateQueue

_BODIES: dict[QSRequestType, type[QSBody]] = {
    QSRequestType.CREATE_QUEUE: CreateQueue,
    QSRequestType.FETCH: Fetch,
    QSRequestType.ACKNOWLEDGE: Acknowledge,
    QSRequestType.DELETE_QUEUE: DeleteQueue,
    QSRequestType.UPDATE_QUEUE: UpdateQueue,
}
_TYPES = {kind: request_type for request_type, kind in _BODIES.items()}


@dataclasses.dataclass(frozen=True, slots=True)
class QSRequest:
    """One request; its type is its body's."""

    body: QSBody

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(_BODIES[enumeration(QSRequestType)(reader)].read(reader))

    @property
    def request_type(self) -> QSRequestType:
        """Return the request type, which the body implies."""
        return _TYPES[type(self.body)]

    @property
    def freshness(self) -> Freshness:
        """Return what makes the request good once; every one has it."""
        return self.body.freshness

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return uint8(self.request_type) + self.body.encode()


@dataclasses.dataclass(frozen=True, slots=True)
class QSMessage:
    """A request about one queue, signed by its owner. `signed` is the part before the signature, as received."""

    queue_id: bytes
    request: QSRequest
    signature: bytes
    signed: bytes = dataclasses.field(default=b"", compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.signed:
            object.__setattr__(self, "signed", opaque(self.queue_id) + self.request.encode())

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct; a queue id is what a QueueConfig holds, 16 bytes."""
        start = reader.position
        queue_id = reader.opaque()
        if len(queue_id) != QUEUE_ID_SIZE:
            raise DecodeError("a queue's id does not have 16 bytes")
        request = QSRequest.read(reader)
        signed = reader.since(start)
        return cls(queue_id, request, read_signature(reader), signed)

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return self.signed + encode_signature(self.signature)

    def verify(self, suite: CipherSuite, signature_key: bytes) -> None:
        """[ds-21] Verify the signature with the queue's own key, or raise `InvalidSignature`."""
        suite.verify_with_label(signature_key, TBS_LABEL, self.signed, self.signature, "ds-21")


def sign_queue_message(queue_id: bytes, request: QSRequest, sign: Callable[[str, bytes], bytes]) -> QSMessage:
    """Sign a request; `sign` is SignWithLabel with the queue's key."""
    unsigned = QSMessage(queue_id, request, b"")
    return dataclasses.replace(unsigned, signature=sign(TBS_LABEL, unsigned.signed))
