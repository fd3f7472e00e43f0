"""Whom we federate with (draft §6): the peers on the trust list, and how a new list is taken in.

Only the authority's signature and a higher version make a list ours.
"""

import dataclasses

from chalicelib.errors import ClientCertificateRequired, Conflict, UnknownCertificate
from chalicelib.protocol.glados.trust import Peer, TrustList, read_trust_list
from chalicelib.protocol.signed import read_jwk
from chalicelib.services.ports import Clock, Lost
from chalicelib.services.provider.ports import TrustLists


@dataclasses.dataclass(frozen=True, slots=True)
class Peering:
    """The operator's hand on the peers: admits them by the authority's word."""

    trust_lists: TrustLists
    clock: Clock
    gp: str
    authority: dict[str, str]

    def admit(self, token: str) -> TrustList:
        """Verify a signed list for this GP and store it, or raise why not."""
        kid, key = read_jwk(self.authority)
        listed = read_trust_list(token, key, kid, gp=self.gp, now=self.clock())
        try:
            self.trust_lists.replace(listed)
        except Lost as error:
            raise Conflict("the stored trust list has this version or a higher one") from error
        return listed


def calling(trust_lists: TrustLists, thumbprint: str | None) -> Peer:
    """Return the peer GP that a client certificate belongs to, or raise why there is none."""
    if thumbprint is None:
        raise ClientCertificateRequired("this route is served to client certificates only")
    for peer in trust_lists.load().peers:
        if thumbprint in peer.thumbprints:
            return peer
    raise UnknownCertificate("the client certificate belongs to no peer of this provider")
