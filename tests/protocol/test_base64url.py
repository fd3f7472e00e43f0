"""One text for each value, and one value for each text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.errors import DecodeError
from chalicelib.protocol.base64url import decode_base64url, encode_base64url


@given(st.binary(max_size=70))
def test_base64url_is_read_as_it_was_written(data: bytes) -> None:
    assert decode_base64url(encode_base64url(data)) == data


@given(st.text(st.sampled_from("AQgw_-=+/\n é"), max_size=6))
def test_base64url_has_one_form_for_each_value(text: str) -> None:
    try:
        data = decode_base64url(text)
    except DecodeError:
        return
    assert encode_base64url(data) == text


@pytest.mark.parametrize("text", ["A", "AB", "AA=", "AA==", "+/+/", "AA\n", "A A", "é", "\ud800"])
def test_any_other_base64_is_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        decode_base64url(text)
