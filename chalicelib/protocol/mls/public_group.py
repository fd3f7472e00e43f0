"""A group as a delivery service follows it (RFC 9420 §§6, 8, 11, 12, 14).

`PublicGroup` is one epoch: its GroupContext, its tree, and the proposals that wait. It never changes. `stage`
judges a message and returns what would become of it, or raises the refusal that members would come to;
`merge` makes that the next state. Only what was staged on a group can be merged into it.

    staged = group.stage(decode_message(received), now)
    if isinstance(staged, StagedCommit):
        ...                             # rules of the service, GroupInfo, Welcomes
    group = group.merge(staged)

What only members can check is not checked here, and stays as it was received: membership tags, confirmation
tags, whether path secrets and Welcomes decrypt, whether PSKs are there, what `external_pub` is. A malicious
member can so lead the others to an epoch that some cannot enter; it could do the same without us.

`StagedCommit.context` is the exact GroupContext of the next epoch, because tree hash and transcript hashes
need no secret. Every signature of a member covers it; one wrong hash would show with the next message.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Self

from chalicelib.protocol.crypto import CipherSuite, cipher_suite
from chalicelib.protocol.mls.commit import Commit
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.errors import (
    GroupFrozen,
    InvalidFraming,
    InvalidProposal,
    StaleEpoch,
    TooLarge,
    UnknownProposal,
)
from chalicelib.protocol.mls.extensions import external_senders
from chalicelib.protocol.mls.framing import (
    AuthenticatedContent,
    MLSMessage,
    PublicMessage,
    SenderType,
)
from chalicelib.protocol.mls.group_info import GroupContext, GroupInfo
from chalicelib.protocol.mls.leaf_rules import GroupRules
from chalicelib.protocol.mls.policy import Policy
from chalicelib.protocol.mls.proposal_list import ProposalList, QueuedProposal
from chalicelib.protocol.mls.proposal_rules import check_proposal, check_sender
from chalicelib.protocol.mls.proposals import (
    DEFAULT_PROPOSALS,
    Add,
    Proposal,
    ReInit,
    Remove,
    SelfRemove,
)
from chalicelib.protocol.mls.staging import Applied, apply_commit, check_proposal_type
from chalicelib.protocol.mls.support import Support
from chalicelib.protocol.mls.transcript import confirmed_transcript_hash, interim_transcript_hash
from chalicelib.protocol.mls.tree import Tree

LAST_EPOCH = 2**64 - 1
"""No commit can end this epoch: its number is the last that a GroupContext can hold."""


@dataclasses.dataclass(frozen=True)
class StagedProposal:
    """A proposal that may be committed in this epoch."""

    base: GroupContext
    reference: bytes
    queued: QueuedProposal


@dataclasses.dataclass(frozen=True)
class StagedCommit:
    """A commit that may end this epoch, and the epoch it starts."""

    base: GroupContext
    context: GroupContext
    interim_transcript_hash: bytes
    confirmation_tag: bytes
    applied: Applied
    proposals: ProposalList

    @property
    def committer(self) -> int:
        """Return the committer's leaf index in the next epoch."""
        return self.applied.committer

    @property
    def external(self) -> bool:
        """Say whether a new member commits."""
        return self.proposals.committer is None

    @property
    def added(self) -> tuple[tuple[int, Add], ...]:
        """Return the Adds with the leaves they fill; an external committer is not among them."""
        return self.applied.added

    @property
    def removed(self) -> tuple[int, ...]:
        """Return the leaf indices of this epoch whose members the next one does not have."""
        return self.applied.removed


@dataclasses.dataclass(frozen=True)
class PublicGroup:
    """One epoch of a group, as public data shows it."""

    context: GroupContext
    interim_transcript_hash: bytes
    confirmation_tag: bytes
    tree: Tree
    support: Support
    proposals: Mapping[bytes, QueuedProposal] = dataclasses.field(default_factory=dict)
    reinit: ReInit | None = None

    @property
    def suite(self) -> CipherSuite:
        """Return the group's cipher suite."""
        return cipher_suite(self.context.cipher_suite)

    @property
    def policy(self) -> Policy:
        """Return the application's part of the rules."""
        return self.tree.policy

    @property
    def epoch(self) -> int:
        """Return the current epoch."""
        return self.context.epoch

    @property
    def rules(self) -> GroupRules:
        """Return what a leaf of this epoch must fit."""
        context = self.context
        return GroupRules(self.suite, self.policy, context.group_id, context.extensions, self.support)

    def stage(self, message: MLSMessage, now: int) -> StagedProposal | StagedCommit:
        """Judge a handshake message of this epoch; `now` is in seconds since 1970."""
        if not isinstance(message.body, PublicMessage):
            # [mls-6-2] Handshakes that a delivery service must look into travel as PublicMessage. From senders
            # outside the group they must do so in any case [mls-12.1.8-3].
            raise InvalidFraming("mls-6-2", "a handshake that is judged here is a PublicMessage")
        return self.stage_content(message.body.authenticated_content(), now)

    def check_frame(self, message: MLSMessage) -> None:
        """Check no more of a handshake than its frame (§6): it is of this epoch, and its sender has signed it."""
        if not isinstance(message.body, PublicMessage):
            raise InvalidFraming("mls-6-2", "a handshake that is judged here is a PublicMessage")
        self._check_frame(message.body.authenticated_content())

    def stage_content(self, content: AuthenticatedContent, now: int) -> StagedProposal | StagedCommit:
        """Judge an authenticated content; a member also comes by one in a PrivateMessage."""
        framed = content.content
        self._check_frame(content)
        if isinstance(framed.content, Commit):
            return self._stage_commit(content, framed.content, now)
        if isinstance(framed.content, bytes):
            # [mls-6-1] Applications MUST use PrivateMessage to encrypt application messages.
            raise InvalidFraming("mls-6-1", "an application message is not encrypted")
        return self._stage_proposal(content, framed.content, now)

    def merge(self, staged: StagedProposal | StagedCommit) -> Self:
        """Return the state after something that was staged on this one."""
        # [mls-14-1] A commit is premised on one state; from another its changes would be wrong.
        if staged.base is not self.context:
            raise ValueError("what was staged on another state cannot be merged into this one")
        if isinstance(staged, StagedProposal):
            proposals = {**self.proposals, staged.reference: staged.queued}
            return dataclasses.replace(self, proposals=proposals)
        applied = staged.applied
        return dataclasses.replace(
            self,
            context=staged.context,
            interim_transcript_hash=staged.interim_transcript_hash,
            confirmation_tag=staged.confirmation_tag,
            tree=self.tree.changed(applied.draft),
            support=applied.support,
            proposals={},
            reinit=applied.reinit,
        )

    # The frame, §6.

    def _check_frame(self, content: AuthenticatedContent) -> None:
        framed = content.content
        # [mls-6-3] The message is for this group.
        if framed.group_id != self.context.group_id:
            raise InvalidFraming("mls-6-3", "the message is for another group")
        # [mls-12.4.2-14] A reinitialised group takes no more messages.
        if self.reinit is not None:
            raise GroupFrozen
        # [mls-12.4.2-1] The epoch is the current one; for proposals it is [mls-12.1-2].
        if framed.epoch != self.context.epoch:
            raise StaleEpoch(self.context.epoch)
        # [mls-6.1-1] The signature verifies with the key that the sender's type points at [mls-12.4.2-3].
        self.suite.verify_with_label(
            self._signature_key(content),
            "FramedContentTBS",
            framed.to_be_signed(content.wire_format, self.context),
            content.auth.signature,
            "mls-6.1-1",
        )

    def _signature_key(self, content: AuthenticatedContent) -> bytes:
        """Return the key that must have signed (§6.1), after the checks that its sender type asks for."""
        sender, body = content.content.sender, content.content.content
        match sender.sender_type:
            case SenderType.MEMBER:
                leaf = Draft(self.tree).leaf(sender.index or 0)
                # [mls-6.1-2] The sender's leaf is one of the tree, and not blank.
                if leaf is None:
                    raise InvalidFraming("mls-6.1-2", "there is no member at the sender's leaf")
                return leaf.signature_key
            case SenderType.EXTERNAL:
                return self._external_sender_key(sender.index or 0, body)
            case SenderType.NEW_MEMBER_COMMIT:
                # [mls-6.1-4] The content type is commit.
                if not isinstance(body, Commit):
                    raise InvalidFraming("mls-6.1-4", "an external committer sends commits only")
                # [mls-12.4.3.2-1] External Commits MUST contain a path.
                if body.path is None:
                    raise InvalidFraming("mls-12.4.3.2-1", "an external commit needs a path")
                # [mls-12.4.3.2-3] The signature verifies with the key in the path's leaf.
                return body.path.leaf_node.signature_key
            case SenderType.NEW_MEMBER_PROPOSAL:
                # [mls-6.1-5] The content is a proposal of type add.
                if not isinstance(body, Add):
                    raise InvalidFraming("mls-6.1-5", "a new member may only propose an Add")
                return body.key_package.leaf_node.signature_key

    def _external_sender_key(self, index: int, body: bytes | Proposal | Commit) -> bytes:
        senders = external_senders(self.context.extensions)
        # [mls-12.1.8-1] External senders are listed in the GroupContext.
        if index >= len(senders):
            raise InvalidFraming("mls-12.1.8-1", "the group has no such external sender")
        # [mls-6.1-3] The content type is proposal.
        if isinstance(body, bytes | Commit):
            raise InvalidFraming("mls-6.1-3", "an external sender sends proposals only")
        return senders[index].signature_key

    # Proposals, §12.1.

    def _stage_proposal(self, content: AuthenticatedContent, proposal: Proposal, now: int) -> StagedProposal:
        sender = content.content.sender
        check_sender(sender, proposal)
        draft, rules = Draft(self.tree), self.rules
        check_proposal(proposal, sender, draft, rules, now)
        if proposal.proposal_type not in DEFAULT_PROPOSALS:
            # [mls-13.2-1] What not every member supports could never be committed, so it is not stored
            # either.
            check_proposal_type(proposal.proposal_type, draft, rules, "mls-13.2-1")
        if isinstance(proposal, Add) and sender.sender_type == SenderType.NEW_MEMBER_PROPOSAL:
            # [mls-12.1.8-2] External proposals that are not authorized are considered invalid.
            self.policy.check_new_member_proposal(proposal.key_package.leaf_node)
        self._check_self_removes([proposal], sender.index or 0)
        reference = content.proposal_reference(self.suite)
        return StagedProposal(self.context, reference, QueuedProposal(proposal, sender, reference))

    def _check_self_removes(self, proposals: Sequence[Proposal], sender: int) -> None:
        leaving = {queued.sender.index for queued in self.proposals.values() if isinstance(queued.proposal, SelfRemove)}
        for proposal in proposals:
            # [ext-7.3-3] A client MUST NOT issue more than one SelfRemove proposal per epoch.
            if isinstance(proposal, SelfRemove) and sender in leaving:
                raise InvalidProposal("ext-7.3-3", "the member has proposed to remove itself before")
            # [ext-7.3-2] Beside a pending SelfRemove for a leaf, a Remove for the same leaf is invalid.
            if isinstance(proposal, Remove) and proposal.removed in leaving:
                raise InvalidProposal("ext-7.3-2", "the member to be removed is removing itself")

    # Commits, §12.4.

    def _stage_commit(self, content: AuthenticatedContent, commit: Commit, now: int) -> StagedCommit:
        framed = content.content
        if content.auth.confirmation_tag is None:
            raise ValueError("a commit was decoded without its confirmation tag")
        # [ds-7] The next epoch has a number.
        if self.context.epoch == LAST_EPOCH:
            raise TooLarge("ds-7", "the group is in the last epoch there is")
        external = framed.sender.sender_type == SenderType.NEW_MEMBER_COMMIT
        proposals = ProposalList(self._resolve(content, commit), None if external else framed.sender.index)
        self._check_self_removes(proposals.of(Remove), 0)
        applied = apply_commit(commit, proposals, Draft(self.tree), self.rules, now)
        confirmed = confirmed_transcript_hash(self.suite, self.interim_transcript_hash, content)
        # [mls-12.4.2-13] The new GroupContext, with the confirmed transcript hash that covers this commit.
        check_tag(self.suite, content.auth.confirmation_tag)
        context = dataclasses.replace(
            self.context,
            epoch=self.context.epoch + 1,
            tree_hash=applied.draft.tree_hash,
            confirmed_transcript_hash=confirmed,
            extensions=applied.extensions,
        )
        tag = content.auth.confirmation_tag
        interim = interim_transcript_hash(self.suite, confirmed, tag)
        return StagedCommit(self.context, context, interim, tag, applied, proposals)

    def _resolve(self, content: AuthenticatedContent, commit: Commit) -> Sequence[QueuedProposal]:
        """Return the committed proposals: those by value are the committer's own."""
        resolved = []
        for item in commit.proposals:
            if item.proposal is not None:
                resolved.append(QueuedProposal(item.proposal, content.content.sender))
                continue
            # [mls-12.4-2] A reference names a proposal that was sent in this epoch.
            queued = self.proposals.get(item.reference or b"")
            if queued is None:
                raise UnknownProposal("mls-12.4-2", "the commit refers to a proposal that is not stored here")
            resolved.append(queued)
        return resolved


def check_tag(suite: CipherSuite, confirmation_tag: bytes) -> None:
    """[ds-13] Refuse what is too long for a confirmation tag, whose value members alone can check (§6.1)."""
    if len(confirmation_tag) > suite.hash_size:
        raise TooLarge("ds-13", "the confirmation tag is longer than a MAC")


def new_group(info: GroupInfo, tree: Tree, support: Support) -> PublicGroup:
    """Return a group at the epoch of a GroupInfo that was verified against its tree."""
    suite = cipher_suite(info.group_context.cipher_suite)
    interim = interim_transcript_hash(suite, info.group_context.confirmed_transcript_hash, info.confirmation_tag)
    return PublicGroup(info.group_context, interim, info.confirmation_tag, tree, support)
