"""Sending an application message (-02 §4.7), and standalone proposals (-03 §6.7, -06)."""

import dataclasses

from chalicelib.errors import Unavailable
from chalicelib.protocol.delivery.group_messages import SelfRemoveRequest, SendMessage, SubmitProposals
from chalicelib.protocol.delivery.group_state import GroupState
from chalicelib.protocol.delivery.proposals import check_self_remove, judge_proposals
from chalicelib.protocol.delivery.refusals import MustCover
from chalicelib.protocol.mls.errors import StaleEpoch
from chalicelib.protocol.mls.framing import FramedContent, Sender, SenderType
from chalicelib.services.delivery.asking import Asked
from chalicelib.services.delivery.heads import RESTAGES, check_not_frozen
from chalicelib.services.delivery.limits import SENT_TO_GROUP
from chalicelib.services.delivery.ports import FanoutHints, Groups
from chalicelib.services.delivery.removals import Removals
from chalicelib.services.delivery.scribe import MOST_TRIES, Scribe, proposed
from chalicelib.services.delivery.senders import WrongSender, member
from chalicelib.services.delivery.state import GroupId, Kind, LogRow
from chalicelib.services.delivery.vault import Opened, Vault
from chalicelib.services.limits import Limits
from chalicelib.services.ports import Lost

INLINE = 64 << 10
"""Bytes of a message that stands in its row of the log. What is larger is counted."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sending:
    """Takes what members say to their group outside of commits."""

    groups: Groups
    vault: Vault
    scribe: Scribe
    removals: Removals
    hints: FanoutHints
    limits: Limits

    def send(self, asked: Asked, request: SendMessage) -> bytes:
        """Take an application message of the current epoch, and owe its delivery to all other members.

        Raises `MustCover` while a removal by this service waits for a commit (-02 §6), and `StaleEpoch`.
        """
        group_id, epoch = GroupId(request.group_id), request.message.epoch
        opened: Opened | None = None
        content, counted = request.application_message.encode(), False
        for _ in range(MOST_TRIES):
            head, known = self.groups.load(group_id, asked.key)
            if known is not None:
                return asked.again(known)
            if head is None or opened is None or opened.head.version != head.version:
                opened = self.vault.unlock(head, asked.message.request.sealed_state_key)
                opened = self.removals.settle(opened, asked.now)
                head = opened.head
            # [mds-vouch-4] Epoch, and whether the group takes anything at all, are members' affairs.
            index, _ = member(opened.state, asked.message)
            check_not_frozen(head)
            # [mds-send-2] It is of the current epoch: of another, members who joined since could not read it.
            if epoch != head.epoch:
                raise StaleEpoch(head.epoch)
            _check_unblocked(opened.state)
            if len(content) > INLINE and not counted:
                # It is stored once and read by a worker for each shard, so it is the group's members who pay for it.
                self.limits.spend(SENT_TO_GROUP, group_id, len(content), asked.now)
                counted = True
            row = LogRow(
                head.seq + 1,
                Kind.APPLICATION,
                head.epoch,
                opened.root,
                asked.now,
                content,
                sender=index,
            )
            answer = asked.done()
            try:
                # From here, if it succeeds, the message has its place in the group's order.
                self.groups.append(head, [self.vault.address(opened, row)], answer)
            except Lost:
                continue  # Somebody else's message has this place, or the epoch has ended: look again.
            self.hints.fan_out(group_id, range(head.shards))
            return answer.response
        raise Unavailable("too many messages are sent to the group at once")

    def propose(self, asked: Asked, request: SubmitProposals | SelfRemoveRequest) -> bytes:
        """Store proposals for this epoch's commit, and owe their delivery to all other members."""
        messages = (request.proposal,) if isinstance(request, SelfRemoveRequest) else request.proposals
        group_id = GroupId(request.group_id)
        for _ in range(RESTAGES):
            head, known = self.groups.load(group_id, asked.key)
            if known is not None:
                return asked.again(known)
            opened = self.vault.unlock(head, asked.message.request.sealed_state_key)
            opened = self.removals.settle(opened, asked.now)
            head, state = opened.head, opened.state
            index, _ = member(state, asked.message)
            check_not_frozen(head)
            if any(content.epoch != head.epoch for content in request.contents):
                raise StaleEpoch(head.epoch)
            for content in request.contents:
                _check_own(content, index)
                if isinstance(request, SelfRemoveRequest):
                    check_self_remove(content, index)
            change = judge_proposals(state, messages, asked.now)
            encoded = [message.encode() for message in messages]
            rows = proposed(encoded, head.epoch, change.root, asked.now, sender=index)
            stored = self.vault.store(opened, change, rows, now=asked.now)
            after = dataclasses.replace(stored.head, used_at=head.used(asked.now))
            answer = asked.done()
            if self.scribe.advance(head, after, stored.rows, answer=answer):
                return answer.response
        raise Unavailable("the group changes too fast to judge a proposal")


def _check_unblocked(state: GroupState) -> None:
    pending = {removal.reference for removal in state.pending()}
    if pending:
        raise MustCover(state.group.epoch, [one.message for one in state.proposals if one.reference in pending])


def _check_own(content: FramedContent, index: int) -> None:
    """[mds-sender-3] Check that who signs the request has signed the proposal too."""
    if content.sender != Sender(SenderType.MEMBER, index):
        raise WrongSender
