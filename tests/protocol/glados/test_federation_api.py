"""The bodies between GPs: what a peer sends is decoded as strictly as what a provider sends."""

import dataclasses
import json
from typing import Any

import msgspec
import pytest

from chalicelib.errors import DecodeError
from chalicelib.protocol.base64url import encode_base64url
from chalicelib.protocol.bodies import Body
from chalicelib.protocol.glados.federation_api import (
    MOST_BITS,
    Claim,
    ClaimRequest,
    FilterAnswer,
    Head,
    Manifest,
    Notification,
    PeerMapping,
    PeerMappings,
    PeerQuery,
    SubscriptionAnswer,
    SubscriptionRequest,
    read_signed,
)
from chalicelib.protocol.glados.filters import Parameters
from chalicelib.protocol.glados.mappings import Mapping, MappingId, Provider

AT = "2026-01-01T00:00:00.000Z"
DIGEST = "0" * 64

MAPPING = Mapping(
    mapping_id=MappingId("map_1"),
    provider=Provider("gamma", "Gamma", "us"),
    user_id="alice",
    ssi="im:alice@gamma.example",
    source="verified",
    registered_at=1_767_225_600_000,
    tags=("home",),
    sequence=7,
)

PEER_MAPPING: dict[str, object] = {
    "provider_id": "gamma",
    "provider_name": "Gamma",
    "user_id": "alice",
    "ssi": "im:alice@gamma.example",
    "gp": "us",
    "source": "verified",
    "registered_at": AT,
    "preferred_at": None,
    "tags": ["home"],
}
DELTA: dict[str, object] = {"from": 1, "to": 2, "at": AT, "bits": 3, "bytes": 60, "sha256": DIGEST}
MANIFEST: dict[str, object] = {
    "gp": "us",
    "version": 1,
    "created_at": AT,
    "n": 20,
    "k": 1,
    "salt": "",
    "hash": "sha-256",
    "keys": 0,
    "bits_set": 0,
    "raw": {"bytes": 131_072, "sha256": DIGEST},
    "rice": {"bytes": 60, "sha256": DIGEST},
    "expires_at": AT,
}
HEAD: dict[str, object] = {
    "gp": "us", "version": 1, "seq": 2, "at": AT, "bits_set": 3, "digest": DIGEST, "state": "current",
}  # fmt: skip
CLAIM: dict[str, object] = {
    "iss": "us",
    "aud": "eu",
    "jti": "1",
    "iat": 1,
    "exp": 2,
    "sii": "tel:+4930123456",
    "mapping": PEER_MAPPING,
    "choice": "replace",
    "preferred_at": AT,
    "verified_at": AT,
    "channel": "sms",
}

GOOD: list[tuple[type[Body], dict[str, object]]] = [
    (PeerQuery, {"sii": "tel:+4930123456", "asker": "a"}),
    (PeerMappings, {"mappings": [PEER_MAPPING]}),
    (Manifest, MANIFEST),
    (Head, HEAD),
    (FilterAnswer, {"manifest": "a", "head": "b", "deltas": [DELTA]}),
    (SubscriptionRequest, {"version": 1, "callback": "https://us.example/"}),
    (SubscriptionRequest, {"version": 1, "callback": "https://us.example/", "after": 0, "since": AT}),
    (SubscriptionAnswer, {"subscription_id": "s", "version": 1, "seq": 2, "bits": [1, 2]}),
    (SubscriptionAnswer, {"subscription_id": "s", "version": 1, "seq": 2, "deltas": [DELTA]}),
    (Notification, {"gp": "us", "version": 1, "seq": 2, "at": AT, "head": "b", "bits": [1]}),
    (ClaimRequest, {"claim": "a"}),
    (Claim, CLAIM),
]


def refuses(kind: type[Body], body: object) -> bool:
    """Tell whether a body is refused as one of its kind."""
    try:
        msgspec.json.decode(json.dumps(body), type=kind)
    except msgspec.ValidationError:
        return True
    return False


@pytest.mark.parametrize(("kind", "body"), GOOD)
def test_a_documented_body_is_taken_whole(kind: type[Body], body: dict[str, object]) -> None:
    assert msgspec.to_builtins(msgspec.json.decode(json.dumps(body), type=kind)) == body


@pytest.mark.parametrize(("kind", "body"), GOOD)
def test_a_field_that_is_not_documented_is_refused(kind: type[Body], body: dict[str, object]) -> None:
    assert refuses(kind, {**body, "more": 1})


@pytest.mark.parametrize(
    ("kind", "body", "name"),
    [
        (kind, body, name)
        for kind, body in GOOD
        for name in body
        if name not in {"after", "since", "bits", "deltas"} or kind is FilterAnswer
    ],
)
def test_a_field_that_is_missing_is_refused(kind: type[Body], body: dict[str, object], name: str) -> None:
    assert refuses(kind, {field: body[field] for field in body if field != name})


@pytest.mark.parametrize("value", [-1, 2**53 + 1, 1.0, "1", True, None])
@pytest.mark.parametrize(
    ("kind", "name"), [(Head, "seq"), (Head, "version"), (Manifest, "keys"), (Notification, "seq")]
)
def test_a_count_is_an_integer_that_every_json_reader_holds(kind: type[Body], name: str, value: object) -> None:
    good = next(body for known, body in GOOD if known is kind)
    assert refuses(kind, {**good, name: value})


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (PeerQuery, {"asker": ""}),
        (PeerQuery, {"asker": "a" * 65}),
        (PeerMappings, {"mappings": [PEER_MAPPING] * 65}),
        (PeerMappings, {"mappings": [{**PEER_MAPPING, "mapping_id": "map_1"}]}),
        (PeerMappings, {"mappings": [{**PEER_MAPPING, "state": "active"}]}),
        (PeerMappings, {"mappings": [{**PEER_MAPPING, "user_id": ""}]}),
        (PeerMappings, {"mappings": [{**PEER_MAPPING, "source": "hearsay"}]}),
        (PeerMappings, {"mappings": [{**PEER_MAPPING, "tags": ["t"] * 33}]}),
        (Manifest, {"n": 37}),
        (Manifest, {"n": 2}),
        (Manifest, {"k": 0}),
        (Manifest, {"hash": "md5"}),
        (Manifest, {"raw": {"bytes": 1, "sha256": DIGEST.replace("0", "A")}}),
        (Manifest, {"raw": {"bytes": 1, "sha256": DIGEST[1:]}}),
        (Manifest, {"raw": {"bytes": 1, "sha256": DIGEST + "\n"}}),
        (Head, {"state": "building"}),
        (Head, {"digest": ""}),
        (FilterAnswer, {"deltas": [DELTA] * 101}),
        (FilterAnswer, {"deltas": [{**DELTA, "from": -1}]}),
        (SubscriptionAnswer, {"bits": [1] * (MOST_BITS + 1)}),
        (SubscriptionAnswer, {"bits": [-1]}),
        (SubscriptionAnswer, {"bits": None}),
        (Notification, {"bits": [1] * (MOST_BITS + 1)}),
        (ClaimRequest, {"claim": "a" * 16_385}),
        (Claim, {"choice": "keep"}),
        (Claim, {"iat": 1.5}),
    ],
)
def test_a_value_beyond_its_bounds_is_refused(kind: type[Body], change: dict[str, object]) -> None:
    good = next(body for known, body in GOOD if known is kind)
    assert refuses(kind, {**good, **change})


# --- mappings between GPs


def test_a_mapping_travels_without_its_id_its_state_and_its_notices() -> None:
    sent = PeerMapping.of(MAPPING)
    assert msgspec.to_builtins(sent) == PEER_MAPPING
    assert sent.read("us") == dataclasses.replace(MAPPING, mapping_id=MappingId(""), sequence=0)


def test_a_peer_answers_for_itself_only() -> None:
    with pytest.raises(DecodeError):
        PeerMapping.of(MAPPING).read("eu")


@pytest.mark.parametrize("name", ["registered_at", "preferred_at"])
def test_a_mapping_with_a_malformed_time_is_refused(name: str) -> None:
    sent = msgspec.convert({**PEER_MAPPING, name: "yesterday"}, PeerMapping)
    with pytest.raises(DecodeError):
        sent.read("us")


# --- signed objects


def test_the_members_of_a_jws_that_are_not_its_kinds_own_are_set_aside() -> None:
    around: dict[str, Any] = {"iss": "us", "iat": 1, "exp": 2, "jti": "3", "aud": "eu"}
    assert read_signed({**around, **HEAD}, Head) == msgspec.convert(HEAD, Head)
    assert read_signed(dict(CLAIM), Claim) == msgspec.convert(CLAIM, Claim)


@pytest.mark.parametrize("change", [{"seq": "2"}, {"seq": -1}, {"nbf": 1}, {"state": "building"}])
def test_a_signed_object_of_another_form_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        read_signed({"iss": "us", "iat": 1, **HEAD, **change}, Head)


def test_a_manifest_says_how_identifiers_become_positions() -> None:
    manifest = msgspec.convert({**MANIFEST, "k": 3, "salt": encode_base64url(b"salt")}, Manifest)
    assert manifest.parameters == Parameters(20, 3, b"salt")


@pytest.mark.parametrize("change", [{"k": 13}, {"salt": "a"}, {"salt": "é"}, {"salt": "YQ=="}, {"salt": "A" * 88}])
def test_a_manifest_with_impossible_parameters_is_refused(change: dict[str, object]) -> None:
    manifest = msgspec.convert({**MANIFEST, **change}, Manifest)
    with pytest.raises(DecodeError):
        _ = manifest.parameters
