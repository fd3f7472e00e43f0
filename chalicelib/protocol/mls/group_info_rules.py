"""Does a GroupInfo describe the group? (RFC 9420 §§12.4.3, 12.4.3.1–12.4.3.3)

Two occasions: a group is created here from a GroupInfo and a tree, and after a commit the committer vouches
for the epoch it made. For the second, the committer need only send what we cannot compute
(`PartialGroupInfo`).
"""

from chalicelib.protocol.crypto import cipher_suite
from chalicelib.protocol.mls.app_data import check_dictionary
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.errors import InvalidGroupInfo, TooLarge
from chalicelib.protocol.mls.extensions import EXTERNAL_PUB, RATCHET_TREE, external_senders, find
from chalicelib.protocol.mls.group_info import GroupContext, GroupInfo, PartialGroupInfo
from chalicelib.protocol.mls.key_package import MLS10
from chalicelib.protocol.mls.leaf_rules import check_encryption_key
from chalicelib.protocol.mls.plain_tree import decode_tree, encode_tree
from chalicelib.protocol.mls.policy import Policy
from chalicelib.protocol.mls.proposal_rules import check_context_size, check_extension_count
from chalicelib.protocol.mls.public_group import LAST_EPOCH, PublicGroup, StagedCommit, check_tag, new_group
from chalicelib.protocol.mls.tree_rules import check_tree
from chalicelib.protocol.tls import Reader, decode

TREE_IN_GROUP_INFO = 2_048
"""The most members whose tree a GroupInfo may carry; above, joiners fetch it."""

MAX_INFO = 64 << 10
"""The most bytes of a GroupInfo's other extensions, which all who join are sent."""


def create_group(info: GroupInfo, ratchet_tree: bytes | None, policy: Policy) -> PublicGroup:
    """Return the group of a GroupInfo after every check that a joiner makes and we can.

    The tree is the one given, or the one in the GroupInfo's own `ratchet_tree` extension.
    """
    context = info.group_context
    # [mls-8.1-1] The version is one that is known.
    if context.version != MLS10:
        raise InvalidGroupInfo("mls-8.1-1", "the group has another protocol version than MLS 1.0")
    # [ds-7] A group that could never change is not taken in.
    if context.epoch == LAST_EPOCH:
        raise TooLarge("ds-7", "the group is in the last epoch there is")
    suite = cipher_suite(context.cipher_suite)
    encoded = find(info.extensions, RATCHET_TREE) if ratchet_tree is None else ratchet_tree
    if encoded is None:
        raise InvalidGroupInfo("mls-12.4.3.1-1", "there is no ratchet tree")
    check_tag(suite, info.confirmation_tag)
    check_extension_count(context.extensions)
    check_context_size(context.extensions)
    # [ds-13] Of its hashes one cannot be checked here.
    if len(context.confirmed_transcript_hash) > suite.hash_size:
        raise TooLarge("ds-13", "the transcript hash is longer than a hash")
    check_dictionary(context.extensions)
    senders = external_senders(context.extensions)
    if senders:
        policy.check_external_senders(senders)  # [mls-5.3.1-3]
    tree = decode_tree(suite, policy, encoded)
    # [mls-12.4.3.1-2] The tree hash of the ratchet tree matches `tree_hash`.
    if Draft(tree).tree_hash != context.tree_hash:
        raise InvalidGroupInfo("mls-12.4.3.1-2", "the tree hash is not that of the tree")
    verify_group_info(info, context, info.confirmation_tag, Draft(tree))
    support = check_tree(tree, context.group_id, context.extensions)
    return new_group(info, tree, support)


def verify_group_info(info: GroupInfo, context: GroupContext, confirmation_tag: bytes, draft: Draft) -> None:
    """Check a GroupInfo against the epoch that it must describe."""
    # [mls-12.4.3-1] `group_context` is the current state of the group.
    if info.group_context != context:
        raise InvalidGroupInfo("mls-12.4.3-1", "the GroupContext is not the one the commit comes to")
    # [mls-12.4.3-3] `confirmation_tag` is the one of the commit that made this epoch.
    if info.confirmation_tag != confirmation_tag:
        raise InvalidGroupInfo("mls-12.4.3-3", "the confirmation tag is not the commit's")
    leaf = draft.leaf(info.signer)
    # [mls-12.4.3-4] The signer's leaf is not blank.
    if leaf is None:
        raise InvalidGroupInfo("mls-12.4.3-4", "there is no member at the signer's leaf")
    info.verify_signature(draft.suite, leaf.signature_key)
    _check_extensions(info, draft)


def verify_staged_group_info(info: GroupInfo | PartialGroupInfo, staged: StagedCommit) -> GroupInfo:
    """Return the GroupInfo of a staged commit's epoch, rebuilt if only a part of it came, and verified."""
    if isinstance(info, PartialGroupInfo):
        info = info.complete(staged.context, staged.confirmation_tag, staged.committer)
    verify_group_info(info, staged.context, staged.confirmation_tag, staged.applied.draft)
    return info


def _check_extensions(info: GroupInfo, draft: Draft) -> None:
    """Check the extensions we know; [mls-13.4-3] unknown ones MUST be ignored (§12.4.3)."""
    others = (extension for extension in info.extensions if extension.extension_type != RATCHET_TREE)
    # [ds-14] What is ignored has to be stored, and sent to who joins.
    if sum(len(extension.encode()) for extension in others) > MAX_INFO:
        raise TooLarge("ds-14", "the GroupInfo's extensions are larger than is taken here")
    external_pub = find(info.extensions, EXTERNAL_PUB)
    if external_pub is not None:
        check_encryption_key(draft.suite, decode(Reader.opaque, external_pub), "mls-12.4.3.2-6")
    carried = find(info.extensions, RATCHET_TREE)
    if carried is None:
        return
    # [ds-4] A tree inside a GroupInfo is allowed for small groups, because its signature covers it.
    if draft.members > TREE_IN_GROUP_INFO:
        raise InvalidGroupInfo("ds-4", "the group is too large for a tree inside the GroupInfo")
    # [mls-12.4.3.3-3] It must be the group's own.
    if carried != encode_tree(draft):
        raise InvalidGroupInfo("mls-12.4.3.3-3", "the tree inside the GroupInfo is not the group's")
