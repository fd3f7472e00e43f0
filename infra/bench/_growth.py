"""A plot of how something grows, both axes logarithmic. Not a benchmark: the leading underscore says so."""

from collections.abc import Mapping
from pathlib import Path


def draw(path: Path, title: str, across: str, lines: Mapping[str, Mapping[int, float]]) -> None:
    """Draw each line's values over its sizes into a picture."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import, and only a plot needs it

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for name, values in lines.items():
        axes.plot(list(values), list(values.values()), marker="o", label=name)
    axes.set(title=title, xlabel=across, xscale="log", yscale="log", ylim=(1, None))
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    figure.savefig(path)
