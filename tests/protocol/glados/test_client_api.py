"""The client API's bodies: nothing is taken but what is documented, and nobody sees more than is theirs."""

import json

import msgspec
import pytest

from chalicelib.protocol.bodies import Body
from chalicelib.protocol.glados.client_api import (
    Choice,
    Code,
    Empty,
    MappingAnswer,
    Query,
    Search,
    VerificationRequest,
    Webhook,
)
from chalicelib.protocol.glados.mappings import Mapping, MappingId, Provider

GOOD: list[tuple[type[Body], dict[str, object]]] = [
    (Query, {"sii": "tel:+4930123456"}),
    (Search, {"sii": "tel:+4930123456"}),
    (VerificationRequest, {"sii": "tel:+4930123456", "user_id": "alice"}),
    (VerificationRequest, {"sii": "tel:+4930123456", "user_id": "alice", "locale": "zh-Hant-TW", "channel": "sms"}),
    (Code, {"user_id": "alice", "code": "012345"}),
    (Choice, {"sii": "tel:+4930123456", "user_id": "alice", "choice": "keep"}),
    (Webhook, {"url": "https://alpha.example/hook"}),
    (Empty, {}),
]

MAPPING = Mapping(
    mapping_id=MappingId("map_1"),
    provider=Provider("alpha", "Alpha", "eu"),
    user_id="alice",
    ssi="im:alice@alpha.example",
    source="verified",
    registered_at=0,
    preferred_at=1,
    tags=("home",),
)


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


REQUIRED = [(kind, body, name) for kind, body in GOOD for name in body if name not in {"locale", "channel"}]


@pytest.mark.parametrize(("kind", "body", "name"), REQUIRED)
def test_a_field_that_is_missing_is_refused(kind: type[Body], body: dict[str, object], name: str) -> None:
    assert refuses(kind, {field: body[field] for field in body if field != name})


@pytest.mark.parametrize("value", [None, 1, True, "", [], {}, ["tel:+4930123456"]])
@pytest.mark.parametrize(("kind", "body", "name"), REQUIRED)
def test_a_field_of_another_type_or_empty_is_refused(
    kind: type[Body], body: dict[str, object], name: str, value: object
) -> None:
    assert refuses(kind, {**body, name: value})


@pytest.mark.parametrize("body", [None, 1, "text", [], [{}], True])
@pytest.mark.parametrize("kind", [Query, Code, Empty])
def test_what_is_no_object_is_refused(kind: type[Body], body: object) -> None:
    assert refuses(kind, body)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (Query, {"sii": "a" * 1_001}),
        (VerificationRequest, {"user_id": "u" * 257}),
        (VerificationRequest, {"locale": "english"}),
        (VerificationRequest, {"locale": "en_GB"}),
        (VerificationRequest, {"locale": "en\n"}),
        (VerificationRequest, {"locale": ""}),
        (VerificationRequest, {"locale": None}),
        (VerificationRequest, {"channel": "post"}),
        (VerificationRequest, {"channel": None}),
        (Code, {"code": "1" * 33}),
        (Choice, {"choice": "PREFER"}),
        (Webhook, {"url": "h" * 2_001}),
    ],
)
def test_a_value_beyond_its_bounds_is_refused(kind: type[Body], change: dict[str, object]) -> None:
    good = next(body for known, body in GOOD if known is kind)
    assert not refuses(kind, good)
    assert refuses(kind, {**good, **change})


def test_a_provider_sees_the_id_and_state_of_its_own_record() -> None:
    assert msgspec.to_builtins(MappingAnswer.of(MAPPING, own=True)) == {
        "mapping_id": "map_1",
        "provider_id": "alpha",
        "provider_name": "Alpha",
        "user_id": "alice",
        "ssi": "im:alice@alpha.example",
        "gp": "eu",
        "source": "verified",
        "registered_at": "1970-01-01T00:00:00.000Z",
        "preferred_at": "1970-01-01T00:00:00.001Z",
        "tags": ["home"],
        "state": "active",
    }


def test_nobody_else_sees_them() -> None:
    own = msgspec.to_builtins(MappingAnswer.of(MAPPING, own=True))
    other = msgspec.to_builtins(MappingAnswer.of(MAPPING, own=False))
    assert set(own) - set(other) == {"mapping_id", "state"}
    assert all(own[name] == other[name] for name in other)
