"""What each operation's commit may contain: one table, and the check that reads it (-02 §§3–4; -03 §6 beyond it).

Every commit may carry proposals by reference that are stored here; the table is about those by value, which are the
committer's own. What RFC 9420 asks of the list as a whole is checked before (`protocol.mls.proposal_list`).
"""

import dataclasses
from collections.abc import Callable

from chalicelib.protocol.delivery.messages import DSRequestType
from chalicelib.protocol.delivery.refusals import InvalidRequest
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.nodes import LeafNode
from chalicelib.protocol.mls.proposals import Add, ExternalInit, PreSharedKey, Proposal, Remove
from chalicelib.protocol.mls.public_group import PublicGroup, StagedCommit
from chalicelib.protocol.mls.tree import Kind


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """What a commit of one operation may hold by value, what it must hold some of, and what else it must meet.

    `external` says that new members commit, by an external commit; where `allowed` is None, anything is.
    """

    external: bool
    allowed: tuple[type, ...] | None
    required: type | None
    check: Callable[[PublicGroup, StagedCommit], None]


def check_operation(operation: DSRequestType, group: PublicGroup, staged: StagedCommit) -> None:
    """Refuse a commit that is not what its operation is for."""
    rule = TABLE[operation]
    own = [queued.proposal for queued in staged.proposals.proposals if queued.reference is None]
    if staged.external != rule.external:
        # [mds-op-1] Members commit by one set of operations, new members by another.
        raise InvalidRequest("mds-op-1", "the operation takes commits of another kind of sender")
    if rule.allowed is not None and not all(isinstance(proposal, rule.allowed) for proposal in own):
        # [mds-op-2] The operation's own proposals are of its kind only.
        raise InvalidRequest("mds-op-2", "the commit holds a proposal that is not what its operation is for")
    if rule.required is not None and not any(isinstance(proposal, rule.required) for proposal in own):
        # [mds-op-3] There is at least one.
        raise InvalidRequest("mds-op-3", "the commit holds none of the proposals that its operation is for")
    rule.check(group, staged)


def _own(staged: StagedCommit, kind: type[Add] | type[Remove]) -> list[Proposal]:
    proposals = staged.proposals.proposals
    return [one.proposal for one in proposals if one.reference is None and isinstance(one.proposal, kind)]


def _users(group: PublicGroup, user: bytes) -> set[int]:
    """Return the leaves of a user's clients in the group before the commit."""
    return {node // 2 for node in Draft(group.tree).positions(Kind.USER, user)}


def _old_leaf(group: PublicGroup, leaf_index: int) -> LeafNode:
    leaf = Draft(group.tree).leaf(leaf_index)
    if leaf is None:
        raise ValueError("a staged commit removes nobody but members")
    return leaf


def _same_credential(group: PublicGroup, staged: StagedCommit) -> None:
    """[mds-op-4] The committer's credential stays as it is: changing it is what update-client is for (-03)."""
    new = staged.applied.draft.leaf(staged.committer)
    if new is None or new.credential != _old_leaf(group, staged.committer).credential:
        raise InvalidRequest("mds-op-4", "the committer changes its credential in passing")


def _add_users(group: PublicGroup, staged: StagedCommit) -> None:
    _same_credential(group, staged)
    for add in _own(staged, Add):
        # [mds-add-users-1] No clients of users that are in the group: that is what add-clients is for (-03).
        if isinstance(add, Add) and _users(group, group.policy.user(add.key_package.leaf_node)):
            raise InvalidRequest("mds-add-users-1", "a client of a user who is in the group is added as a user")


def _add_clients(group: PublicGroup, staged: StagedCommit) -> None:
    _same_credential(group, staged)
    for add in _own(staged, Add):
        # [mds-add-clients-1] Every client that is added belongs to an existing user (-02 §4.2).
        if isinstance(add, Add) and not _users(group, group.policy.user(add.key_package.leaf_node)):
            raise InvalidRequest("mds-add-clients-1", "a client of a user who is not in the group is added")


def _remove_users(group: PublicGroup, staged: StagedCommit) -> None:
    _same_credential(group, staged)
    removed = set(staged.removed)
    for remove in _own(staged, Remove):
        if isinstance(remove, Remove):
            user = group.policy.user(_old_leaf(group, remove.removed))
            # [mds-remove-users-1] The removals cover all clients of each user that is removed (-03).
            if not _users(group, user) <= removed:
                raise InvalidRequest("mds-remove-users-1", "a user's client stays in the group")


def _remove_clients(group: PublicGroup, staged: StagedCommit) -> None:
    _same_credential(group, staged)
    own = group.policy.user(_old_leaf(group, staged.committer))
    for remove in _own(staged, Remove):
        # [mds-remove-clients-1] Clients are removed by another client of the same user (-03).
        if isinstance(remove, Remove) and group.policy.user(_old_leaf(group, remove.removed)) != own:
            raise InvalidRequest("mds-remove-clients-1", "a client of another user is removed")


def _delete(group: PublicGroup, staged: StagedCommit) -> None:
    _same_credential(group, staged)
    # [mds-delete-1] The commit removes every member but the committer (-03).
    if staged.applied.draft.members != 1:
        raise InvalidRequest("mds-delete-1", "members would be left in the group that is deleted")


def _update(_group: PublicGroup, staged: StagedCommit) -> None:
    # [mds-update-1] The commit has a path: it is there to renew the client's leaf (-02 §4.4).
    if not staged.applied.path:
        raise InvalidRequest("mds-update-1", "a commit that updates its client has no path")


def _resync(_group: PublicGroup, staged: StagedCommit) -> None:
    removed = [remove.removed for remove in staged.proposals.of(Remove)]
    # [mds-resync-1] It removes the client's old leaf, and that one only; whose it was, RFC 9420 checks.
    if len(removed) != 1:
        raise InvalidRequest("mds-resync-1", "a client that resyncs removes its own old leaf")


def _join(group: PublicGroup, staged: StagedCommit) -> None:
    new = staged.applied.draft.leaf(staged.committer)
    # [mds-join-1] The joiner is a client of a user who is in the group (-03 §6.10).
    if new is None or not _users(group, group.policy.user(new)):
        raise InvalidRequest("mds-join-1", "the joiner belongs to no user of the group")


def _anything(_group: PublicGroup, _staged: StagedCommit) -> None:
    """Ask nothing more than RFC 9420 does."""


TABLE = {
    DSRequestType.ADD_USERS: Rule(False, (Add,), Add, _add_users),
    DSRequestType.ADD_CLIENTS: Rule(False, (Add,), Add, _add_clients),
    DSRequestType.REMOVE_USERS: Rule(False, (Remove,), Remove, _remove_users),
    DSRequestType.REMOVE_CLIENTS: Rule(False, (Remove,), Remove, _remove_clients),
    DSRequestType.DELETE_GROUP: Rule(False, (Remove,), None, _delete),
    DSRequestType.UPDATE_CLIENT: Rule(False, (), None, _update),
    DSRequestType.RESYNC_CLIENT: Rule(True, (ExternalInit, Remove, PreSharedKey), None, _resync),
    DSRequestType.JOIN_BY_EXTERNAL_COMMIT: Rule(True, (ExternalInit, PreSharedKey), None, _join),
    DSRequestType.COMMIT: Rule(False, None, None, _anything),
}
"""The operations that end an epoch."""
