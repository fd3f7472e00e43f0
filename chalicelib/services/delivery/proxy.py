"""A guest's way to a hub: what our client asks of a group elsewhere goes to its delivery service as it is (-02 §2.1).

The client signs for the hub and the hub answers the client; nothing is read here. What is too large to be posted the
client uploads here, because a hub takes uploads from its own users only, and posts a reference to it:

    reference → upload is here → kept for the hub → reference forwarded → fetched by the hub, in pieces → answer

Until it is forwarded nothing has happened that a repeat would not do again. Peers that the operator admitted are
reached in this way, and nobody else, so that this is no door to the rest of the network.
"""

import dataclasses

from chalicelib.errors import Unavailable
from chalicelib.protocol.delivery import media
from chalicelib.protocol.delivery.messages import ROUTES, DSRequestType
from chalicelib.protocol.delivery.refusals import AskDirectly, NotPassedOn
from chalicelib.services.delivery.enclosures import Enclosures
from chalicelib.services.delivery.limits import FORWARDED_BY_SOURCE, FORWARDED_TO_PEER
from chalicelib.services.delivery.ports import DsPeers, PeerCalls
from chalicelib.services.delivery.uploading import Uploading
from chalicelib.services.limits import Limits, network
from chalicelib.services.ports import Clock, Unreachable

NOT_FORWARDED = frozenset(
    {
        DSRequestType.CREATE_GROUP,
        DSRequestType.REQUEST_GROUP_ID,
        DSRequestType.PUBLIC_KEY,
        DSRequestType.KEY_PACKAGES,
        DSRequestType.PUBLISH_KEY_PACKAGES,
        DSRequestType.UPLOAD,
    }
)
"""What a client asks of its own delivery service: none of these is about a group that is elsewhere."""

ANSWERS = frozenset({media.DS_RESPONSE, "application/problem+json"})
"""What a delivery service answers in; anything else is not passed on in our name."""


@dataclasses.dataclass(frozen=True, slots=True)
class Proxy:
    """Passes requests on to peers; `domain` is this delivery service's."""

    peers: DsPeers
    calls: PeerCalls
    uploading: Uploading
    enclosures: Enclosures
    limits: Limits
    clock: Clock
    domain: str

    def forward(self, domain: str, operation: str, media_type: str, body: bytes, source: str) -> tuple[int, str, bytes]:
        """Return what a hub answers: status, media type and body; `source` is the address it came from.

        Raises `Unavailable` where the hub does not answer. The request may have been served all the same, and can be
        repeated as it is: the hub knows it by its digest.
        """
        # [mds-proxy-1] What is for this delivery service is asked directly.
        if domain == self.domain:
            raise AskDirectly
        # [mds-proxy-2] The operation is about a group.
        request_type = ROUTES.get(operation)
        if request_type is None or request_type in NOT_FORWARDED:
            raise NotPassedOn("mds-proxy-2", "the operation is not one that is passed on to other delivery services")
        # [mds-proxy-3] The hub is admitted here.
        peer = self.peers.of_domain(domain)
        if peer is None:
            raise NotPassedOn("mds-proxy-3", "no delivery service of this domain is admitted here")
        now = self.clock()
        self.limits.spend(FORWARDED_BY_SOURCE, network(source), 1, now)
        self.limits.spend(FORWARDED_TO_PEER, domain.encode(), 1, now)
        if media_type == media.DS_REFERENCE:
            # The hub has a time for fetching; what is not there before it is asked costs it that for nothing.
            self.enclosures.keep(domain, self.uploading.fetch_reference(body))
        try:
            status, answered, answer = self.calls.post(peer, f"/ds/v1/{operation}", media_type, body)
        except Unreachable as error:
            raise Unavailable("the hub does not answer", 5) from error
        if answered not in ANSWERS:
            raise Unavailable("the hub answered with something that is no answer", 60)
        return status, answered, answer
