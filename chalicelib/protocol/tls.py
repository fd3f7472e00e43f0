"""The TLS presentation language as MLS uses it (RFC 8446 §3, RFC 9420 §2.1): strict decoding, plain encoding.

A struct is a frozen dataclass with two methods, `read(reader)` and `encode()`. `decode(Struct.read, data)`
gives a value or raises `DecodeError`; nothing else can come out, whatever the bytes. There is one encoding of
each value: lengths are in their shortest form, an optional is 0 or 1, and no byte is left over. So
encode(decode(x)) = x.

Two limits hold before anything is allocated. No length may point past the end of what encloses it, and a
`Reader` has a budget of vector elements, because a two-byte element on the wire becomes an object of a
hundred bytes here.
"""

import struct
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from chalicelib.errors import DecodeError

T = TypeVar("T")

MESSAGE_ELEMENTS = 1 << 20
"""Vector elements that one message may hold: a path to a tree of 2^18 leaves, several times over."""

TREE_ELEMENTS = 1 << 22
"""Vector elements that a whole ratchet tree may hold."""

SMALL_ELEMENTS = 1 << 14
"""Vector elements of a request that holds no commit: some KeyPackages, or some proposals."""

POSTED_ELEMENTS = 1 << 17
"""Vector elements of a request with a commit that was posted as it is: the gateway takes fewer ciphertexts."""

LARGE_ELEMENT = 16
"""What a message or a KeyPackage counts as: each is some ten values, with objects of their own."""

PROPOSAL_ELEMENTS = 4
"""What a proposal counts as, beside what is in it."""

STORED_ELEMENTS = TREE_ELEMENTS
"""Vector elements of what is stored. No request may hold more: what was taken in once can always be read again."""


class Encodable(Protocol):
    """A value that knows its one encoding."""

    def encode(self) -> bytes:
        """Return the value's encoding."""
        ...


class Reader:
    """A place in some bytes, moved forward by reading values that must be there."""

    __slots__ = ("data", "elements", "end", "position")

    def __init__(self, data: bytes, elements: int = MESSAGE_ELEMENTS) -> None:
        self.data = data
        self.position = 0
        self.end = len(data)
        self.elements = elements

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        start = self.position
        stop = start + count
        if stop > self.end:
            raise DecodeError("a value ends before its last byte")
        self.position = stop
        return self.data[start:stop]

    def since(self, start: int) -> bytes:
        """Return the bytes read since `start`: what a signature or a hash covers, exactly as received."""
        return self.data[start : self.position]

    def uint8(self) -> int:
        """Read one byte as a number."""
        position = self.position
        if position >= self.end:
            raise DecodeError("a value ends before its last byte")
        self.position = position + 1
        return self.data[position]

    def uint16(self) -> int:
        """Read a 16-bit number."""
        return int.from_bytes(self.take(2), "big")

    def uint32(self) -> int:
        """Read a 32-bit number."""
        return int.from_bytes(self.take(4), "big")

    def uint64(self) -> int:
        """Read a 64-bit number."""
        return int.from_bytes(self.take(8), "big")

    def length(self) -> int:
        """Read a vector length, accepting only its shortest form (RFC 9420 §2.1.2)."""
        first = self.uint8()
        if first < 64:
            return first
        if first < 128:
            value = (first & 0x3F) << 8 | self.uint8()
            shortest = value >= 64
        elif first < 192:
            value = (first & 0x3F) << 24 | int.from_bytes(self.take(3), "big")
            shortest = value >= 16384
        else:
            raise DecodeError("a vector length starts with the reserved prefix 11")
        if not shortest:
            raise DecodeError("a vector length is not in its shortest form")
        return value

    def opaque(self) -> bytes:
        """Read `opaque x<V>`."""
        return self.take(self.length())

    def vector(self, read: Callable[["Reader"], T]) -> tuple[T, ...]:
        """Read `T x<V>`: elements that fill the vector exactly."""
        length = self.length()
        outer = self.end
        stop = self.position + length
        if stop > outer:
            raise DecodeError("a vector is longer than what encloses it")
        self.end = stop
        values = []
        while self.position < stop:
            self.elements -= 1
            if self.elements < 0:
                raise DecodeError("there are more vector elements than one message may hold")
            values.append(read(self))
        self.end = outer
        return tuple(values)

    def spend(self, elements: int) -> None:
        """Count a value as so many elements, because it costs as much to read as they do."""
        self.elements -= elements
        if self.elements < 0:
            raise DecodeError("there are more vector elements than one message may hold")

    def inside(self, content: bytes, read: Callable[["Reader"], T]) -> T:
        """Read bytes that were read before as one value; its elements count as elements here."""
        inner = Reader(content, self.elements)
        value = read(inner)
        inner.finish()
        self.elements = inner.elements
        return value

    def uint16s(self) -> tuple[int, ...]:
        """Read `uint16 x<V>`, as `vector(Reader.uint16)` does but at an eighth of an element's cost."""
        content = self.opaque()
        self.spend(len(content) // 16)
        if len(content) % 2:
            raise DecodeError("a vector of 16-bit numbers has an odd length")
        return struct.unpack(f">{len(content) // 2}H", content)

    def uint32s(self) -> tuple[int, ...]:
        """Read `uint32 x<V>`."""
        content = self.opaque()
        if len(content) % 4:
            raise DecodeError("a vector of 32-bit numbers ends inside one")
        return struct.unpack(f">{len(content) // 4}I", content)

    def optional(self, read: Callable[["Reader"], T]) -> T | None:
        """Read `optional<T>` (RFC 9420 §2.1.1)."""
        present = self.uint8()
        if present > 1:
            raise DecodeError("an optional is neither 0 nor 1")
        return read(self) if present else None

    def finish(self) -> None:
        """Refuse any byte that is left over."""
        if self.position != self.end:
            raise DecodeError("there are bytes after the end")


def decode(read: Callable[[Reader], T], data: bytes, elements: int = MESSAGE_ELEMENTS) -> T:
    """Return the one value that all of `data` encodes, or raise `DecodeError`."""
    reader = Reader(data, elements)
    value = read(reader)
    reader.finish()
    return value


def uint8(value: int) -> bytes:
    """Encode one byte."""
    return value.to_bytes(1, "big")


def uint16(value: int) -> bytes:
    """Encode a 16-bit number."""
    return value.to_bytes(2, "big")


def uint32(value: int) -> bytes:
    """Encode a 32-bit number."""
    return value.to_bytes(4, "big")


def uint64(value: int) -> bytes:
    """Encode a 64-bit number."""
    return value.to_bytes(8, "big")


def length(value: int) -> bytes:
    """Encode a vector length in its shortest form."""
    if value < 64:
        return value.to_bytes(1, "big")
    if value < 16384:
        return (value | 0x4000).to_bytes(2, "big")
    if value < 1 << 30:
        return (value | 0x80000000).to_bytes(4, "big")
    raise ValueError("a vector holds less than 2^30 bytes")


def opaque(content: bytes) -> bytes:
    """Encode `opaque x<V>`."""
    return length(len(content)) + content


def vector(values: Iterable[Encodable]) -> bytes:
    """Encode `T x<V>`."""
    return opaque(b"".join([value.encode() for value in values]))


def uint16s(values: tuple[int, ...]) -> bytes:
    """Encode `uint16 x<V>`."""
    return opaque(struct.pack(f">{len(values)}H", *values))


def uint32s(values: tuple[int, ...]) -> bytes:
    """Encode `uint32 x<V>`."""
    return opaque(struct.pack(f">{len(values)}I", *values))


def optional(value: Encodable | None) -> bytes:
    """Encode `optional<T>`."""
    return b"\x00" if value is None else b"\x01" + value.encode()
