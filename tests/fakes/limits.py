"""What a caller may repeat and how often: answers by idempotency key, and token buckets."""

import dataclasses
import hashlib
import math
from collections.abc import Sequence

from chalicelib.errors import IdempotencyKeyReused, RequestInFlight
from chalicelib.protocol.timestamps import DAY
from chalicelib.services.provider.ports import StoredAnswer
from tests.fakes.faults import Fake, Faults, fallible, require
from tests.fakes.tables import Tables

ANSWER_LIFE = DAY


@dataclasses.dataclass(frozen=True)
class Begun:
    """A request that was begun, and its answer once there is one."""

    body: bytes
    began_at: int
    until: int
    answer: StoredAnswer | None = None


class MemoryIdempotency(Fake):
    port = "idempotency"

    def __init__(self, faults: Faults, tables: Tables) -> None:
        super().__init__(faults, tables.lock)
        self._rows: dict[tuple[str, ...], Begun] = {}

    @fallible
    def begin(self, key: Sequence[str], body: bytes, now: int, until: int) -> StoredAnswer | None:
        require(until > now, "a request that is given up before it begins")
        known = self._rows.get(tuple(key))
        digest = hashlib.sha256(body).digest()
        if known is not None and now - known.began_at < ANSWER_LIFE:
            if known.body != digest:
                raise IdempotencyKeyReused("the key was used with another body")
            if known.answer is not None:
                return known.answer
            if known.until > now:
                raise RequestInFlight((known.until - now) / 1000)
        self._rows[tuple(key)] = Begun(digest, now, until)
        return None

    @fallible
    def finish(self, key: Sequence[str], answer: StoredAnswer) -> None:
        status, _, _ = answer
        require(status != 429 and status < 500, "an answer that invites a repeat is not kept")
        known = self._rows.get(tuple(key))
        require(known is not None, "a request is finished that never began")
        if known is not None:
            self._rows[tuple(key)] = dataclasses.replace(known, answer=answer)

    @fallible
    def abandon(self, key: Sequence[str]) -> None:
        known = self._rows.get(tuple(key))
        if known is not None and known.answer is None:
            del self._rows[tuple(key)]


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
