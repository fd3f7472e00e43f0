"""Callers that start at the same moment."""

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def race(*calls: Callable[[], Result]) -> list[Result | Exception]:
    """Make all calls at once and return what each returned or raised, in the order of the calls."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], Result]) -> Result | Exception:
        start.wait()
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - what a loser is told is what the tests look at
            return error

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # Threads take turns within a method too, and not only between methods.
    try:
        with ThreadPoolExecutor(len(calls)) as threads:
            return list(threads.map(run, calls))
    finally:
        sys.setswitchinterval(usual)


def winners(outcomes: list[Result | Exception], lost: type[Exception]) -> int:
    """Count those that did not fail; whoever failed must have been told `lost`."""
    failed = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    for error in failed:
        if not isinstance(error, lost):
            raise error
    return len(outcomes) - len(failed)
