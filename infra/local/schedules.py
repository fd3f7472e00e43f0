"""When a schedule fires: EventBridge's rate and cron expressions, in UTC."""

import calendar
import datetime
import itertools
import re
from dataclasses import dataclass
from typing import Protocol

_RATE = re.compile(r"rate\((\d+) (minutes?|hours?|days?)\)")
_CRON = re.compile(r"cron\((\S+) (\S+) (\S+) (\S+) (\S+) (\S+)\)")
_MONTHS = {month.upper(): number for number, month in enumerate(calendar.month_abbr) if number}
_WEEKDAYS = {"SUN": 1, "MON": 2, "TUE": 3, "WED": 4, "THU": 5, "FRI": 6, "SAT": 7}
_DAYS_AHEAD = 366 * 8 + 1  # A 29 February comes within eight years, even around 2100.


class Schedule(Protocol):
    """A rule that says when something is due."""

    def next_after(self, moment: datetime.datetime) -> datetime.datetime:
        """Return the first moment later than `moment` at which the schedule fires."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Fires once per period, counted from when it began."""

    period: datetime.timedelta

    def next_after(self, moment: datetime.datetime) -> datetime.datetime:
        """Return one period later."""
        return moment + self.period


@dataclass(frozen=True, slots=True)
class Cron:
    """Fires in each minute that all fields admit; weekdays count from Sunday as 1."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    years: frozenset[int]

    def next_after(self, moment: datetime.datetime) -> datetime.datetime:
        """Return the start of the next minute that matches, or raise ValueError if none ever does."""
        first = moment.replace(second=0, microsecond=0) + datetime.timedelta(minutes=1)
        for ahead in range(_DAYS_AHEAD):
            day = first.date() + datetime.timedelta(days=ahead)
            if not self._admits(day):
                continue
            for hour, minute in itertools.product(sorted(self.hours), sorted(self.minutes)):
                found = datetime.datetime.combine(day, datetime.time(hour, minute), moment.tzinfo)
                if found >= first:
                    return found
        raise ValueError("the schedule never fires again")

    def _admits(self, day: datetime.date) -> bool:
        return (
            day.day in self.days
            and day.month in self.months
            and day.isoweekday() % 7 + 1 in self.weekdays
            and day.year in self.years
        )


def parse_schedule(expression: str) -> Schedule:
    """Return the schedule that `expression` describes, or raise ValueError.

    Of cron's fields everything is known but L, W and #, which no rule here uses.
    """
    if match := _RATE.fullmatch(expression):
        value, unit = int(match[1]), match[2]
        if value < 1 or (value == 1) == unit.endswith("s"):
            raise ValueError(f"EventBridge does not take the expression {expression!r}")
        return Rate(datetime.timedelta(**{unit.rstrip("s") + "s": value}))
    if match := _CRON.fullmatch(expression):
        minutes, hours, days, months, weekdays, years = match.groups()
        if (days == "?") == (weekdays == "?"):
            raise ValueError("exactly one of day of month and day of week must be ?")
        return Cron(
            _field(minutes, 0, 59),
            _field(hours, 0, 23),
            _field(days, 1, 31),
            _field(months, 1, 12, _MONTHS),
            _field(weekdays, 1, 7, _WEEKDAYS),
            _field(years, 1970, 2199),
        )
    raise ValueError(f"{expression!r} is neither a rate nor a cron expression")


def _field(text: str, low: int, high: int, names: dict[str, int] | None = None) -> frozenset[int]:
    """Return the values that one field of a cron expression admits."""
    values: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        if span in {"*", "?"}:
            first, last = low, high
        else:
            start, dash, end = span.partition("-")
            first = _value(start, names)
            last = _value(end, names) if dash else high if step else first
        if not low <= first <= last <= high:
            raise ValueError(f"the cron field {text!r} is out of range")
        values.update(range(first, last + 1, int(step or "1")))
    return frozenset(values)


def _value(text: str, names: dict[str, int] | None) -> int:
    return (names or {}).get(text.upper()) or int(text)
