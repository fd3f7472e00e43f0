"""How much may come in, and from whom.

Three bounds, each where it costs least. A source may create some queues a minute. A hub may send so many rows a
second; its tokens are leased, so that a busy hub costs one write in a hundred rows. How fast one group may fill one
queue is bounded in the stream's own row, which is read and written for each row anyhow: a stream is one group's
way to a set of queues, and each row goes into each of them.
"""

import dataclasses
import ipaddress
import math

from chalicelib.errors import TooManyRequests, Unavailable
from chalicelib.protocol.timestamps import SECOND
from chalicelib.services.ports import Alarms, Buckets, Unreachable
from chalicelib.services.queueing.ports import Digests
from chalicelib.services.queueing.state import Stream

CREATIONS_BURST = 100  # From one address, behind which a company or a mobile network may be.
CREATIONS_A_SECOND = 10 / 60

HUB_RATE = 2_000.0
HUB_BURST = 4_000
LEASE_LIFE = 2 * SECOND
LARGEST_LEASE = 100

STREAM_RATE = 20  # Rows of one group a second, into any one queue.
STREAM_BURST = 600
_WHOLE = 1_000


@dataclasses.dataclass(frozen=True, slots=True)
class CreationLimits:
    """Bounds how many queues may be made from one place. It fails closed."""

    buckets: Buckets
    digests: Digests

    def admit(self, source: str, now: int) -> None:
        """Spend one creation of a source's, which is remembered by a keyed digest only."""
        owner = f"source:{self.digests.digest('queue source', network(source)).hex()}"
        try:
            taken, wait, _ = self.buckets.take(owner, "queues", 1, CREATIONS_A_SECOND, CREATIONS_BURST, now)
        except Unreachable as error:
            raise Unavailable("the limits on new queues cannot be checked just now") from error
        if not taken:
            raise TooManyRequests("queues-by-source", wait / SECOND)


def network(source: str) -> str:
    """Return what one subscriber has of the address space: of IPv6 a network of 2^64 addresses."""
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return source
    return str(address) if address.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))


@dataclasses.dataclass(slots=True)
class _Lease:
    left: int = 0
    size: int = 0
    taken_at: int = -LEASE_LIFE


class HubLimits:
    """Admits other hubs' rows; one instance a container. It serves when the limiter is down."""

    def __init__(self, buckets: Buckets, alarms: Alarms) -> None:
        self.buckets = buckets
        self.alarms = alarms
        self._leases: dict[str, _Lease] = {}

    def admit(self, hub: str, now: int) -> None:
        """Spend one token of a hub's, or raise `TooManyRequests`."""
        lease = self._leases.setdefault(hub, _Lease())
        in_time, wait = now - lease.taken_at <= LEASE_LIFE, 0
        if not in_time:
            lease.left = 0
        if lease.left <= 0:
            lease.size = min(LARGEST_LEASE, max(1, lease.size * 2)) if in_time else 1
            try:
                taken, wait, _ = self.buckets.take(f"hub:{hub}", "enqueue", lease.size, HUB_RATE, HUB_BURST, now)
            except Unreachable:
                self.alarms.raise_("hub-limiter-down", hub)
                taken = 1
            lease.left, lease.taken_at = max(0, lease.left) + taken, now
        if lease.left <= 0:
            raise TooManyRequests("rows-by-hub", wait / SECOND)
        lease.left -= 1


def tokens_left(stream: Stream | None, rows: int, now: int) -> int | None:
    """Return a stream's tokens after so many rows, in thousandths, or None if it has too few."""
    tokens = STREAM_BURST * _WHOLE
    if stream is not None:
        gained = max(0, now - stream.at) * STREAM_RATE * _WHOLE // SECOND
        tokens = min(tokens, stream.tokens + math.floor(gained))
    left = tokens - rows * _WHOLE
    return left if left >= 0 else None
