"""Moments as the wire writes them: RFC 3339 in UTC with milliseconds; inside, integer milliseconds since 1970."""

import datetime
import re

from chalicelib.errors import InvalidValue

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_FORM = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def format_time(moment: int) -> str:
    """Write milliseconds since 1970 as `2026-01-31T23:59:59.123Z`."""
    exact = _EPOCH + datetime.timedelta(milliseconds=moment)
    return exact.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def end_of_day(moment: int) -> int:
    """Return when the day of a moment is over, in UTC."""
    return (moment // DAY + 1) * DAY


def start_of_month(moment: int) -> int:
    """Return when the month of a moment began, in UTC."""
    exact = _EPOCH + datetime.timedelta(milliseconds=moment)
    return (exact.replace(day=1, hour=0, minute=0, second=0, microsecond=0) - _EPOCH) // datetime.timedelta(
        milliseconds=1
    )


def parse_time(text: str, field: str | None = None) -> int:
    """Read the one form that `format_time` writes; raise `InvalidValue` for any other."""
    if not _FORM.fullmatch(text):
        raise InvalidValue("a time is written like 2026-01-31T23:59:59.123Z", field)
    try:
        moment = datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=datetime.UTC)
    except ValueError as error:
        raise InvalidValue("a time names a day or hour that does not exist", field) from error
    return (moment - _EPOCH) // datetime.timedelta(milliseconds=1)
