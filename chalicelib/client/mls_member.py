"""A small MLS member: creates, joins, commits, follows, sends (RFC 9420 §§7.5, 8, 11, 12).

What everyone can see of the group is a `PublicGroup`, the same that the delivery service has; a `Member` adds
the secrets. Like it, a member never changes: what comes out of a commit is the next one. A commit that was
made here is `Pending` until the delivery service has accepted it, because another may win the epoch (§14).

Randomness is an argument, `random(size)`, and so is the time.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Self

from chalicelib.client.mls_crypto import KeyPair, MemberSuite
from chalicelib.client.mls_framing import (
    check_tag,
    confirmation_tag,
    open_private,
    open_public,
    protect_private,
    protect_public,
    sign_content,
    verify_content,
)
from chalicelib.client.mls_identity import Identity, PrivateKeyPackage, Random
from chalicelib.client.mls_key_schedule import EpochSecrets
from chalicelib.client.mls_path import NotForThisMember, Path, climb, make_path, open_path_secret, still_good
from chalicelib.client.mls_secret_tree import SecretTree
from chalicelib.client.mls_welcome import find_psk_secret, make_welcome, open_welcome
from chalicelib.protocol.mls import tree_math
from chalicelib.protocol.mls.commit import Commit, ProposalOrRef
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.extensions import EXTERNAL_PUB, RATCHET_TREE, Extension, Extensions, find
from chalicelib.protocol.mls.framing import (
    AuthenticatedContent,
    FramedContent,
    FramedContentAuthData,
    MLSMessage,
    PrivateMessage,
    PublicMessage,
    Sender,
    SenderType,
    WireFormat,
)
from chalicelib.protocol.mls.group_info import GroupContext, GroupInfo
from chalicelib.protocol.mls.group_info_rules import create_group
from chalicelib.protocol.mls.key_package import MLS10
from chalicelib.protocol.mls.nodes import LeafNodeSource
from chalicelib.protocol.mls.plain_tree import PlainTree, encode_tree
from chalicelib.protocol.mls.policy import Policy
from chalicelib.protocol.mls.proposal_list import ProposalList, QueuedProposal
from chalicelib.protocol.mls.proposals import ExternalInit, PreSharedKey, Proposal, Update
from chalicelib.protocol.mls.public_group import PublicGroup, StagedCommit, StagedProposal
from chalicelib.protocol.mls.staging import apply_proposals
from chalicelib.protocol.mls.support import Support
from chalicelib.protocol.mls.transcript import confirmed_transcript_hash, interim_transcript_hash
from chalicelib.protocol.mls.welcome import Welcome
from chalicelib.protocol.tls import Reader, decode, opaque

EXTERNAL_INIT_LABEL = "MLS 1.0 external init secret"


@dataclasses.dataclass(frozen=True)
class Pending:
    """A commit made here: what to send, and who the committer is once it is accepted."""

    commit: MLSMessage
    staged: StagedCommit
    group_info: GroupInfo
    welcome: MLSMessage | None
    accepted: "Member"


@dataclasses.dataclass(frozen=True)
class Member:
    """One member in one epoch. `keys` are the key pairs it holds in the tree, by node index."""

    identity: Identity
    group: PublicGroup
    leaf_index: int
    secrets: EpochSecrets
    secret_tree: SecretTree
    keys: Mapping[int, KeyPair]
    psks: Mapping[bytes, bytes] = dataclasses.field(default_factory=dict)
    updates: Mapping[bytes, KeyPair] = dataclasses.field(default_factory=dict)
    resumption: Mapping[int, bytes] = dataclasses.field(default_factory=dict)

    @property
    def suite(self) -> MemberSuite:
        """Return the group's suite."""
        return self.identity.suite

    @property
    def epoch(self) -> int:
        """Return the current epoch."""
        return self.group.epoch

    # Into a group.

    @classmethod
    def create(
        cls,
        owner: PrivateKeyPackage,
        group_id: bytes,
        random: Random,
        extensions: Extensions = (),
        policy: Policy | None = None,
    ) -> Self:
        """Create a group with one member (§11)."""
        suite = owner.identity.suite
        leaf = owner.public.leaf_node
        tree = PlainTree.build(suite.cipher_suite, policy or Policy(), [leaf])
        context = GroupContext(
            MLS10, suite.cipher_suite.number, group_id, 0, tree.summary(0).tree_hash, b"", extensions
        )
        secrets = EpochSecrets.from_epoch_secret(suite, b"", b"", random(suite.hash_size))
        tag = confirmation_tag(suite, secrets, b"")
        interim = interim_transcript_hash(suite.cipher_suite, b"", tag)
        group = PublicGroup(context, interim, tag, tree, Support.of([leaf]))
        return cls._in_epoch(owner.identity, group, 0, secrets, {0: owner.encryption})

    @classmethod
    def _in_epoch(
        cls,
        identity: Identity,
        group: PublicGroup,
        leaf_index: int,
        secrets: EpochSecrets,
        keys: Mapping[int, KeyPair],
        psks: Mapping[bytes, bytes] | None = None,
        resumption: Mapping[int, bytes] | None = None,
    ) -> Self:
        tree = SecretTree(identity.suite, secrets.encryption_secret, group.tree.leaf_capacity)
        known = {**(resumption or {}), group.epoch: secrets.resumption_psk}
        return cls(identity, group, leaf_index, secrets, tree, keys, psks or {}, {}, known)

    @classmethod
    def join(
        cls,
        owner: PrivateKeyPackage,
        welcome: Welcome,
        ratchet_tree: bytes | None = None,
        psks: Mapping[bytes, bytes] | None = None,
        policy: Policy | None = None,
    ) -> Self:
        """Join by a Welcome (§12.4.3.1)."""
        suite = owner.identity.suite
        secrets, psk_secret, info = open_welcome(owner, welcome, psks)
        group = create_group(info, ratchet_tree, policy or Policy())
        draft = Draft(group.tree)
        leaf_index = next((index for index, leaf in draft.all_leaves() if leaf == owner.public.leaf_node), None)
        if leaf_index is None:
            raise NotForThisMember("the tree has no leaf for the KeyPackage")
        keys = {2 * leaf_index: owner.encryption}
        if secrets.path_secret is not None:
            start = tree_math.common_ancestor(leaf_index, info.signer)
            keys |= climb(suite, draft, info.signer, start, secrets.path_secret.path_secret)[0]
        epoch = EpochSecrets.from_joiner_secret(suite, secrets.joiner_secret, psk_secret, group.context.encode())
        check_tag(confirmation_tag(suite, epoch, group.context.confirmed_transcript_hash), info.confirmation_tag)
        return cls._in_epoch(owner.identity, group, leaf_index, epoch, keys, psks)

    @classmethod
    def join_by_external_commit(
        cls,
        identity: Identity,
        info: GroupInfo,
        ratchet_tree: bytes | None,
        random: Random,
        now: int,
        *,
        proposals: Sequence[ProposalOrRef] = (),
        queued: Sequence[QueuedProposal] = (),
        policy: Policy | None = None,
    ) -> Pending:
        """Join, or come back, without an invitation (§12.4.3.2).

        `queued` are the pending SelfRemoves that `proposals` refers to.
        """
        suite = identity.suite
        group = create_group(info, ratchet_tree, policy or Policy())
        group = dataclasses.replace(group, proposals={waiting.reference or b"": waiting for waiting in queued})
        external_pub = find(info.extensions, EXTERNAL_PUB)
        if external_pub is None:
            raise NotForThisMember("the GroupInfo has no external_pub")
        kem_output, init_secret = suite.export_to(decode(Reader.opaque, external_pub), EXTERNAL_INIT_LABEL)
        outside = cls(identity, group, -1, _NO_SECRETS, SecretTree(suite, b"", 1), {})
        committed = [ProposalOrRef(ExternalInit(kem_output)), *proposals]
        return outside._commit(committed, random, now, init_secret=init_secret, path=True)

    # Proposing and committing.

    def propose(self, proposal: Proposal, authenticated_data: bytes = b"") -> MLSMessage:
        """Return a proposal to send."""
        content = self._authenticate(proposal, WireFormat.PUBLIC_MESSAGE, authenticated_data)
        return MLSMessage(protect_public(self.suite, self.secrets.membership_key, content, self.group.context))

    def propose_update(self, random: Random) -> tuple[MLSMessage, Self]:
        """Return an Update to send, and the member that remembers its private key."""
        pair = self.suite.derive_key_pair(random(self.suite.hash_size))
        leaf = self.identity.leaf_node(
            pair.public,
            LeafNodeSource.UPDATE,
            group_id=self.group.context.group_id,
            leaf_index=self.leaf_index,
        )
        message = self.propose(Update(leaf))
        return message, dataclasses.replace(self, updates={**self.updates, pair.public: pair})

    def commit(
        self,
        proposals: Sequence[Proposal | bytes],
        random: Random,
        now: int,
        *,
        path: bool = True,
        tree_in_welcome: bool = False,
    ) -> Pending:
        """Commit proposals, by value or by the reference of one that was heard before (§12.4.1)."""
        listed = [
            ProposalOrRef(reference=item) if isinstance(item, bytes) else ProposalOrRef(item) for item in proposals
        ]
        return self._commit(listed, random, now, init_secret=None, path=path, tree_in_welcome=tree_in_welcome)

    def _commit(
        self,
        listed: Sequence[ProposalOrRef],
        random: Random,
        now: int,
        *,
        init_secret: bytes | None,
        path: bool,
        tree_in_welcome: bool = False,
    ) -> Pending:
        suite, context = self.suite, self.group.context
        external = init_secret is not None
        sender = Sender(SenderType.NEW_MEMBER_COMMIT) if external else Sender(SenderType.MEMBER, self.leaf_index)
        queued = [
            QueuedProposal(item.proposal, sender)
            if item.proposal is not None
            else self.group.proposals[item.reference or b""]
            for item in listed
        ]
        committed = ProposalList(queued, None if external else self.leaf_index)
        draft = Draft(self.group.tree)
        changed = apply_proposals(committed, draft, self.group.rules, now)
        leaf_index = draft.leftmost_blank() if external else self.leaf_index
        made = Path({}, b"", {}, None)
        if path:
            new = [index for index, _ in changed.added]
            next_context = dataclasses.replace(context, epoch=context.epoch + 1, extensions=changed.rules.extensions)
            made = make_path(self.identity, draft, leaf_index, new, next_context, random)
        next_context = dataclasses.replace(
            context,
            epoch=context.epoch + 1,
            tree_hash=draft.tree_hash,
            extensions=changed.rules.extensions,
        )
        commit = Commit(tuple(listed), made.update_path)
        framed = FramedContent(context.group_id, context.epoch, sender, b"", commit)
        signature = sign_content(suite, self.identity.signature_private, WireFormat.PUBLIC_MESSAGE, framed, context)
        unconfirmed = AuthenticatedContent(WireFormat.PUBLIC_MESSAGE, framed, FramedContentAuthData(signature, b""))
        confirmed = confirmed_transcript_hash(suite.cipher_suite, self.group.interim_transcript_hash, unconfirmed)
        next_context = dataclasses.replace(next_context, confirmed_transcript_hash=confirmed)
        psks = [queued.proposal.psk for queued in committed.proposals if isinstance(queued.proposal, PreSharedKey)]
        psk_secret = find_psk_secret(suite, psks, self.psks, self.resumption)
        secrets = EpochSecrets.next(
            suite,
            self.secrets.init_secret if init_secret is None else init_secret,
            made.commit_secret or bytes(suite.hash_size),
            psk_secret,
            next_context.encode(),
        )
        tag = confirmation_tag(suite, secrets, confirmed)
        content = dataclasses.replace(unconfirmed, auth=FramedContentAuthData(signature, tag))
        message = MLSMessage(protect_public(suite, self.secrets.membership_key, content, context))
        staged = self.group.stage_content(content, now)
        if not isinstance(staged, StagedCommit):
            raise TypeError("a commit was staged as something else")
        keys = {**self.keys, **made.keys}
        accepted = Member._in_epoch(
            self.identity,
            self.group.merge(staged),
            leaf_index,
            secrets,
            still_good(keys, staged.applied.draft),
            self.psks,
            self.resumption,
        )
        welcome = None
        if changed.added:
            inside = accepted.group_info(with_tree=tree_in_welcome, with_external_pub=True)
            welcome = MLSMessage(
                make_welcome(suite, secrets, inside, changed.added, leaf_index, made.path_secrets, psks, psk_secret)
            )
        info = accepted.group_info()
        return Pending(message, staged, info, welcome, accepted)

    def group_info(self, *, with_tree: bool = False, with_external_pub: bool = True) -> GroupInfo:
        """Return a signed GroupInfo of this epoch (§12.4.3)."""
        extensions: list[Extension] = []
        if with_external_pub:
            external = self.secrets.external_key_pair(self.suite)
            extensions.append(Extension(EXTERNAL_PUB, opaque(external.public)))
        if with_tree:
            extensions.append(Extension(RATCHET_TREE, encode_tree(self.group.tree)))
        unsigned = GroupInfo(self.group.context, tuple(extensions), self.group.confirmation_tag, self.leaf_index, b"")
        return dataclasses.replace(unsigned, signature=self.identity.sign("GroupInfoTBS", unsigned.signed))

    # Following.

    def receive(self, message: MLSMessage, now: int) -> "Member | bytes":
        """Return the member after a handshake, or the data of an application message."""
        content = self.open(message)
        if isinstance(content.content.content, bytes):
            verify_content(self.suite, content, self.group)
            return content.content.content
        staged = self.group.stage_content(content, now)
        if isinstance(staged, StagedProposal):
            return dataclasses.replace(self, group=self.group.merge(staged))
        return self._follow(staged, content)

    def open(self, message: MLSMessage) -> AuthenticatedContent:
        """Open what a member may open, by the keys of this epoch."""
        match message.body:
            case PublicMessage():
                return open_public(self.suite, self.secrets.membership_key, message.body, self.group.context)
            case PrivateMessage():
                return open_private(self.suite, self.secrets.sender_data_secret, self.secret_tree, message.body)
            case _:
                raise NotForThisMember("the message is for no member")

    def protect_application(self, data: bytes, random: Random) -> MLSMessage:
        """Encrypt an application message (§15)."""
        content = self._authenticate(data, WireFormat.PRIVATE_MESSAGE)
        return MLSMessage(
            protect_private(self.suite, self.secrets.sender_data_secret, self.secret_tree, content, random(4))
        )

    def _authenticate(
        self, body: bytes | Proposal, wire_format: WireFormat, authenticated_data: bytes = b""
    ) -> AuthenticatedContent:
        context, sender = self.group.context, Sender(SenderType.MEMBER, self.leaf_index)
        framed = FramedContent(context.group_id, context.epoch, sender, authenticated_data, body)
        signature = sign_content(self.suite, self.identity.signature_private, wire_format, framed, context)
        return AuthenticatedContent(wire_format, framed, FramedContentAuthData(signature))

    def _follow(self, staged: StagedCommit, content: AuthenticatedContent) -> "Member":
        """Enter the epoch of somebody else's commit (§12.4.2)."""
        suite, draft = self.suite, staged.applied.draft
        if self.leaf_index in staged.removed:
            raise NotForThisMember("the commit removes this member")
        keys = dict(self.keys)
        for leaf_index, update in staged.proposals.updates():
            if leaf_index == self.leaf_index:
                keys[2 * leaf_index] = self.updates[update.leaf_node.encryption_key]
        keys = still_good(keys, draft)
        commit = content.content.content
        commit_secret = bytes(suite.hash_size)
        if isinstance(commit, Commit) and commit.path is not None:
            context = dataclasses.replace(
                staged.context, confirmed_transcript_hash=self.group.context.confirmed_transcript_hash
            )
            new = [leaf_index for leaf_index, _ in staged.added]
            start, secret = open_path_secret(
                suite, draft, staged.committer, commit.path, self.leaf_index, keys, new, context
            )
            learned, commit_secret = climb(suite, draft, staged.committer, start, secret)
            keys |= learned
        init_secret = self.secrets.init_secret
        for external in staged.proposals.of(ExternalInit):
            pair = self.secrets.external_key_pair(suite)
            init_secret = suite.export_from(pair.private, external.kem_output, EXTERNAL_INIT_LABEL)
        psks = [proposal.psk for proposal in staged.proposals.of(PreSharedKey)]
        psk_secret = find_psk_secret(suite, psks, self.psks, self.resumption)
        secrets = EpochSecrets.next(suite, init_secret, commit_secret, psk_secret, staged.context.encode())
        check_tag(
            confirmation_tag(suite, secrets, staged.context.confirmed_transcript_hash),
            staged.confirmation_tag,
        )
        return Member._in_epoch(
            self.identity,
            self.group.merge(staged),
            self.leaf_index,
            secrets,
            keys,
            self.psks,
            self.resumption,
        )


_NO_SECRETS = EpochSecrets(*[b""] * 11)
