"""The presentation language: one encoding of each value, and nothing but `DecodeError` for anything else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.errors import DecodeError
from chalicelib.protocol import tls
from chalicelib.protocol.tls import Reader, decode


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, "00"),
        (63, "3f"),
        (64, "4040"),
        (16_383, "7fff"),
        (16_384, "80004000"),
        ((1 << 30) - 1, "bfffffff"),
    ],
)
def test_a_length_has_its_shortest_form(value: int, encoded: str) -> None:
    assert tls.length(value).hex() == encoded
    assert decode(Reader.length, bytes.fromhex(encoded)) == value


@pytest.mark.parametrize("encoded", ["4000", "403f", "80000000", "80003fff", "c000000000000000", "ff"])
def test_any_other_form_of_a_length_is_refused(encoded: str) -> None:
    with pytest.raises(DecodeError, match=r"shortest form|reserved prefix"):
        decode(Reader.length, bytes.fromhex(encoded))


def test_a_length_beyond_a_vectors_reach_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match=r"2\^30"):
        tls.length(1 << 30)


@given(st.integers(0, (1 << 30) - 1))
def test_every_length_comes_back(value: int) -> None:
    assert decode(Reader.length, tls.length(value)) == value


@given(st.binary(max_size=300), st.lists(st.integers(0, 65_535)), st.lists(st.integers(0, 2**32 - 1)))
def test_vectors_come_back_and_no_split_of_them_does(content: bytes, small: list[int], large: list[int]) -> None:
    encoded = tls.opaque(content) + tls.uint16s(tuple(small)) + tls.uint32s(tuple(large))

    def read(reader: Reader) -> tuple[bytes, tuple[int, ...], tuple[int, ...]]:
        return reader.opaque(), reader.uint16s(), reader.uint32s()

    assert decode(read, encoded) == (content, tuple(small), tuple(large))
    for size in range(len(encoded)):
        with pytest.raises(DecodeError):
            decode(read, encoded[:size])
    with pytest.raises(DecodeError, match="after the end"):
        decode(read, encoded + b"\x00")


@pytest.mark.parametrize("odd", ["0100", "03000000"])
def test_a_vector_of_numbers_holds_whole_numbers(odd: str) -> None:
    with pytest.raises(DecodeError):
        decode(Reader.uint16s, bytes.fromhex(odd))
    with pytest.raises(DecodeError):
        decode(Reader.uint32s, bytes.fromhex(odd))


def test_an_element_does_not_reach_past_its_vector() -> None:
    # The vector is one byte long; the element in it claims two, which are there, but outside.
    with pytest.raises(DecodeError, match="ends before"):
        decode(lambda reader: (reader.vector(Reader.opaque), reader.uint8()), b"\x01\x01\xaa")
    with pytest.raises(DecodeError, match="longer than what encloses"):
        decode(lambda reader: reader.vector(Reader.opaque), b"\x02\x00")


@pytest.mark.parametrize(("encoded", "value"), [("00", None), ("0107", 7)])
def test_an_optional_is_there_or_not(encoded: str, value: int | None) -> None:
    assert decode(lambda reader: reader.optional(Reader.uint8), bytes.fromhex(encoded)) == value


@pytest.mark.parametrize("encoded", ["02", "0207", "ff", "01"])
def test_an_optional_is_nothing_else(encoded: str) -> None:
    with pytest.raises(DecodeError):
        decode(lambda reader: reader.optional(Reader.uint8), bytes.fromhex(encoded))


def test_a_claimed_length_allocates_nothing() -> None:
    with pytest.raises(DecodeError, match="ends before"):
        decode(Reader.opaque, tls.length((1 << 30) - 1))


@given(st.integers(0, 2**64 - 1))
def test_numbers_come_back(value: int) -> None:
    for write, read, bits in (
        (tls.uint8, Reader.uint8, 8),
        (tls.uint16, Reader.uint16, 16),
        (tls.uint32, Reader.uint32, 32),
        (tls.uint64, Reader.uint64, 64),
    ):
        number = value % (1 << bits)
        assert decode(read, write(number)) == number
        with pytest.raises(OverflowError):
            write(1 << bits)
