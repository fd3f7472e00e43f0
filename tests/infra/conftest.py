"""The local run as a process of its own, for all tests that speak to it from outside."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.infra.outsider import Outsider

REPOSITORY = Path(__file__).parents[2]
START_SECONDS = 240
STOP_SECONDS = 120
"""A bound on hanging, and no more: with five processes to start and to end, a busy machine takes its time."""


class Run:
    """The local run as a process, what it said to its terminal, and the script that speaks to it."""

    def __init__(self, process: subprocess.Popen[bytes], said: Path, outsider: Outsider) -> None:
        self.process = process
        self.said = said
        self.outsider = outsider


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    state = tmp_path_factory.mktemp("state")
    command = [sys.executable, "-m", "infra.local", "--serve-only", "--state", str(state)]
    endpoints, log = state / "endpoints.json", state / "said"
    with log.open("w") as said, subprocess.Popen(command, cwd=REPOSITORY, stdout=said, stderr=said) as process:
        try:
            until = time.monotonic() + START_SECONDS
            while not endpoints.exists():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < until, log.read_text()
                time.sleep(0.05)  # The file is the sign that all is ready.
            yield Run(process, log, Outsider(endpoints))
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)


@pytest.fixture
def world(run: Run) -> Outsider:
    return run.outsider
