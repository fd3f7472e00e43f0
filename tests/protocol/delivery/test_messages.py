"""What a request is about, and what its signature covers."""

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.errors import DecodeError
from chalicelib.protocol.crypto import CIPHER_SUITES, InvalidSignature, cipher_suite
from chalicelib.protocol.delivery.directory import ADD_PACKAGE_LABEL, AddPackage
from chalicelib.protocol.delivery.group_messages import SelfRemoveRequest, SendMessage, SubmitProposals
from chalicelib.protocol.delivery.group_updates import AddUsers, MLSGroupUpdate, ResyncClient, UpdateClient
from chalicelib.protocol.delivery.messages import (
    BODIES,
    TBS_LABEL,
    DSMessage,
    DSRequest,
    DSRequestType,
    DSSenderID,
    sign_message,
)
from chalicelib.protocol.delivery.parts import Domain
from chalicelib.protocol.delivery.queue_requests import Acknowledge, QSMessage, QSRequest, sign_queue_message
from chalicelib.protocol.delivery.responses import DSError, DSErrorCode, ExternalCommitInfoAnswer, WelcomeInfoAnswer
from chalicelib.protocol.mls.framing import ContentType, MLSMessage
from chalicelib.protocol.tls import decode
from tests.protocol.delivery.requests import (
    FRESH,
    QUEUE,
    STATE_KEY,
    application,
    group_info,
    honest,
    partial,
    proposal,
    story,
)
from tests.protocol.mls.story import GROUP_ID

SUITE = cipher_suite(1)
LEAF = DSSenderID.leaf(1)
NO_GROUP = {"REQUEST_GROUP_ID", "KEY_PACKAGES", "PUBLISH_KEY_PACKAGES", "UPLOAD"}
BY_EPOCH = {
    "CREATE_GROUP",
    "DELETE_GROUP",
    "ADD_USERS",
    "REMOVE_USERS",
    "ADD_CLIENTS",
    "REMOVE_CLIENTS",
    "UPDATE_CLIENT",
    "COMMIT",
}
WITH_KEY_PACKAGE = {"CREATE_GROUP", "EXTERNAL_COMMIT_INFO", "RESYNC_CLIENT", "JOIN_BY_EXTERNAL_COMMIT"}
NO_STATE_KEY = {*NO_GROUP, "PUBLIC_KEY"}


def read(request: DSRequest) -> DSRequest:
    return decode(DSRequest.read, request.encode())


@pytest.mark.parametrize("request_type", DSRequestType, ids=lambda one: one.name)
def test_every_honest_request_is_read_as_it_was_made(request_type: DSRequestType) -> None:
    for sealed_state_key in (None, STATE_KEY):
        request = DSRequest(honest(sealed_state_key)[request_type])
        assert read(request) == request
        assert read(request).request_type is request_type


@pytest.mark.parametrize("request_type", DSRequestType, ids=lambda one: one.name)
def test_a_request_says_what_it_is_about(request_type: DSRequestType) -> None:
    name = request_type.name
    request = read(DSRequest(honest(STATE_KEY)[request_type]))
    assert request.group_id == (None if name in NO_GROUP else GROUP_ID)
    assert request.freshness == (None if name in BY_EPOCH else FRESH)
    assert request.sealed_state_key == (None if name in NO_STATE_KEY else STATE_KEY)
    assert (request.key_package is not None) == (name in WITH_KEY_PACKAGE)
    assert read(DSRequest(honest()[request_type])).sealed_state_key is None


@pytest.mark.parametrize("suite", CIPHER_SUITES.values(), ids=lambda suite: suite.name)
def test_a_signed_message_verifies_with_its_senders_key_only(suite: Any) -> None:
    private, other = bytes(57 if suite.number in {4, 6} else 32)[:-1] + b"\x07", b"\x08"
    other = bytes(len(private) - 1) + other
    request = DSRequest(honest()[DSRequestType.SEND_MESSAGE])
    signed = sign_message(LEAF, request, lambda label, content: suite.sign_with_label(private, label, content))
    message = decode(DSMessage.read, signed.encode())
    message.verify(suite, suite.signatures.public_key(private))
    with pytest.raises(InvalidSignature) as refused:
        message.verify(suite, suite.signatures.public_key(other))
    assert refused.value.facts() == {"check": "ds-20"}  # [ds-20]


def sign(label: str, content: bytes) -> bytes:
    return SUITE.sign_with_label(b"k" * 32, label, content)


KEY = SUITE.signatures.public_key(b"k" * 32)


def test_a_signature_covers_every_byte_before_it() -> None:
    request = DSRequest(honest(STATE_KEY)[DSRequestType.UPDATE_QUEUE_INFO])
    encoded = sign_message(LEAF, request, sign).encode()
    before = len(encoded) - 65
    verified = 0
    for place in range(before):
        changed = bytearray(encoded)
        changed[place] ^= 1
        try:
            message = decode(DSMessage.read, bytes(changed))
        except DecodeError:
            continue
        assert message.signed == bytes(changed[:before])
        with pytest.raises(InvalidSignature):
            message.verify(SUITE, KEY)
        verified += 1
    assert verified > before // 2


def test_a_signature_under_another_label_is_none() -> None:
    request = DSRequest(honest()[DSRequestType.UPLOAD])
    message = sign_message(LEAF, request, lambda _label, content: sign("MIMI QSMessageTBS", content))
    with pytest.raises(InvalidSignature):
        message.verify(SUITE, KEY)
    assert TBS_LABEL == "MIMI DSMessageTBS"


def test_a_signature_is_over_the_sender_and_the_request() -> None:
    request = DSRequest(honest()[DSRequestType.UPLOAD])
    message = sign_message(DSSenderID.leaf(1), request, sign)
    assert message.signed == b"\x00\x00\x00\x00\x01" + request.encode()
    with pytest.raises(InvalidSignature):
        dataclasses.replace(message, sender_id=DSSenderID.leaf(2), signed=b"").verify(SUITE, KEY)


def test_senders_are_told_apart() -> None:
    assert DSSenderID.key_package(b"r").encode() == b"\x01\x01r"
    assert DSSenderID.user(b"r").encode() == b"\x02\x01r"


def test_a_messages_digest_is_that_of_all_its_bytes() -> None:
    encoded = sign_message(LEAF, DSRequest(honest()[DSRequestType.COMMIT]), sign).encode()
    assert decode(DSMessage.read, encoded).request_sha256 == hashlib.sha256(encoded).digest()


def test_a_queues_message_verifies_with_the_queues_key_only() -> None:
    message = sign_queue_message(b"q" * 16, QSRequest(Acknowledge(7, FRESH)), sign)
    assert decode(QSMessage.read, message.encode()) == message
    message.verify(SUITE, KEY)
    for changed in (
        dataclasses.replace(message, queue_id=b"r" * 16, signed=b""),
        dataclasses.replace(message, request=QSRequest(Acknowledge(8, FRESH)), signed=b""),
        dataclasses.replace(message, signature=sign(TBS_LABEL, message.signed)),
    ):
        with pytest.raises(InvalidSignature) as refused:
            changed.verify(SUITE, KEY)
        assert refused.value.check == "ds-21"  # [ds-21]


def test_an_add_package_is_signed_by_the_leaf_inside() -> None:
    identity = story().members["alice"].identity
    key_package = identity.key_package(story().random.randbytes, 0).public
    package = AddPackage.sign(key_package, QUEUE, identity.sign, last_resort=True)
    assert decode(AddPackage.read, package.encode()) == package
    package.verify(SUITE)
    stranger = story().members["bob"].identity
    other = dataclasses.replace(QUEUE, ds_domain=Domain("us.ds.example"))
    for changed in (
        dataclasses.replace(package, last_resort=False, signed=b""),
        dataclasses.replace(package, client_queue_config=other, signed=b""),
        AddPackage.sign(key_package, QUEUE, stranger.sign, last_resort=True),
        dataclasses.replace(package, signature=identity.sign("KeyPackageTBS", package.signed)),
    ):
        with pytest.raises(InvalidSignature) as refused:
            changed.verify(SUITE)
        assert refused.value.check == "ds-22"  # [ds-22]
    assert ADD_PACKAGE_LABEL == "MIMI AddPackage"


# What does not belong together is not a request.


def commit(group_id: bytes = GROUP_ID) -> MLSMessage:
    body = story().pending("bob").commit.body.content.content  # type: ignore[union-attr]
    assert not isinstance(body, bytes)
    return story().forge("bob", body, group_id=group_id)


NO_COMMITS: dict[str, Callable[[], MLSMessage]] = {
    "a proposal": proposal,
    "an application message": application,
    "a private commit": lambda: application(content_type=ContentType.COMMIT),
    "a GroupInfo": lambda: MLSMessage(group_info()),
    "a KeyPackage": lambda: MLSMessage(story().key_package("dave").public),
}


@pytest.mark.parametrize("name", NO_COMMITS)
def test_a_group_update_is_a_public_commit(name: str) -> None:
    update = MLSGroupUpdate(NO_COMMITS[name](), partial())
    with pytest.raises(DecodeError, match="public one with a commit"):
        decode(UpdateClient.read, UpdateClient(update).encode())


@pytest.mark.parametrize("message", [proposal, application, commit])
def test_a_welcome_is_one(message: Any) -> None:
    """[mds-welcome-1]"""
    request = AddUsers(MLSGroupUpdate(commit(), partial()), (message(),))
    with pytest.raises(DecodeError, match="among the Welcomes"):
        decode(AddUsers.read, request.encode())


@pytest.mark.parametrize("message", [application, commit], ids=["application", "commit"])
def test_a_proposal_is_a_public_one(message: Any) -> None:
    """[mds-propose-2]"""
    with pytest.raises(DecodeError, match="public one with a proposal"):
        decode(SelfRemoveRequest.read, SelfRemoveRequest(message(), FRESH).encode())
    with pytest.raises(DecodeError, match="public one with a proposal"):
        decode(SubmitProposals.read, SubmitProposals((proposal(), message()), FRESH).encode())
    error = DSError(DSErrorCode.MUST_COVER, required_proposals=(message(),))
    with pytest.raises(DecodeError, match="public one with a proposal"):
        decode(DSError.read, error.encode())


def test_the_proposals_of_a_request_name_one_group() -> None:
    """[mds-propose-1] None at all name none."""
    with pytest.raises(DecodeError, match="one group"):
        decode(SubmitProposals.read, SubmitProposals((proposal(), proposal(b"another")), FRESH).encode())
    with pytest.raises(DecodeError, match="one group"):
        decode(SubmitProposals.read, SubmitProposals((), FRESH).encode())


def test_what_is_sent_is_an_encrypted_application_message() -> None:
    """[mds-send-1]"""
    for message in (commit(), proposal(), story().forge("bob", b"in the clear")):
        with pytest.raises(DecodeError, match="not a private one"):
            decode(SendMessage.read, SendMessage(message, FRESH).encode())
    for content_type in (ContentType.COMMIT, ContentType.PROPOSAL):
        with pytest.raises(DecodeError, match="no application data"):
            decode(SendMessage.read, SendMessage(application(content_type=content_type), FRESH).encode())


def test_a_resync_and_its_commit_are_about_one_group() -> None:
    update = MLSGroupUpdate(commit(b"another"), partial())
    with pytest.raises(DecodeError, match="two groups"):
        decode(ResyncClient.read, ResyncClient(GROUP_ID, KEY, update, None, None, FRESH).encode())


def test_the_group_is_the_one_that_the_mls_message_names() -> None:
    for body in (
        UpdateClient(MLSGroupUpdate(commit(b"another"), partial())),
        SendMessage(application(b"another"), FRESH),
        SubmitProposals((proposal(b"another"),), FRESH),
        SelfRemoveRequest(proposal(b"another"), FRESH),
    ):
        assert read(DSRequest(body)).group_id == b"another"


def test_the_state_that_a_joiner_gets_is_a_group_info() -> None:
    for answer in (WelcomeInfoAnswer(proposal(), b"t"), ExternalCommitInfoAnswer(proposal(), b"t")):
        with pytest.raises(DecodeError, match="not a GroupInfo"):
            decode(type(answer).read, answer.encode())
    waiting = ExternalCommitInfoAnswer(MLSMessage(group_info()), b"t", (commit(),))
    with pytest.raises(DecodeError, match="public one with a proposal"):
        decode(ExternalCommitInfoAnswer.read, waiting.encode())


def test_every_body_knows_its_request_type() -> None:
    assert {type(honest()[request_type]) for request_type in DSRequestType} == set(BODIES.values())
