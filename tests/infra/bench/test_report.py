"""A row says whether its bar holds, and a missed one is said as loudly."""

import pytest

from infra.bench._load import Outcome
from infra.bench.report import Row


def test_a_part_of_a_figure_has_no_bar_to_hold() -> None:
    assert Row("part", 1.0, "ms").holds is None


@pytest.mark.parametrize(
    ("value", "bar", "holds"), [(1, "<= 1", True), (1, "> 1", False), (0.9, ">= 0.9", True), (2, "< 2", False)]
)
def test_a_bar_is_met_or_missed(value: float, bar: str, holds: bool) -> None:
    assert Row("figure", value, "", bar).holds is holds
    assert ("MISSED" in Row("figure", value, "", bar).as_text()) is not holds


def test_a_load_that_was_refused_is_no_measurement() -> None:
    outcome = Outcome(1.0, [1.0, 2.0, 3.0, 4.0], {"200": 3, "429": 1}, [])
    assert (outcome.rate, outcome.percentile(50), outcome.percentile(99)) == (4.0, 3.0, 4.0)
    with pytest.raises(RuntimeError, match="429"):
        outcome.check(200)
