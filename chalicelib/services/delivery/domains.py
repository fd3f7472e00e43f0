"""Which queueing services clients may have their queues at: ours, and those of delivery services that were admitted.

A row for any other domain could not be delivered, and would be kept and tried for as long as the log goes back.
"""

import dataclasses
from collections.abc import Iterable

from chalicelib.protocol.delivery.queueing import ClientQueueConfig
from chalicelib.protocol.delivery.refusals import InvalidRequest
from chalicelib.services.delivery.ports import DsPeers

MOST_DOMAINS = 64
"""How many domains one request may name."""


@dataclasses.dataclass(frozen=True, slots=True)
class QueueDomains:
    """The domains of queues; `domain` is this delivery service's."""

    peers: DsPeers
    domain: str

    def check(self, configs: Iterable[ClientQueueConfig]) -> None:
        """Refuse queues at a domain that nobody admitted; a peer that came in the last minute may not be known yet."""
        named = {config.ds_domain for config in configs} - {self.domain}
        # [mds-domain-2] They are few: each is looked up, and is delivered to by itself.
        if len(named) > MOST_DOMAINS:
            raise InvalidRequest("mds-domain-2", "the request names queues at too many domains")
        # [mds-domain-1] Each queue is here or at a delivery service that was admitted.
        if any(self.peers.of_domain(domain) is None for domain in sorted(named)):
            raise InvalidRequest("mds-domain-1", "a queue is at a domain that messages are not delivered to")
