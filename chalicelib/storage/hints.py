"""The port `Hints`: SQS messages that wake a worker. They carry ids of rows and nothing else."""

import json
import logging
from collections.abc import Mapping

from chalicelib.services.ports import Alarms
from chalicelib.services.provider.state import OutboxId
from chalicelib.storage import clients

LONGEST_DELAY = 900  # Seconds; SQS takes no more. A later entry is found by the sweep.

_log = logging.getLogger(__name__)


class AwsHints:
    """The queues of one stage."""

    def __init__(self, stage: str, alarms: Alarms) -> None:
        self.stage = stage
        self.alarms = alarms
        self._urls: dict[str, str] = {}

    def outbox(self, outbox_id: OutboxId, delay_seconds: int = 0) -> None:
        """Wake the sender for one entry."""
        self._send("outbox", {"outbox_id": outbox_id}, max(0, min(delay_seconds, LONGEST_DELAY)))

    def sequence(self) -> None:
        """Wake the sequencer."""
        self._send("sequence", {})

    def follow(self, gp: str) -> None:
        """Have a peer's filter fetched."""
        self._send("follow", {"gp": gp})

    def scan(self, version: int, segment: int) -> None:
        """Have one segment scanned for a rebuild."""
        self._send("scan", {"version": version, "segment": segment})

    def _send(self, queue: str, body: Mapping[str, object], delay_seconds: int = 0) -> None:
        try:
            sqs = clients.client("sqs", 2)
            url = self._urls.get(queue)
            if url is None:
                url = self._urls[queue] = sqs.get_queue_url(QueueName=f"glados-{self.stage}-{queue}")["QueueUrl"]
            sqs.send_message(QueueUrl=url, MessageBody=json.dumps(body), DelaySeconds=delay_seconds)
        except Exception as error:  # noqa: BLE001 - the work is durable already; a sweep does it within a minute
            _log.warning("a hint to the queue %s was lost: %s", queue, type(error).__name__)
            self.alarms.raise_("hint-lost", queue)
