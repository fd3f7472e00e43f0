"""The trust list: which other GPs this one speaks to (draft §6 leaves their choice to governments).

There is no discovery of GPs; they are well known. An authority signs a versioned list for each GP, which names
every peer's origins, client certificates, pinned keys, direction and limits. A lower version never replaces a
higher one.
"""

from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec import Meta

from chalicelib.errors import DecodeError, InvalidValue
from chalicelib.protocol.bodies import Body
from chalicelib.protocol.glados.federation_api import Count, read_signed
from chalicelib.protocol.glados.webhooks import is_plain, origin_of
from chalicelib.protocol.signed import Typ, VerifyingKeys, read_jwk, verify

GpId = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}(?!\n)$")]
Thumbprint = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{43}(?!\n)$")]


class PeerLimits(Body, frozen=True, kw_only=True):
    """How much one peer may ask of us."""

    queries_per_second: Annotated[int, Meta(ge=1, le=100_000)] = 100
    burst: Annotated[int, Meta(ge=1, le=1_000_000)] = 1_000
    claims_per_second: Annotated[int, Meta(ge=1, le=100_000)] = 10
    claim_burst: Annotated[int, Meta(ge=1, le=1_000_000)] = 1_000


class PeerKeys(Body, frozen=True, kw_only=True):
    """The peer's pinned public keys (JWK), by purpose; more than one while it rotates."""

    filter: Annotated[list[dict[str, str]], Meta(max_length=4)] = msgspec.field(default_factory=list)
    head: Annotated[list[dict[str, str]], Meta(max_length=4)] = msgspec.field(default_factory=list)
    claim: Annotated[list[dict[str, str]], Meta(max_length=4)] = msgspec.field(default_factory=list)


class Peer(Body, frozen=True, kw_only=True):
    """One other GP. Its first origin is where we ask; an `inbound` peer is never asked.

    Another of its origins is the bucket that its filters are downloaded from, by the links that it redirects to:
    `https://glados-STAGE-filters.s3.REGION.amazonaws.com`. Without it no filter arrives.
    """

    gp: GpId
    name: Annotated[str, Meta(min_length=1, max_length=200)]
    origins: Annotated[list[str], Meta(min_length=1, max_length=8)]
    thumbprints: Annotated[list[Thumbprint], Meta(min_length=1, max_length=8)]
    keys: PeerKeys
    direction: Literal["both", "inbound"] = "both"
    limits: PeerLimits = PeerLimits()

    @property
    def asked(self) -> bool:
        """Whether queries and claims go to this peer."""
        return self.direction == "both"

    def verifying_keys(self, typ: Typ) -> VerifyingKeys:
        """Return the keys pinned for a purpose, by id."""
        pinned = {
            "glados-filter+jwt": self.keys.filter,
            "glados-head+jwt": self.keys.head,
            "glados-claim+jwt": self.keys.claim,
        }
        return dict(read_jwk(jwk) for jwk in pinned[typ])

    def check_origin(self, url: str) -> None:
        """Refuse a URL that does not lie under one of the peer's origins."""
        try:
            inside = origin_of(url) in {origin_of(origin) for origin in self.origins}
            parts = urlsplit(url)
        except ValueError as error:
            raise InvalidValue("the URL is malformed", "callback") from error
        if not is_plain(url):
            raise InvalidValue("the URL is ASCII without spaces", "callback")
        if not inside or parts.scheme != "https" or parts.username or parts.password or parts.fragment:
            raise InvalidValue("the URL does not lie under the peer's origins", "callback")


class TrustList(Body, frozen=True, kw_only=True):
    """All peers of one GP."""

    version: Count
    peers: Annotated[list[Peer], Meta(max_length=250)]


def read_trust_list(token: str, authority: ec.EllipticCurvePublicKey, kid: str, *, gp: str, now: int) -> TrustList:
    """Return the list that the authority signed for `gp`, or raise `DecodeError`."""
    claims = verify(token, "glados-trust-list+jwt", {kid: authority}, issuer="trust-authority", audience=gp, now=now)
    listed: TrustList = read_signed(claims, TrustList)
    seen: set[str] = {gp}
    owners: dict[str, str] = {}
    for peer in listed.peers:
        if peer.gp in seen:
            raise DecodeError("the trust list names a provider twice, or names its own reader")
        seen.add(peer.gp)
        for thumbprint in peer.thumbprints:
            if owners.setdefault(thumbprint, peer.gp) != peer.gp:
                raise DecodeError("the trust list gives one certificate to two providers")
        for typ in ("glados-filter+jwt", "glados-head+jwt", "glados-claim+jwt"):
            peer.verifying_keys(typ)
        for origin in peer.origins:
            peer.check_origin(origin)
    return listed
