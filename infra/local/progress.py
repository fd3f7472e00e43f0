"""How far long work has come: a bar on a terminal, plain lines elsewhere."""

import sys
import threading
import time
from typing import Self, TextIO

WIDTH = 30
REDRAW_SECONDS = 0.1
LINES = 10


class Progress:
    """Counts the steps of `what`, of which there are `total`; safe to advance from several threads.

    On a terminal the bar is redrawn at most ten times a second; elsewhere one line is printed for each tenth
    of the work, so that a log stays readable.
    """

    def __init__(self, what: str, total: int, stream: TextIO = sys.stderr) -> None:
        self._what = what
        self._total = max(total, 1)
        self._stream = stream
        self._on_terminal = stream.isatty()
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._drawn_at = 0.0
        self._lines = 0
        self.done = 0

    def __enter__(self) -> Self:
        self._show()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self._on_terminal:
                self._draw()
                self._stream.write("\n")
            self._stream.flush()

    def advance(self, steps: int = 1) -> None:
        """Count steps as done."""
        with self._lock:
            self.done += steps
            self._show()

    def _show(self) -> None:
        if self._on_terminal:
            now = time.monotonic()
            if now - self._drawn_at >= REDRAW_SECONDS or self.done >= self._total:
                self._drawn_at = now
                self._draw()
        elif self.done * LINES // self._total > self._lines:
            self._lines = self.done * LINES // self._total
            self._stream.write(f"{self._account()}\n")

    def _draw(self) -> None:
        filled = min(WIDTH, self.done * WIDTH // self._total)
        self._stream.write(f"\r[{'#' * filled}{'.' * (WIDTH - filled)}] {self._account()}\x1b[K")
        self._stream.flush()

    def _account(self) -> str:
        return f"{self._what}: {self.done} of {self._total}, {time.monotonic() - self._began:.1f} s"
