"""How much one application provider may ask and send (draft §8.1, §11.2).

Query limits follow from the number of users an AP has registered, because an AP without users has nobody to ask
for. Their tokens are leased (`services.limits`).

How many *distinct* identifiers an AP may ask for in a day is bounded too; containers merge what they saw when
they lease.
"""

import contextlib
import dataclasses
import math

from chalicelib.errors import SendingPaused, TooManyRequests, Unavailable
from chalicelib.protocol import sketch
from chalicelib.protocol.glados.identifiers import Sii, phone_region
from chalicelib.protocol.glados.trust import Peer
from chalicelib.protocol.timestamps import DAY, SECOND
from chalicelib.services.accounts.state import Account
from chalicelib.services.limits import Allowance, Lease, LeasedLimit
from chalicelib.services.ports import Alarms, Buckets, Digests, Unreachable

FLOOR_RATE = 10.0  # Queries a second for any AP in good standing.
FLOOR_BURST = 200
RATE_A_USER = 50 / (DAY / SECOND)  # Fifty look-ups a user and day.
FLOOR_DISTINCT = 20_000
DISTINCT_A_USER = 10

Guard = contextlib.AbstractContextManager[object]
UNGUARDED: Guard = contextlib.nullcontext()

SENDS_BURST = 200
SENDS_A_MINUTE = 60
REGION_BURST = 100


@dataclasses.dataclass(slots=True)
class _Lease(Lease):
    seen: bytes = sketch.EMPTY
    distinct: int = 0
    day: int = 0


class QueryLimits:
    """Admits queries; one instance a container.

    Where many threads share an instance, `guard` lets in one at a time. While one renews a lease, the others wait
    for its tokens instead of debiting some of their own.
    """

    def __init__(self, buckets: Buckets, digests: Digests, alarms: Alarms, guard: Guard = UNGUARDED) -> None:
        self.buckets = buckets
        self.digests = digests
        self.alarms = alarms
        self.guard = guard
        self._leases: dict[str, _Lease] = {}

    def admit(self, account: Account, sii: Sii, now: int) -> Allowance:
        """Spend one token of the account's, or raise `TooManyRequests`.

        When the limiter itself is down, an AP that is in good standing is served and an alarm is raised.
        """
        with self.guard:
            return self._admit(account, sii, now)

    def _admit(self, account: Account, sii: Sii, now: int) -> Allowance:
        rate = account.query_rate or max(FLOOR_RATE, account.users * RATE_A_USER)
        burst = max(FLOOR_BURST, math.ceil(2 * rate))
        lease = self._leases.setdefault(account.provider_id, _Lease())
        if lease.day != now // DAY:
            lease.seen, lease.distinct, lease.day = sketch.EMPTY, 0, now // DAY
        lease.seen = sketch.add(lease.seen, self.digests.digest("sketch", sii.uri))
        wait = 0
        if lease.left <= 0 or lease.is_over(now):
            wait = self._renew(lease, account.provider_id, rate, burst, now)
        if lease.distinct > max(FLOOR_DISTINCT, DISTINCT_A_USER * account.users, 3600 * (account.query_rate or 0)):
            raise TooManyRequests("distinct-identifiers-a-day", (DAY - now % DAY) / SECOND)
        if lease.left <= 0:
            raise TooManyRequests("queries", wait / SECOND)
        lease.left -= 1
        return Allowance("queries", burst, math.ceil(burst / rate), lease.left, math.ceil(1 / rate))

    def _renew(self, lease: _Lease, provider_id: str, rate: float, burst: int, now: int) -> int:
        size = lease.next_size(now)
        try:
            taken, wait, merged = self.buckets.take(provider_id, "queries", size, rate, burst, now, lease.seen)
        except Unreachable:
            # Being found matters more than counting: an AP in good standing is served meanwhile.
            self.alarms.raise_("query-limiter-down", provider_id)
            taken, wait, merged = 1, 0, lease.seen
        lease.renew(size, taken, now)
        lease.seen, lease.distinct = merged, sketch.estimate(merged)
        return wait


@dataclasses.dataclass(frozen=True, slots=True)
class SendLimits:
    """Bounds the messages one AP may have sent, and all APs to one region. It fails closed."""

    buckets: Buckets

    def admit(self, account: Account, sii: Sii, now: int) -> Allowance:
        """Spend one send of the account's (and of the region's), or raise `TooManyRequests` and spend nothing.

        When the limiter is down nothing is sent: an SMS costs money, and its receiver's patience.
        """
        try:
            return self._admit(account, sii, now)
        except Unreachable as error:
            raise Unavailable("the limits on messages cannot be checked just now") from error

    def _admit(self, account: Account, sii: Sii, now: int) -> Allowance:
        a_minute = account.send_rate or SENDS_A_MINUTE
        burst = max(SENDS_BURST, a_minute)
        taken, wait, _ = self.buckets.take(account.provider_id, "sends", 1, a_minute / 60, burst, now)
        if not taken:
            raise TooManyRequests("sends-by-provider", wait / SECOND)
        if sii.channel == "sms":
            region = phone_region(sii)
            taken, wait, _ = self.buckets.take(f"region:{region}", "sends", 1, SENDS_A_MINUTE / 60, REGION_BURST, now)
            if not taken:
                self.buckets.give_back(account.provider_id, "sends", 1, burst)
                raise TooManyRequests("sends-to-region", wait / SECOND)
        return Allowance("sends", burst, math.ceil(burst * 60 / a_minute), 0, math.ceil(60 / a_minute))

    def give_back(self, account: Account, sii: Sii) -> None:
        """Return what `admit` spent for a message that was not sent after all."""
        self.buckets.give_back(account.provider_id, "sends", 1, max(SENDS_BURST, account.send_rate or 0))
        if sii.channel == "sms":
            self.buckets.give_back(f"region:{phone_region(sii)}", "sends", 1, REGION_BURST)


def check_success(account: Account, sends: int, successes: int) -> None:
    """Refuse further sends to an AP whose codes are hardly ever entered: that is how SMS pumping looks."""
    if sends >= 100 and successes * 5 < sends:
        raise SendingPaused(
            f"of {account.provider_id}'s {sends} codes of the last hour fewer than one in five came back"
        )


class PeerQueryLimits:
    """Admits peers' queries within what the trust list allows each; leased like an AP's."""

    def __init__(self, buckets: Buckets, alarms: Alarms) -> None:
        self._queries = LeasedLimit(
            buckets, alarms, "queries-by-peer", owners="gp", kind="queries", alarm="peer-limiter-down"
        )

    def admit(self, peer: Peer, now: int) -> None:
        """Spend one token of the peer's, or raise `TooManyRequests`; serves the peer when the limiter is down."""
        self._queries.spend(peer.gp, peer.limits.queries_per_second, peer.limits.burst, now)
