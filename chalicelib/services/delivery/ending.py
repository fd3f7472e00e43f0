"""The end of a group that was reinitialised: nothing may be sent to it any more (RFC 9420 §§11.2, 12.4.2; decision 33).

    refused with `GroupFrozen`     messages, proposals, commits of members and of new members, and what these would ask
    taken                          where a member's messages go now, the tree for a Welcome that is under way, its end

What was accepted before is delivered, the commit with the ReInit last. After that a member may close the group. One
that nobody closes is closed when no Welcome to it can be joined any more.
"""

import dataclasses

from chalicelib.errors import Unavailable
from chalicelib.protocol.delivery.info_requests import CloseGroup
from chalicelib.protocol.delivery.refusals import InvalidRequest
from chalicelib.services.delivery.asking import Asked
from chalicelib.services.delivery.heads import RESTAGES, closed
from chalicelib.services.delivery.ports import Groups
from chalicelib.services.delivery.scribe import Scribe
from chalicelib.services.delivery.senders import WrongSender, leaf_index, member
from chalicelib.services.delivery.state import GroupId
from chalicelib.services.delivery.vault import Vault


@dataclasses.dataclass(frozen=True, slots=True)
class Ending:
    """Closes groups at a member's word, without a commit."""

    groups: Groups
    vault: Vault
    scribe: Scribe

    def close(self, asked: Asked, request: CloseGroup) -> bytes:
        """Delete a group that was reinitialised; what is under way in it is delivered all the same."""
        group_id = GroupId(request.group_id)
        leaf_index(asked.message)  # Who is named otherwise is told so, whether or not there is such a group.
        for _ in range(RESTAGES):
            head, known = self.groups.load(group_id, asked.key)
            if known is not None:
                return asked.again(known)
            opened = self.vault.unlock(head, request.sealed_state_key)
            head = opened.head
            _, leaf = member(opened.state, asked.message)
            if request.sender != leaf.signature_key:
                raise WrongSender
            # [mds-close-1] Another group is deleted by the commit that removes everybody, so that they hear of it.
            if not head.frozen:
                raise InvalidRequest("mds-close-1", "a group that was not reinitialised is deleted by a commit")
            # From now on its rows have a month left, the answer to a repeat among them.
            after = closed(dataclasses.replace(head, version=head.version + 1, used_at=head.used(asked.now)))
            answer = asked.done()
            if self.scribe.advance(head, after, answer=answer):
                return answer.response
        raise Unavailable("the group changes too fast to be closed")
