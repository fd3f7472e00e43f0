"""A circuit breaker: who failed three times in a row is left alone for half a minute, then tried once.

It belongs to one container. Nothing is shared, so it can neither be poisoned nor cost a call.
"""

import threading

MOST_FAILURES = 3
OPEN_FOR = 30_000  # Milliseconds.


class Breaker:
    """Which peers are worth asking, as this container has found."""

    def __init__(self) -> None:
        self._failures: dict[str, int] = {}
        self._open_until: dict[str, int] = {}
        self._lock = threading.Lock()

    def allows(self, peer: str, now: int) -> bool:
        """Tell whether to ask; when the time is up one caller is let through, and the rest wait for its outcome."""
        with self._lock:
            if self._failures.get(peer, 0) < MOST_FAILURES:
                return True
            if now < self._open_until[peer]:
                return False
            self._open_until[peer] = now + OPEN_FOR
            return True

    def note(self, peer: str, now: int, *, answered: bool) -> None:
        """Take the outcome of an attempt."""
        with self._lock:
            if answered:
                self._failures.pop(peer, None)
                return
            self._failures[peer] = self._failures.get(peer, 0) + 1
            self._open_until[peer] = now + OPEN_FOR
