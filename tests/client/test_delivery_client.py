"""The client of a delivery service signs, repeats, uploads and checks what it gets."""

import base64
import dataclasses
import hashlib
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import rine_mls
import urllib3.exceptions
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from chalicelib.client import (
    DeliveryClient,
    DeliveryRefused,
    JoinInfo,
    NoAnswer,
    NotAnAnswer,
    ServiceKey,
    SignatureKey,
    group_update,
    seal_state_key,
)
from chalicelib.client.ds_requests import LARGEST_POST
from chalicelib.client.signer import Signer
from chalicelib.errors import DecodeError
from chalicelib.protocol.crypto import cipher_suite
from chalicelib.protocol.delivery import directory, group_messages, group_updates, info_requests, media
from chalicelib.protocol.delivery.group_updates import AddedClient
from chalicelib.protocol.delivery.messages import ROUTES, Body, DSMessage, DSRequestType, DSSenderID
from chalicelib.protocol.delivery.parts import Freshness, Reference
from chalicelib.protocol.delivery.responses import (
    Answer,
    CreateGroupRefused,
    CreateGroupResponse,
    DSError,
    DSErrorCode,
    DSResponse,
    ExternalCommitInfoAnswer,
    GroupIdAnswer,
    KeyPackagesAnswer,
    Ok,
    PublicKeyAnswer,
    UploadAnswer,
    WelcomeInfoAnswer,
)
from chalicelib.protocol.delivery.sealed import STATE_KEY, open_sealed
from chalicelib.protocol.mls.extensions import BASIC, Credential, ExternalSender
from chalicelib.protocol.mls.framing import MLSMessage, decode_message
from chalicelib.protocol.mls.key_package import KeyPackage
from chalicelib.protocol.tls import decode
from tests.protocol.delivery.requests import DOMAIN, QUEUE, application, group_info, honest, proposal, story
from tests.protocol.delivery.requests import STATE_KEY as SEALED
from tests.protocol.mls.story import GROUP_ID
from tests.storage.tls_server import Asked, Reply, Server

LEAF = DSSenderID.leaf(1)
KEY = SignatureKey(0xF057, b"\x05" * 32)
NONCE = bytes(range(16))
FRESH = Freshness(1_700_000_000_500, NONCE, DOMAIN)
EXTERNAL = ExternalSender(b"k" * 32, Credential(BASIC, b"eu.ds.example"))
MEDIA = ("Content-Type", media.DS_RESPONSE)
Serve = Callable[[Answer], list[DSMessage]]


def reply(asked: Asked, answer: Answer, status: int = 200) -> Reply:
    digest = hashlib.sha256(asked.body).digest()
    return Reply(status, DSResponse(digest, answer).encode(), (MEDIA,))


@pytest.fixture
def serve(server: Server) -> Serve:
    """Have the server take every well signed message that comes to its route, and answer all alike."""

    def serving(answer: Answer, signer: Signer = KEY) -> list[DSMessage]:
        taken: list[DSMessage] = []

        def answer_one(asked: Asked) -> Reply:
            message = decode(DSMessage.read, asked.body)
            assert asked.headers["Content-Type"] == media.DS_MESSAGE
            assert ROUTES[asked.path.removeprefix("/ds/v1/")] is message.request.request_type
            message.verify(cipher_suite(signer.cipher_suite), signer.signature_key)
            taken.append(message)
            return reply(asked, answer)

        server.answer = answer_one
        return taken

    return serving


@pytest.fixture
def client(server: Server, ca: str, pauses: list[float]) -> DeliveryClient:
    return DeliveryClient(
        server.origin,
        DOMAIN,
        KEY,
        ca=ca,
        clock=lambda: 1_700_000_000.5,
        entropy=lambda size: NONCE[:size],
        sleep=pauses.append,
    )


def stamped(request_type: DSRequestType) -> Body:
    """Return the honest body as this client makes it: with its own freshness and key."""
    body = honest(SEALED)[request_type]
    if hasattr(body, "freshness"):
        body = dataclasses.replace(body, freshness=FRESH)  # type: ignore[arg-type]
    if hasattr(body, "sender"):
        body = dataclasses.replace(body, sender=KEY.signature_key)  # type: ignore[arg-type]
    return body


def test_every_operation_sends_its_request(client: DeliveryClient, serve: Serve) -> None:
    bodies = {request_type: stamped(request_type) for request_type in DSRequestType}

    def sent(answer: Answer, call: Callable[[], object]) -> Body:
        taken = serve(answer)
        call()
        (message,) = taken
        assert message.sender_id == LEAF
        return message.request.body

    adding = bodies[DSRequestType.ADD_USERS]
    assert isinstance(adding, group_updates.AddUsers)
    update, welcomes, added = adding.group_update, adding.welcomes, adding.added
    outside = bodies[DSRequestType.JOIN_BY_EXTERNAL_COMMIT]
    assert isinstance(outside, group_updates.JoinByExternalCommit)
    package = outside.key_package
    assert package is not None
    published = bodies[DSRequestType.PUBLISH_KEY_PACKAGES]
    assert isinstance(published, directory.PublishKeyPackages)
    info = MLSMessage(group_info())
    own = {"state_key": SEALED}
    calls: dict[DSRequestType, tuple[Answer, Callable[[], object]]] = {
        DSRequestType.CREATE_GROUP: (Ok(), lambda: client.create_group(LEAF, GROUP_ID, package, QUEUE, info, **own)),
        DSRequestType.DELETE_GROUP: (Ok(), lambda: client.delete_group(LEAF, update, **own)),
        DSRequestType.UPDATE_QUEUE_INFO: (Ok(), lambda: client.update_queue_info(LEAF, GROUP_ID, QUEUE, **own)),
        DSRequestType.WELCOME_INFO: (
            WelcomeInfoAnswer(info, b"t"),
            lambda: client.welcome_info(LEAF, GROUP_ID, 1, **own),
        ),
        DSRequestType.EXTERNAL_COMMIT_INFO: (
            ExternalCommitInfoAnswer(info, b"t"),
            lambda: client.external_commit_info(LEAF, GROUP_ID, key_package=package, **own),
        ),
        DSRequestType.ADD_USERS: (Ok(), lambda: client.add_users(LEAF, update, welcomes, added, **own)),
        DSRequestType.REMOVE_USERS: (Ok(), lambda: client.remove_users(LEAF, update, **own)),
        DSRequestType.ADD_CLIENTS: (Ok(), lambda: client.add_clients(LEAF, update, welcomes, added, **own)),
        DSRequestType.REMOVE_CLIENTS: (Ok(), lambda: client.remove_clients(LEAF, update, **own)),
        DSRequestType.UPDATE_CLIENT: (Ok(), lambda: client.update_client(LEAF, update, **own)),
        DSRequestType.RESYNC_CLIENT: (
            Ok(),
            lambda: client.resync_client(LEAF, outside.group_update, key_package=package, queue=QUEUE, **own),
        ),
        DSRequestType.SEND_MESSAGE: (Ok(), lambda: client.send_message(LEAF, application(), **own)),
        DSRequestType.REQUEST_GROUP_ID: (
            GroupIdAnswer(GROUP_ID, EXTERNAL),
            lambda: client.request_group_id(LEAF, 1),
        ),
        DSRequestType.SELF_REMOVE: (Ok(), lambda: client.self_remove(LEAF, proposal(), **own)),
        DSRequestType.JOIN_BY_EXTERNAL_COMMIT: (
            Ok(),
            lambda: client.join_by_external_commit(LEAF, outside.group_update, QUEUE, key_package=package, **own),
        ),
        DSRequestType.KEY_PACKAGES: (
            KeyPackagesAnswer(published.add_packages),
            lambda: client.key_packages(LEAF, DOMAIN, [b"alice", b"bob"], 1),
        ),
        DSRequestType.PUBLIC_KEY: (PublicKeyAnswer(EXTERNAL), lambda: client.public_key(LEAF, GROUP_ID, 1)),
        DSRequestType.SUBMIT_PROPOSALS: (
            Ok(),
            lambda: client.submit_proposals(LEAF, [proposal(), proposal()], **own),
        ),
        DSRequestType.COMMIT: (Ok(), lambda: client.commit(LEAF, update, welcomes, added, **own)),
        DSRequestType.PUBLISH_KEY_PACKAGES: (
            Ok(),
            lambda: client.publish_key_packages(LEAF, published.add_packages),
        ),
    }
    # An upload is no operation of its own to a client: it happens on the way.
    assert set(calls) == set(DSRequestType) - {DSRequestType.UPLOAD}
    for request_type, (answer, call) in calls.items():
        assert sent(answer, call) == bodies[request_type], request_type


def test_answers_are_returned(client: DeliveryClient, serve: Serve) -> None:
    serve(GroupIdAnswer(b"new", EXTERNAL))
    assert client.request_group_id(LEAF) == GroupIdAnswer(b"new", EXTERNAL)
    serve(PublicKeyAnswer(EXTERNAL))
    assert client.public_key(LEAF, GROUP_ID) == EXTERNAL
    info = MLSMessage(group_info())
    serve(ExternalCommitInfoAnswer(info, b"tree", (proposal(),)))
    assert client.external_commit_info(LEAF, GROUP_ID) == JoinInfo(info, b"tree", (proposal(),))
    serve(WelcomeInfoAnswer(info, b"tree"))
    assert client.welcome_info(LEAF, GROUP_ID, 1) == JoinInfo(info, b"tree")


def test_a_groups_key_goes_along_with_every_request_about_it(client: DeliveryClient, serve: Serve) -> None:
    hub = X25519PrivateKey.generate()
    client.keep_state_key(GROUP_ID, b"k" * 32, ServiceKey(3, hub.public_key().public_bytes_raw()))
    taken = serve(Ok())
    client.send_message(LEAF, application())
    client.send_message(LEAF, application())
    client.update_queue_info(LEAF, GROUP_ID, QUEUE)
    client.update_queue_info(LEAF, GROUP_ID, QUEUE, state_key=SEALED)
    client.update_queue_info(LEAF, b"another group", QUEUE)
    sealed = [message.request.state_key for message in taken]
    assert sealed[3:] == [SEALED, None]
    for one in sealed[:3]:
        assert one is not None
        assert one.key_epoch == 3
        assert open_sealed(hub.private_bytes_raw(), STATE_KEY, GROUP_ID, one) == b"k" * 32
    assert len({one.ciphertext for one in sealed[:3] if one is not None}) == 3


def test_the_signers_own_suite_is_asked_for(client: DeliveryClient, serve: Serve) -> None:
    taken = serve(GroupIdAnswer(b"new", EXTERNAL))
    client.request_group_id(LEAF)
    assert taken[0].request.body == directory.RequestGroupId(0xF057, FRESH)


def test_mls_messages_are_taken_as_bytes(client: DeliveryClient, serve: Serve) -> None:
    taken = serve(Ok())
    client.send_message(LEAF, application().encode())
    assert taken[0].request.body == group_messages.SendMessage(application(), FRESH)
    carol = story().key_package("carol").public
    info = MLSMessage(group_info())
    client.create_group(LEAF, GROUP_ID, MLSMessage(carol).encode(), QUEUE, info.encode())
    assert taken[1].request.body == group_updates.CreateGroupRequest(GROUP_ID, carol, QUEUE, group_info())
    pending = story().pending("bob")
    update = group_update(pending.commit.encode(), MLSMessage(pending.group_info).encode())
    assert update.commit == pending.commit
    assert update.partial_group_info.group_info_extensions == pending.group_info.extensions
    assert update.partial_group_info.signature == pending.group_info.signature
    with pytest.raises(DecodeError, match="not a KeyPackage"):
        client.create_group(LEAF, GROUP_ID, info.encode(), QUEUE, info)


def test_an_identity_signs_too(server: Server, ca: str, serve: Callable[..., list[DSMessage]]) -> None:
    identity = story().members["alice"].identity
    taken = serve(WelcomeInfoAnswer(MLSMessage(group_info()), b"t"), identity)
    DeliveryClient(server.origin, DOMAIN, identity, ca=ca).welcome_info(DSSenderID.key_package(b"r"), GROUP_ID, 3)
    assert taken[0].sender_id == DSSenderID.key_package(b"r")
    body = taken[0].request.body
    assert isinstance(body, info_requests.WelcomeInfo)
    assert body.sender == identity.signature_key


def test_no_two_requests_are_the_same(server: Server, ca: str, serve: Serve) -> None:
    taken = serve(Ok())
    client = DeliveryClient(server.origin, DOMAIN, KEY, ca=ca)
    for _ in range(2):
        client.send_message(LEAF, application())
    one, other = taken
    assert one.request.freshness is not None
    assert other.request.freshness is not None
    assert one.request.freshness.nonce != other.request.freshness.nonce


def test_a_request_is_forwarded_by_ones_own_service(server: Server, ca: str) -> None:
    server.answer = lambda asked: reply(asked, Ok())
    DeliveryClient(server.origin, "us.ds.example", KEY, ca=ca, forwarded=True).send_message(LEAF, application())
    assert server.asked[0].path == "/ds/v1/hubs/us.ds.example/send-message"
    freshness = decode(DSMessage.read, server.asked[0].body).request.freshness
    assert freshness is not None
    assert freshness.ds_domain == "us.ds.example"


def test_a_refusal_says_what_to_do(client: DeliveryClient, server: Server) -> None:
    error = DSError(DSErrorCode.MUST_COVER, "ds-9", 12, 1_500, (proposal(),))
    server.answer = lambda asked: reply(asked, error, 409)
    with pytest.raises(DeliveryRefused) as refused:
        client.send_message(LEAF, application())
    found = refused.value
    assert (found.status, found.code, found.check) == (409, DSErrorCode.MUST_COVER, "ds-9")
    assert (found.current_epoch, found.retry_after, found.required_proposals) == (12, 1.5, (proposal(),))
    assert found.reason is None


def test_a_group_that_is_not_created_says_why(client: DeliveryClient, server: Server) -> None:
    server.answer = lambda asked: reply(asked, CreateGroupRefused(CreateGroupResponse.INVALID_GROUP_ID, "mds-1"), 422)
    carol = story().key_package("carol").public
    with pytest.raises(DeliveryRefused, match="refused invalid_group_id mds-1") as refused:
        client.create_group(LEAF, GROUP_ID, carol, QUEUE, group_info())
    assert refused.value.check == "mds-1"
    assert refused.value.reason is CreateGroupResponse.INVALID_GROUP_ID


@pytest.mark.parametrize("status", [429, 503])
def test_a_refusal_of_the_service_is_not_repeated(client: DeliveryClient, server: Server, status: int) -> None:
    server.answer = lambda asked: reply(asked, DSError(DSErrorCode.UNAVAILABLE, retry_after_ms=2_000), status)
    with pytest.raises(DeliveryRefused) as refused:
        client.send_message(LEAF, application())
    assert refused.value.retry_after == 2.0
    assert len(server.asked) == 1


@pytest.mark.parametrize(("status", "code"), [(429, DSErrorCode.TOO_MANY_REQUESTS), (503, DSErrorCode.UNAVAILABLE)])
def test_a_gateway_that_holds_back_is_a_refusal_too(
    client: DeliveryClient, server: Server, status: int, code: DSErrorCode
) -> None:
    server.answer = lambda _: Reply(status, b"{}", (("Content-Type", "application/problem+json"), ("Retry-After", "3")))
    with pytest.raises(DeliveryRefused) as refused:
        client.send_message(LEAF, application())
    assert (refused.value.code, refused.value.retry_after) == (code, 3.0)
    assert len(server.asked) == 1
    message = refused.value.message
    assert message is not None
    server.answer = lambda asked: reply(asked, Ok())
    assert client.send(message) == Ok()
    assert server.asked[0].body == server.asked[1].body


class Lost(Exception):
    """The server hangs up."""


def hang_up(asked: Asked) -> Reply:
    raise Lost


@pytest.mark.parametrize(
    "lost", [hang_up, lambda _: Reply(502), lambda _: Reply(500), lambda _: Reply(429, b"")], ids=str
)
def test_what_may_have_been_lost_is_sent_again_byte_for_byte(
    client: DeliveryClient, server: Server, pauses: list[float], lost: Callable[[Asked], Reply]
) -> None:
    server.answer = lambda asked: lost(asked) if len(server.asked) < 3 else reply(asked, Ok())
    client.send_message(LEAF, application())
    assert len(server.asked) == 3
    assert len({asked.body for asked in server.asked}) == 1
    assert pauses == [0.25, 0.5]


def test_a_connection_that_ends_inside_tls_is_lost_too(client: DeliveryClient, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def end(*_args: object, **_more: object) -> None:
        tried.append(1)
        raise urllib3.exceptions.SSLError(ssl.SSLEOFError(8, "EOF occurred in violation of protocol"))

    monkeypatch.setattr(urllib3.PoolManager, "request", end)
    with pytest.raises(NoAnswer):
        client.send_message(LEAF, application())
    assert len(tried) == 4


def test_a_client_does_not_repeat_for_ever_and_says_what_it_sent(client: DeliveryClient, server: Server) -> None:
    server.answer = hang_up
    with pytest.raises(NoAnswer) as lost:
        client.send_message(LEAF, application())
    assert len(server.asked) == 4
    assert isinstance(lost.value.message, DSMessage)
    server.answer = lambda asked: reply(asked, Ok())
    assert client.send(lost.value.message) == Ok()
    assert len({asked.body for asked in server.asked}) == 1


def test_a_stranger_is_not_spoken_to(server: Server, tmp_ca: str) -> None:
    client = DeliveryClient(server.origin, DOMAIN, KEY, ca=tmp_ca)
    with pytest.raises(urllib3.exceptions.SSLError):
        client.send_message(LEAF, application())
    assert server.asked == []
    assert len(server.names) <= 1


def other_digest(asked: Asked) -> Reply:
    return Reply(200, DSResponse(bytes(32), Ok()).encode(), (MEDIA,))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (other_digest, "another request"),
        (lambda asked: reply(asked, GroupIdAnswer(b"g", EXTERNAL)), "another kind"),
        (lambda asked: Reply(200, reply(asked, Ok()).body), "not the answer"),
        (lambda asked: Reply(200, reply(asked, Ok()).body + b"\x00", (MEDIA,)), "after the end"),
        (lambda asked: Reply(403, b"{}", (("Content-Type", "application/problem+json"),)), "403"),
        (lambda asked: Reply(302, b"", (("Location", "https://localhost/"),)), "302"),
        (lambda asked: Reply(200, b" " * ((12 << 20) + 1), (MEDIA,)), "too long"),
        (lambda asked: Reply(403, b" " * ((12 << 20) + 1), (MEDIA,)), "too long"),
    ],
)
def test_what_is_no_answer_is_none(
    client: DeliveryClient, server: Server, answer: Callable[[Asked], Reply], reason: str
) -> None:
    server.answer = answer
    with pytest.raises(NotAnAnswer, match=reason):
        client.send_message(LEAF, application())
    assert len(server.asked) == 1


def test_a_problem_document_is_quoted(client: DeliveryClient, server: Server) -> None:
    body = b'{"detail": "no delivery service of this domain is admitted here"}'
    server.answer = lambda _: Reply(404, body, (("Content-Type", "application/problem+json"),))
    with pytest.raises(NotAnAnswer, match="404: no delivery service of this domain"):
        client.send_message(LEAF, application())


def test_connections_are_used_again(client: DeliveryClient, serve: Serve, server: Server) -> None:
    serve(Ok())
    for _ in range(3):
        client.send_message(LEAF, application())
    assert len(server.names) == 1
    client.close()


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


def test_an_upload_that_is_not_taken_is_said_so(client: DeliveryClient, server: Server) -> None:
    bucket = Bucket(server)
    server.answer = lambda asked: Reply(403) if asked.method == "PUT" else bucket.answer(asked)
    with pytest.raises(NotAnAnswer, match="not taken"):
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
    with pytest.raises(NotAnAnswer, match=reason):
        client.welcome_info(LEAF, GROUP_ID, 1)


# Keys of the service.

PRIVATE = X25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = PRIVATE.public_key().public_bytes_raw()


def description(domain: str) -> Reply:
    key = base64.urlsafe_b64encode(PUBLIC).rstrip(b"=").decode()
    body = (
        f'{{"domain": "{domain}", "origin": "https://a.example", "public_origin": "https://b.example",'
        f' "queue_config_key": {{"epoch": 1, "key": "{key}"}}, "state_key": {{"epoch": 2, "key": "{key}"}}}}'
    )
    return Reply(200, body.encode())


def test_a_service_says_who_it_is_and_a_group_key_is_sealed_to_it(client: DeliveryClient, server: Server) -> None:
    server.answer = lambda _: description("eu.ds.example")
    found = client.describe()
    assert (found.domain, found.origin, found.public_origin) == (
        "eu.ds.example",
        "https://a.example",
        "https://b.example",
    )
    assert found.queue_config_key == ServiceKey(1, PUBLIC)
    sealed = seal_state_key(found.state_key, GROUP_ID, b"k" * 32)
    assert sealed.key_epoch == 2
    assert open_sealed(PRIVATE.private_bytes_raw(), STATE_KEY, GROUP_ID, sealed) == b"k" * 32


@pytest.mark.parametrize("answer", [Reply(404), Reply(200, b"{}"), Reply(200, b"["), Reply(200, b"[]")], ids=str)
def test_what_is_no_description_is_none(client: DeliveryClient, server: Server, answer: Reply) -> None:
    server.answer = lambda asked: answer
    with pytest.raises(NotAnAnswer):
        client.describe()


def test_a_private_key_does_not_show() -> None:
    assert "\\x05" not in repr(KEY)


@pytest.mark.parametrize("suite", [rine_mls.CIPHER_SUITE_CLASSICAL, rine_mls.CIPHER_SUITE_XWING])
def test_another_librarys_client_needs_its_seed_and_its_bytes_only(
    server: Server, ca: str, tmp_path: Path, serve: Callable[..., list[DSMessage]], suite: int
) -> None:
    seed = b"\x06" * 32
    alice = rine_mls.MlsClient(str(tmp_path / "alice"), seed, suite)
    bob = rine_mls.MlsClient(str(tmp_path / "bob"), b"\x07" * 32, suite)
    offered = bob.generate_key_package()
    own = alice.generate_key_package()
    made = alice.create_group_with_members(GROUP_ID, [offered]).last_commit()
    assert made is not None
    key = SignatureKey(suite, seed)
    package = decode_message(own).body
    assert isinstance(package, KeyPackage)
    assert package.leaf_node.signature_key == key.signature_key
    taken = serve(Ok(), key)
    client = DeliveryClient(server.origin, DOMAIN, key, ca=ca)
    client.create_group(DSSenderID.leaf(0), GROUP_ID, own, QUEUE, made.group_info)
    invited = decode_message(offered).body
    assert isinstance(invited, KeyPackage)
    added = AddedClient(invited.reference(cipher_suite(suite)), QUEUE)
    update = group_update(made.commit, made.group_info)
    client.add_users(DSSenderID.leaf(0), update, made.welcomes, [added])
    assert [message.request.group_id for message in taken] == [GROUP_ID, GROUP_ID]
    body = taken[1].request.body
    assert isinstance(body, group_updates.AddUsers)
    assert body.group_update.commit.encode() == made.commit
    assert [welcome.encode() for welcome in body.welcomes] == made.welcomes
