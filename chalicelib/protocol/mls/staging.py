"""From a commit to the tree and GroupContext extensions that it makes (RFC 9420 §§12.2, 12.3, 12.4.2).

The order is that of §12.3: GroupContextExtensions, Update, SelfRemove, Remove, Add, then what touches no
tree, then the path. Each proposal is checked just before it is applied, against the extensions and members it
will live with. Nothing outside the draft changes; a refusal anywhere costs nothing.
"""

import dataclasses

from chalicelib.protocol.mls import tree_math
from chalicelib.protocol.mls.app_data import check_dictionary_unchanged, update_dictionary
from chalicelib.protocol.mls.commit import Commit, UpdatePath
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.errors import (
    InvalidLeafNode,
    InvalidPath,
    InvalidProposalList,
    TooLarge,
)
from chalicelib.protocol.mls.extensions import Extensions
from chalicelib.protocol.mls.leaf_rules import (
    GroupRules,
    check_encryption_key,
    check_leaf_node,
    check_source,
    check_unique,
)
from chalicelib.protocol.mls.nodes import LeafNode, LeafNodeSource
from chalicelib.protocol.mls.proposal_list import ProposalList, check_list
from chalicelib.protocol.mls.proposal_rules import check_context_size, check_proposal, check_replacement, check_support
from chalicelib.protocol.mls.proposals import (
    DEFAULT_PROPOSALS,
    Add,
    AppDataUpdate,
    GroupContextExtensions,
    ReInit,
    Remove,
    SelfRemove,
    Update,
)
from chalicelib.protocol.mls.support import CREDENTIAL, PROPOSAL, Support
from chalicelib.protocol.mls.tree import MAX_LEAF_CAPACITY, Kind

MAX_ADDS = 1_000
MAX_PROPOSALS = 20_000


@dataclasses.dataclass(frozen=True)
class Applied:
    """What a commit's proposals and path make of a group."""

    draft: Draft
    extensions: Extensions
    support: Support
    committer: int
    added: tuple[tuple[int, Add], ...]
    removed: tuple[int, ...]
    reinit: ReInit | None
    path: bool


def apply_commit(commit: Commit, proposals: ProposalList, draft: Draft, rules: GroupRules, now: int) -> Applied:
    """Apply a commit whose sender is authenticated to a draft of the group's tree."""
    if len(proposals.of(Add)) > MAX_ADDS or len(proposals.proposals) > MAX_PROPOSALS:
        raise TooLarge("ds-3", "the commit holds more proposals than are taken here")
    check_list(proposals, rules.policy)  # [mls-12.4.2-4]
    # [mls-12.4-1] A path is required by default: an empty commit and most proposals need one.
    if commit.path is None and proposals.requires_path():
        raise InvalidPath("mls-12.4-1", "the commit needs a path")
    replaced = _leaf_to_be_replaced(proposals, draft)
    changed = apply_proposals(proposals, draft, rules, now)
    if commit.path is None:
        committer = _go_without_path(proposals, draft, rules)
    else:
        committer = _apply_path(commit.path, proposals.committer, replaced, changed, draft)
    support = rules.support.changed(draft.changed_leaves())
    _check_result(draft, dataclasses.replace(changed.rules, support=support))
    return Applied(
        draft,
        changed.rules.extensions,
        support,
        committer,
        changed.added,
        tuple(proposals.removed()),
        next(iter(proposals.of(ReInit)), None),
        commit.path is not None,
    )


@dataclasses.dataclass(frozen=True)
class Changed:
    """A group between the proposals of a commit and its path."""

    rules: GroupRules
    added: tuple[tuple[int, Add], ...]


def apply_proposals(proposals: ProposalList, draft: Draft, rules: GroupRules, now: int) -> Changed:
    """[mls-12.3-2] Apply a list of proposals to a draft, in the order of §12.3.

    [mls-12.2-1] Each one is checked by itself just before; so the whole is [mls-12.4.2-6].
    """
    rules = _apply_extensions(proposals, draft, rules, now)
    before = rules.support
    _apply_updates_and_removes(proposals, draft, rules, now)
    _check_updated_clients(proposals, draft, rules)
    rules = dataclasses.replace(rules, support=before.changed(draft.changed_leaves()))
    _check_proposal_types(proposals, draft, rules)
    added = _apply_adds(proposals, draft, rules, now)
    # Those just added have to understand the other proposals too.
    together = dataclasses.replace(rules, support=before.changed(draft.changed_leaves())) if added else rules
    _check_the_others(proposals, draft, together, now)
    extensions = update_dictionary(rules.extensions, proposals.of(AppDataUpdate), rules.policy)
    return Changed(dataclasses.replace(rules, extensions=extensions), added)


def _apply_extensions(proposals: ProposalList, draft: Draft, rules: GroupRules, now: int) -> GroupRules:
    """[mls-12.3-1] New extensions count when the other proposals of the list are judged."""
    for queued in proposals.proposals:
        if isinstance(queued.proposal, GroupContextExtensions):
            check_proposal(queued.proposal, queued.sender, draft, rules, now)
            check_dictionary_unchanged(rules.extensions, queued.proposal.extensions)
            return dataclasses.replace(rules, extensions=queued.proposal.extensions)
    return rules


def _leaf_to_be_replaced(proposals: ProposalList, draft: Draft) -> LeafNode | None:
    """Return the leaf whose member the path's leaf goes on being: the committer's, or a resync's old one."""
    if proposals.committer is not None:
        return draft.leaf(proposals.committer)
    return next((draft.leaf(remove.removed) for remove in proposals.of(Remove)), None)


def _apply_updates_and_removes(proposals: ProposalList, draft: Draft, rules: GroupRules, now: int) -> None:
    for kind in (Update, SelfRemove, Remove):
        for queued in proposals.proposals:
            if isinstance(queued.proposal, kind):
                check_proposal(queued.proposal, queued.sender, draft, rules, now)
                match queued.proposal:
                    case Update():
                        leaf_index = queued.sender.index or 0
                        check_unique(queued.proposal.leaf_node, leaf_index, draft)
                        draft.update(leaf_index, queued.proposal.leaf_node)
                    case SelfRemove():
                        draft.remove(queued.sender.index or 0)
                    case Remove():
                        if proposals.committer is None and not rules.policy.allow_resync:
                            raise InvalidProposalList("mls-12.4.3.2-5", "external commits may not remove here")
                        draft.remove(queued.proposal.removed)


def _check_updated_clients(proposals: ProposalList, draft: Draft, rules: GroupRules) -> None:
    """[mls-12.2-6] Check that no update made its sender another client of the group.

    It is asked when all updates and removes are applied, so that their order does not matter.
    """
    for queued in proposals.proposals:
        if isinstance(queued.proposal, Update):
            client = rules.policy.client(queued.proposal.leaf_node)
            if draft.positions(Kind.CLIENT, client) - {2 * (queued.sender.index or 0)}:
                raise InvalidProposalList("mls-12.2-6", "an update takes the place of another client of the group")


def _check_proposal_types(proposals: ProposalList, draft: Draft, rules: GroupRules) -> None:
    """[mls-12.2-11] The members that stay support every proposal type that is not a default one."""
    for proposal_type in {queued.proposal.proposal_type for queued in proposals.proposals} - DEFAULT_PROPOSALS:
        check_proposal_type(proposal_type, draft, rules, "mls-12.2-11")


def check_proposal_type(proposal_type: int, draft: Draft, rules: GroupRules, check: str) -> None:
    """Check that every member of the draft supports a proposal type."""
    if not rules.support.by_all((PROPOSAL, proposal_type), lambda: (leaf for _, leaf in draft.all_leaves())):
        raise InvalidProposalList(check, "a member does not support a proposal's type")


def _apply_adds(proposals: ProposalList, draft: Draft, rules: GroupRules, now: int) -> tuple[tuple[int, Add], ...]:
    added = []
    for queued in proposals.proposals:
        if isinstance(queued.proposal, Add):
            check_proposal(queued.proposal, queued.sender, draft, rules, now)
            leaf = queued.proposal.key_package.leaf_node
            # [mls-12.2-6] A client already in the group, unless the list has just removed it.
            if draft.positions(Kind.CLIENT, rules.policy.client(leaf)):
                raise InvalidProposalList("mls-12.2-6", "a client to be added is in the group already")
            leaf_index = draft.add(leaf)
            _check_capacity(draft)
            check_unique(leaf, leaf_index, draft)
            added.append((leaf_index, queued.proposal))
    return tuple(added)


def _check_capacity(draft: Draft) -> None:
    """[ds-2] Refuse a larger tree than is served here."""
    if draft.leaf_capacity > MAX_LEAF_CAPACITY:
        raise TooLarge("ds-2", "the tree would have more leaves than are served here")


def _check_the_others(proposals: ProposalList, draft: Draft, rules: GroupRules, now: int) -> None:
    """Check the proposals that touch no tree: PSKs, ExternalInit, ReInit, application data."""
    for queued in proposals.proposals:
        if not isinstance(queued.proposal, GroupContextExtensions | Update | Remove | SelfRemove | Add):
            check_proposal(queued.proposal, queued.sender, draft, rules, now)


def _go_without_path(proposals: ProposalList, draft: Draft, rules: GroupRules) -> int:
    """[ds-1] Refuse to let unmerged leaves pile up: each makes every later path longer."""
    root = draft.parent(draft.root)
    if root is not None and len(root.unmerged_leaves) > rules.policy.maximum_unmerged:
        raise InvalidPath("ds-1", "too many leaves would be unmerged; commit with a path")
    if proposals.committer is None:
        # An external commit has a path: its signature was verified with the key in it.
        raise ValueError("an external commit without a path came as far as this")
    return proposals.committer


def _apply_path(
    path: UpdatePath,
    committer: int | None,
    replaced: LeafNode | None,
    changed: Changed,
    draft: Draft,
) -> int:
    """Validate a path and apply it to the tree (§12.4.2), and return the committer's leaf index."""
    # [mls-12.4.2-7] An external committer gets the leftmost blank leaf of the new tree, extended if need be.
    leaf_index = draft.leftmost_blank() if committer is None else committer
    _check_capacity(draft)
    _check_path_leaf(path.leaf_node, leaf_index, replaced, draft, changed.rules)
    _check_path_keys(path, draft, changed.rules)
    filtered = draft.filtered_direct_path(leaf_index)
    # [mls-7.5-1] There is one path node for each node of the filtered direct path.
    if len(path.nodes) != len(filtered):
        raise InvalidPath("mls-7.5-1", "the path has another length than the filtered direct path")
    for node, (_, copath) in zip(path.nodes, filtered, strict=True):
        # [mls-7.5-2] One ciphertext for each node in the copath's resolution, leaves just added left out.
        new_below = sum(tree_math.is_below(new, copath) for new, _ in changed.added)
        if len(node.encrypted_path_secret) != draft.resolution_size(copath) - new_below:
            raise InvalidPath("mls-7.5-2", "a path node has another number of ciphertexts than receivers")
    draft.put(2 * leaf_index, path.leaf_node)
    expected = draft.merge_keys(leaf_index, [node.encryption_key for node in path.nodes])
    # [mls-7.9.2-2] The committer's leaf has the parent hash that its path comes to.
    if path.leaf_node.parent_hash != expected:
        raise InvalidPath("mls-7.9.2-2", "the parent hash is not that of the path")
    return leaf_index


def _check_path_leaf(
    leaf: LeafNode, leaf_index: int, replaced: LeafNode | None, draft: Draft, rules: GroupRules
) -> None:
    # [mls-12.4.2-8] The leaf is valid according to §7.3, and its source is commit.
    check_source(leaf, LeafNodeSource.COMMIT, "mls-12.4.2-8")
    check_leaf_node(leaf, rules)
    if replaced is not None:
        # [mls-12.4.2-9] `encryption_key` is different from the committer's current leaf node.
        # [mls-12.2-15] After a resync, the leaf meets the criteria of an Update for the removed leaf.
        check_replacement(replaced, leaf, rules.policy)
    leaf.verify_signature(rules.suite, rules.group_id, leaf_index)
    if draft.positions(Kind.SIGNATURE_KEY, leaf.signature_key) - {2 * leaf_index}:
        raise InvalidLeafNode("mls-7.3-11", "another member has the same signature key")
    if draft.positions(Kind.CLIENT, rules.policy.client(leaf)) - {2 * leaf_index}:
        raise InvalidProposalList("mls-12.2-6", "the committer's client is in the group already")


def _check_path_keys(path: UpdatePath, draft: Draft, rules: GroupRules) -> None:
    """[mls-12.4.2-10] None of the path's public keys stands in a node of the new tree, or twice in the path.

    The committer's old path still stands at this point, so its keys cannot be used again either.
    """
    keys = [path.leaf_node.encryption_key, *(node.encryption_key for node in path.nodes)]
    for key in keys:
        check_encryption_key(rules.suite, key, "mls-5.1.1-1")
        if draft.positions(Kind.ENCRYPTION_KEY, key):
            raise InvalidPath("mls-12.4.2-10", "a key of the path stands in the tree already")
    if len(set(keys)) != len(keys):
        raise InvalidPath("mls-12.4.2-10", "a key stands twice in the path")


def _check_result(draft: Draft, rules: GroupRules) -> None:
    """[mls-12.2-12] After the commit the tree is valid: here, what concerns all members at once."""
    check_context_size(rules.extensions)  # What AppDataUpdates made of them is seen here first.
    check_support(draft, rules)
    # [mls-7.3-4] Every credential type in use is supported by all members.
    in_use = [(CREDENTIAL, number) for number in rules.support.credential_types_in_use()]
    if rules.support.unsupported(in_use, lambda: (leaf for _, leaf in draft.all_leaves())):
        raise InvalidLeafNode("mls-7.3-4", "a member does not support a credential type in use")
