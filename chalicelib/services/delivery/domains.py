"""Which queueing services clients may have their queues at: ours, and those of delivery services that were admitted.

A row for any other domain could not be delivered, and would be kept and tried for as long as the log goes back.
"""

import dataclasses
from collections.abc import Iterable

from chalicelib.protocol.delivery.queueing import ClientQueueConfig
from chalicelib.protocol.delivery.records import Records
from chalicelib.protocol.delivery.refusals import InvalidRequest
from chalicelib.services.delivery.ports import DsPeers

MOST_DOMAINS = 64
"""How many other domains a group's queues may be at: each row goes to each. A request cannot name more, either."""


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

    def check_group(self, before: Records, after: Records) -> None:
        """Refuse a change by which a group's queues would be at too many domains.

        Both are of the state that the change is judged by, and the head is compared when it is made. So of two changes
        that each would fit alone, the later one is judged with the earlier one in place.
        """
        named = after.domains.keys() - {self.domain}
        # [mds-domain-3] They are few in the group as a whole, however many requests brought them.
        if len(named) > MOST_DOMAINS and named - before.domains.keys():
            raise InvalidRequest("mds-domain-3", "the group has queues at too many domains")
