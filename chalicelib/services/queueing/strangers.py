"""Requests about queues that are not the sender's: a bound on what they cost, and none of it for owners.

Whether somebody has a queue's key is known once the queue was read and the signature verified, and anybody may ask for
that. So what fails is counted, by the network it came from. A network that failed too often is turned away for some
seconds before anything is looked at. A process keeps that in mind by itself, so whoever fails nowhere costs no call to
the limiter; another process finds out by one more failure. Counting serves, and bounds nothing, while the limiter is
down.

Owners behind an address that a stranger floods from wait with it, as at every other door that anybody may come to.
"""

import contextlib
import dataclasses
from collections.abc import Iterator

from chalicelib.errors import AlreadyExists, NotFound, NotPermitted, TooManyRequests
from chalicelib.protocol.timestamps import SECOND
from chalicelib.services.limits import LeasedLimit, network
from chalicelib.services.ports import Alarms, Buckets, Clock, Digests
from chalicelib.services.queueing.limits import FAILED_BY_SOURCE

ALARM = "queue-limiter-down"
SHORTEST_PAUSE = 10 * SECOND
"""How long a network is turned away at least: each process looks at one of its failures in that time."""

MOST_TURNED_AWAY = 10_000
"""How many networks a process keeps in mind; it is past caring for those that came first if there are more."""


@dataclasses.dataclass(slots=True)
class _Pause:
    until: int
    looks: int


class TurnedAway:
    """Networks that are turned away for a while, as one process keeps them in mind."""

    def __init__(self) -> None:
        self._pauses: dict[bytes, _Pause] = {}

    def pause(self, owner: bytes, now: int) -> int:
        """Return for how many milliseconds more a network is turned away: 0 where it is not."""
        known = self._pauses.get(owner)
        return 0 if known is None else max(0, known.until - now)

    def look(self, owner: bytes) -> bool:
        """Say whether one that is turned away may be looked at all the same, which is one time fewer from then on."""
        known = self._pauses.get(owner)
        if known is None or known.looks <= 0:
            return False
        known.looks -= 1
        return True

    def note(self, owner: bytes, until: int, looks: int = 0) -> None:
        """Turn a network away until then, but for so many looks."""
        self._pauses.pop(owner, None)
        if len(self._pauses) >= MOST_TURNED_AWAY:
            self._pauses.pop(next(iter(self._pauses)))
        self._pauses[owner] = _Pause(until, looks)


class Strangers:
    """Turns away who has failed too often; one instance a container."""

    def __init__(self, buckets: Buckets, digests: Digests, alarms: Alarms, clock: Clock) -> None:
        name = FAILED_BY_SOURCE.name
        self._leased = LeasedLimit(buckets, alarms, name, owners="digest", kind=name, alarm=ALARM, about=name)
        self._digests = digests
        self._clock = clock
        self._turned_away = TurnedAway()

    @contextlib.contextmanager
    def counting_failures(self, source: str) -> Iterator[None]:
        """Judge in here whether a request from an address is an owner's; a refusal is counted against the address.

        Raises `TooManyRequests` before that, or in its place, where too much came from there that was not.
        """
        owner, now = network(source), self._clock()
        if pause := self._turned_away.pause(owner, now):
            raise TooManyRequests(FAILED_BY_SOURCE.name, pause / SECOND)
        try:
            yield
        except (NotFound, NotPermitted, AlreadyExists):
            self._count(owner)
            raise

    def _count(self, owner: bytes) -> None:
        now = self._clock()
        # No address is stored: whose bucket it is stands in its row as a keyed digest.
        name = self._digests.digest("limit", FAILED_BY_SOURCE.name, owner).hex()
        try:
            self._leased.spend(name, FAILED_BY_SOURCE.rate, FAILED_BY_SOURCE.burst, now)
        except TooManyRequests as refused:
            pause = max(SHORTEST_PAUSE, int((refused.retry_after_seconds or 0) * SECOND))
            self._turned_away.note(owner, now + pause)
            raise TooManyRequests(FAILED_BY_SOURCE.name, pause / SECOND) from refused
