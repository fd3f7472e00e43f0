"""Any value of any struct of the delivery service, for properties."""

import string
from typing import Any

from hypothesis import strategies as st

from chalicelib.protocol.delivery import directory, group_messages, group_updates, info_requests, messages, responses
from chalicelib.protocol.delivery.parts import BodyReference, Domain, Freshness, Reference
from chalicelib.protocol.delivery.queue_requests import (
    Acknowledge,
    CreateQueue,
    DeleteQueue,
    Fetch,
    QSMessage,
    QSRequest,
    UpdateQueue,
)
from chalicelib.protocol.delivery.queueing import (
    ClientQueueConfig,
    Delivery,
    EnqueueRequest,
    EnqueueResponse,
    Fetched,
    QueueConfig,
    QueueEntry,
    QueueingServiceResponse,
)
from chalicelib.protocol.delivery.sealed import Sealed
from chalicelib.protocol.mls.commit import Commit
from chalicelib.protocol.mls.extensions import ExternalSender
from chalicelib.protocol.mls.framing import (
    ContentType,
    FramedContent,
    FramedContentAuthData,
    MLSMessage,
    PrivateMessage,
    PublicMessage,
    SenderType,
)
from chalicelib.protocol.mls.group_info import PartialGroupInfo
from tests.protocol.mls import strategies as mls
from tests.protocol.mls.strategies import few, octets, uint16s, uint32s, uint64s

visible = "".join(sorted(set(string.printable) - set(string.whitespace)))
domain = st.text("abcdefghijklmnopqrstuvwxyz0123456789-.", min_size=1, max_size=20).map(Domain)
url = st.text(visible, min_size=1, max_size=40)
sixteen, digest = st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32)
short = st.binary(max_size=255)
nothing = st.none()

freshness = st.builds(Freshness, uint64s, sixteen, domain)
sealed = st.builds(Sealed, uint32s, st.binary(min_size=80, max_size=80))
key = nothing | sealed
reference = st.builds(Reference, url, digest, uint64s)
option = octets | reference
client_queue_config = st.builds(ClientQueueConfig, domain, sealed)


@st.composite
def public(draw: st.DrawFn, contents: st.SearchStrategy[Any], group_id: bytes | None = None) -> MLSMessage:
    """Return a public message with such a content."""
    name = draw(octets) if group_id is None else group_id
    content = FramedContent(name, draw(uint64s), draw(mls.sender), draw(octets), draw(contents))
    member = content.sender.sender_type == SenderType.MEMBER
    tag = draw(octets) if isinstance(content.content, Commit) else None
    auth = FramedContentAuthData(draw(octets), tag)
    return MLSMessage(PublicMessage(content, auth, draw(octets) if member else None))


commit = public(mls.commit)
welcomes = few(st.builds(MLSMessage, mls.welcome))
group_info = st.builds(MLSMessage, mls.group_info)
partial = st.builds(PartialGroupInfo, mls.extensions, octets)
group_update = st.builds(group_updates.MLSGroupUpdate, commit, partial)
added = few(st.builds(group_updates.AddedClient, octets, client_queue_config))
application = st.builds(
    MLSMessage,
    st.builds(PrivateMessage, octets, uint64s, st.just(ContentType.APPLICATION), octets, octets, octets),
)
key_package = nothing | mls.key_package
add_package = st.builds(directory.AddPackage, mls.key_package, client_queue_config, st.booleans(), octets)
add_packages = few(add_package)
proposals = few(public(mls.proposal))
group = st.tuples(octets, octets)


@st.composite
def resync(draw: st.DrawFn) -> group_updates.ResyncClient:
    update = draw(group_update)
    queue = draw(nothing | client_queue_config)
    rest = draw(key_package), queue, draw(freshness), draw(key)
    return group_updates.ResyncClient(update.group_id, draw(octets), update, *rest)


@st.composite
def submit(draw: st.DrawFn) -> group_messages.SubmitProposals:
    some = draw(st.lists(public(mls.proposal, draw(octets)), min_size=1, max_size=3))
    return group_messages.SubmitProposals(tuple(some), draw(freshness), draw(key))


plain = (group_update, key)
adding = (group_update, welcomes, added, key)
queue = client_queue_config

BODIES: dict[Any, st.SearchStrategy[Any]] = {
    group_updates.CreateGroupRequest: st.builds(
        group_updates.CreateGroupRequest, octets, mls.key_package, queue, mls.group_info, key
    ),
    group_updates.DeleteGroupRequest: st.builds(group_updates.DeleteGroupRequest, *plain),
    group_updates.RemoveUsers: st.builds(group_updates.RemoveUsers, *plain),
    group_updates.RemoveClients: st.builds(group_updates.RemoveClients, *plain),
    group_updates.UpdateClient: st.builds(group_updates.UpdateClient, *plain),
    group_updates.AddUsers: st.builds(group_updates.AddUsers, *adding),
    group_updates.AddClients: st.builds(group_updates.AddClients, *adding),
    group_updates.CommitRequest: st.builds(group_updates.CommitRequest, *adding),
    group_updates.ResyncClient: resync(),
    group_updates.JoinByExternalCommit: st.builds(
        group_updates.JoinByExternalCommit, group_update, key_package, queue, freshness, key
    ),
    group_messages.SendMessage: st.builds(group_messages.SendMessage, application, freshness, key),
    group_messages.SelfRemoveRequest: st.builds(group_messages.SelfRemoveRequest, public(mls.proposal), freshness, key),
    group_messages.SubmitProposals: submit(),
    info_requests.UpdateQueueInfo: st.builds(info_requests.UpdateQueueInfo, octets, octets, queue, freshness, key),
    info_requests.CloseGroup: st.builds(info_requests.CloseGroup, octets, octets, freshness, key),
    info_requests.WelcomeInfo: st.builds(info_requests.WelcomeInfo, octets, octets, uint64s, freshness, key),
    info_requests.ExternalCommitInfo: st.builds(
        info_requests.ExternalCommitInfo, octets, octets, key_package, freshness, key
    ),
    directory.RequestGroupId: st.builds(directory.RequestGroupId, uint16s, freshness),
    directory.PublicKey: st.builds(directory.PublicKey, octets, uint16s, freshness),
    directory.PublishKeyPackages: st.builds(directory.PublishKeyPackages, add_packages, freshness),
    directory.KeyPackages: st.builds(directory.KeyPackages, domain, uint16s, few(octets), freshness),
    directory.Upload: st.builds(directory.Upload, digest, uint64s, freshness),
}
"""The body of each request."""

sender_id = st.one_of(
    st.builds(messages.DSSenderID.leaf, uint32s),
    st.builds(messages.DSSenderID.key_package, octets),
    st.builds(messages.DSSenderID.user, octets),
)
ds_message = st.builds(messages.DSMessage, sender_id, st.builds(messages.DSRequest, st.one_of(*BODIES.values())), short)

external_sender = st.builds(ExternalSender, octets, mls.credential)
ANSWERS: dict[Any, st.SearchStrategy[Any]] = {
    responses.Ok: st.just(responses.Ok()),
    responses.DSError: st.builds(
        responses.DSError,
        st.sampled_from(responses.DSErrorCode),
        st.text(visible, max_size=20),
        uint64s,
        uint32s,
        proposals,
    ),
    responses.CreateGroupRefused: st.builds(
        responses.CreateGroupRefused, st.sampled_from(responses.CreateGroupResponse), st.text(visible, max_size=20)
    ),
    responses.GroupIdAnswer: st.builds(responses.GroupIdAnswer, octets, external_sender),
    responses.WelcomeInfoAnswer: st.builds(responses.WelcomeInfoAnswer, group_info, option),
    responses.ExternalCommitInfoAnswer: st.builds(responses.ExternalCommitInfoAnswer, group_info, option, proposals),
    responses.KeyPackagesAnswer: st.builds(responses.KeyPackagesAnswer, add_packages),
    responses.PublicKeyAnswer: st.builds(responses.PublicKeyAnswer, external_sender),
    responses.UploadAnswer: st.builds(responses.UploadAnswer, url),
}
"""What each kind of DSResponse holds."""

ds_response = st.builds(responses.DSResponse, digest, st.one_of(*ANSWERS.values()))

queue_keys = (uint16s, octets, sixteen, freshness)
qs_body = st.one_of(
    st.builds(CreateQueue, *queue_keys),
    st.builds(Fetch, uint64s, uint32s, uint32s, freshness),
    st.builds(Acknowledge, uint64s, freshness),
    st.builds(DeleteQueue, freshness),
    st.builds(UpdateQueue, *queue_keys),
)
body_option = octets | st.builds(BodyReference, digest, uint64s)
delivery = st.builds(Delivery, body_option, few(client_queue_config))
stream = st.tuples(uint64s, uint64s).filter(lambda pair: pair[0] != pair[1]).map(sorted)


@st.composite
def enqueue(draw: st.DrawFn) -> EnqueueRequest:
    before, seq = draw(stream)
    shard, at = draw(uint32s), draw(uint64s)
    return EnqueueRequest(Domain(draw(domain)), draw(octets), shard, before, seq, at, draw(few(delivery)))


QUEUEING: dict[Any, st.SearchStrategy[Any]] = {
    QSMessage: st.builds(QSMessage, sixteen, st.builds(QSRequest, qs_body), short),
    EnqueueRequest: enqueue(),
    EnqueueResponse: st.builds(EnqueueResponse, few(st.sampled_from(QueueingServiceResponse))),
    Fetched: st.builds(
        Fetched,
        few(st.builds(QueueEntry, uint64s, domain, octets, uint64s, uint64s, option)),
        uint64s,
        uint64s,
    ),
    QueueConfig: st.builds(QueueConfig, sixteen, sixteen),
    ClientQueueConfig: client_queue_config,
}

STRUCTS: dict[Any, st.SearchStrategy[Any]] = {
    messages.DSMessage: ds_message,
    responses.DSResponse: ds_response,
    directory.AddPackage: add_package,
    directory.KeyPackagesQuery: st.builds(directory.KeyPackagesQuery, uint16s, few(octets)),
    directory.UploadReference: st.builds(directory.UploadReference, digest, uint64s),
    **QUEUEING,
}
"""Each struct that is a body of HTTP, is signed or sealed, with its values."""
