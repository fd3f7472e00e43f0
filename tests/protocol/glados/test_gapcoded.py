"""Gap-coded sets: one encoding of each set, and only `DecodeError` for everything else."""

import hashlib
import json
import math
from pathlib import Path
from typing import TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.errors import DecodeError
from chalicelib.protocol.glados.filters import LARGEST_N
from chalicelib.protocol.glados.gapcoded import decode, encode

VECTORS = Path(__file__).parents[2] / "vectors" / "glados" / "gapcoded.json"


class Vector(TypedDict):
    """A set and its bytes in hexadecimal."""

    about: str
    n: int
    positions: list[int]
    encoded: str


def vectors() -> list[Vector]:
    found: list[Vector] = json.loads(VECTORS.read_text())["vectors"]
    return found


@st.composite
def sets(draw: st.DrawFn) -> tuple[int, set[int]]:
    """Draw a set of positions: few among many, or many among few."""
    n = draw(st.integers(3, 12) | st.just(LARGEST_N))
    return n, draw(st.sets(st.integers(0, 2**n - 1), max_size=300))


def resealed(data: bytes) -> bytes:
    """Put the right digest behind what was changed, as an attacker would."""
    return data[:-32] + hashlib.sha256(data[:-32]).digest()


def flipped(data: bytes, place: int) -> bytes:
    """Return the bytes with one bit turned over."""
    return (int.from_bytes(data, "big") ^ 1 << place).to_bytes(len(data), "big")


def read_slowly(data: bytes) -> tuple[int, list[int]]:
    """Read a set bit by bit, straight from the format's description, and check each thing it says."""
    assert hashlib.sha256(data[:-32]).digest() == data[-32:]
    assert data[:4] == b"GGC1"
    n, rice, width, reserved = data[4], data[5], data[6], data[7]
    assert reserved == 0
    count = int.from_bytes(data[8:16], "big")
    blocks = 2 ** (n - width)
    ends = [int.from_bytes(data[16 + 4 * block : 20 + 4 * block], "big") for block in range(blocks)]
    begin = 16 + 4 * blocks
    assert begin + ends[-1] + 32 == len(data)
    positions: list[int] = []
    for block in range(blocks):
        start = 0 if block == 0 else ends[block - 1]
        bits = [byte >> (7 - place) & 1 for byte in data[begin + start : begin + ends[block]] for place in range(8)]
        free = block * 2**width  # The least position that may come next.
        while 0 in bits:
            ones = bits.index(0)
            low = bits[ones + 1 : ones + 1 + rice]
            gap = ones * 2**rice + sum(bit * 2 ** (rice - 1 - place) for place, bit in enumerate(low))
            positions.append(free + gap)
            free += gap + 1
            bits = bits[ones + 1 + rice :]
        assert len(bits) < 8
        assert free <= (block + 1) * 2**width
    assert len(positions) == count
    return n, positions


@pytest.mark.parametrize("vector", vectors(), ids=lambda vector: vector["about"])
def test_a_vector_is_written_and_read_as_it_stands(vector: Vector) -> None:
    data = bytes.fromhex(vector["encoded"])
    assert read_slowly(data) == (vector["n"], vector["positions"])
    assert encode(vector["n"], vector["positions"]) == data
    assert decode(data) == (vector["n"], vector["positions"])


@given(sets())
def test_a_set_is_read_as_it_was_written(drawn: tuple[int, set[int]]) -> None:
    n, positions = drawn
    data = encode(n, positions)
    assert decode(data) == (n, sorted(positions))
    assert read_slowly(data) == (n, sorted(positions))


@given(sets(), st.data())
def test_order_and_repetition_do_not_matter(drawn: tuple[int, set[int]], data: st.DataObject) -> None:
    n, positions = drawn
    again = data.draw(st.permutations([*positions, *list(positions)[:5]]))
    assert encode(n, again) == encode(n, positions)


SMALL = [(3, [0]), (3, [0, 1, 2, 3, 4, 5, 6, 7]), (8, [7, 8, 200]), (12, list(range(0, 4096, 7)))]


@pytest.mark.parametrize(("n", "positions"), SMALL)
def test_every_truncation_is_refused(n: int, positions: list[int]) -> None:
    data = encode(n, positions)
    for size in range(len(data)):
        with pytest.raises(DecodeError):
            decode(data[:size])


@pytest.mark.parametrize(("n", "positions"), SMALL)
def test_every_single_bit_flip_is_refused(n: int, positions: list[int]) -> None:
    data = encode(n, positions)
    for place in range(len(data) * 8):
        with pytest.raises(DecodeError):
            decode(flipped(data, place))


@pytest.mark.parametrize(("n", "positions"), SMALL)
def test_what_decodes_after_a_flip_under_a_right_digest_is_another_sets_one_encoding(
    n: int, positions: list[int]
) -> None:
    data = encode(n, positions)
    for place in range(32 * 8, len(data) * 8):
        forged = resealed(flipped(data, place))
        try:
            read = decode(forged)
        except DecodeError:
            continue
        assert encode(*read) == forged


@given(st.binary(max_size=200))
def test_bytes_at_random_are_refused_with_a_decode_error_only(noise: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(resealed(b"GGC1" + noise + bytes(32)))


@pytest.mark.parametrize(
    ("place", "value"),
    [(4, 2), (4, LARGEST_N + 1), (5, 0), (5, 255), (6, 0), (6, 7), (7, 1), (8, 1), (15, 2), (15, 0)],
    ids=["small n", "large n", "rice", "large rice", "width", "small width", "reserved", "count", "more", "fewer"],
)
def test_a_head_that_is_not_the_one_for_its_set_is_refused(place: int, value: int) -> None:
    data = bytearray(encode(8, [100]))
    assert data[place] != value
    data[place] = value
    with pytest.raises(DecodeError):
        decode(resealed(bytes(data)))


def test_a_set_that_claims_a_table_beyond_its_bytes_is_refused_before_it_is_read() -> None:
    data = bytearray(encode(LARGEST_N, []))
    data[8:16] = (2**LARGEST_N).to_bytes(8, "big")
    data[5:7] = bytes([0, 8])
    with pytest.raises(DecodeError):
        decode(resealed(bytes(data)))


def test_padding_of_a_whole_byte_is_refused() -> None:
    data = encode(8, [100])
    ends_at = int.from_bytes(data[16:20], "big")
    longer = data[:16] + (ends_at + 1).to_bytes(4, "big") + data[20:-32] + b"\xff" + bytes(32)
    with pytest.raises(DecodeError):
        decode(resealed(longer))


def test_bytes_behind_the_last_block_are_refused() -> None:
    data = encode(8, [100])
    with pytest.raises(DecodeError):
        decode(resealed(data[:-32] + b"\x00" + bytes(32)))


def test_a_block_that_ends_within_a_gap_is_refused() -> None:
    """One position below 2^12 is a zero-bit and eleven low bits: a block of one byte has room for seven of them."""
    whole = encode(12, [100])
    cut = whole[:16] + (1).to_bytes(4, "big") + b"\x05" + bytes(32)
    with pytest.raises(DecodeError):
        decode(resealed(cut))


@pytest.mark.parametrize(("n", "positions"), [(8, [256]), (8, [-1]), (8, [-1, 5]), (2, [1]), (LARGEST_N + 1, [])])
def test_what_no_reader_would_take_is_not_written(n: int, positions: list[int]) -> None:
    with pytest.raises(ValueError, match="filter"):
        encode(n, positions)


def test_a_sparse_set_takes_a_thirteenth_of_the_raw_form() -> None:
    """The format's own claim, for a filter at its planned fill of one position in 128."""
    n = 16
    positions = [step * 128 + (step * 37) % 128 for step in range(2 ** (n - 7))]
    assert len(encode(n, positions)) < math.ceil(2**n / 8 / 12)
