"""EventBridge's expressions."""

import datetime

import pytest

from infra.local.schedules import parse_schedule

NOW = datetime.datetime(2026, 2, 27, 23, 59, 30, tzinfo=datetime.UTC)  # A Friday.


@pytest.mark.parametrize(
    ("expression", "following"),
    [
        ("rate(1 minute)", "2026-02-28T00:00:30"),
        ("rate(12 hours)", "2026-02-28T11:59:30"),
        ("rate(2 days)", "2026-03-01T23:59:30"),
        ("cron(0 3 * * ? *)", "2026-02-28T03:00:00"),
        ("cron(0/15 * * * ? *)", "2026-02-28T00:00:00"),
        ("cron(30 23 * * ? *)", "2026-02-28T23:30:00"),
        ("cron(0 0 1 * ? *)", "2026-03-01T00:00:00"),
        ("cron(0 0 29 FEB ? *)", "2028-02-29T00:00:00"),
        ("cron(0 12 ? * MON-FRI *)", "2026-03-02T12:00:00"),
        ("cron(0 12 ? * 1,7 *)", "2026-02-28T12:00:00"),
    ],
)
def test_the_next_time_is_the_first_that_matches(expression: str, following: str) -> None:
    found = parse_schedule(expression).next_after(NOW)
    assert found == datetime.datetime.fromisoformat(following).replace(tzinfo=datetime.UTC)


def test_a_cron_schedule_does_not_fire_twice_in_its_minute() -> None:
    schedule = parse_schedule("cron(0 3 * * ? *)")
    first = schedule.next_after(NOW)
    assert schedule.next_after(first) == first + datetime.timedelta(days=1)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "rate(1 minutes)",
        "rate(2 minute)",
        "rate(0 minutes)",
        "rate(1 week)",
        "cron(0 3 * * *)",
        "cron(0 3 * * * *)",
        "cron(0 3 ? * ? *)",
        "cron(60 3 * * ? *)",
        "cron(0 3 L * ? *)",
        "cron(0 3 ? * 2#1 *)",
        "at(2026-01-01T00:00:00)",
    ],
)
def test_what_eventbridge_or_we_do_not_take_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_schedule(expression)


def test_a_schedule_that_never_fires_again_is_refused() -> None:
    with pytest.raises(ValueError, match="never"):
        parse_schedule("cron(0 0 30 FEB ? *)").next_after(NOW)
