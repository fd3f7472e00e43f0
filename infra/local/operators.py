"""An operator at each stage: the commands of `python -m infra.operator`, one after another, in one process.

A run gives dozens of commands while it starts, and most of a command's time is Python importing what it needs.
`python -m infra.local.operators` reads commands as JSON lists, one a line, and answers each with a line:
`{"answer": …}` or `{"failed": …}`.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra import operator

_REPOSITORY = Path(__file__).parents[2]


class Operator:
    """One stage's operator; a command at a time. It ends when it is dismissed, or when this process does."""

    def __init__(self, stage: str, environment: Mapping[str, str]) -> None:
        self.stage = stage
        self._process = subprocess.Popen(
            [sys.executable, "-m", "infra.local.operators"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PATH": os.environ.get("PATH", os.defpath), **environment},
            cwd=_REPOSITORY,
            text=True,
            start_new_session=True,  # Ctrl-C is the supervisor's matter; this one ends with its input.
        )

    def run(self, *arguments: str | Path) -> dict[str, Any]:
        """Run a command and return its answer, or raise RuntimeError with what it said instead."""
        if self._process.stdin is None or self._process.stdout is None:
            raise AssertionError("the process was started with pipes")
        answered = ""
        with contextlib.suppress(BrokenPipeError):  # It is gone, and has no answer either.
            self._process.stdin.write(json.dumps(list(map(str, arguments))) + "\n")
            self._process.stdin.flush()
            answered = self._process.stdout.readline()
        said = json.loads(answered or '{"failed": "the operator is gone"}')
        if "failed" in said:
            raise RuntimeError(f"infra.operator {arguments[0]} failed on {self.stage}: {said['failed']}")
        answer: dict[str, Any] = said["answer"]
        return answer

    def dismiss(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # Of a command that was never read.
                    pipe.close()
        self._process.wait()


def main() -> None:
    """Run the commands that come in, until no more do."""
    for line in sys.stdin:
        try:
            said: dict[str, Any] = {"answer": operator.answer(json.loads(line))}
        except SystemExit:
            said = {"failed": "it is no command of the operator's"}
        except Exception as error:  # noqa: BLE001 - who gave the command is told
            said = {"failed": f"{type(error).__name__}: {error}"}
        print(json.dumps(said, default=str), flush=True)


if __name__ == "__main__":
    main()
