"""A device whose groups our own member keeps: what the other library does not do.

It names the delivery service among a new group's external senders, so that this can propose removals; it can leave the
tree out of its Welcomes, commit what others proposed, and be in sealed groups.
"""

import os
import time
from collections.abc import Sequence
from typing import TypeVar

from chalicelib.client.delivery_client import JoinInfo, Message
from chalicelib.client.mls_identity import Identity, PrivateKeyPackage
from chalicelib.client.mls_member import Member, Pending
from chalicelib.client.mls_welcome import open_welcome
from chalicelib.protocol.crypto import cipher_suite
from chalicelib.protocol.delivery.messages import DSSenderID
from chalicelib.protocol.delivery.policy import user_of
from chalicelib.protocol.mls.commit import ProposalOrRef
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.extensions import ExternalSender, external_senders_extension
from chalicelib.protocol.mls.framing import MLSMessage, PrivateMessage
from chalicelib.protocol.mls.group_info import GroupInfo
from chalicelib.protocol.mls.key_package import KeyPackage
from chalicelib.protocol.mls.nodes import LeafNode
from chalicelib.protocol.mls.plain_tree import decode_tree
from chalicelib.protocol.mls.policy import Policy
from chalicelib.protocol.mls.proposals import Add, Proposal, Remove
from chalicelib.protocol.mls.welcome import Welcome
from infra.local.devices import Commit, Device
from infra.local.services import Services

Inside = TypeVar("Inside", GroupInfo, Welcome)

SUITE = 1
PAST_EPOCHS = 5


class OwnDevice(Device):
    """Our own client, named by a mimi: URI. Its private keys are in memory only."""

    def __init__(self, services: Services, home: str, identity: str) -> None:
        self.identity = Identity.basic(SUITE, identity.encode(), os.urandom)
        super().__init__(services, home, identity, self.identity)
        self.groups: dict[bytes, Member] = {}
        self._past: dict[tuple[bytes, int], Member] = {}
        self._offered: dict[bytes, PrivateKeyPackage] = {}

    @property
    def user(self) -> bytes:
        """Return whose client this is, as its credential says."""
        return user_of(self.identity.credential)

    def key_package(self) -> KeyPackage:
        """Return a new KeyPackage."""
        offered = self.identity.key_package(os.urandom, int(time.time()))
        self._offered[offered.public.reference(cipher_suite(SUITE))] = offered
        return offered.public

    def create(self, group_id: bytes, hub: str, sender: ExternalSender) -> None:
        """Make a group of one that lets the delivery service propose removals."""
        offered = self.identity.key_package(os.urandom, int(time.time()))
        member = Member.create(offered, group_id, os.urandom, (external_senders_extension((sender,)),))
        self.groups[group_id], self.hub_of[group_id] = member, hub
        key = self.sealed_state_keys.get(group_id)
        self.at(group_id).create_group(
            DSSenderID.leaf(0), group_id, offered.public, self.config(), member.group_info(), sealed_state_key=key
        )

    def leaf(self, group_id: bytes) -> int:
        """Return the own leaf index."""
        return self.groups[group_id].leaf_index

    def leaf_of(self, group_id: bytes, signature_key: bytes) -> int:
        """Return the leaf of somebody else."""
        return next(index for index, leaf in self.leaves(group_id) if leaf.signature_key == signature_key)

    def leaves(self, group_id: bytes) -> Sequence[tuple[int, LeafNode]]:
        """Return all members, each with its leaf index."""
        return [*Draft(self.groups[group_id].group.tree).all_leaves()]

    def epoch(self, group_id: bytes) -> int:
        """Return the epoch that the device is in."""
        return self.groups[group_id].epoch

    def tree_hash(self, group_id: bytes) -> bytes:
        """Return the hash of the tree that the device holds."""
        return self.groups[group_id].group.context.tree_hash

    def join(self, hub: str, message: MLSMessage) -> bytes:
        """Join by a Welcome; the tree comes from the hub, whether or not it is inside."""
        welcome = _body(message, Welcome)
        reference = next(entry.new_member for entry in welcome.secrets if entry.new_member in self._offered)
        owner = self._offered.pop(reference)
        context = open_welcome(owner, welcome)[2].group_context
        sender, key = DSSenderID.key_package(reference), self.sealed_state_keys.get(context.group_id)
        info = self.persist(
            lambda: self.hub(hub).welcome_info(sender, context.group_id, context.epoch, sealed_state_key=key)
        )
        self.groups[context.group_id] = Member.join(owner, welcome, info.ratchet_tree)
        return context.group_id

    def follow(self, group_id: bytes, handshake: MLSMessage) -> None:
        """Take in a commit or a proposal."""
        after = self.groups[group_id].receive(handshake, int(time.time()))
        if isinstance(after, bytes):
            raise TypeError("a handshake says something")
        self.groups[group_id] = after

    def read(self, group_id: bytes, message: MLSMessage) -> bytes:
        """Return what a message says."""
        epoch = message.body.epoch if isinstance(message.body, PrivateMessage) else self.epoch(group_id)
        reader = self._past.get((group_id, epoch), self.groups[group_id])
        said = reader.receive(message, int(time.time()))
        if not isinstance(said, bytes):
            raise TypeError("a message says nothing")
        return said

    def write(self, group_id: bytes, data: bytes) -> Message:
        """Return a message that says it."""
        return self.groups[group_id].protect_application(data, os.urandom)

    def prepare(self, group_id: bytes, proposals: Sequence[Proposal], *, tree_in_welcome: bool) -> Commit:
        """Make a commit of proposals, and of those that were heard: a delivery service's must be covered."""
        member = self.groups[group_id]
        listed = [*member.group.proposals, *proposals]
        pending = member.commit(listed, os.urandom, int(time.time()), tree_in_welcome=tree_in_welcome)
        return _commit(pending)

    def prepare_add(self, group_id: bytes, packages: Sequence[KeyPackage], *, tree_in_welcome: bool = True) -> Commit:
        """Make a commit that adds clients; those of another library want the tree to come along."""
        return self.prepare(group_id, [*map(Add, packages)], tree_in_welcome=tree_in_welcome)

    def prepare_remove(self, group_id: bytes, leaf_index: int) -> Commit:
        """Make a commit that removes a member."""
        return self.prepare(group_id, [Remove(leaf_index)], tree_in_welcome=False)

    def prepare_resync(self, info: JoinInfo) -> Commit:
        """Make an external commit that replaces the own leaf, which is found in the tree by its key."""
        tree = decode_tree(cipher_suite(SUITE), Policy(), info.ratchet_tree)
        leaves = Draft(tree).all_leaves()
        old = next(index for index, leaf in leaves if leaf.signature_key == self.identity.signature_key)
        pending = Member.join_by_external_commit(
            self.identity,
            _body(info.group_info, GroupInfo),
            info.ratchet_tree,
            os.urandom,
            int(time.time()),
            proposals=[ProposalOrRef(Remove(old))],
        )
        return _commit(pending)

    def update(self, group_id: bytes) -> Commit:
        """Give oneself a new leaf, and the group new secrets."""
        commit = self.prepare(group_id, (), tree_in_welcome=False)
        self.send_update(group_id, commit)
        return commit

    def send_update(self, group_id: bytes, commit: Commit) -> None:
        """Send a commit that only gives oneself a new leaf."""
        sender, key = self.as_member(group_id), self.sealed_state_keys.get(group_id)
        self.settle(
            group_id, commit, lambda: self.at(group_id).update_client(sender, commit.update, sealed_state_key=key)
        )

    def accepted(self, group_id: bytes, commit: Commit) -> None:
        """Become who the commit leads to; what was said before it and comes after must still be read."""
        before = self.groups.get(group_id)
        if before is not None:
            self._past[group_id, before.epoch] = before
            self._past.pop((group_id, before.epoch - PAST_EPOCHS), None)
        self.groups[group_id] = commit.after

    def refused(self, group_id: bytes) -> None:
        """Stay: nothing has moved."""


def _commit(pending: Pending) -> Commit:
    welcomes = () if pending.welcome is None else (pending.welcome,)
    return Commit(pending.commit, pending.group_info, welcomes, pending.accepted)


def _body(message: MLSMessage, kind: type[Inside]) -> Inside:
    if not isinstance(message.body, kind):
        raise TypeError(f"a message is no {kind.__name__}")
    return message.body
