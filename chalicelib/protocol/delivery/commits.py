"""Judging a commit at its delivery service: RFC 9420, the operation's table, what is mandatory, and who is told.

Everything here looks at values and makes values. A refusal costs nothing; what is returned is what must become true
together: the next state and its objects, and what is delivered because of it.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from chalicelib.protocol.delivery.group_state import Change, GroupState
from chalicelib.protocol.delivery.group_updates import AddedClient, MLSGroupUpdate, welcomes_in
from chalicelib.protocol.delivery.messages import DSRequestType
from chalicelib.protocol.delivery.operations import check_operation
from chalicelib.protocol.delivery.queueing import ClientQueueConfig
from chalicelib.protocol.delivery.records import DeliveryRecord
from chalicelib.protocol.delivery.refusals import InvalidRequest, Removed
from chalicelib.protocol.delivery.removals import Signer, check_covered, renew
from chalicelib.protocol.mls.chunks import Ref, reference
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.framing import MLSMessage
from chalicelib.protocol.mls.group_info_rules import verify_staged_group_info
from chalicelib.protocol.mls.nodes import LeafNode
from chalicelib.protocol.mls.proposals import Remove
from chalicelib.protocol.mls.public_group import StagedCommit
from chalicelib.protocol.mls.stored_group import prefetch
from chalicelib.protocol.mls.tree import Kind
from chalicelib.protocol.mls.welcome_rules import check_welcomes
from chalicelib.protocol.timestamps import SECOND


@dataclasses.dataclass(frozen=True, slots=True)
class OfferedCommit:
    """A commit as it is offered, with what its operation brings along; `queue` is an external committer's own."""

    operation: DSRequestType
    update: MLSGroupUpdate
    welcomes: Sequence[MLSMessage] = ()
    added: Sequence[AddedClient] = ()
    queue: ClientQueueConfig | None = None


@dataclasses.dataclass(frozen=True)
class AcceptedCommit:
    """A commit that may end the epoch, and what it leads to.

    `joiners` are the KeyPackageRefs that were added, with their leaves. `joined` and `left` are users of whom a
    client came or whose last one went. `proposals` are the removals that this service proposes again.
    """

    change: Change
    staged: StagedCommit
    joiners: tuple[tuple[bytes, int], ...]
    joined: tuple[bytes, ...]
    left: tuple[bytes, ...]
    proposals: Sequence[bytes]


def judge_commit(state: GroupState, offered: OfferedCommit, now: int, signer: Signer) -> AcceptedCommit:
    """Return what a commit comes to, or raise the first refusal; `now` is in milliseconds."""
    prefetch(state.group, offered.update.content)
    staged = state.group.stage(offered.update.commit, now // SECOND)
    if not isinstance(staged, StagedCommit):
        raise TypeError("a commit was staged as something else")
    check_operation(offered.operation, state.group, staged)
    if staged.external:
        _check_returning(state, staged)
    else:
        check_covered(state, staged, now)
    info = verify_staged_group_info(offered.update.partial_group_info, staged)
    check_welcomes(welcomes_in(offered.welcomes), staged)
    queues = _queues(offered.added, staged)
    changes = _records(state, offered, staged, queues, now)
    records, written = state.records.changed(changes)
    encoded = info.encode()
    info_ref = reference(state.attempt.name, encoded)
    merged = dataclasses.replace(
        state,
        group=state.group.merge(staged),
        group_info=info_ref,
        records=records,
        proposals=(),
    )
    objects: dict[Ref, bytes] = {**written, info_ref: encoded}
    merged, proposals, more = renew(merged, staged, objects, now, signer)
    joined, left = _users(state, staged)
    return AcceptedCommit(
        Change(merged, {**objects, **more}),
        staged,
        tuple((add.key_package.reference(state.group.suite), leaf_index) for leaf_index, add in staged.added),
        joined,
        left,
        proposals,
    )


def _check_returning(state: GroupState, staged: StagedCommit) -> None:
    """[mds-remove-1] Refuse a client that comes back while it is being removed: it would slip out from under it.

    It may come under another name: where the key alone names clients, it can have drawn a new one.
    """
    leaf = staged.applied.draft.leaf(staged.committer)
    if leaf is not None and state.removal_of(state.group.policy.client(leaf)) is not None:
        raise Removed
    if {remove.removed for remove in staged.proposals.of(Remove)} & {removal.leaf_index for removal in state.removals}:
        raise Removed


def _queues(added: Sequence[AddedClient], staged: StagedCommit) -> Mapping[int, ClientQueueConfig]:
    """[mds-added-1] Return the queue of each member that is added; there is exactly one for each."""
    suite = staged.applied.draft.suite
    leaves = {add.key_package.reference(suite): leaf_index for leaf_index, add in staged.added}
    named = [client.key_package_ref for client in added]
    if len(leaves) != len(staged.added) or sorted(named) != sorted(leaves):
        raise InvalidRequest("mds-added-1", "the queues are not for exactly the members that are added")
    # [mds-added-2] No two have the same one: a queue takes so many messages of one row and no more.
    if len({client.client_queue_config for client in added}) != len(added):
        raise InvalidRequest("mds-added-2", "two members that are added have the same queue")
    return {leaves[client.key_package_ref]: client.client_queue_config for client in added}


def _records(
    state: GroupState,
    offered: OfferedCommit,
    staged: StagedCommit,
    queues: Mapping[int, ClientQueueConfig],
    now: int,
) -> Mapping[int, DeliveryRecord | None]:
    """Return what changes in the delivery records: who went has none, who came has one, who committed was active."""
    state.records.prefetch([*staged.removed, staged.committer, *queues])
    epoch = staged.context.epoch
    queue = offered.queue
    if staged.external and queue is None:
        # A client that resyncs keeps its queue; its record moves with it, because the leaf may.
        removed = [remove.removed for remove in staged.proposals.of(Remove)]
        old = state.records.get(removed[0]) if removed else None
        queue = None if old is None else old.config
        if queue is None:
            raise InvalidRequest("mds-added-1", "the joiner names no queue")
    changes: dict[int, DeliveryRecord | None] = dict.fromkeys(staged.removed)
    for leaf_index, config in queues.items():
        changes[leaf_index] = DeliveryRecord(config, epoch, now)
    if staged.external and queue is not None:
        changes[staged.committer] = DeliveryRecord(queue, epoch, now)
    elif (record := state.records.get(staged.committer)) is not None:
        changes[staged.committer] = dataclasses.replace(record, active_at=now)
    return changes


def _users(state: GroupState, staged: StagedCommit) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """Return the users of whom a client came, and those that the group loses."""
    before, after, policy = Draft(state.group.tree), staged.applied.draft, state.group.policy

    def users(leaves: Sequence[LeafNode | None]) -> set[bytes]:
        return {policy.user(leaf) for leaf in leaves if leaf is not None}

    came = users([add.key_package.leaf_node for _, add in staged.added])
    if staged.external:
        came |= users([after.leaf(staged.committer)])
    went = users([before.leaf(leaf_index) for leaf_index in staged.removed])
    left = sorted(user for user in went if not after.positions(Kind.USER, user))
    return tuple(sorted(came)), tuple(left)
