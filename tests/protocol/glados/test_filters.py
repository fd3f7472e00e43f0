"""The routing filter: which bits an identifier sets, and where a bit lies."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.errors import DecodeError
from chalicelib.protocol.glados.filters import Parameters, choose_n, count_bits, has_bit, indexes, set_bits
from chalicelib.protocol.glados.identifiers import parse_sii

SII = parse_sii("tel:+4930123456")


def test_the_first_index_is_the_low_bits_of_the_digest() -> None:
    """By hand: `printf tel:+4930123456 | sha256sum` ends in …559ec3b1b106; 20 bits are five digits."""
    assert indexes(Parameters(20), SII) == (0x1B106,)


def test_further_indexes_are_the_bits_above() -> None:
    """By hand, from the same digest's end …559e c3b1 b106: 16 bits are four digits, read from the right."""
    assert indexes(Parameters(16, 3), SII) == (0xB106, 0xC3B1, 0x559E)


def test_a_salt_goes_before_the_identifier() -> None:
    """By hand: `printf salttel:+4930123456 | sha256sum` ends in …276a9051; 20 bits are five digits."""
    assert indexes(Parameters(20, 1, b"salt"), SII) == (0xA9051,)


@pytest.mark.parametrize(("position", "byte", "value"), [(0, 0, 1), (7, 0, 128), (8, 1, 1), (13, 1, 32), (31, 3, 128)])
def test_bit_i_is_bit_i_mod_8_of_byte_i_div_8_lowest_first(position: int, byte: int, value: int) -> None:
    raw = bytearray(4)
    set_bits(raw, [position])
    assert raw[byte] == value
    assert sum(raw) == value


@pytest.mark.parametrize("n", [3, 20, 36])
def test_the_raw_form_has_two_to_the_n_bits(n: int) -> None:
    assert Parameters(n).raw_size * 8 == 2**n


@given(st.sets(st.integers(0, 255)))
def test_a_filter_has_the_positions_that_were_set_and_no_other(positions: set[int]) -> None:
    raw = bytearray(Parameters(8).raw_size)
    set_bits(raw, positions)
    assert {position for position in range(256) if has_bit(raw, position)} == positions
    assert count_bits(raw) == len(positions)


@given(st.integers(3, 36), st.data())
def test_every_index_lies_in_the_filter_and_together_they_are_the_digests_low_bits(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, 256 // n))
    found = indexes(Parameters(n, k), SII)
    assert all(0 <= index < 2**n for index in found)
    digest = hashlib.sha256(SII.uri.encode()).hexdigest()
    bits = bin(int(digest, 16))[2:].zfill(256)
    assert "".join(format(index, f"0{n}b") for index in reversed(found)) == bits[256 - n * k :]


@pytest.mark.parametrize(
    ("n", "k", "salt"), [(2, 1, b""), (37, 1, b""), (-1, 1, b""), (20, 0, b""), (20, 13, b""), (20, 1, b"s" * 65)]
)
def test_parameters_beyond_the_digest_or_reason_are_refused(n: int, k: int, salt: bytes) -> None:
    with pytest.raises(DecodeError):
        Parameters(n, k, salt)


def test_the_whole_digest_may_be_used() -> None:
    assert len(indexes(Parameters(32, 8), SII)) == 8


@pytest.mark.parametrize(
    ("keys", "planned", "n"),
    [(0, 0, 20), (1, 0, 20), (8_192, 0, 20), (8_193, 0, 21), (0, 8_193, 21), (2**20, 2**24, 31), (2**40, 0, 36)],
)
def test_n_leaves_at_least_128_positions_an_identifier(keys: int, planned: int, n: int) -> None:
    assert choose_n(keys, planned) == n
