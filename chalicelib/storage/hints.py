"""The port `Hints`: a provider's queues, one for each kind of work."""

from chalicelib.services.provider.state import OutboxId
from chalicelib.storage.queues import Queues

OUTBOX = "outbox"
SEQUENCE = "sequence"
FOLLOW = "follow"
SCAN = "scan"

LONGEST_DELAY = 900  # Seconds; SQS takes no more. A later entry is found by the sweep.


class AwsHints:
    """Hints of one stage."""

    def __init__(self, queues: Queues) -> None:
        self.queues = queues

    def outbox(self, outbox_id: OutboxId, delay_seconds: int = 0) -> None:
        """Wake the sender for one entry."""
        self.queues.hint(OUTBOX, {"outbox_id": outbox_id}, max(0, min(delay_seconds, LONGEST_DELAY)))

    def sequence(self) -> None:
        """Wake the sequencer."""
        self.queues.hint(SEQUENCE, {})

    def follow(self, gp: str) -> None:
        """Have a peer's filter fetched."""
        self.queues.hint(FOLLOW, {"gp": gp})

    def scan(self, version: int, segment: int) -> None:
        """Have one segment scanned for a rebuild."""
        self.queues.hint(SCAN, {"version": version, "segment": segment})
