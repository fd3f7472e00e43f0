"""The client of a delivery service signs, repeats, and checks what it gets."""

import dataclasses
import ssl
from collections.abc import Callable

import pytest
import urllib3.exceptions
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from chalicelib.client import (
    DeliveryClient,
    DeliveryRefused,
    JoinInfo,
    NoAnswer,
    NotAnAnswer,
    ServiceKey,
    group_update,
)
from chalicelib.errors import DecodeError
from chalicelib.protocol.delivery import directory, group_messages, group_updates, info_requests
from chalicelib.protocol.delivery.messages import Body, DSMessage, DSRequestType, DSSenderID
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
    WelcomeInfoAnswer,
)
from chalicelib.protocol.delivery.sealed import STATE_KEY, open_sealed
from chalicelib.protocol.mls.framing import MLSMessage
from chalicelib.protocol.tls import decode
from tests.client.hub import EXTERNAL, FRESH, KEY, LEAF, MEDIA, Serve, reply
from tests.protocol.delivery.requests import DOMAIN, QUEUE, application, group_info, honest, proposal, story
from tests.protocol.delivery.requests import STATE_KEY as SEALED
from tests.protocol.mls.story import GROUP_ID
from tests.storage.tls_server import Asked, Reply, Server


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
    own = {"sealed_state_key": SEALED}
    calls: dict[DSRequestType, tuple[Answer, Callable[[], object]]] = {
        DSRequestType.CREATE_GROUP: (Ok(), lambda: client.create_group(LEAF, GROUP_ID, package, QUEUE, info, **own)),
        DSRequestType.DELETE_GROUP: (Ok(), lambda: client.delete_group(LEAF, update, **own)),
        DSRequestType.UPDATE_QUEUE_INFO: (Ok(), lambda: client.update_queue_info(LEAF, GROUP_ID, QUEUE, **own)),
        DSRequestType.CLOSE_GROUP: (Ok(), lambda: client.close_group(LEAF, GROUP_ID, **own)),
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
            lambda: client.resync_client(LEAF, outside.group_update, key_package=package, queue_config=QUEUE, **own),
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
    client.update_queue_info(LEAF, GROUP_ID, QUEUE, sealed_state_key=SEALED)
    client.update_queue_info(LEAF, b"another group", QUEUE)
    sealed = [message.request.sealed_state_key for message in taken]
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
