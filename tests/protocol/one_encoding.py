"""Each value has one encoding: the claim about every struct of the wire, whichever protocol it belongs to."""

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.errors import DecodeError
from chalicelib.protocol.tls import decode


def is_decoded_again(struct: Any, values: st.SearchStrategy[Any], quick: settings) -> None:
    """What is encoded is decoded, to the same and to the same kind."""

    @quick
    @given(values)
    def check(value: Any) -> None:
        encoded = value.encode()
        decoded = decode(struct.read, encoded)
        assert decoded == value
        assert type(decoded) is type(value)
        assert decoded.encode() == encoded

    check()


def has_no_encoding_for_a_part(struct: Any, values: st.SearchStrategy[Any], quick: settings) -> None:
    """No beginning of an encoding is one, nor is one with more behind it."""

    @quick
    @given(values)
    def check(value: Any) -> None:
        encoded = value.encode()
        for size in range(len(encoded)):
            with pytest.raises(DecodeError):
                decode(struct.read, encoded[:size])
        with pytest.raises(DecodeError, match="after the end"):
            decode(struct.read, encoded + b"\x00")

    check()


def has_no_second_encoding(struct: Any, values: st.SearchStrategy[Any], quick: settings) -> None:
    """A changed byte is refused, or encoded again as it is."""

    @quick
    @given(values, st.data())
    def check(value: Any, data: st.DataObject) -> None:
        changed = bytearray(value.encode())
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
        with contextlib.suppress(DecodeError):
            assert decode(struct.read, bytes(changed)).encode() == bytes(changed)

    check()
