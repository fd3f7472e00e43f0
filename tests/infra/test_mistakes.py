"""Who mistypes a command is told in a line what is wrong, before anything is done."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.bench.__main__ import names
from infra.package import stages

REPOSITORY = Path(__file__).parents[2]

PLOTS = pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="plots need the extra `bench`")


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=REPOSITORY,
        env={"PATH": os.defpath, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["infra.bench", "comit"], "invalid choice: 'comit' (choose from"),
        pytest.param(["infra.bench", "commit", "--plot", "/none/x.png"], "there is no such folder", marks=PLOTS),
        (["infra.package", "/none", "gp-xx"], f"has no stage gp-xx; it has: {', '.join(stages())}"),
        (["infra.local", "--serve-only", "--time-scale", "0"], "--time-scale is above 0"),
        (["infra.local.hello", "/none"], "there is no /none/endpoints.json: start `python -m infra.local"),
        (["tests.conformance.vectors", "/none"], "/none is no folder"),
    ],
)
def test_a_mistake_is_told_in_one_line_and_not_as_a_traceback(arguments: list[str], told: str) -> None:
    done = command(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: ")
    assert told in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_the_help_of_the_benchmarks_says_what_each_measures() -> None:
    lines = command("infra.bench", "--help").stdout.splitlines()
    told = {words[0] for words in map(str.split, lines) if len(words) > 5}
    assert set(names()) <= told
