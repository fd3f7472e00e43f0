"""What a benchmark measured, as rows that say whether a bar holds.

A benchmark is a module of this package with `run(options: Options) -> Iterator[Row]`. Rows without a bar are
parts of a figure; a missed bar is reported and never hidden.
"""

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Options:
    """How to run: `quick` takes under a minute with smaller sizes and says so; `plot` draws growth."""

    quick: bool = False
    plot: Path | None = None


@dataclasses.dataclass(frozen=True)
class Row:
    """One figure. `bar` reads like "<= 60" or ">= 0.9", or is empty for a part of a figure."""

    what: str
    value: float
    unit: str
    bar: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the value meets its bar, or None where there is none."""
        if not self.bar:
            return None
        sign, limit = self.bar.split()
        return {
            "<=": self.value <= float(limit),
            ">=": self.value >= float(limit),
            ">": self.value > float(limit),
            "<": self.value < float(limit),
        }[sign]

    def as_json(self, bench: str) -> dict[str, object]:
        """Return the row as one JSON-ready object."""
        return {"bench": bench, **dataclasses.asdict(self), "holds": self.holds}

    def as_text(self) -> str:
        """Return the row as one line for a terminal."""
        verdict = {None: "", True: f"   bar {self.bar}: holds", False: f"   bar {self.bar}: MISSED"}[self.holds]
        return f"  {self.what:<72} {self.value:>14,.4g} {self.unit}{verdict}"
