"""What a container has read within the last minute, where ports say that an answer may be as old as that."""

import threading
from typing import Generic, TypeVar

from chalicelib.protocol.timestamps import MINUTE
from chalicelib.services.ports import Clock

LIFE = MINUTE

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """Values by name, each for a minute from when it was read; safe for threads."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._known: dict[str, tuple[int, Value]] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> Value | None:
        """Return what was kept under a name, or None where that was too long ago."""
        with self._lock:
            read_at, value = self._known.get(name, (0, None))
        return value if self.clock() - read_at < LIFE else None

    def keep(self, read_at: int, value: Value, *names: str) -> None:
        """Keep a value; `read_at` is a time before it was asked for."""
        with self._lock:
            self._known |= dict.fromkeys(names, (read_at, value))

    def forget(self) -> None:
        """Keep nothing: this container has just changed something."""
        with self._lock:
            self._known.clear()
