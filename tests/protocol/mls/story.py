"""A small group to tell stories about: alice and bob, and whoever is needed beside them.

Members are `Member`s of our own client, and `group` is the delivery service's view. `forge` and its like make what an
honest member never sends, properly signed, so that a test fails for the one reason it names.
"""

import contextlib
import dataclasses
import random
from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib.client.mls_framing import protect_public, sign_content
from chalicelib.client.mls_identity import Identity, PrivateKeyPackage
from chalicelib.client.mls_member import Member, Pending
from chalicelib.errors import Refusal
from chalicelib.protocol.mls.commit import Commit, ProposalOrRef, UpdatePath
from chalicelib.protocol.mls.extensions import Extensions
from chalicelib.protocol.mls.framing import (
    AuthenticatedContent,
    FramedContent,
    FramedContentAuthData,
    MLSMessage,
    PublicMessage,
    Sender,
    SenderType,
    WireFormat,
    decode_message,
)
from chalicelib.protocol.mls.key_package import KeyPackage
from chalicelib.protocol.mls.nodes import Capabilities, LeafNode
from chalicelib.protocol.mls.plain_tree import encode_tree
from chalicelib.protocol.mls.policy import Policy
from chalicelib.protocol.mls.proposals import Add, ExternalInit, Proposal
from chalicelib.protocol.mls.public_group import PublicGroup, StagedCommit, StagedProposal
from chalicelib.protocol.mls.welcome import Welcome

NOW = 1_700_000_000
GROUP_ID = b"a group"


@contextlib.contextmanager
def refused(check: str) -> Iterator[None]:
    """Expect a refusal that carries this id, and no other."""
    with pytest.raises(Refusal) as caught:
        yield
    assert getattr(caught.value, "check", None) == check, caught.value


class Story:
    """A group of some members, by name, and what the delivery service knows of it."""

    def __init__(
        self,
        *names: str,
        suite: int = 1,
        extensions: Extensions = (),
        policy: Policy | None = None,
        proposals: tuple[int, ...] = (),
        leaf_extensions: tuple[int, ...] = (),
    ) -> None:
        self.suite, self.policy = suite, policy or Policy()
        self.random = random.Random("a story")
        self.proposals, self.leaf_extensions = proposals, leaf_extensions
        first, *others = names
        owner = self.key_package(first)
        creator = Member.create(owner, GROUP_ID, self.random.randbytes, extensions, self.policy)
        self.members = {first: creator}
        self.group: PublicGroup = creator.group
        for name in others:
            self.add(first, name)

    def identity(self, name: str, **changes: Any) -> Identity:
        """Return a new client; `changes` replace fields of its capabilities."""
        identity = Identity.basic(
            self.suite, name.encode(), self.random.randbytes, self.proposals, self.leaf_extensions
        )
        capabilities: Capabilities = dataclasses.replace(identity.capabilities, **changes)
        return dataclasses.replace(identity, capabilities=capabilities)

    def key_package(self, name: str, **changes: Any) -> PrivateKeyPackage:
        """Return a new client's KeyPackage."""
        return self.identity(name, **changes).key_package(self.random.randbytes, NOW)

    # What goes well.

    def stage(self, message: MLSMessage) -> StagedCommit | StagedProposal:
        """Let the delivery service judge a message as it comes over the wire."""
        return self.group.stage(decode_message(message.encode()), NOW)

    def stage_commit(self, message: MLSMessage) -> StagedCommit:
        """Let the delivery service judge a commit."""
        staged = self.stage(message)
        assert isinstance(staged, StagedCommit)
        return staged

    def deliver(self, message: MLSMessage, *but: str) -> None:
        """Accept a handshake, and let every member but its sender receive it."""
        self.group = self.group.merge(self.stage(message))
        for name, member in self.members.items():
            if name not in but:
                received = member.receive(message, NOW)
                assert isinstance(received, Member)
                self.members[name] = received
        self.agree()

    def agree(self) -> None:
        """Assert that all members and the delivery service are in the same epoch."""
        for member in self.members.values():
            assert member.group.context == self.group.context
            assert member.secrets == next(iter(self.members.values())).secrets

    def propose(self, name: str, proposal: Proposal) -> bytes:
        """Let a member propose, and return the reference."""
        message = self.members[name].propose(proposal)
        staged = self.stage(message)
        assert isinstance(staged, StagedProposal)
        sender = self.members[name].receive(message, NOW)
        assert isinstance(sender, Member)
        self.deliver(message, name)
        self.members[name] = sender
        return staged.reference

    def pending(self, name: str, *proposals: Proposal | bytes, path: bool = True) -> Pending:
        """Let a member make a commit that is not sent yet."""
        return self.members[name].commit(proposals, self.random.randbytes, NOW, path=path)

    def accept(self, name: str, pending: Pending, *leaving: str) -> None:
        """Accept a member's commit; those who leave by it do not receive it."""
        for left in leaving:
            del self.members[left]
        self.members.pop(name, None)
        self.group = self.group.merge(self.stage(pending.commit))
        for other, member in self.members.items():
            received = member.receive(pending.commit, NOW)
            assert isinstance(received, Member)
            self.members[other] = received
        self.members[name] = pending.accepted
        self.agree()

    def commit(self, name: str, *proposals: Proposal | bytes, path: bool = True) -> None:
        """Let a member commit, and everyone follow."""
        self.accept(name, self.pending(name, *proposals, path=path))

    def adding(self, *names: str) -> list[Add]:
        """Return the Adds of new clients that take no further part in the story."""
        return [Add(self.key_package(name).public) for name in names]

    def add(self, committer: str, name: str, *, path: bool = True) -> None:
        """Let a member add a client, who joins by Welcome and a tree from the delivery service."""
        owner = self.key_package(name)
        pending = self.pending(committer, Add(owner.public), path=path)
        self.accept(committer, pending)
        assert pending.welcome is not None
        assert isinstance(pending.welcome.body, Welcome)
        self.members[name] = Member.join(owner, pending.welcome.body, encode_tree(self.group.tree), policy=self.policy)
        self.agree()

    # What goes wrong.

    def forge(
        self,
        name: str,
        body: Proposal | Commit | bytes,
        *,
        sender: Sender | None = None,
        epoch: int | None = None,
        group_id: bytes = GROUP_ID,
        signer: Identity | None = None,
    ) -> MLSMessage:
        """Return a content that a member signs although no honest one would."""
        member = self.members[name]
        context = self.group.context
        framed = FramedContent(
            group_id,
            context.epoch if epoch is None else epoch,
            sender or Sender(SenderType.MEMBER, member.leaf_index),
            b"",
            body,
        )
        private = (signer or member.identity).signature_private
        signature = sign_content(member.suite, private, WireFormat.PUBLIC_MESSAGE, framed, context)
        tag = bytes(member.suite.hash_size) if isinstance(body, Commit) else None
        content = AuthenticatedContent(WireFormat.PUBLIC_MESSAGE, framed, FramedContentAuthData(signature, tag))
        return MLSMessage(protect_public(member.suite, member.secrets.membership_key, content, context))

    def forge_commit(self, name: str, *proposals: Proposal | bytes, path: UpdatePath | None = None) -> MLSMessage:
        """Return a commit of proposals that need not fit together, with the path given or an honest one."""
        listed = tuple(
            ProposalOrRef(reference=item) if isinstance(item, bytes) else ProposalOrRef(item) for item in proposals
        )
        return self.forge(name, Commit(listed, path or self.path(name)))

    def commit_adding(self, name: str, *key_packages: KeyPackage) -> MLSMessage:
        """Return a commit without a path that adds clients whom an honest member might not."""
        listed = tuple(ProposalOrRef(Add(key_package)) for key_package in key_packages)
        return self.forge(name, Commit(listed, None))

    def path(self, name: str) -> UpdatePath:
        """Return an honest path of a member for a commit without proposals."""
        commit = content_of(self.pending(name).commit).content
        assert isinstance(commit, Commit)
        assert commit.path is not None
        return commit.path

    def sign_leaf(self, name: str, leaf: LeafNode, leaf_index: int | None = None) -> LeafNode:
        """Return a leaf that a member signs, for its own place unless another is given."""
        member = self.members[name]
        place = member.leaf_index if leaf_index is None else leaf_index
        return sign_leaf(member.identity, leaf, place)

    def external(self, name: str, *proposals: ProposalOrRef) -> Pending:
        """Let a new client make an external commit."""
        identity = self.identity(name)
        return self.external_by(identity, *proposals)

    def external_by(self, identity: Identity, *proposals: ProposalOrRef) -> Pending:
        """Let a client make an external commit, with the pending proposals known to it."""
        info = next(iter(self.members.values())).group_info()
        return Member.join_by_external_commit(
            identity,
            info,
            encode_tree(self.group.tree),
            self.random.randbytes,
            NOW,
            proposals=proposals,
            queued=list(self.group.proposals.values()),
            policy=self.policy,
        )

    def external_by_force(self, identity: Identity) -> MLSMessage:
        """Return an external commit that the client's own copy of the rules would not let it make."""
        policy, self.policy = self.policy, Policy()
        try:
            return self.external_by(identity).commit
        finally:
            self.policy = policy

    def forge_external(self, pending: Pending, identity: Identity, commit: Commit) -> MLSMessage:
        """Return an external commit with other contents, signed by its sender."""
        name = next(iter(self.members))
        return self.forge(name, commit, sender=Sender(SenderType.NEW_MEMBER_COMMIT), signer=identity)


def content_of(message: MLSMessage) -> FramedContent:
    """Return the content of a public message."""
    assert isinstance(message.body, PublicMessage)
    return message.body.content


def commit_of(message: MLSMessage) -> Commit:
    """Return the commit in a public message."""
    commit = content_of(message).content
    assert isinstance(commit, Commit)
    return commit


def sign_leaf(identity: Identity, leaf: LeafNode, leaf_index: int) -> LeafNode:
    """Return a leaf with its signature made anew."""
    unsigned = dataclasses.replace(leaf, signed=b"")
    content = unsigned.to_be_signed(GROUP_ID, leaf_index)
    return dataclasses.replace(unsigned, signature=identity.sign("LeafNodeTBS", content))


def sign_key_package(owner: PrivateKeyPackage, **changes: Any) -> KeyPackage:
    """Return a KeyPackage with some fields replaced, and its signature made anew."""
    changed: KeyPackage = dataclasses.replace(owner.public, **{**changes, "signed": b""})
    return dataclasses.replace(changed, signature=owner.identity.sign("KeyPackageTBS", changed.signed))


def sign_key_package_leaf(owner: PrivateKeyPackage, **changes: Any) -> KeyPackage:
    """Return a KeyPackage whose leaf has some fields replaced, both signatures made anew."""
    leaf = sign_leaf(owner.identity, dataclasses.replace(owner.public.leaf_node, **changes), 0)
    return sign_key_package(owner, leaf_node=leaf)


def external_init(commit: Commit) -> ExternalInit:
    """Return the ExternalInit of an external commit."""
    (found,) = [item.proposal for item in commit.proposals if isinstance(item.proposal, ExternalInit)]
    return found
