"""Moments on the wire: one form, read and written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.errors import InvalidValue
from chalicelib.protocol.timestamps import format_time, parse_time, start_of_month

FIRST = -62_135_596_800_000  # 0001-01-01T00:00:00.000Z
LAST = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z


@given(st.integers(FIRST, LAST))
def test_a_moment_is_read_as_it_was_written(moment: int) -> None:
    assert parse_time(format_time(moment)) == moment


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1970-01-01T00:00:00.000Z", 0),
        ("1969-12-31T23:59:59.999Z", -1),
        ("2024-02-29T00:00:00.001Z", 1_709_164_800_001),  # date -u -d 2024-02-29 +%s
        ("0001-01-01T00:00:00.000Z", FIRST),
        ("9999-12-31T23:59:59.999Z", LAST),
    ],
)
def test_a_moment_is_written_in_utc_with_milliseconds(text: str, moment: int) -> None:
    assert format_time(moment) == text
    assert parse_time(text) == moment


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-31",
        "2026-01-31T23:59:59Z",
        "2026-01-31T23:59:59.1Z",
        "2026-01-31T23:59:59.1234Z",
        "2026-01-31T23:59:59.123",
        "2026-01-31T23:59:59.123z",
        "2026-01-31t23:59:59.123Z",
        "2026-01-31 23:59:59.123Z",
        "2026-01-31T23:59:59.123+00:00",
        "2026-01-31T23:59:59,123Z",
        "2026-01-31T23:59:60.000Z",
        "2026-01-31T24:00:00.000Z",
        "2026-02-29T00:00:00.000Z",
        "2026-13-01T00:00:00.000Z",
        "0000-01-01T00:00:00.000Z",
        "12026-01-01T00:00:00.000Z",
        "２026-01-01T00:00:00.000Z",
        "2026-01-31T23:59:59.123Z\n",
        " 2026-01-31T23:59:59.123Z",
    ],
)
def test_any_other_form_is_refused_and_its_field_named(text: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        parse_time(text, "since")
    assert refused.value.field == "since"


@pytest.mark.parametrize(
    ("moment", "month"),
    [
        ("2026-01-31T23:59:59.999Z", "2026-01-01T00:00:00.000Z"),
        ("2024-02-29T00:00:00.001Z", "2024-02-01T00:00:00.000Z"),
        ("2025-12-01T00:00:00.000Z", "2025-12-01T00:00:00.000Z"),
        ("1970-01-02T00:00:00.000Z", "1970-01-01T00:00:00.000Z"),
    ],
)
def test_a_month_begins_on_its_first_day_in_utc(moment: str, month: str) -> None:
    assert start_of_month(parse_time(moment)) == parse_time(month)
