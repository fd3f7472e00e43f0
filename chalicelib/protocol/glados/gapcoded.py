"""A set of filter positions as the gaps between them: what deltas are made of.

The raw filter of draft §9 is nearly all zeros, and a delta holds a handful of positions. Writing the gaps in
Rice code takes a thirteenth of the raw form, loses nothing, and still lets a reader test one position by
reading one block.

    magic      4 bytes  "GGC1"
    n          1 byte   positions are below 2^n
    rice       1 byte   the Rice parameter r
    width      1 byte   a block covers 2^width positions
    reserved   1 byte   zero
    count      8 bytes  positions in the set
    offsets    4 bytes for each of the 2^(n-width) blocks: where it ends, counted from the first block
    blocks     per block the gaps in ascending order, padded with one-bits to a whole byte
    trailer   32 bytes  SHA-256 of everything before it

Integers are big-endian. A gap is the distance to the previous position of the block less one; the first is the
distance from the block's start. A gap g is written as g >> r one-bits, a zero-bit, then the low r bits of g;
bits fill a byte from its most significant end. Padding is fewer than eight one-bits, which no gap can be.

There is one encoding of each set: r and width follow from n and count, and a reader refuses any other.
"""

import hashlib
from collections.abc import Iterable, Iterator

from chalicelib.errors import DecodeError
from chalicelib.protocol.glados.filters import LARGEST_N

MAGIC = b"GGC1"
_HEAD = 16
_TRAILER = 32
_POSITIONS_A_BLOCK = 8  # As a power of two: a block holds about 256 positions.


def _rice(n: int, count: int) -> int:
    """Return the largest r with 2^r at most ln 2 times the mean gap, which is near the best code."""
    return max(0, ((1 << n) * 693 // (max(count, 1) * 1000)).bit_length() - 1)


def _width(n: int, count: int) -> int:
    """Return the block width that gives about 256 positions a block."""
    return max(0, min(n, n - max(count, 1).bit_length() + 1 + _POSITIONS_A_BLOCK))


def encode(n: int, positions: Iterable[int]) -> bytes:
    """Write a set of positions below 2^n; the order and repetition of `positions` do not matter."""
    if not 3 <= n <= LARGEST_N:
        raise ValueError("no filter has that many positions")
    ascending = sorted(set(positions))
    if ascending and not 0 <= ascending[0] <= ascending[-1] < 1 << n:
        raise ValueError("a position is outside the filter")
    r, width = _rice(n, len(ascending)), _width(n, len(ascending))
    blocks: list[list[int]] = [[] for _ in range(1 << (n - width))]
    for position in ascending:
        blocks[position >> width].append(position)
    written = [_encode_block(block, number << width, r) for number, block in enumerate(blocks)]
    end, offsets = 0, bytearray()
    for block_bytes in written:
        end += len(block_bytes)
        offsets += end.to_bytes(4, "big")
    head = MAGIC + bytes([n, r, width, 0]) + len(ascending).to_bytes(8, "big")
    body = b"".join([head, offsets, *written])
    return body + hashlib.sha256(body).digest()


def _encode_block(block: list[int], start: int, r: int) -> bytes:
    pieces, previous = [], start - 1
    for position in block:
        gap = position - previous - 1
        # The low bits are written behind a one that is cut off again, so that r may be zero.
        pieces.append("1" * (gap >> r) + "0" + f"{1 << r | gap & (1 << r) - 1:b}"[1:])
        previous = position
    bits = "".join(pieces)
    bits += "1" * (-len(bits) % 8)
    return int(bits or "0", 2).to_bytes(len(bits) // 8, "big")


def decode(data: bytes) -> tuple[int, list[int]]:
    """Return n and the positions in ascending order, or raise `DecodeError` for any other byte string."""
    n, r, width, count, ends = _decode_head(data)
    blocks = memoryview(data)[_HEAD + 4 * len(ends) : len(data) - _TRAILER]
    positions: list[int] = []
    begin = 0
    for number, end in enumerate(ends):
        if not begin <= end <= len(blocks):
            raise DecodeError("a block ends outside the set")
        positions += _decode_block(bytes(blocks[begin:end]), number << width, 1 << width, r)
        begin = end
    if begin != len(blocks):
        raise DecodeError("bytes follow the last block")
    if len(positions) != count:
        raise DecodeError("the set holds another number of positions than it says")
    return n, positions


def _decode_head(data: bytes) -> tuple[int, int, int, int, list[int]]:
    if len(data) < _HEAD + _TRAILER or data[:4] != MAGIC:
        raise DecodeError("this is not a gap-coded set")
    n, r, width, reserved = data[4:8]
    count = int.from_bytes(data[8:_HEAD], "big")
    if not 3 <= n <= LARGEST_N or count > 1 << n or reserved:
        raise DecodeError("the head of the gap-coded set is impossible")
    if r != _rice(n, count) or width != _width(n, count):
        raise DecodeError("the set is not written in its one form")
    table = 4 << (n - width)
    if len(data) < _HEAD + table + _TRAILER:
        raise DecodeError("the set ends within its table of blocks")
    if hashlib.sha256(memoryview(data)[:-_TRAILER]).digest() != data[-_TRAILER:]:
        raise DecodeError("the set's trailer is not the digest of its bytes")
    offsets = memoryview(data)[_HEAD : _HEAD + table]
    ends = [int.from_bytes(offsets[place : place + 4], "big") for place in range(0, table, 4)]
    return n, r, width, count, ends


def _decode_block(block: bytes, start: int, size: int, r: int) -> Iterator[int]:
    """Yield a block's positions. The padding is what remains when no zero-bit follows."""
    bits = f"{1 << len(block) * 8 | int.from_bytes(block, 'big'):b}"[1:]
    at, position = 0, start - 1
    while (zero := bits.find("0", at)) >= 0:
        low_end = zero + 1 + r
        if low_end > len(bits):
            raise DecodeError("a block ends within a gap")
        position += 1 + (zero - at << r) + int(bits[zero:low_end], 2)
        if position >= start + size:
            raise DecodeError("a position is outside its block")
        yield position
        at = low_end
    if len(bits) - at >= 8:
        raise DecodeError("a block is padded with a whole byte")
