"""One thing that fails holds up no other, and is not forgotten."""

import pytest

from chalicelib.services.failures import Failures


def _try_all(outcomes: list[Exception | None], tried: list[int]) -> None:
    with Failures() as failures:
        for number, outcome in enumerate(outcomes):
            with failures.kept():
                tried.append(number)
                if outcome is not None:
                    raise outcome


def _end_after_a_failure(last: Exception) -> None:
    with Failures() as failures:
        with failures.kept():
            raise ValueError
        raise last


def test_all_is_tried_and_the_first_failure_is_raised_at_the_end() -> None:
    tried: list[int] = []
    with pytest.raises(ValueError, match="first"):
        _try_all([None, ValueError("first"), None, KeyError("second"), None], tried)
    assert tried == [0, 1, 2, 3, 4]


def test_where_nothing_fails_nothing_is_raised() -> None:
    tried: list[int] = []
    _try_all([None, None], tried)
    assert tried == [0, 1]


def test_what_ends_the_work_itself_is_not_replaced_by_what_was_kept() -> None:
    with pytest.raises(KeyError):
        _end_after_a_failure(KeyError("the end"))
