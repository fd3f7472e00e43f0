"""The delivery services that this one knows: the operator admits each by hand, with its certificate.

A domain decides where queue entries are sent and whose word a fan-out is, so it is never learnt from a message. Of a
peer that is not admitted nothing is taken, and to it nothing is sent.
"""

import dataclasses
import re

from chalicelib.errors import ClientCertificateRequired, InvalidValue, NotFound, UnknownCertificate
from chalicelib.protocol.domains import is_domain
from chalicelib.services.delivery.ports import DsPeers
from chalicelib.services.delivery.state import DsPeer

_ORIGIN = re.compile(r"https://[a-z0-9.-]+(:[0-9]{1,5})?", re.ASCII)


@dataclasses.dataclass(frozen=True, slots=True)
class Peering:
    """The operator's hand on the peers; each act can be repeated."""

    peers: DsPeers
    own_domain: str

    def admit(self, domain: str, origin: str, thumbprints: frozenset[str]) -> DsPeer:
        """Take a delivery service for a peer, or change where it is and by which certificates it is known.

        Raises `AlreadyExists` where a certificate belongs to another peer or to an application provider.
        """
        if not is_domain(domain):
            raise InvalidValue("a delivery service's domain is a lower-case DNS name", "domain")
        if domain == self.own_domain:
            raise InvalidValue("this delivery service has that domain itself", "domain")
        if not _ORIGIN.fullmatch(origin):
            raise InvalidValue("an origin is https://HOST or https://HOST:PORT, in lower case", "origin")
        if not thumbprints:
            raise InvalidValue("at least one certificate is needed", "certificates")
        peer = DsPeer(domain, origin, thumbprints)
        self.peers.put(peer)
        return peer

    def dismiss(self, domain: str) -> None:
        """Neither take from a peer nor send to it any more (caches hold for up to 60 s)."""
        if self.peers.of_domain(domain) is None:
            raise NotFound("no delivery service of this domain is admitted")
        self.peers.remove(domain)


def calling(peers: DsPeers, thumbprint: str | None) -> DsPeer:
    """Return the delivery service that a client certificate belongs to, or raise why there is none."""
    if thumbprint is None:
        raise ClientCertificateRequired("this route is served to client certificates only")
    if (peer := known(peers, thumbprint)) is None:
        raise UnknownCertificate("the client certificate belongs to no delivery service that is admitted here")
    return peer


def known(peers: DsPeers, thumbprint: str | None) -> DsPeer | None:
    """Return the delivery service that a client certificate belongs to, where anybody may call, with one or without."""
    return None if thumbprint is None else peers.of_thumbprint(thumbprint)
