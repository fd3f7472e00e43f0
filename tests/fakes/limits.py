"""How often a caller may ask: token buckets."""

import dataclasses
import math

from chalicelib.protocol.timestamps import DAY
from tests.fakes.faults import Fake, Faults, fallible, require
from tests.fakes.tables import Tables


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Tokens as of a moment, and what was seen on its day."""

    tokens: float
    at: int
    sketch: bytes = b""


class MemoryBuckets(Fake):
    port = "buckets"

    def __init__(self, faults: Faults, tables: Tables) -> None:
        super().__init__(faults, tables.lock)
        self._rows: dict[tuple[str, str], Bucket] = {}

    @fallible
    def take(
        self, owner: str, kind: str, want: int, rate: float, burst: int, now: int, sketch: bytes = b""
    ) -> tuple[int, int, bytes]:
        require(want >= 0 and rate > 0 and burst > 0, "a bucket that gives nothing")
        known = self._rows.get((owner, kind), Bucket(burst, now))
        at = max(known.at, now)
        tokens = min(burst, known.tokens + (at - known.at) * rate / 1000)
        taken = min(want, math.floor(tokens))
        seen = merged(known.sketch if known.at // DAY == at // DAY else b"", sketch)
        self._rows[owner, kind] = Bucket(tokens - taken, at, seen)
        wait = math.ceil(max(0.0, 1 - (tokens - taken)) * 1000 / rate)
        return taken, wait, seen

    @fallible
    def give_back(self, owner: str, kind: str, tokens: int, burst: int) -> None:
        require(tokens >= 0, "tokens are given back, not taken")
        known = self._rows.get((owner, kind))
        if known is not None:
            full = min(burst, known.tokens + tokens)
            self._rows[owner, kind] = dataclasses.replace(known, tokens=full)


def merged(one: bytes, other: bytes) -> bytes:
    """Return the sketch of what either saw: the greater of each register; an empty one saw nothing."""
    require(not one or not other or len(one) == len(other), "two sketches of one bucket differ in size")
    return bytes(map(max, one, other)) if one and other else one or other
