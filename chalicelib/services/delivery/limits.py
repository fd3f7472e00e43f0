"""How much one user, source or peer may ask of what would otherwise cost somebody else something.

Whose bucket it is stands in its row as a keyed digest only. Where the limiter is down, nothing is spent and nothing
is done: what is limited here can wait.
"""

import dataclasses
from collections.abc import Sequence

from chalicelib.errors import TooManyRequests, Unavailable
from chalicelib.protocol.timestamps import DAY, HOUR, MINUTE, SECOND
from chalicelib.services.delivery.ports import DsKeys
from chalicelib.services.ports import Buckets, Unreachable


@dataclasses.dataclass(frozen=True, slots=True)
class Limit:
    """A bucket for each owner: so many tokens in so many milliseconds, and `burst` of them at once."""

    name: str
    tokens: int
    each: int
    burst: int

    @property
    def rate(self) -> float:
        """Return the tokens gained in a second."""
        return self.tokens * SECOND / self.each


PUBLISHED = Limit("packages-published-by-user", 600, HOUR, 1_000)
ASKED_BY_USER = Limit("users-asked-for-by-user", 60, HOUR, 200)
ASKED_BY_PEER = Limit("users-asked-for-by-peer", 1_000, MINUTE, 1_000)
CLAIMED = Limit("claims-of-user", 600, HOUR, 600)
UPLOADED = Limit("bytes-uploaded-by-user", 1 << 30, DAY, 1 << 30)
FETCHED = Limit("fetches-of-upload", 60, HOUR, 30)
FETCHED_FROM_PEER = Limit("fetches-from-peer", 240, MINUTE, 240)
FORWARDED_BY_SOURCE = Limit("forwarded-by-source", 600, MINUTE, 300)
FORWARDED_TO_PEER = Limit("forwarded-to-peer", 12_000, MINUTE, 1_000)


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Spends tokens, all that are wanted or none."""

    buckets: Buckets
    keys: DsKeys

    def spend(self, limit: Limit, owner: bytes, want: int, now: int) -> None:
        """Spend an owner's tokens, or raise `TooManyRequests`, which says when there will be enough."""
        name = self._name(limit, owner)
        try:
            taken, wait, _ = self.buckets.take(name, limit.name, want, limit.rate, limit.burst, now)
            if taken < want:
                self.buckets.give_back(name, limit.name, taken, limit.burst)
        except Unreachable as error:
            raise Unavailable("the limits on this cannot be checked just now") from error
        if taken < want:
            raise TooManyRequests(limit.name, wait / SECOND + (want - taken - 1) / limit.rate)

    def spend_each(self, limit: Limit, owners: Sequence[bytes], now: int) -> None:
        """Spend one token of each owner, or of none."""
        for place, owner in enumerate(owners):
            try:
                self.spend(limit, owner, 1, now)
            except (TooManyRequests, Unavailable):
                for spent in owners[:place]:
                    self.give_back(limit, spent, 1)
                raise

    def give_back(self, limit: Limit, owner: bytes, tokens: int) -> None:
        """Return what was spent for nothing; where the limiter is down, it is lost."""
        try:
            self.buckets.give_back(self._name(limit, owner), limit.name, tokens, limit.burst)
        except Unreachable:
            return

    def _name(self, limit: Limit, owner: bytes) -> str:
        return "ds:" + self.keys.digest("limit", limit.name.encode(), owner).hex()
