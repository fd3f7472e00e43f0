"""Clients that the delivery service wants out of a group (-02 §2.2): its Remove proposals, and what becomes of them.

    wanted → proposed in this epoch → covered by a commit
                                    → not covered for an hour: lapsed, the client quarantined
    a new epoch without it → proposed again

A pending removal is mandatory: the next commit contains it, and no application message is taken before. It is covered
when its leaf is removed and its client is not added back in the same breath; that the leaf is not blank says nothing,
because an Add may fill it again, nor does a new key at the leaf, because the client may have renewed it. Where a
client has proposed to remove itself, its own proposal stands for ours: it is what must be covered, and if nobody does,
the client is quarantined like any other. So many are proposed at once, and so many may be pending, that a state and a
commit stay small; what did not fit is found again. Where the group does not list this service as an external sender,
or was reinitialised and takes no proposals any more, there is nothing to propose: the client is quarantined at once.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from chalicelib.protocol.delivery.group_state import (
    Change,
    GroupState,
    Removal,
    RemovalReason,
    StoredProposal,
    at_hand,
    with_records,
)
from chalicelib.protocol.delivery.refusals import MustCover
from chalicelib.protocol.mls.chunks import Ref
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.extensions import ExternalSender
from chalicelib.protocol.mls.external_proposals import propose_externally, sender_index
from chalicelib.protocol.mls.proposals import Remove, SelfRemove
from chalicelib.protocol.mls.public_group import StagedCommit, StagedProposal
from chalicelib.protocol.mls.tree import Kind
from chalicelib.protocol.timestamps import HOUR, SECOND

GRACE = 10 * SECOND
"""How long a SelfRemove is known before a commit has to contain it."""

MOST_AT_ONCE = 64
"""How many removals one change proposes anew."""

MOST_PENDING = 256
"""How many removals may be pending in a group; those that lapsed are proposed again as far as there is room."""

LAPSE = HOUR
"""How long a removal blocks its group."""


@dataclasses.dataclass(frozen=True, slots=True)
class Signer:
    """This service as an external sender of one group."""

    private_key: bytes = dataclasses.field(repr=False)
    public: ExternalSender


def check_covered(state: GroupState, staged: StagedCommit, now: int) -> None:
    """[mds-cover-1] Refuse a member's commit that leaves out what is mandatory, and say what that is."""
    missing = [removal.reference for removal in state.pending() if not _covers(staged, removal)]
    received = {stored.reference: stored.received_at for stored in state.proposals}
    for reference, queued in state.group.proposals.items():
        # [mds-cover-2] A SelfRemove is mandatory too, once the others have had the time to hear of it.
        due = isinstance(queued.proposal, SelfRemove) and received[reference] + GRACE <= now
        if due and queued.sender.index not in staged.removed:
            missing.append(reference)
    if missing:
        raise MustCover(state.group.epoch, [one.message for one in state.proposals if one.reference in missing])


def _covers(staged: StagedCommit, removal: Removal) -> bool:
    """Say whether a commit removes the client of a removal, and does not add it again."""
    back = staged.applied.draft.positions(Kind.CLIENT, removal.client)
    return removal.leaf_index in staged.removed and not back


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """What becomes of targets: a change with the proposals to deliver, if any, and whether `more` is left to do."""

    change: Change | None
    proposals: Sequence[bytes]
    more: bool


def want_removed(state: GroupState, targets: Iterable[tuple[int, RemovalReason]], now: int, signer: Signer) -> Wanted:
    """Propose to remove the clients at some leaves.

    Leaves that are blank, or whose removal is pending already, are passed over. Of the others so many are taken as
    may be proposed at once and be pending together.
    """
    room = min(MOST_AT_ONCE, MOST_PENDING - sum(not removal.lapsed for removal in state.removals))
    known = {removal.client for removal in state.removals}
    wanted, more = list[Removal](), False
    for leaf_index, reason in targets:
        leaf = state.leaf(leaf_index)
        client = None if leaf is None else state.group.policy.client(leaf)
        if client is None or client in known:
            continue
        if len(wanted) >= room:
            more = True
            break
        known.add(client)
        wanted.append(Removal(leaf_index, client, reason, now))
    if not wanted:
        return Wanted(None, (), more)
    state = dataclasses.replace(state, removals=(*state.removals, *wanted))
    state, messages, written = propose(state, now, signer)
    return Wanted(Change(state, written), messages, more)


def propose(state: GroupState, now: int, signer: Signer) -> tuple[GroupState, Sequence[bytes], Mapping[Ref, bytes]]:
    """Make this epoch's Remove proposals for every removal that has none; return them as MLSMessages.

    What was written is to be stored beside the state's root.
    """
    index = sender_index(state.group.context, signer.public)
    if index is None or state.group.reinit is not None:
        quarantined, written = quarantine(state, [removal for removal in state.removals if not removal.lapsed])
        return quarantined, (), written
    crowded = _crowded(state)
    messages: list[bytes] = []
    removals: list[Removal] = []
    group, proposals = state.group, list(state.proposals)
    leaving = {
        queued.sender.index: reference
        for reference, queued in group.proposals.items()
        if isinstance(queued.proposal, SelfRemove)
    }
    for removal in state.removals:
        if removal.leaf_index in leaving:
            # A commit could not hold both (draft-ietf-mls-extensions): its own proposal is what must be covered.
            removals.append(dataclasses.replace(removal, reference=leaving[removal.leaf_index]))
            continue
        if removal.reference or removal.leaf_index in crowded:
            removals.append(removal)
            continue
        message = propose_externally(group.suite, signer.private_key, index, group.context, Remove(removal.leaf_index))
        staged = group.stage(message, now // SECOND)
        if not isinstance(staged, StagedProposal):
            raise TypeError("a proposal was staged as something else")
        group = group.merge(staged)
        messages.append(message.encode())
        proposals.append(StoredProposal(staged.reference, messages[-1], now))
        removals.append(dataclasses.replace(removal, reference=staged.reference))
    state = dataclasses.replace(state, group=group, proposals=tuple(proposals), removals=tuple(removals))
    return state, messages, {}


def _crowded(state: GroupState) -> set[int]:
    """Return the leaves whose removals lapsed and are not proposed just now, because others fill the store."""
    lapsed = [removal.leaf_index for removal in state.removals if removal.lapsed and not removal.reference]
    room = MOST_PENDING - (len(state.removals) - len(lapsed))
    return set(lapsed[max(room, 0) :])


def renew(
    state: GroupState, staged: StagedCommit, written: Mapping[Ref, bytes], now: int, signer: Signer
) -> tuple[GroupState, Sequence[bytes], Mapping[Ref, bytes]]:
    """Begin the epoch that a commit made: forget removals that are done, and propose the others again.

    The external joiner's commit takes no Remove by reference (RFC 9420 §12.4.3.2), so it leaves all of them undone.
    A group that was reinitialised takes no proposals any more.
    """
    here = at_hand(state, written)
    draft = Draft(here.group.tree)
    left = tuple(_renewed(one, draft) for one in state.removals if one.leaf_index not in staged.removed)
    if not left or state.group.reinit is not None:
        return dataclasses.replace(state, removals=left), (), {}
    renewed, messages, more = propose(dataclasses.replace(here, removals=left), now, signer)
    # What was at hand only for looking is taken out again: the tree's own objects are the commit's.
    group = dataclasses.replace(renewed.group, tree=state.group.tree)
    records = dataclasses.replace(renewed.records, attempt=state.records.attempt)
    return dataclasses.replace(renewed, group=group, records=records), messages, more


def _renewed(removal: Removal, draft: Draft) -> Removal:
    """Return a removal that is to be proposed again, of the client as it names itself now: its key may be new."""
    leaf = draft.leaf(removal.leaf_index)
    client = removal.client if leaf is None else draft.policy.client(leaf)
    return dataclasses.replace(removal, client=client, reference=b"")


def overdue(state: GroupState, now: int) -> list[Removal]:
    """Return the removals that nobody covered in time."""
    return [removal for removal in state.pending() if removal.issued_at + LAPSE <= now]


def lapse(state: GroupState, now: int) -> Change | None:
    """Stop waiting for removals that are overdue and quarantine their clients; None if there is none."""
    late = overdue(state, now)
    if not late:
        return None
    state, written = quarantine(state, late)
    return Change(state, written)


def quarantine(state: GroupState, removals: Sequence[Removal]) -> tuple[GroupState, Mapping[Ref, bytes]]:
    """Let removals lapse: their clients get nothing more and may do nothing more."""
    changes = {}
    for removal in removals:
        record = state.records.get(removal.leaf_index)
        if record is not None:
            changes[removal.leaf_index] = dataclasses.replace(record, quarantined=True)
    lapsed = tuple(dataclasses.replace(one, lapsed=one.lapsed or one in removals) for one in state.removals)
    return with_records(dataclasses.replace(state, removals=lapsed), changes)


def blocked_since(state: GroupState) -> int:
    """Return when the oldest pending removal was first issued, or 0 if none is pending."""
    return min((removal.issued_at for removal in state.pending()), default=0)


def nobody_left(state: GroupState) -> bool:
    """Say whether every member is quarantined: such a group is closed."""
    return all(record.quarantined for _, record in state.records.all())
