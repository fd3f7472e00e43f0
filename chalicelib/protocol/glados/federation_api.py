"""The bodies between GLADOS providers (draft §8.1, §9, §10), as typed values.

Two objects are signed, because they are cached and carried on: the `Manifest`, once per filter version, and the
`Head`, once per change of it. Positions, sequence numbers and versions are integers; `at` is in the publisher's
time. What a peer sends is decoded as strictly as what a provider sends.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from chalicelib.errors import DecodeError
from chalicelib.protocol.base64url import decode_base64url
from chalicelib.protocol.bodies import Answer, Body
from chalicelib.protocol.glados.client_api import MappingAnswer, SiiText
from chalicelib.protocol.glados.filters import LARGEST_N, Parameters
from chalicelib.protocol.glados.mappings import Mapping, MappingId, Provider
from chalicelib.protocol.timestamps import parse_time

MOST_BITS = 1_000
MOST_REFS = 100

Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}(?!\n)$")]
Count = Annotated[int, Meta(ge=0, le=2**53)]


Moment = Annotated[str, Meta(max_length=24, description="RFC 3339 in UTC with milliseconds")]
Jws = Annotated[str, Meta(min_length=1, max_length=16_384)]
GpName = Annotated[str, Meta(min_length=1, max_length=32)]


class PeerQuery(Body, frozen=True, kw_only=True):
    """`POST /federation/v1/queries`; `asker` is a daily pseudonym of the provider behind the question."""

    sii: SiiText
    asker: Annotated[str, Meta(min_length=1, max_length=64)]


class PeerMapping(Body, frozen=True, kw_only=True):
    """One mapping as GPs tell each other: no mapping id, no state."""

    provider_id: Annotated[str, Meta(min_length=1, max_length=64)]
    provider_name: Annotated[str, Meta(min_length=1, max_length=200)]
    user_id: Annotated[str, Meta(min_length=1, max_length=256)]
    ssi: Annotated[str, Meta(min_length=1, max_length=2000)]
    gp: Annotated[str, Meta(min_length=1, max_length=32)]
    source: Literal["verified", "bulk"]
    registered_at: str
    preferred_at: str | None
    tags: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=32)]

    @classmethod
    def of(cls, mapping: Mapping) -> "PeerMapping":
        """Write a local mapping for a peer."""
        return msgspec.convert(msgspec.to_builtins(MappingAnswer.of(mapping, own=False)), cls)

    def read(self, gp: str) -> Mapping:
        """Return the mapping, which must be the answering peer's own, or raise `DecodeError`."""
        if self.gp != gp:
            raise DecodeError("a peer answered for another provider's region")
        return Mapping(
            mapping_id=MappingId(""),
            provider=Provider(self.provider_id, self.provider_name, self.gp),
            user_id=self.user_id,
            ssi=self.ssi,
            source=self.source,
            registered_at=parse_time(self.registered_at, "registered_at"),
            preferred_at=None if self.preferred_at is None else parse_time(self.preferred_at, "preferred_at"),
            tags=tuple(self.tags),
        )


class PeerMappings(Body, frozen=True, kw_only=True):
    """What a peer holds for an SII: its local records only."""

    mappings: Annotated[list[PeerMapping], Meta(max_length=64)]


class ObjectRef(Body, frozen=True, kw_only=True):
    """The size and digest of an immutable object."""

    bytes: Count
    sha256: Sha256


class Manifest(Body, frozen=True, kw_only=True):
    """What stays true of a filter version: signed once, when it is published.

    The base is the set as it was cut at `created_at`; base ∪ deltas with `at` ≥ `created_at` is the whole set.
    """

    gp: str
    version: Count
    created_at: str
    n: Annotated[int, Meta(ge=3, le=LARGEST_N)]
    k: Annotated[int, Meta(ge=1, le=32)]
    salt: Annotated[str, Meta(max_length=88)]
    hash: Literal["sha-256"]
    keys: Count
    bits_set: Count
    raw: ObjectRef
    rice: ObjectRef
    expires_at: str

    @property
    def parameters(self) -> Parameters:
        """Return how identifiers become positions in this version."""
        return Parameters(self.n, self.k, decode_base64url(self.salt))


class Head(Body, frozen=True, kw_only=True):
    """Where a version stands: signed at each change.

    `seq` counts changes and `at` strictly increases. `digest` chains the digests of the deltas in order, and
    `bits_set` is the size of base ∪ deltas, so a reader that missed a delta sees it.
    """

    gp: str
    version: Count
    seq: Count
    at: str
    bits_set: Count
    digest: Sha256
    state: Literal["current", "retiring"]


class DeltaRef(Body, frozen=True, kw_only=True):
    """An immutable delta: what the changes `from_seq` to `to_seq` (both included) added, gap-coded."""

    from_seq: Count = msgspec.field(name="from")
    to_seq: Count = msgspec.field(name="to")
    at: Moment
    bits: Count
    bytes: Count
    sha256: Sha256


class FilterAnswer(Body, frozen=True, kw_only=True):
    """`GET /federation/v1/filter`: the manifest and head as JWS, and the newest deltas, at most 100."""

    manifest: Jws
    head: Jws
    deltas: Annotated[list[DeltaRef], Meta(max_length=MOST_REFS)]


class SubscriptionRequest(Body, frozen=True, kw_only=True):
    """`POST /federation/v1/subscriptions`, with `since` (publisher's time, included) or `after` (a seq)."""

    version: Count
    callback: Annotated[str, Meta(min_length=1, max_length=2000)]
    since: Moment | UnsetType = UNSET
    after: Count | UnsetType = UNSET


Bits = Annotated[list[Count], Meta(max_length=MOST_BITS)]
Deltas = Annotated[list[DeltaRef], Meta(max_length=MOST_REFS)]


class SubscriptionAnswer(Body, frozen=True, kw_only=True):
    """What the subscriber missed until now, as positions or, where they are many, as deltas."""

    subscription_id: str
    version: Count
    seq: Count
    bits: Bits | UnsetType = UNSET
    deltas: Deltas | UnsetType = UNSET


class Notification(Body, frozen=True, kw_only=True):
    """`POST /federation/v1/notifications`, the subscriber's side: everything since the last acknowledged seq."""

    gp: GpName
    version: Count
    seq: Count
    at: Moment
    head: Jws
    bits: Bits | UnsetType = UNSET
    deltas: Deltas | UnsetType = UNSET


class ClaimRequest(Body, frozen=True, kw_only=True):
    """`POST /federation/v1/claims`."""

    claim: Jws


class Claim(Body, frozen=True, kw_only=True):
    """What a claim's JWS says: a user whom `iss` verified chose a provider there (draft §10)."""

    iss: str
    aud: str
    jti: Annotated[str, Meta(min_length=1, max_length=64)]
    iat: int
    exp: int
    sii: SiiText
    mapping: PeerMapping
    choice: Literal["prefer", "replace"]
    preferred_at: Moment
    verified_at: Moment
    channel: Literal["sms", "email"]


class ClaimAnswer(Answer, frozen=True, kw_only=True):
    """Whether the claim changed anything here; a repeat says the same."""

    state: Literal["applied", "unknown"]


def read_signed(claims: dict[str, Any], as_type: type[Body]) -> Any:
    """Turn the verified claims of a JWS into their type, or raise `DecodeError`."""
    plain = {
        name: value
        for name, value in claims.items()
        if name in as_type.__struct_fields__ or name not in ("iss", "iat", "exp", "jti", "aud")
    }
    try:
        return msgspec.convert(plain, as_type)
    except msgspec.ValidationError as error:
        raise DecodeError("the signed object has not the members of its kind") from error
