"""What every use case takes from the world, whichever deployable it belongs to.

Each package owns its other ports in its own `ports.py`; here is only what is the same for all.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

Value = TypeVar("Value")
Clock = Callable[[], int]  # Milliseconds since 1970.
Entropy = Callable[[int], bytes]  # That many unpredictable bytes.


@dataclasses.dataclass(frozen=True, slots=True)
class Versioned(Generic[Value]):
    """A stored value with what its adapter needs for a compare-and-swap; None stands for "no row yet"."""

    value: Value
    token: object


class Lost(Exception):
    """A compare-and-swap found the row changed since it was read; read it again."""


class Undeliverable(Exception):
    """The message or object can never be delivered as it is; trying again is useless."""


class Unreachable(Exception):
    """The other side did not answer, or answered with something that is not an answer; try later."""


class Refused(Exception):
    """The other side answered, and refuses: `status` is its HTTP status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"status {status}: {reason}")
        self.status = status


class Buckets(Protocol):
    """Token buckets, one row each, shared by all containers.

    `take` debits `want` tokens of a bucket that holds at most `burst` and gains `rate` a second, or as many as
    there are, and merges `sketch` (a set of distinct things seen) into the day's. It returns the tokens taken,
    the milliseconds until the next one, and the merged sketch. Tokens are debited when taken and never given
    back by it: it can admit too few, never too many. `give_back` returns tokens that were not used. Both raise
    `Unreachable` when the limiter is down.
    """

    def take(
        self, owner: str, kind: str, want: int, rate: float, burst: int, now: int, sketch: bytes = b""
    ) -> tuple[int, int, bytes]: ...
    def give_back(self, owner: str, kind: str, tokens: int, burst: int) -> None: ...


class Digests(Protocol):
    """A keyed one-way function, separate for each purpose, that is the same for good."""

    def digest(self, purpose: str, *parts: str | bytes) -> bytes: ...


class Alarms(Protocol):
    """Count something an operator should see. No identifier goes in; `name` is one of few, `about` a peer or AP."""

    def raise_(self, name: str, about: str) -> None: ...


class RemoteBodies(Protocol):
    """Messages that other domains keep for us.

    `fetch` returns some bytes of a message from an offset, and the length that the domain says it has. It raises
    `LookupError` where the domain says that it has none such, and `Unreachable` where it does not answer within so
    many milliseconds, or is not one we know. Nothing of what it returns was checked.
    """

    def fetch(self, domain: str, sha256: bytes, offset: int, within: int) -> tuple[bytes, int]: ...


class Pieces(Protocol):
    """Pieces of messages on their way here, each kept for a day at least, by domain, message and where it begins."""

    def keep(self, domain: str, sha256: bytes, offset: int, piece: bytes) -> None: ...
    def load(self, domain: str, sha256: bytes, offset: int) -> bytes | None: ...
    def forget(self, domain: str, sha256: bytes, offsets: Sequence[int]) -> None: ...
