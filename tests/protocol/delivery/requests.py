"""A small group's honest requests, one of every type, with real MLS messages inside."""

import functools
from collections.abc import Mapping

from chalicelib.protocol.delivery.directory import (
    AddPackage,
    KeyPackages,
    PublicKey,
    PublishKeyPackages,
    RequestGroupId,
    Upload,
    UserID,
)
from chalicelib.protocol.delivery.group_messages import SelfRemoveRequest, SendMessage, SubmitProposals
from chalicelib.protocol.delivery.group_updates import (
    AddClients,
    AddedClient,
    AddUsers,
    CommitRequest,
    CreateGroupRequest,
    DeleteGroupRequest,
    JoinByExternalCommit,
    MLSGroupUpdate,
    RemoveClients,
    RemoveUsers,
    ResyncClient,
    UpdateClient,
)
from chalicelib.protocol.delivery.info_requests import CloseGroup, ExternalCommitInfo, UpdateQueueInfo, WelcomeInfo
from chalicelib.protocol.delivery.messages import BODIES, Body, DSRequestType
from chalicelib.protocol.delivery.parts import Domain, Freshness
from chalicelib.protocol.delivery.queueing import ClientQueueConfig
from chalicelib.protocol.delivery.sealed import Sealed
from chalicelib.protocol.mls.framing import ContentType, MLSMessage, PrivateMessage
from chalicelib.protocol.mls.group_info import GroupInfo, PartialGroupInfo
from chalicelib.protocol.mls.proposals import Add, Remove
from tests.protocol.mls.story import GROUP_ID, Story

DOMAIN = Domain("eu.ds.example")
FRESH = Freshness(1_700_000_000_000, bytes(range(16)), DOMAIN)
QUEUE = ClientQueueConfig(DOMAIN, Sealed(1, bytes(range(80))))
STATE_KEY = Sealed(2, bytes(range(100, 180)))


@functools.cache
def story() -> Story:
    return Story("alice", "bob")


def group_info() -> GroupInfo:
    return story().members["alice"].group_info()


def partial() -> PartialGroupInfo:
    return PartialGroupInfo((), b"s" * 64)


def application(group_id: bytes = GROUP_ID, content_type: ContentType = ContentType.APPLICATION) -> MLSMessage:
    return MLSMessage(PrivateMessage(group_id, 1, content_type, b"", b"e" * 28, b"c" * 60))


def proposal(group_id: bytes = GROUP_ID) -> MLSMessage:
    return story().forge("bob", Remove(0), group_id=group_id)


@functools.cache
def honest(sealed_state_key: Sealed | None = None) -> Mapping[DSRequestType, Body]:
    """Return one body of every type."""
    told = story()
    carol = told.key_package("carol").public
    pending = told.pending("bob", Add(carol))
    assert pending.welcome is not None
    update = MLSGroupUpdate(pending.commit, partial())
    outside = MLSGroupUpdate(told.external("alice").commit, partial())
    adding = (update, (pending.welcome,), (AddedClient(b"r" * 32, QUEUE),), sealed_state_key)
    identity = told.members["alice"].identity
    key = identity.signature_key
    package = AddPackage.sign(identity.key_package(told.random.randbytes, 1_700_000_000).public, QUEUE, identity.sign)
    bodies: tuple[Body, ...] = (
        CreateGroupRequest(GROUP_ID, carol, QUEUE, group_info(), sealed_state_key),
        DeleteGroupRequest(update, sealed_state_key),
        UpdateQueueInfo(GROUP_ID, key, QUEUE, FRESH, sealed_state_key),
        WelcomeInfo(GROUP_ID, key, 1, FRESH, sealed_state_key),
        ExternalCommitInfo(GROUP_ID, key, carol, FRESH, sealed_state_key),
        AddUsers(*adding),
        RemoveUsers(update, sealed_state_key),
        AddClients(*adding),
        RemoveClients(update, sealed_state_key),
        UpdateClient(update, sealed_state_key),
        ResyncClient(GROUP_ID, key, outside, carol, QUEUE, FRESH, sealed_state_key),
        SendMessage(application(), FRESH, sealed_state_key),
        RequestGroupId(1, FRESH),
        SelfRemoveRequest(proposal(), FRESH, sealed_state_key),
        JoinByExternalCommit(outside, carol, QUEUE, FRESH, sealed_state_key),
        KeyPackages(DOMAIN, 1, (UserID(b"alice"), UserID(b"bob")), FRESH),
        PublicKey(GROUP_ID, 1, FRESH),
        SubmitProposals((proposal(), proposal()), FRESH, sealed_state_key),
        CommitRequest(*adding),
        PublishKeyPackages((package,), FRESH),
        Upload(b"d" * 32, 4_000_000, FRESH),
        CloseGroup(GROUP_ID, key, FRESH, sealed_state_key),
    )
    of = {kind: request_type for request_type, kind in BODIES.items()}
    return {of[type(body)]: body for body in bodies}
