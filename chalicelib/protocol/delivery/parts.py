"""What many structs of the delivery service have in common.

Every struct here is a frozen dataclass with `read` and `encode`, as `chalicelib.protocol.tls` describes. Which of
them are the draft's and which are ours stands in `messages`.
"""

import dataclasses
import enum
from collections.abc import Callable
from typing import NewType, Protocol, Self, TypeVar

from chalicelib.errors import DecodeError
from chalicelib.protocol.timestamps import MINUTE
from chalicelib.protocol.tls import Reader, opaque, uint8, uint64

Kind = TypeVar("Kind", bound=enum.IntEnum)

Domain = NewType("Domain", str)
"""The name of a delivery service: `ds_domain` on the wire."""

NONCE_SIZE = 16
DIGEST_SIZE = 32
LONGEST_GROUP_ID = 1_024
"""In bytes: what a delivery service and a queueing service can name a row by."""
FRESH = 5 * MINUTE
"""How far a sender's clock may differ from ours."""
LONGEST_DOMAIN = 255
LONGEST_URL = 8192
LONGEST_SIGNATURE = 255


def enumeration(kind: type[Kind]) -> Callable[[Reader], Kind]:
    """Return the reader of a one-byte enumeration, which takes defined values only."""
    members = {int(member): member for member in kind}

    def read(reader: Reader) -> Kind:
        member = members.get(reader.uint8())
        if member is None:
            raise DecodeError(f"a {kind.__name__} has an unknown value")
        return member

    return read


_VISIBLE = bytes(range(0x21, 0x7F))


def _visible(reader: Reader, most: int, what: str) -> str:
    content = reader.opaque()
    if not 0 < len(content) <= most or content.translate(None, _VISIBLE):
        raise DecodeError(f"a {what} is not between 1 and {most} visible ASCII characters")
    return content.decode("ascii")


def read_domain(reader: Reader) -> Domain:
    """Read `opaque ds_domain<V>`: plain ASCII, without spaces, of at most 255 bytes."""
    return Domain(_visible(reader, LONGEST_DOMAIN, "domain"))


def read_url(reader: Reader) -> str:
    """Read `opaque url<V>`."""
    return _visible(reader, LONGEST_URL, "URL")


def text(value: str) -> bytes:
    """Encode a domain or a URL."""
    return opaque(value.encode("ascii"))


def read_signature(reader: Reader) -> bytes:
    """Read `opaque signature<0..255>`: the draft's is a vector of RFC 8446, with one byte of length always."""
    return reader.take(reader.uint8())


def encode_signature(signature: bytes) -> bytes:
    """Encode `opaque signature<0..255>`."""
    if len(signature) > LONGEST_SIGNATURE:
        raise ValueError("a request's signature has at most 255 bytes")
    return uint8(len(signature)) + signature


@dataclasses.dataclass(frozen=True, slots=True)
class Freshness:
    """What makes a request good soon, and at one service: it is signed with the rest.

    `time_ms` counts from 1970. `nonce` makes a request another than the same one asked before, whose answer the
    service may remember by its digest; it is not looked at by itself.
    """

    time_ms: int
    nonce: bytes
    ds_domain: Domain

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.uint64(), reader.take(NONCE_SIZE), read_domain(reader))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return uint64(self.time_ms) + self.nonce + text(self.ds_domain)

    def is_timely(self, now: int) -> bool:
        """Say whether the request was made just now, as far as two clocks can tell."""
        return abs(self.time_ms - now) <= FRESH


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
    """Where something too large to stand here can be fetched, and what it must then be."""

    url: str
    sha256: bytes
    length: int

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(read_url(reader), reader.take(DIGEST_SIZE), reader.uint64())

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return text(self.url) + self.sha256 + uint64(self.length)


@dataclasses.dataclass(frozen=True, slots=True)
class BodyReference:
    """What something must be that one service fetches from another; where, follows from who refers to it."""

    sha256: bytes
    length: int

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.take(DIGEST_SIZE), reader.uint64())

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return self.sha256 + uint64(self.length)


class _Encodable(Protocol):
    def encode(self) -> bytes: ...


Referred = TypeVar("Referred", bound=_Encodable)


def read_option_of(reader: Reader, read_reference: Callable[[Reader], Referred]) -> bytes | Referred:
    """Read inline(0) as `opaque<V>`, or reference(1) as the struct that refers to it."""
    match reader.uint8():
        case 0:
            return reader.opaque()
        case 1:
            return read_reference(reader)
        case _:
            raise DecodeError("something is neither inline nor a reference")


def read_option(reader: Reader) -> bytes | Reference:
    """Read a TreeOption or a MessageOption: inline(0), or reference(1) with a URL."""
    return read_option_of(reader, Reference.read)


def encode_option(option: bytes | Reference | BodyReference) -> bytes:
    """Encode a TreeOption, a MessageOption or a BodyOption."""
    return b"\x00" + opaque(option) if isinstance(option, bytes) else b"\x01" + option.encode()
