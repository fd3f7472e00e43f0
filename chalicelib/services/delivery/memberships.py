"""In which groups a user is: an index that follows the log, so that account events find their groups.

It may lag behind the groups. So a user that was removed from its account leaves a mark, and who is noticed in a group
after that is removed then.
"""

import dataclasses
from collections.abc import Callable

from chalicelib.services.delivery.ports import Memberships
from chalicelib.services.delivery.state import GroupId, LogRow


@dataclasses.dataclass(frozen=True, slots=True)
class MembershipLog:
    """Keeps the index; `noticed` is told of each user that came to a group, after the index has it."""

    memberships: Memberships
    noticed: Callable[[bytes, GroupId], None]

    def note(self, group_id: GroupId, row: LogRow) -> None:
        """Bring the index up to a row; a repeat in order changes nothing in the end."""
        for user in row.left:
            self.memberships.remove(user, group_id)
        for user in row.joined:
            self.memberships.add(user, group_id)
            self.noticed(user, group_id)
