"""Any value of any struct, for properties."""

from typing import Any

from hypothesis import strategies as st

from chalicelib.protocol.mls.commit import (
    Commit,
    HPKECiphertext,
    ProposalOrRef,
    UpdatePath,
    UpdatePathNode,
)
from chalicelib.protocol.mls.extensions import (
    X509,
    Credential,
    Extension,
    ExternalSender,
    RequiredCapabilities,
)
from chalicelib.protocol.mls.framing import (
    AuthenticatedContent,
    ContentType,
    FramedContent,
    FramedContentAuthData,
    MLSMessage,
    PrivateMessage,
    PublicMessage,
    Sender,
    SenderType,
    WireFormat,
)
from chalicelib.protocol.mls.group_info import GroupContext, GroupInfo, PartialGroupInfo
from chalicelib.protocol.mls.key_package import MLS10, KeyPackage
from chalicelib.protocol.mls.nodes import Capabilities, LeafNode, LeafNodeSource, Lifetime, ParentNode
from chalicelib.protocol.mls.proposals import (
    Add,
    AppDataUpdate,
    AppEphemeral,
    ExternalInit,
    GroupContextExtensions,
    PreSharedKey,
    PreSharedKeyID,
    PSKType,
    ReInit,
    Remove,
    ResumptionPSKUsage,
    SelfRemove,
    Update,
)
from chalicelib.protocol.mls.welcome import EncryptedGroupSecrets, GroupSecrets, PathSecret, Welcome

octets = st.binary(max_size=12) | st.binary(min_size=60, max_size=70)
uint8s, uint16s = st.integers(0, 2**8 - 1), st.integers(0, 2**16 - 1)
uint32s, uint64s = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)


def few(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(strategy, max_size=3).map(tuple)


extension = st.builds(Extension, uint16s, octets)
extensions = st.lists(extension, max_size=3, unique_by=lambda found: found.extension_type).map(tuple)
credential = st.builds(Credential, uint16s.filter(lambda number: number != X509), octets)
capabilities = st.builds(Capabilities, *[few(uint16s)] * 5)
lifetime = st.builds(Lifetime, uint64s, uint64s)
common: tuple[st.SearchStrategy[Any], ...] = (octets, octets, credential, capabilities)
leaf_node = st.one_of(
    st.builds(LeafNode, *common, st.just(LeafNodeSource.KEY_PACKAGE), lifetime, st.none(), extensions, octets),
    st.builds(LeafNode, *common, st.just(LeafNodeSource.UPDATE), st.none(), st.none(), extensions, octets),
    st.builds(LeafNode, *common, st.just(LeafNodeSource.COMMIT), st.none(), octets, extensions, octets),
)
unmerged = st.lists(uint32s, max_size=4, unique=True).map(sorted).map(tuple)
parent_node = st.builds(ParentNode, octets, octets, unmerged)
key_package = st.builds(KeyPackage, st.just(MLS10), uint16s, octets, leaf_node, extensions, octets)
psk_id = st.one_of(
    st.builds(PreSharedKeyID, st.just(PSKType.EXTERNAL), octets, octets),
    st.builds(
        PreSharedKeyID,
        st.just(PSKType.RESUMPTION),
        octets,
        octets,
        st.sampled_from(ResumptionPSKUsage),
        uint64s,
    ),
    st.builds(PreSharedKeyID, st.just(PSKType.APPLICATION), octets, octets, component_id=uint16s),
)
proposal = st.one_of(
    st.builds(Add, key_package),
    st.builds(Update, leaf_node),
    st.builds(Remove, uint32s),
    st.builds(PreSharedKey, psk_id),
    st.builds(ReInit, octets, uint16s, uint16s, extensions),
    st.builds(ExternalInit, octets),
    st.builds(GroupContextExtensions, extensions),
    st.builds(AppDataUpdate, uint16s, st.none() | octets),
    st.builds(AppEphemeral, uint16s, octets),
    st.just(SelfRemove()),
)
ciphertext = st.builds(HPKECiphertext, octets, octets)
update_path = st.builds(UpdatePath, leaf_node, few(st.builds(UpdatePathNode, octets, few(ciphertext))))
proposal_or_ref = st.builds(ProposalOrRef, proposal) | st.builds(ProposalOrRef, reference=octets)
commit = st.builds(Commit, few(proposal_or_ref), st.none() | update_path)
sender = st.one_of(
    st.builds(Sender, st.sampled_from([SenderType.MEMBER, SenderType.EXTERNAL]), uint32s),
    st.builds(Sender, st.sampled_from([SenderType.NEW_MEMBER_PROPOSAL, SenderType.NEW_MEMBER_COMMIT])),
)
framed_content = st.builds(FramedContent, octets, uint64s, sender, octets, octets | proposal | commit)
group_context = st.builds(GroupContext, uint16s, uint16s, octets, uint64s, octets, octets, extensions)
group_info = st.builds(GroupInfo, group_context, extensions, octets, uint32s, octets)
welcome = st.builds(Welcome, uint16s, few(st.builds(EncryptedGroupSecrets, octets, ciphertext)), octets)
private_message = st.builds(PrivateMessage, octets, uint64s, st.sampled_from(ContentType), octets, octets, octets)


@st.composite
def authenticated_content(draw: st.DrawFn) -> AuthenticatedContent:
    content = draw(framed_content)
    tag = draw(octets) if content.content_type == ContentType.COMMIT else None
    wire_format = draw(st.sampled_from([WireFormat.PUBLIC_MESSAGE, WireFormat.PRIVATE_MESSAGE]))
    return AuthenticatedContent(wire_format, content, FramedContentAuthData(draw(octets), tag))


@st.composite
def public_message(draw: st.DrawFn) -> PublicMessage:
    content = draw(authenticated_content())
    member = content.content.sender.sender_type == SenderType.MEMBER
    return PublicMessage(content.content, content.auth, draw(octets) if member else None)


message = st.builds(MLSMessage, public_message() | private_message | welcome | group_info | key_package)

STRUCTS: dict[Any, st.SearchStrategy[Any]] = {
    MLSMessage: message,
    AuthenticatedContent: authenticated_content(),
    LeafNode: leaf_node,
    ParentNode: parent_node,
    KeyPackage: key_package,
    Commit: commit,
    GroupInfo: group_info,
    PartialGroupInfo: st.builds(PartialGroupInfo, extensions, octets),
    GroupContext: group_context,
    Welcome: welcome,
    GroupSecrets: st.builds(GroupSecrets, octets, st.none() | st.builds(PathSecret, octets), few(psk_id)),
    ExternalSender: st.builds(ExternalSender, octets, credential),
    RequiredCapabilities: st.builds(RequiredCapabilities, *[few(uint16s)] * 3),
}
"""Each struct that stands alone somewhere, with its values."""
