"""The port `Buckets`: token buckets, one row each, changed by compare-and-swap.

A bucket is stored as millionths of tokens and the moment they were counted at. It fills by the clock of whoever
takes, and time that runs backwards fills nothing. The sketch of what was seen belongs to one day (UTC).

A container remembers each row as it last left it and writes on the condition that it still is so. Where another
container has changed it since, the refusal brings the row along. So a bucket is read once, not each time.
"""

import dataclasses
import math
import threading

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.protocol import sketch as sketches
from chalicelib.protocol.timestamps import DAY, SECOND
from chalicelib.services.ports import Unreachable
from chalicelib.storage.dynamodb import ConditionFailed, Database, Item, Put, Update, number
from chalicelib.storage.notation import gone_at

TABLE = "bucket"
ATTEMPTS = 10
CROWDED = 50  # Milliseconds until a bucket that many take from is worth another try.
MOST_REMEMBERED = 4_096
_MICRO = 1_000_000


@dataclasses.dataclass(slots=True)
class _Remembered:
    """A bucket's row, or None where there was none, once it is `read`; threads take their turns under `lock`."""

    row: Item | None = None
    read: bool = False
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)


class AwsBuckets:
    """Buckets of one stage."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._remembered: dict[tuple[str, str], _Remembered] = {}

    def take(
        self, owner: str, kind: str, want: int, rate: float, burst: int, now: int, sketch: bytes = b""
    ) -> tuple[int, int, bytes]:
        """Debit up to `want` tokens; return them, the wait for the next one, and the day's sketch."""
        try:
            known = self._known(owner, kind)
            with known.lock:
                for attempt in range(ATTEMPTS):
                    taken = self._try(known, owner, kind, want, rate, burst, now, sketch)
                    if taken is not None:
                        return taken
                    self.database.wait(min(attempt, 3))
        except (ClientError, BotoCoreError, TimeoutError) as error:
            raise Unreachable("the limiter cannot be asked") from error
        return 0, CROWDED, sketch  # Many take at once: whoever comes too late waits, and none is let through.

    def _known(self, owner: str, kind: str) -> _Remembered:
        if len(self._remembered) >= MOST_REMEMBERED:
            self._remembered = {}
        return self._remembered.setdefault((owner, kind), _Remembered())

    def _try(
        self, known: _Remembered, owner: str, kind: str, want: int, rate: float, burst: int, now: int, sketch: bytes
    ) -> tuple[int, int, bytes] | None:
        """Take once, or return None if another was quicker."""
        key: Item = {"owner": owner, "kind": kind}
        remembered = known.read
        if not remembered:
            known.row, known.read = self.database.get(TABLE, key), True
        row = known.row
        tokens, at, seen, version = burst * _MICRO, now, b"", 0
        if row is not None:
            version = number(row, "v")
            gained = max(0, int((now - number(row, "at")) * rate * _MICRO / SECOND))
            at = now if gained else number(row, "at")  # What is less than a millionth keeps its time.
            tokens = min(burst * _MICRO, number(row, "tokens") + gained)
            kept = row.get("sketch", b"")
            if isinstance(kept, bytes) and number(row, "day", -1) == now // DAY:
                seen = kept
        taken = max(0, min(want, tokens // _MICRO))
        left = tokens - taken * _MICRO
        merged = sketches.merge(seen, sketch) if seen or sketch else b""
        wait = 0 if left >= _MICRO else math.ceil((_MICRO - left) * SECOND / (rate * _MICRO)) if rate > 0 else DAY
        if row is not None and not taken and merged == seen:
            if remembered:  # Somebody may have given tokens back since: nobody is refused by memory alone.
                known.read = False
                return self._try(known, owner, kind, want, rate, burst, now, sketch)
            return 0, wait, merged  # An empty bucket is not written again for each that finds it empty.
        changed: Item = {
            **key,
            "v": version + 1,
            "tokens": left,
            "at": at,
            "day": now // DAY,
            "sketch": merged,
            "gone_at": gone_at(now + 2 * DAY),
        }
        condition = "attribute_not_exists(#v)" if row is None else "#v = :before"
        try:
            self.database.write(Put(TABLE, changed, condition, {} if row is None else {"before": version}))
        except ConditionFailed as failed:
            known.row = failed.row
            return None
        known.row = changed
        return taken, wait, merged

    def give_back(self, owner: str, kind: str, tokens: int, burst: int) -> None:
        """Return tokens, at most until the bucket is full; a bucket that has gone is full."""
        key: Item = {"owner": owner, "kind": kind}
        full = burst * _MICRO
        try:
            self._give(key, "SET #v = #v + :one, #tokens = #tokens + :given", "#tokens <= :room", tokens * _MICRO, full)
        except ConditionFailed as failed:
            if failed.row is None:
                return
            try:
                self._give(key, "SET #v = #v + :one, #tokens = :full", "#tokens > :room", tokens * _MICRO, full)
            except ConditionFailed:
                return  # Others took some meanwhile. Too few tokens is the side to err on.
        except (ClientError, BotoCoreError) as error:
            raise Unreachable("the limiter cannot be asked") from error

    def _give(self, key: Item, change: str, condition: str, given: int, full: int) -> None:
        values: Item = {"one": 1, "room": full - given, **({"full": full} if ":full" in change else {"given": given})}
        self.database.write(Update(TABLE, key, change, condition, values))
