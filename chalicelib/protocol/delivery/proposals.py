"""Standalone proposals: judged, kept for this epoch's commit, and passed on (RFC 9420 §12.1; -02 §5)."""

import dataclasses
from collections.abc import Sequence

from chalicelib.protocol.delivery.group_state import Change, GroupState, StoredProposal
from chalicelib.protocol.delivery.group_updates import public_content
from chalicelib.protocol.delivery.refusals import InvalidRequest
from chalicelib.protocol.mls.errors import TooLarge
from chalicelib.protocol.mls.framing import ContentType, FramedContent, MLSMessage, SenderType
from chalicelib.protocol.mls.proposals import Remove, SelfRemove
from chalicelib.protocol.mls.public_group import StagedProposal
from chalicelib.protocol.mls.stored_group import prefetch
from chalicelib.protocol.timestamps import SECOND

MOST_PENDING = 256

MOST_AT_ONCE = 64
"""How many proposals one request may hold: each is judged on what the ones before it leave."""


LARGEST_PROPOSAL = 64 << 10
"""In bytes: an Add of the largest KeyPackage has a quarter of it."""

LARGEST_STORE = 1 << 20
"""In bytes: all proposals that wait are read with every request about the group."""


def judge_proposals(state: GroupState, messages: Sequence[MLSMessage], now: int) -> Change:
    """Return the state with all the proposals stored, or raise the first refusal; `now` is in milliseconds."""
    # [mds-propose-7] They are few: whoever reads the group's log or its state has to do with all of them.
    if len(messages) > MOST_AT_ONCE:
        raise TooLarge("mds-propose-7", "the request holds more proposals than are taken at once")
    group, stored = state.group, list(state.proposals)
    for message in messages:
        # [mds-propose-8] Each is small: until a commit takes it, it is a part of the state.
        if len(message.encode()) > LARGEST_PROPOSAL:
            raise TooLarge("mds-propose-8", "a proposal is larger than is kept")
        prefetch(group, public_content(message, ContentType.PROPOSAL))
        staged = group.stage(message, now // SECOND)
        if not isinstance(staged, StagedProposal):
            raise TypeError("a proposal was staged as something else")
        queued = staged.queued
        # [mds-propose-3] Proposals of this service are its own to make.
        if queued.sender.sender_type == SenderType.EXTERNAL:
            raise InvalidRequest("mds-propose-3", "a proposal of an external sender does not come from a client")
        # [mds-propose-6] No SelfRemove beside a removal by this service: a commit could not take both (ext-7.3-2).
        going = {removal.leaf_index for removal in state.removals if removal.reference}
        if isinstance(queued.proposal, SelfRemove) and queued.sender.index in going:
            raise InvalidRequest("mds-propose-6", "the client that would remove itself is being removed")
        # [mds-propose-4] A member has one proposal of a kind pending; the same one again is no second.
        kinds = [(one.sender, type(one.proposal)) for key, one in group.proposals.items() if key != staged.reference]
        if queued.sender.sender_type == SenderType.MEMBER and (queued.sender, type(queued.proposal)) in kinds:
            raise InvalidRequest("mds-propose-4", "the sender has a proposal of this kind pending")
        if staged.reference in group.proposals:
            continue
        # [mds-propose-5] The store is bounded.
        if len(stored) >= MOST_PENDING:
            raise TooLarge("mds-propose-5", "the group has as many proposals pending as are kept")
        encoded = message.encode()
        # [mds-propose-9] It is bounded in bytes, too.
        if sum(len(one.message) for one in stored) + len(encoded) > LARGEST_STORE:
            raise TooLarge("mds-propose-9", "the proposals that are pending would be larger than is kept")
        group = group.merge(staged)
        stored.append(StoredProposal(staged.reference, encoded, now))
    return Change(dataclasses.replace(state, group=group, proposals=tuple(stored)), {})


def check_self_remove(content: FramedContent, leaf_index: int) -> None:
    """[mds-self-remove-1] Check that a proposal removes its own sender and nobody else (-03 §6.7)."""
    proposal = content.content
    own = isinstance(proposal, SelfRemove) or (isinstance(proposal, Remove) and proposal.removed == leaf_index)
    if not own:
        raise InvalidRequest("mds-self-remove-1", "the proposal does not remove its sender")
