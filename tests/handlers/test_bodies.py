"""What a body may be, on every route that takes one."""

import json
from typing import Any

import msgspec
import pytest

from chalicelib.handlers.calls import Route
from chalicelib.handlers.serving import MOST_BODY
from chalicelib.protocol.glados import client_api
from infra.local.authority import Identity
from tests.handlers.edge import Answer, Ap, Edge
from tests.handlers.examples import BODIES, WITH_BODY, name_of, path_of

LONG = "a" * 20_000


@pytest.fixture
def send(edge: Edge, alpha: Ap, peer: Identity) -> Any:
    """Sends a body to a route by a caller whom it admits."""

    def send(route: Route, body: Any, media: str | None = "application/json") -> Answer:
        identity = peer if route.caller == "peer" else alpha.identity
        headers = {"Authorization": f"Bearer {alpha.token()}"}
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        if media is not None:
            headers["content-type"] = media
        return edge.call(route.method, path_of(route), raw, headers, identity=identity)

    return send


def example(route: Route) -> dict[str, Any]:
    assert route.takes is not None
    return dict(BODIES[route.takes])


every_body = pytest.mark.parametrize("route", WITH_BODY, ids=name_of)


@every_body
def test_a_body_that_is_not_json_is_400(send: Any, route: Route) -> None:
    deep = b"[" * 30_000
    for raw in (b"{", b"sii=1", b"\xff\xfe", b'{"a": NaN}', b"{} {}", '{"ſ": "\\ud800"}'.encode(), deep, b" "):
        send(route, raw).problem(400, "malformed-body")


@every_body
def test_json_that_is_no_object_is_400(send: Any, route: Route) -> None:
    for plain in ([], [example(route)], "text", 1, True, None):
        send(route, plain).problem(400, "malformed-body")


@every_body
def test_an_empty_body_is_400_where_something_has_to_be_said(send: Any, route: Route) -> None:
    if route.takes is client_api.Empty:
        assert send(route, b"").status == send(route, {}).status != 400
    else:
        send(route, b"").problem(400, "malformed-body")


@every_body
def test_an_unknown_field_is_422_with_the_reason(send: Any, route: Route) -> None:
    refused = send(route, {**example(route), "colour": "blue"}).problem(422, "invalid-value")
    assert "unknown field `colour`" in refused["reason"]
    assert len(send(route, {**example(route), LONG: "blue"}).body) < 1_000


@every_body
def test_a_missing_field_is_422_and_named(send: Any, route: Route) -> None:
    assert route.takes is not None
    for field in (one for one in msgspec.structs.fields(route.takes) if one.required):
        body = example(route)
        del body[field.encode_name]
        assert f"`{field.encode_name}`" in send(route, body).problem(422, "invalid-value")["reason"]


@every_body
def test_a_value_of_a_wrong_type_is_422_and_its_field_named(send: Any, route: Route) -> None:
    for field, value in example(route).items():
        for wrong in ({"a": 1}, None, True, *(["1"] if isinstance(value, int) else [1])):
            refused = send(route, {**example(route), field: wrong}).problem(422, "invalid-value")
            assert refused["field"].startswith(field)
            assert refused["reason"].startswith("Expected")


@every_body
def test_an_overlong_value_is_422_and_not_repeated(send: Any, route: Route) -> None:
    for field, value in example(route).items():
        if isinstance(value, str):
            refused = send(route, {**example(route), field: LONG})
            refused.problem(422, "invalid-value")
            assert len(refused.body) < 1_000


@every_body
def test_a_body_above_64_kib_is_413_whatever_it_says(send: Any, route: Route) -> None:
    for raw in (b" " * (MOST_BODY + 1), json.dumps({**example(route), "colour": "b" * MOST_BODY}).encode()):
        assert send(route, raw).problem(413, "body-too-large")["limit"] == 65_536
    padded = json.dumps(example(route)).encode().ljust(MOST_BODY)
    assert send(route, padded).status != 413


@every_body
def test_another_media_type_is_415(send: Any, route: Route) -> None:
    for media in ("text/plain", "application/x-www-form-urlencoded", "application/jsonp", "multipart/form-data"):
        send(route, example(route), media).problem(415, "unsupported-media-type")


def test_a_charset_or_another_case_is_no_other_media_type(send: Any) -> None:
    route = next(route for route in WITH_BODY if route.path == "/v1/queries")
    for media in ("application/json; charset=utf-8", "Application/JSON"):
        assert send(route, example(route), media).status == 200


def test_whatever_the_caller_accepts_it_is_answered(edge: Edge, alpha: Ap) -> None:
    headers = {"Authorization": f"Bearer {alpha.token()}"}
    for accept in ({}, {"Accept": "text/html"}, {"Accept": "application/json;q=0.5"}, {"accept": "*/*"}):
        answer = edge.call(
            "POST", "/v1/queries", {"sii": "tel:+4915123456789"}, headers | accept, identity=alpha.identity
        )
        assert (answer.status, answer.json["found"]) == (200, False)


@pytest.mark.parametrize(
    "sii",
    [
        "tel:+1800FLOWERS", "tel:+49151234567;ext=5", "tel:+４９１５１２３４５６７８９", "call tel:+4915123456789",
        "tel:+4915123456789 now", "tel:4915123456789", "tel:+49(0)15123456789", "tel:+1", "tel:+999123456789",
        "sip:alice@example.org", "mailto:alice", "mailto:alice@example.org?subject=x", "mailto:a@b@example.org", "x",
    ],
)  # fmt: skip
def test_an_identifier_that_is_none_is_422_and_never_repeated(alpha: Ap, sii: str) -> None:
    for path, more in (("/v1/queries", {}), ("/v1/verifications", {"user_id": "alice"}), ("/v1/mappings/search", {})):
        refused = alpha.call("POST", path, {"sii": sii, **more})
        document = refused.problem(422, "invalid-identifier")
        assert document["reason"]
        assert sii not in refused.body.decode() + json.dumps(document, ensure_ascii=False) or sii == "x"
