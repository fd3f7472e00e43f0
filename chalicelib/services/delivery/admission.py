"""Who may come in at all: a bound on what is decoded, looked up and verified for somebody who may be anybody.

A request costs most before its sender is known. So it is counted by where it comes from: by network or, where it
comes with the certificate of a peer, which counts its own clients, by peer. These tokens are leased, and the service
goes on where the limiter is down. What creates a group, which stays, is counted exactly.
"""

from chalicelib.protocol.delivery.messages import DSRequestType
from chalicelib.services.delivery.limits import ASKED_BY_SOURCE, CREATED_BY_SOURCE, PASSED_ON_BY_PEER
from chalicelib.services.delivery.state import DsPeer
from chalicelib.services.limits import LeasedLimit, Limit, Limits, network
from chalicelib.services.ports import Alarms, Buckets, Clock, Digests

ALARM = "ds-limiter-down"


class Admission:
    """Admits requests to the desk; one instance a container."""

    def __init__(self, buckets: Buckets, digests: Digests, alarms: Alarms, clock: Clock) -> None:
        self._digests = digests
        self._limits = Limits(buckets, digests)
        self._clock = clock
        self._sources = _leased(ASKED_BY_SOURCE, buckets, alarms)
        self._peers = _leased(PASSED_ON_BY_PEER, buckets, alarms)

    def admit(self, operation: str, source: str, peer: DsPeer | None) -> None:
        """Let a request in, or raise `TooManyRequests`; nothing of it has been looked at."""
        now = self._clock()
        if peer is not None:
            self._spend(self._peers, PASSED_ON_BY_PEER, peer.domain.encode(), now)
            return
        owner = network(source)
        self._spend(self._sources, ASKED_BY_SOURCE, owner, now)
        if operation == DSRequestType.CREATE_GROUP.route:
            self._limits.spend(CREATED_BY_SOURCE, owner, 1, now)

    def _spend(self, leased: LeasedLimit, limit: Limit, owner: bytes, now: int) -> None:
        # No address is stored: whose bucket it is stands in its row as a keyed digest.
        name = self._digests.digest("limit", limit.name, owner).hex()
        leased.spend(name, limit.rate, limit.burst, now)


def _leased(limit: Limit, buckets: Buckets, alarms: Alarms) -> LeasedLimit:
    return LeasedLimit(buckets, alarms, limit.name, owners="digest", kind=limit.name, alarm=ALARM, about=limit.name)
