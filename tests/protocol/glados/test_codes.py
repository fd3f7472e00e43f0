"""Codes: derived and never stored, good for one purpose, and alone in their message."""

import itertools
import re

import pytest

from chalicelib.errors import InvalidValue
from chalicelib.protocol.glados.codes import (
    MOST_SENDS_A_DAY,
    check_form,
    delay_after,
    derive_code,
    is_right,
    message,
    prescribed_code,
)
from chalicelib.protocol.glados.identifiers import Channel
from chalicelib.protocol.timestamps import HOUR, MINUTE, SECOND

KEY = bytes(range(32))


def test_a_code_is_the_mac_of_its_purpose_and_verification() -> None:
    """By hand: `printf 'mapping\\0ver_1' | openssl dgst -sha256 -mac HMAC -macopt hexkey:000102…1f` is
    358deee4…31164ce3, and `bc` says that this modulo 10^6 is 915299."""
    assert derive_code(KEY, "ver_1", "mapping") == "915299"


def test_a_code_keeps_its_leading_zeros() -> None:
    codes = [derive_code(KEY, str(number), "mapping") for number in range(100)]
    assert any(code.startswith("0") for code in codes)
    for code in codes:
        check_form(code)


def test_codes_differ_by_key_verification_and_purpose() -> None:
    codes = {
        derive_code(KEY, "ver_1", "mapping"),
        derive_code(KEY, "ver_1", "certificate"),
        derive_code(KEY, "ver_2", "mapping"),
        derive_code(KEY[::-1], "ver_1", "mapping"),
    }
    assert len(codes) == 4


def test_a_test_numbers_code_is_its_end() -> None:
    assert prescribed_code("+447700900123") == "900123"


@pytest.mark.parametrize(
    "code", ["", "12345", "1234567", "12345a", "１２３４５６", "12345²", " 12345", "12345\n", "-12345"]
)
def test_what_is_not_six_digits_costs_no_attempt(code: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        check_form(code)
    assert refused.value.field == "code"


def test_only_the_same_code_is_right() -> None:
    assert is_right("012345", "012345")
    assert not is_right("012346", "012345")
    assert not is_right("12345", "012345")


def test_each_send_of_a_day_waits_longer_than_the_one_before_up_to_an_hour() -> None:
    delays = [delay_after(sends) for sends in range(1, MOST_SENDS_A_DAY + 1)]
    assert delays == [30 * SECOND, 60 * SECOND, 5 * MINUTE, *itertools.repeat(HOUR, 5)]


@pytest.mark.parametrize("channel", ["sms", "email"])
def test_the_only_six_digits_in_a_message_are_its_code(channel: Channel) -> None:
    subject, text = message(channel, "012345", "Alpha", "alpha.example")
    assert set(re.findall(r"\d{6}", subject + text)) == {"012345"}
    assert "Alpha" in subject
    assert "Alpha" in text


def test_an_sms_ends_in_the_line_that_binds_its_code_to_an_origin() -> None:
    _, text = message("sms", "012345", "Alpha", "alpha.example")
    assert text.splitlines()[-1] == "@alpha.example #012345"
