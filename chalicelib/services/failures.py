"""Doing several things of which one that fails must not hold up the others."""

import contextlib
from collections.abc import Iterator
from types import TracebackType
from typing import Self


class Failures:
    """Keeps what fails on the way, and raises the first of it when all has been tried.

    with Failures() as failures:
        for event in due:
            with failures.kept():
                work_off(event)
    """

    def __init__(self) -> None:
        self._first: Exception | None = None

    @property
    def any(self) -> bool:
        """Say whether anything has failed so far."""
        return self._first is not None

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Do one thing; what it raises waits for the end."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 (whatever it is, the others go on, and it is raised after them)
            self._first = self._first or error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Raise the first failure that was kept, unless something else ended the work before."""
        if error is None and self._first is not None:
            raise self._first
