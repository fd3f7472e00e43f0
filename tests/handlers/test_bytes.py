"""Routes that speak bytes: what they take and give, and that they refuse in their own protocol."""

import hashlib
from typing import Any

import pytest

from chalicelib import errors
from chalicelib.handlers import openapi
from chalicelib.handlers.calls import Call, Reply
from chalicelib.handlers.routing import Door, GladosApp
from chalicelib.handlers.serving import MOST_BYTES
from infra.local.authority import Identity
from tests.handlers.edge import Answer, Edge

MESSAGE, REFERENCE, RESPONSE = "application/x-message", "application/x-reference", "application/x-response"
ODD = bytes(range(256))


def told(refusal: errors.Refusal, raw_body: bytes) -> Reply:
    """Tell a refusal as a protocol of bytes might: what it is, of which request."""
    digest = hashlib.sha256(raw_body).hexdigest()[:8]
    return Reply(f"{type(refusal).__name__} {digest}".encode(), 418)


@pytest.fixture(scope="module")
def app() -> GladosApp:
    door = Door(__name__)

    @door.serve("POST", "/echo", "anyone", takes_bytes=(MESSAGE, REFERENCE), gives=RESPONSE, refused=told)
    def echo(call: Call[Any]) -> bytes:
        """Give the body back, backwards."""
        if call.raw_body == b"wait":
            raise errors.TooManyRequests("echoes", 3)
        if call.raw_body == b"bug":
            raise RuntimeError("a bug")
        return call.media_type.encode() + b" " + call.raw_body[::-1]

    @door.serve("POST", "/accepted", "anyone", takes_bytes=(MESSAGE,), gives=RESPONSE, status=202)
    def accept(_call: Call[Any]) -> bytes:
        """Refuse with problem documents."""
        return b""

    @door.serve("POST", "/peers", "ds_peer", takes_bytes=(MESSAGE,), gives=RESPONSE, refused=told)
    def for_peers(_call: Call[Any]) -> bytes:
        """Serve peers only."""
        return b"welcome"

    made = GladosApp(app_name="bytes")
    made.register_blueprint(door)
    return made


@pytest.fixture(scope="module")
def bytes_edge(app: GladosApp) -> Edge:
    return Edge(app)


@pytest.fixture
def post(bytes_edge: Edge) -> "Post":
    return Post(bytes_edge)


class Post:
    def __init__(self, edge: Edge) -> None:
        self.edge = edge

    def __call__(
        self, path: str, body: bytes, media: str | None = MESSAGE, *, identity: Identity | None = None
    ) -> Answer:
        headers = {} if media is None else {"content-type": media}
        return self.edge.call("POST", path, body, headers, identity=identity)


def refused(answer: Answer, name: str, body: bytes) -> None:
    digest = hashlib.sha256(body).hexdigest()[:8]
    assert (answer.status, answer.body) == (418, f"{name} {digest}".encode())
    assert answer.headers["content-type"] == RESPONSE
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("media", [MESSAGE, REFERENCE, MESSAGE.upper(), f"{MESSAGE}; x=y"])
def test_bytes_arrive_and_leave_as_they_are_whatever_they_are(post: Post, media: str) -> None:
    answer = post("/echo", ODD, media)
    assert answer.status == 200
    assert answer.headers["content-type"] == RESPONSE
    assert answer.body == media.partition(";")[0].lower().encode() + b" " + ODD[::-1]


def test_an_answer_has_its_routes_status(post: Post) -> None:
    answer = post("/accepted", b"")
    assert (answer.status, answer.body, answer.headers["content-type"]) == (202, b"", RESPONSE)


@pytest.mark.parametrize("media", ["application/json", "application/octet-stream", "text/plain"])
def test_another_media_type_is_refused(post: Post, media: str) -> None:
    refused(post("/echo", ODD, media), "UnsupportedMediaType", ODD)
    post("/accepted", ODD, media).problem(415, "unsupported-media-type")


def test_a_body_up_to_four_and_a_half_megabytes_is_taken_and_no_more(post: Post) -> None:
    assert post("/echo", bytes(MOST_BYTES)).status == 200
    over = bytes(MOST_BYTES + 1)
    refused(post("/echo", over), "BodyTooLarge", over)
    post("/accepted", over).problem(413, "body-too-large")


def test_a_refusal_keeps_the_headers_that_http_wants(post: Post) -> None:
    answer = post("/echo", b"wait")
    refused(answer, "TooManyRequests", b"wait")
    assert answer.headers["retry-after"] == "3"


def test_a_bug_is_a_bare_500_here_too(post: Post) -> None:
    post("/echo", b"bug").problem(500, "internal-error")


def test_the_description_says_what_goes_in_and_what_comes_out(app: GladosApp) -> None:
    paths = openapi.document(app.described, "bytes", "https://a.example", "https://b.example")["paths"]
    echo, accepted = paths["/echo"]["post"], paths["/accepted"]["post"]
    assert set(echo["requestBody"]["content"]) == {MESSAGE, REFERENCE}
    assert list(echo["responses"]["200"]["content"]) == list(echo["responses"]["default"]["content"]) == [RESPONSE]
    assert list(accepted["responses"]["202"]["content"]) == [RESPONSE]
    assert list(accepted["responses"]["default"]["content"]) == ["application/problem+json"]
    assert echo["security"] == []
    assert paths["/peers"]["post"]["security"] == [{"mutualTLS": []}]
