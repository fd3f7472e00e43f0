"""Deleting a queue by its id alone, for the application provider whose client it was.

We do not know whose a queue is. Its id is 16 random bytes that client and queueing service alone ever see, so a
provider knows one because its client told it, and may say that the queue goes where the client itself cannot.
"""

import dataclasses

from chalicelib.services.ports import Clock
from chalicelib.services.queueing.owners import discard_all
from chalicelib.services.queueing.ports import QueueEntries, QueueHeads
from chalicelib.services.queueing.state import QueueId


@dataclasses.dataclass(frozen=True, slots=True)
class QueueDeletion:
    """Deletes queues of clients that are gone."""

    heads: QueueHeads
    entries: QueueEntries
    clock: Clock

    def remove(self, queue_id: bytes) -> None:
        """Delete a queue and what is in it; one that is not there is gone. Who enqueues is told so from then on."""
        self.heads.bury(QueueId(queue_id), self.clock())
        discard_all(self.heads, self.entries, QueueId(queue_id))
