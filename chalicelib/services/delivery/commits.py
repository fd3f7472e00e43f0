"""Ending an epoch (-02 §§3–4): one use case for every operation whose request holds a commit.

    head and answer → the epoch → the state → who asks → is it allowed → objects → one transaction → delivery

Exactly one commit ends an epoch: the transaction moves the head from one version to the next. What else changes the
state meanwhile makes this one judge again; another commit makes it too late.
"""

import dataclasses
from collections.abc import Mapping

from chalicelib.errors import Unavailable
from chalicelib.protocol.crypto import InvalidSignature, cipher_suite
from chalicelib.protocol.delivery.commits import AcceptedCommit, OfferedCommit, judge_commit
from chalicelib.protocol.delivery.group_state import GroupState
from chalicelib.protocol.delivery.group_updates import AddingUpdate, JoinByExternalCommit, PlainUpdate, ResyncClient
from chalicelib.protocol.delivery.joiners import Joiner, Joiners
from chalicelib.protocol.delivery.messages import DSRequestType, DSSenderType
from chalicelib.protocol.delivery.refusals import Removed, UnknownGroup
from chalicelib.protocol.mls.chunks import Ref, reference
from chalicelib.protocol.mls.commit import Commit
from chalicelib.protocol.mls.errors import InvalidHandshake, StaleEpoch
from chalicelib.protocol.mls.framing import FramedContent, Sender, SenderType
from chalicelib.protocol.mls.nodes import LeafNode
from chalicelib.protocol.mls.proposals import Remove
from chalicelib.protocol.timestamps import DAY
from chalicelib.protocol.tls import vector
from chalicelib.services.delivery.asking import Asked
from chalicelib.services.delivery.domains import QueueDomains
from chalicelib.services.delivery.heads import RESTAGES, check_not_frozen, closed
from chalicelib.services.delivery.ports import Groups
from chalicelib.services.delivery.removals import Removals
from chalicelib.services.delivery.scribe import Scribe, proposed
from chalicelib.services.delivery.senders import Senders, WrongSender, leaf_index, member
from chalicelib.services.delivery.state import SHARD_LEAVES, GroupId, Kind, LogRow, PastEpoch
from chalicelib.services.delivery.vault import Opened, Vault
from chalicelib.services.delivery.vouching import Vouching

JOINABLE = 90 * DAY
"""How long a Welcome can be joined by, where its KeyPackages do not end earlier."""

Update = AddingUpdate | PlainUpdate | ResyncClient | JoinByExternalCommit


@dataclasses.dataclass(frozen=True, slots=True)
class Commits:
    """Accepts the commit that ends an epoch."""

    groups: Groups
    vault: Vault
    scribe: Scribe
    senders: Senders
    removals: Removals
    vouching: Vouching
    domains: QueueDomains

    def accept(self, asked: Asked, request: Update) -> bytes:
        """Make a commit the group's next epoch, or raise and change nothing.

        Raises `StaleEpoch` where another commit was faster, `MustCover` with the proposals that have to be in it,
        and a refusal with the check's id for whatever members would refuse.
        """
        framed = request.group_update.content
        group_id = GroupId(framed.group_id)
        for _ in range(RESTAGES):
            head, known = self.groups.load(group_id, asked.key)
            if known is not None:
                return asked.again(known)
            opened = self.vault.unlock(head, asked.message.request.sealed_state_key)
            opened = self.removals.settle(opened, asked.now)
            head = opened.head
            # [mls-12.4.2-1] Before anything else: the loser of a race hears why, also if its leaf is another's now.
            if framed.epoch != head.epoch:
                raise StaleEpoch(head.epoch)
            state = opened.state
            self._authenticate(asked, request, state, framed)
            check_not_frozen(head)
            offered = _offered(asked, request)
            self.domains.check([one.client_queue_config for one in offered.added])
            self.domains.check([] if offered.queue is None else [offered.queue])
            signer = self.vault.signer(group_id, state.group.suite.number)
            accepted = judge_commit(state, offered, asked.now, signer)
            self.domains.check_group(state.records, accepted.change.state.records)
            if self._write(asked, opened, framed, accepted):
                return asked.done().response
        raise Unavailable("the group changes too fast to judge a commit")

    def _authenticate(self, asked: Asked, request: Update, state: GroupState, framed: FramedContent) -> None:
        """Check that the request's sender is the commit's."""
        message, sender = asked.message, framed.sender
        by = message.sender_id.sender_type
        match request:
            case ResyncClient() | JoinByExternalCommit():
                self._authenticate_joiner(asked, request, state, framed)
            case _ if by == DSSenderType.USER_KEY_HASH:
                # [mds-sender-2] A user may have its clients changed, by any of its clients in the group. Whether the
                # registered user is the one in the group is [mds-account-5].
                operations = {DSRequestType.ADD_CLIENTS, DSRequestType.REMOVE_CLIENTS}
                user = self.senders.user(message)
                leaf = state.leaf(sender.index or 0)
                if message.request.request_type not in operations or leaf is None:
                    raise WrongSender
                if (sender.index or 0) not in self.vouching.registrations.leaves(user.user, user.provider_id, state):
                    raise WrongSender
                if state.quarantined(sender.index or 0):
                    raise Removed
            case _:
                # [mds-sender-3] The leaf that signs the request is the leaf that commits.
                if sender != Sender(SenderType.MEMBER, leaf_index(message)):
                    raise WrongSender
                member(state, message, framed)

    def _authenticate_joiner(
        self, asked: Asked, request: ResyncClient | JoinByExternalCommit, state: GroupState, framed: FramedContent
    ) -> None:
        """[mds-sender-4] Check that the path's leaf has the signature key and credential of who asks."""
        message, commit = asked.message, framed.content
        if framed.sender.sender_type != SenderType.NEW_MEMBER_COMMIT or not isinstance(commit, Commit):
            raise WrongSender
        asking: LeafNode
        if isinstance(request, ResyncClient) and message.sender_id.sender_type == DSSenderType.LEAF_INDEX:
            index, asking = member(state, message)
            removed = [item.proposal.removed for item in commit.proposals if isinstance(item.proposal, Remove)]
            if removed != [index]:
                raise WrongSender
        else:
            asking = self._outsider(asked, request, state)
        if isinstance(request, ResyncClient) and request.sender != asking.signature_key:
            raise WrongSender
        joining = None if commit.path is None else commit.path.leaf_node
        if joining is not None and (joining.signature_key, joining.credential) != (
            asking.signature_key,
            asking.credential,
        ):
            raise WrongSender

    def _outsider(self, asked: Asked, request: ResyncClient | JoinByExternalCommit, state: GroupState) -> LeafNode:
        """[mds-vouch-4] Return the leaf of a client that is no member; it learns of the group only what it knows."""
        suite = state.group.suite
        try:
            package = self.senders.client(suite, asked.message)
            asking = package.leaf_node
            if not self.vouching.knows_key(state, asking) and not state.group.reinit:
                # Who signs over the epoch's context was told it. Only for such a client a peer is asked, and only
                # such a client hears that it does not answer.
                state.group.check_frame(request.group_update.commit)
            self.vouching.check(state, asking, package.reference(suite))
        except (WrongSender, InvalidHandshake, InvalidSignature) as failure:
            raise UnknownGroup from failure
        return asking

    def _write(self, asked: Asked, opened: Opened, framed: FramedContent, accepted: AcceptedCommit) -> bool:
        """Store, then make true; False where the state has moved."""
        head, change, staged, left = opened.head, accepted.change, accepted.staged, accepted.left
        deleted = asked.message.request.request_type == DSRequestType.DELETE_GROUP
        last = staged.applied.draft.leaf(staged.committer)
        if deleted and last is not None:
            left = (*left, change.state.group.policy.user(last))
        past, more = _past_epoch(accepted, asked.now)
        root = change.root
        epoch = staged.context.epoch
        update = asked.message.request.body
        sender = framed.sender.index
        for remove in staged.proposals.of(Remove) if staged.external else ():
            sender = remove.removed  # The client that resyncs needs no copy of its own commit.
        rows = [
            LogRow(
                0,
                Kind.COMMIT,
                head.epoch,
                opened.root,
                asked.now,
                update.group_update.commit.encode() if isinstance(update, Update) else b"",
                sender=sender,
                joined=accepted.joined,
                left=left,
            )
        ]
        if isinstance(update, AddingUpdate) and update.welcomes:
            body = vector(update.welcomes)
            rows.append(LogRow(0, Kind.WELCOME, epoch, root, asked.now, body, joiners=accepted.joiners))
        rows += proposed(accepted.proposals, epoch, root, asked.now)
        stored = self.vault.store(opened, change, rows, now=asked.now, past=past, more=more)
        shards = 1 if head.sealed else -(-change.state.records.extent // SHARD_LEAVES)
        after = dataclasses.replace(
            stored.head,
            epoch=epoch,
            shards=max(head.shards, shards),
            used_at=head.used(asked.now),
            frozen=change.state.group.reinit is not None,
        )
        # From here, if it succeeds, the commit is history, and its delivery is owed.
        return self.scribe.advance(head, closed(after) if deleted else after, stored.rows, stored.past, asked.done())


def _offered(asked: Asked, request: Update) -> OfferedCommit:
    operation = asked.message.request.request_type
    if isinstance(request, AddingUpdate):
        return OfferedCommit(operation, request.group_update, request.welcomes, request.added)
    queue = request.client_queue_config if isinstance(request, ResyncClient | JoinByExternalCommit) else None
    return OfferedCommit(operation, request.group_update, queue=queue)


def _past_epoch(accepted: AcceptedCommit, now: int) -> tuple[PastEpoch | None, Mapping[Ref, bytes]]:
    """Return the epoch that the commit's joiners will ask for, and the object that lists them."""
    staged, change = accepted.staged, accepted.change
    if not staged.added:
        return None, {}
    suite = cipher_suite(staged.context.cipher_suite)
    packages = [add.key_package for _, add in staged.added]
    joiners = Joiners(tuple(Joiner(package.reference(suite), package.leaf_node.signature_key) for package in packages))
    content = joiners.encode()
    ref = reference(change.state.attempt.name, content)
    ends = [package.leaf_node.lifetime.not_after * 1_000 for package in packages if package.leaf_node.lifetime]
    until = min(now + JOINABLE, max(ends, default=now + JOINABLE))
    return PastEpoch(staged.context.epoch, change.root, ref, until), {ref: content}
