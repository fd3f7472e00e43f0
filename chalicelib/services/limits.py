"""Limits as token buckets, in the two ways in which use cases spend from them.

`Limits` spends exactly, one write for each time. Whose bucket it is stands in its row as a keyed digest only. It fails
closed: where the limiter is down nothing is spent and nothing is done, because what is limited so can wait.

`LeasedLimit` is for what comes too often for a write each. A container debits some tokens, serves from them for two
seconds, and gives none back, so all containers together admit too few rather than too many. The lease doubles while
it is used up in time, so a busy owner costs one write in a hundred and a quiet one wastes nothing. It serves when the
limiter is down.
"""

import dataclasses
import ipaddress
from collections.abc import Sequence

from chalicelib.errors import TooManyRequests, Unavailable
from chalicelib.protocol.timestamps import SECOND
from chalicelib.services.ports import Alarms, Buckets, Digests, Unreachable

LEASE_LIFE = 2 * SECOND
LARGEST_LEASE = 100
MOST_LEASES = 10_000
"""How many owners a container keeps in mind before it forgets those whose leases are over."""


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


@dataclasses.dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of a limit, as a lower bound: for the RateLimit headers."""

    policy: str
    quota: int
    window_seconds: int
    remaining: int
    reset_seconds: int


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Spends tokens, all that are wanted or none."""

    buckets: Buckets
    digests: Digests

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
        return "digest:" + self.digests.digest("limit", limit.name, owner).hex()


@dataclasses.dataclass(slots=True)
class Lease:
    """Tokens that a container has debited: how many are left, how many they were, and since when."""

    left: int = 0
    size: int = 0
    taken_at: int = -LEASE_LIFE

    def is_over(self, now: int) -> bool:
        """Say whether what is left may not be spent any more."""
        return now - self.taken_at > LEASE_LIFE

    def next_size(self, now: int) -> int:
        """Return how many tokens to debit next."""
        return 1 if self.is_over(now) else min(LARGEST_LEASE, max(1, self.size * 2))

    def renew(self, size: int, taken: int, now: int) -> None:
        """Have so many tokens from now on."""
        self.left, self.size, self.taken_at = taken, size, now


class LeasedLimit:
    """One limit of many owners; one instance a container.

    `name` is what a refusal is told as, `owners` and `kind` set the buckets apart from others', and `alarm` is raised
    where the limiter is down: about the owner, or `about` something where owners are too many or nobody's business.
    """

    def __init__(
        self, buckets: Buckets, alarms: Alarms, name: str, *, owners: str, kind: str, alarm: str, about: str = ""
    ) -> None:
        self.buckets = buckets
        self.alarms = alarms
        self.name = name
        self.owners = owners
        self.kind = kind
        self.alarm = alarm
        self.about = about
        self._leases: dict[str, Lease] = {}

    def spend(self, owner: str, rate: float, burst: int, now: int) -> None:
        """Spend one token of an owner's, or raise `TooManyRequests`."""
        if len(self._leases) >= MOST_LEASES:
            self._leases = {name: lease for name, lease in self._leases.items() if not lease.is_over(now)}
        lease, wait = self._leases.setdefault(owner, Lease()), 0
        if lease.left <= 0 or lease.is_over(now):
            size = lease.next_size(now)
            try:
                taken, wait, _ = self.buckets.take(f"{self.owners}:{owner}", self.kind, size, rate, burst, now)
            except Unreachable:
                self.alarms.raise_(self.alarm, self.about or owner)
                taken = 1
            lease.renew(size, taken, now)
        if lease.left <= 0:
            raise TooManyRequests(self.name, wait / SECOND)
        lease.left -= 1


def network(source: str) -> bytes:
    """Name what one subscriber has of the address space: of IPv6 a network of 2^64 addresses."""
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return source.encode()
    name = address if address.version == 4 else ipaddress.ip_network((address, 64), strict=False)
    return str(name).encode()
