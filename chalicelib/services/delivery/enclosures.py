"""Messages that are too large for a request between domains: the request refers to them, and the peer comes for them.

    request too large → largest messages kept for the peer → referred to → enqueued → fetched by the peer, in pieces

A gateway takes 4.5 MB; a commit may have 64 MB, and so may the Welcomes of one commit together. What is referred to
is kept before the request goes out, anew with each try: so it is there whenever the peer is asked to come for it, also
if that is the first time after 30 days, and the log alone has to remember it until then. It is forgotten some days
after the last try. Only the peer that it was kept for finds it; another one's digest of it is worth nothing.

What a client of ours uploaded for a hub goes there in the same way (`proxy`).
"""

import dataclasses
import hashlib

from chalicelib.errors import NotFound
from chalicelib.protocol.delivery.parts import BodyReference
from chalicelib.protocol.delivery.queueing import Delivery, EnqueueRequest
from chalicelib.services.delivery.ports import PeerBodies

LARGEST_REQUEST = 3 << 20
PIECE = 3 << 20
"""How much of a message one answer brings along."""


@dataclasses.dataclass(frozen=True, slots=True)
class Enclosures:
    """Makes requests fit, and hands over what was left out of them; `domain` is this delivery service's."""

    bodies: PeerBodies
    domain: str

    def fit(self, domain: str, request: EnqueueRequest) -> EnqueueRequest:
        """Return a request as it can go to a domain; what it only refers to then is there to be fetched.

        The largest messages are left out first, so that it is few. Our own domain is called directly.
        """
        if domain == self.domain:
            return request
        size = len(request.encode())
        if size <= LARGEST_REQUEST:
            return request
        deliveries = list(request.deliveries)
        for place in sorted(range(len(deliveries)), key=lambda place: _size(deliveries[place]), reverse=True):
            if size <= LARGEST_REQUEST:
                break
            referring = self._refer(domain, deliveries[place])
            size -= len(deliveries[place].encode()) - len(referring.encode())
            deliveries[place] = referring
        return dataclasses.replace(request, deliveries=tuple(deliveries))

    def keep(self, domain: str, content: bytes) -> BodyReference:
        """Keep a message for a domain, and return the reference by which it can be told of it."""
        reference = BodyReference(hashlib.sha256(content).digest(), len(content))
        self.bodies.keep(domain, reference.sha256, content)
        return reference

    def read(self, domain: str, sha256: bytes, offset: int) -> tuple[bytes, int]:
        """Return some bytes of what was kept for a domain, from an offset, and the length of the whole."""
        try:
            return self.bodies.read(domain, sha256, offset, PIECE)
        except LookupError as error:
            raise NotFound("nothing is kept for this domain that is this, or so long") from error

    def _refer(self, domain: str, delivery: Delivery) -> Delivery:
        if isinstance(delivery.message, BodyReference):
            return delivery
        return dataclasses.replace(delivery, message=self.keep(domain, delivery.message))


def _size(delivery: Delivery) -> int:
    return 0 if isinstance(delivery.message, BodyReference) else len(delivery.message)
