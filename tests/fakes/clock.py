"""Time and chance as arguments: a clock that stands until it is moved, and entropy that repeats itself."""

import hashlib
import itertools

START = 1_767_225_600_000  # 2026-01-01T00:00:00.000Z


class SettableClock:
    """Milliseconds since 1970, moved by hand."""

    def __init__(self, now: int = START) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def advance(self, milliseconds: int) -> int:
        """Move the clock forward and return the new moment."""
        self.now += milliseconds
        return self.now


class FixedEntropy:
    """The same bytes in every run, never the same twice in one."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._turns = itertools.count()

    def __call__(self, size: int) -> bytes:
        turn = next(self._turns)
        return hashlib.shake_256(f"{self._seed} {turn}".encode()).digest(size)
