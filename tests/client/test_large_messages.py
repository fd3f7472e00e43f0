"""What is too large to be posted, or to be answered, goes by way of a link."""

import base64
import dataclasses
import hashlib

import pytest

from chalicelib.client import (
    DeliveryClient,
    DeliveryRefused,
    InvalidAnswer,
    SignatureKey,
)
from chalicelib.client.ds_requests import LARGEST_POST
from chalicelib.protocol.crypto import cipher_suite
from chalicelib.protocol.delivery import directory, media
from chalicelib.protocol.delivery.messages import ROUTES, DSMessage, DSSenderID
from chalicelib.protocol.delivery.parts import Reference
from chalicelib.protocol.delivery.responses import (
    DSError,
    DSErrorCode,
    DSResponse,
    Ok,
    UploadAnswer,
    WelcomeInfoAnswer,
)
from chalicelib.protocol.mls.framing import MLSMessage
from chalicelib.protocol.tls import decode
from tests.client.hub import FRESH, KEY, LEAF, MEDIA, Serve, description, reply
from tests.protocol.delivery.requests import DOMAIN, application, group_info
from tests.protocol.mls.story import GROUP_ID
from tests.storage.tls_server import Asked, Reply, Server

# What is too large to be posted.

LARGE = application(b"g" * LARGEST_POST)


@dataclasses.dataclass
class Bucket:
    """A hub that takes large messages by way of a bucket, and the bucket."""

    server: Server
    query: str = ""
    put: dict[bytes, Asked] = dataclasses.field(default_factory=dict)
    uploads: list[DSMessage] = dataclasses.field(default_factory=list)

    def answer(self, asked: Asked) -> Reply:
        if asked.method == "PUT":
            self.put[hashlib.sha256(asked.body).digest()] = asked
            return Reply(200)
        if asked.path == "/ds/v1/upload":
            self.uploads.append(decode(DSMessage.read, asked.body))
            return reply(asked, UploadAnswer(f"{self.server.origin}/bucket/1{self.query}"))
        assert asked.headers["Content-Type"] == media.DS_REFERENCE
        reference = decode(directory.UploadReference.read, asked.body)
        large = self.put[reference.sha256].body
        assert len(large) == reference.length
        assert decode(DSMessage.read, large).request.request_type is ROUTES[asked.path.removeprefix("/ds/v1/")]
        return Reply(200, DSResponse(reference.sha256, Ok()).encode(), (MEDIA,))


def test_a_large_message_is_uploaded(client: DeliveryClient, server: Server) -> None:
    bucket = Bucket(server)
    server.answer = bucket.answer
    client.send_message(LEAF, LARGE)
    assert [asked.method for asked in server.asked] == ["POST", "PUT", "POST"]
    (upload,) = bucket.uploads
    upload.verify(cipher_suite(KEY.cipher_suite), KEY.signature_key)
    ((digest, put),) = bucket.put.items()
    assert upload.request.body == directory.Upload(digest, len(put.body), FRESH)
    assert not {name.lower() for name in put.headers} & {"content-type", "x-amz-checksum-sha256"}


def test_a_message_is_posted_as_long_as_it_may_be(client: DeliveryClient, serve: Serve, server: Server) -> None:
    taken = serve(Ok())
    client.send_message(LEAF, application())
    room = LARGEST_POST - len(taken[0].encode()) - 3  # Three more bytes of length than a short vector has.
    client.send_message(LEAF, application(GROUP_ID + b"g" * room))
    assert len(server.asked[1].body) == LARGEST_POST
    server.answer = Bucket(server).answer
    client.send_message(LEAF, application(GROUP_ID + b"g" * (room + 1)))
    assert server.asked[2].path == "/ds/v1/upload"


def test_an_upload_carries_what_its_link_is_signed_for(client: DeliveryClient, server: Server) -> None:
    bucket = Bucket(server, "?X-Amz-SignedHeaders=content-length%3Bcontent-type%3Bhost%3Bx-amz-checksum-sha256")
    server.answer = bucket.answer
    client.send_message(LEAF, LARGE)
    ((digest, put),) = bucket.put.items()
    headers = {name.lower(): value for name, value in put.headers.items()}
    assert headers["content-type"] == media.DS_MESSAGE
    assert base64.b64decode(headers["x-amz-checksum-sha256"]) == digest


def test_another_may_sign_the_upload(server: Server, ca: str) -> None:
    bucket = Bucket(server)
    server.answer = bucket.answer
    user = SignatureKey(1, b"\x07" * 32)
    uploader = (user, DSSenderID.user(b"h" * 32))
    DeliveryClient(server.origin, DOMAIN, KEY, ca=ca, uploader=uploader).send_message(LEAF, LARGE)
    assert bucket.uploads[0].sender_id == DSSenderID.user(b"h" * 32)
    bucket.uploads[0].verify(cipher_suite(1), user.signature_key)


def test_a_member_who_names_no_uploader_is_told_before_anything_is_sent(server: Server, ca: str) -> None:
    client = DeliveryClient(server.origin, DOMAIN, KEY, ca=ca)
    with pytest.raises(ValueError, match=r"a message of 30002[0-9]{2} bytes is uploaded, by a user: .* `uploader`"):
        client.send_message(LEAF, LARGE)
    assert server.asked == []


def test_an_upload_that_is_not_taken_is_said_so(client: DeliveryClient, server: Server) -> None:
    bucket = Bucket(server)
    server.answer = lambda asked: Reply(403) if asked.method == "PUT" else bucket.answer(asked)
    with pytest.raises(InvalidAnswer, match="not taken"):
        client.send_message(LEAF, LARGE)


OWN = "us.ds.example"
USER = SignatureKey(1, b"\x07" * 32)


@dataclasses.dataclass
class OwnService(Bucket):
    """A guest's own service; the hub is slow in fetching, and `slow` times not ready yet."""

    slow: int = 0

    def answer(self, asked: Asked) -> Reply:
        if asked.path == "/.well-known/mimi-ds":
            return description(OWN)
        if not asked.path.startswith("/ds/v1/hubs/"):
            return super().answer(asked)
        reference = decode(directory.UploadReference.read, asked.body)
        if self.slow:
            self.slow -= 1
            error = DSError(DSErrorCode.UNAVAILABLE, retry_after_ms=5_000)
            return Reply(503, DSResponse(reference.sha256, error).encode(), (MEDIA, ("Retry-After", "5")))
        return super().answer(dataclasses.replace(asked, path=asked.path.replace(f"/hubs/{DOMAIN}", "")))


@pytest.fixture
def guest(server: Server, ca: str, pauses: list[float]) -> DeliveryClient:
    """A member of a group at a hub whose own service is another one, where it is a user."""
    uploader = (USER, DSSenderID.user(b"h" * 32))
    return DeliveryClient(server.origin, DOMAIN, KEY, forwarded=True, uploader=uploader, ca=ca, sleep=pauses.append)


def test_a_guests_large_message_is_uploaded_at_home_and_referred_to_there(
    guest: DeliveryClient, server: Server
) -> None:
    own = OwnService(server)
    server.answer = own.answer
    guest.send_message(LEAF, LARGE)
    paths = [asked.path for asked in server.asked if asked.method == "POST"]
    assert paths == ["/ds/v1/upload", f"/ds/v1/hubs/{DOMAIN}/send-message"]
    (upload,) = own.uploads
    upload.verify(cipher_suite(1), USER.signature_key)
    assert upload.sender_id == DSSenderID.user(b"h" * 32)
    assert upload.request.freshness is not None
    assert upload.request.freshness.ds_domain == OWN
    ((digest, put),) = own.put.items()
    message = decode(DSMessage.read, put.body)
    message.verify(cipher_suite(KEY.cipher_suite), KEY.signature_key)
    assert message.request.freshness is not None
    assert message.request.freshness.ds_domain == DOMAIN
    assert server.asked[-1].body == directory.UploadReference(digest, len(put.body)).encode()


def test_a_hub_that_is_still_fetching_is_asked_again(
    guest: DeliveryClient, server: Server, pauses: list[float]
) -> None:
    own = OwnService(server, slow=7)
    server.answer = own.answer
    guest.send_message(LEAF, LARGE)
    referred = [asked.body for asked in server.asked if "/hubs/" in asked.path]
    assert (len(referred), len(set(referred)), pauses) == (8, 1, [5.0] * 7)
    assert len(own.uploads) == 1


def test_it_is_not_asked_for_ever_and_the_message_can_be_sent_later(guest: DeliveryClient, server: Server) -> None:
    own = OwnService(server, slow=8)
    server.answer = own.answer
    with pytest.raises(DeliveryRefused) as refused:
        guest.send_message(LEAF, LARGE)
    assert (refused.value.status, refused.value.code) == (503, DSErrorCode.UNAVAILABLE)
    assert len([asked for asked in server.asked if "/hubs/" in asked.path]) == 8
    message = refused.value.message
    assert message is not None
    assert guest.send(message) == Ok()
    assert len(own.put) == 1


@pytest.mark.parametrize("code", [DSErrorCode.STALE_EPOCH, DSErrorCode.TOO_MANY_REQUESTS])
def test_what_the_hub_refuses_is_refused_at_once(
    guest: DeliveryClient, server: Server, pauses: list[float], code: DSErrorCode
) -> None:
    own = OwnService(server)
    refusal = DSError(code, current_epoch=9)

    def answer(asked: Asked) -> Reply:
        if "/hubs/" not in asked.path:
            return own.answer(asked)
        return Reply(409, DSResponse(asked.body[:32], refusal).encode(), (MEDIA,))

    server.answer = answer
    with pytest.raises(DeliveryRefused) as refused:
        guest.send_message(LEAF, LARGE)
    assert (refused.value.code, refused.value.current_epoch, pauses) == (code, 9, [])


# What is too large to be answered.

TREE = b"a large tree" * 100


def referring(server: Server, reference: Reference, tree: Reply) -> None:
    info = MLSMessage(group_info())
    server.answer = lambda asked: tree if asked.method == "GET" else reply(asked, WelcomeInfoAnswer(info, reference))


def test_a_tree_is_fetched_from_where_the_answer_refers_to(client: DeliveryClient, server: Server) -> None:
    link = Reference(f"{server.origin}/tree?X-Amz-Signature=1", hashlib.sha256(TREE).digest(), len(TREE))
    referring(server, link, Reply(200, TREE))
    assert client.welcome_info(LEAF, GROUP_ID, 1).ratchet_tree == TREE
    assert server.asked[1].path == "/tree?X-Amz-Signature=1"


@pytest.mark.parametrize(
    ("changed", "tree", "reason"),
    [
        ({"sha256": bytes(32)}, Reply(200, TREE), "something else"),
        ({"length": len(TREE) + 1}, Reply(200, TREE), "something else"),
        ({"length": len(TREE) - 1}, Reply(200, TREE), "too long"),
        ({"length": 1 << 40}, Reply(200, TREE), "more than is fetched"),
        ({"url": "http://localhost/tree"}, Reply(200, TREE), "HTTPS"),
        ({}, Reply(404), "nowhere"),
    ],
)
def test_what_is_fetched_is_what_was_promised(
    client: DeliveryClient, server: Server, changed: dict[str, object], tree: Reply, reason: str
) -> None:
    link = Reference(f"{server.origin}/tree", hashlib.sha256(TREE).digest(), len(TREE))
    referring(server, dataclasses.replace(link, **changed), tree)  # type: ignore[arg-type]
    with pytest.raises(InvalidAnswer, match=reason):
        client.welcome_info(LEAF, GROUP_ID, 1)
