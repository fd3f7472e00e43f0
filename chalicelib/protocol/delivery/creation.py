"""Taking in a new group (-02 §3.1): what its creator sends, and the state it starts from.

Clients differ in where they start: some create at epoch 0, some commit once at creation. So any epoch is taken, with
exactly one member, at leaf 0. The tree comes in the GroupInfo's `ratchet_tree` extension, or is the KeyPackage's leaf
where its hash matches.
"""

import dataclasses

from chalicelib.errors import Refusal
from chalicelib.protocol.crypto import cipher_suite
from chalicelib.protocol.delivery.group_state import Change, GroupState
from chalicelib.protocol.delivery.group_updates import CreateGroupRequest
from chalicelib.protocol.delivery.policy import DsPolicy
from chalicelib.protocol.delivery.records import DeliveryRecord, Records
from chalicelib.protocol.delivery.refusals import InvalidRequest
from chalicelib.protocol.delivery.responses import CreateGroupResponse
from chalicelib.protocol.mls.chunked_tree import Attempt, ChunkedTree
from chalicelib.protocol.mls.chunks import reference
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.extensions import RATCHET_TREE, external_senders, find
from chalicelib.protocol.mls.group_info_rules import create_group
from chalicelib.protocol.mls.leaf_rules import GroupRules, check_key_package
from chalicelib.protocol.mls.nodes import LeafNode, LeafNodeSource, encode_optional_node
from chalicelib.protocol.mls.plain_tree import read_nodes
from chalicelib.protocol.mls.public_group import PublicGroup
from chalicelib.protocol.timestamps import SECOND
from chalicelib.protocol.tls import SMALL_ELEMENTS, decode, opaque


class CannotCreate(Refusal):
    """A group is not taken in: `result` is -02's word for it, `cause` the check that failed."""

    def __init__(self, result: CreateGroupResponse, cause: Refusal) -> None:
        super().__init__(str(cause))
        self.result = result
        self.cause = cause
        self.check = cause.check

    def facts(self) -> dict[str, object]:
        """Return what the check that failed tells."""
        return self.cause.facts()


def judge_creation(
    request: CreateGroupRequest, policy: DsPolicy, attempt: Attempt, salt: bytes, now: int, *, may_lack_sender: bool
) -> Change:
    """Return the state of a new group, or raise `CannotCreate`; `now` is in milliseconds, `salt` random.

    `may_lack_sender` says whether a group is taken in that does not list this service as an external sender.
    """
    context = request.group_info.group_context
    # [mds-create-2] The group id is the GroupInfo's.
    if context.group_id != request.group_id:
        cause = InvalidRequest("mds-create-2", "the group id is not the one in the GroupInfo")
        raise CannotCreate(CreateGroupResponse.INVALID_GROUP_ID, cause)
    try:
        group = _group(request, policy)
        no_ds_sender = _check_sender(group, policy, may_lack_sender=may_lack_sender)
    except Refusal as cause:
        raise CannotCreate(CreateGroupResponse.INVALID_GROUP_INFO, cause) from cause
    try:
        _check_key_package(request, group, now)
    except Refusal as cause:
        raise CannotCreate(CreateGroupResponse.INVALID_KEY_PACKAGE, cause) from cause
    tree = ChunkedTree.build(group.tree, salt, context.epoch, attempt)
    records, written = Records(attempt).changed({0: DeliveryRecord(request.client_queue_config, context.epoch, now)})
    encoded = request.group_info.encode()
    info_ref = reference(attempt.name, encoded)
    state = GroupState(dataclasses.replace(group, tree=tree), info_ref, records, no_ds_sender=no_ds_sender)
    return Change(state, {**written, info_ref: encoded})


def _group(request: CreateGroupRequest, policy: DsPolicy) -> PublicGroup:
    """[mds-create-3] Return the group of a GroupInfo that is valid (RFC 9420 §§12.4.3, 12.4.3.1)."""
    cipher_suite(request.group_info.group_context.cipher_suite)
    tree = find(request.group_info.extensions, RATCHET_TREE)
    if tree is None:
        tree = opaque(encode_optional_node(request.key_package.leaf_node))
    # [mds-create-4] There is exactly one member, at leaf 0: a group comes here before anybody else is in it. This is
    # asked before the tree is verified, because a large one would cost us more than its sender.
    nodes = decode(read_nodes, tree, SMALL_ELEMENTS)
    if len(nodes) != 1 or not isinstance(nodes[0], LeafNode):
        raise InvalidRequest("mds-create-4", "the group has other members than its creator")
    group = create_group(request.group_info, tree, policy)
    leaf = nodes[0]
    # [mds-create-5] Its leaf came in its KeyPackage, or in a commit without anybody above it.
    if leaf.source == LeafNodeSource.UPDATE or leaf.parent_hash:
        raise InvalidRequest("mds-create-5", "the creator's leaf cannot be that of a group of one")
    return group


def _check_sender(group: PublicGroup, policy: DsPolicy, *, may_lack_sender: bool) -> bool:
    """[mds-create-6] Say whether this service is missing among the external senders; refuse it where it must not be."""
    missing = policy.own not in external_senders(group.context.extensions)
    if missing and not may_lack_sender:
        raise InvalidRequest("mds-create-6", "the group does not list this delivery service as an external sender")
    return missing


def _check_key_package(request: CreateGroupRequest, group: PublicGroup, now: int) -> None:
    """Check the creator's KeyPackage (RFC 9420 §10.1), and that it is the creator's."""
    rules = GroupRules(group.suite, group.policy, group.context.group_id, group.context.extensions, group.support)
    check_key_package(request.key_package, rules, now // SECOND)
    leaf, offered = Draft(group.tree).leaf(0), request.key_package.leaf_node
    # [mds-create-7] It has the signature key and the credential of leaf 0; the leaf itself may be newer.
    if not isinstance(leaf, LeafNode) or (leaf.signature_key, leaf.credential) != (
        offered.signature_key,
        offered.credential,
    ):
        raise InvalidRequest("mds-create-7", "the KeyPackage is another client's than leaf 0")
