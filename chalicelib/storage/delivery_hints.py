"""The port `FanoutHints`: SQS messages that wake a worker for one shard of a group, ten at a time."""

import json
import logging
from collections.abc import Sequence

from chalicelib.protocol.glados.federation_api import encode_base64url
from chalicelib.services.delivery.state import GroupId
from chalicelib.services.ports import Alarms
from chalicelib.storage import clients

QUEUE = "fanout"
MOST_IN_BATCH = 10

_log = logging.getLogger(__name__)


class AwsFanoutHints:
    """The queue of one stage."""

    def __init__(self, stage: str, alarms: Alarms) -> None:
        self.stage = stage
        self.alarms = alarms
        self._url = ""

    def fan_out(self, group_id: GroupId, shards: Sequence[int]) -> None:
        """Wake a worker for each shard."""
        name = encode_base64url(group_id)
        try:
            sqs = clients.client("sqs", 2)
            if not self._url:
                self._url = sqs.get_queue_url(QueueName=f"glados-{self.stage}-{QUEUE}")["QueueUrl"]
            for start in range(0, len(shards), MOST_IN_BATCH):
                entries = [
                    {"Id": str(shard), "MessageBody": json.dumps({"g": name, "shard": shard})}
                    for shard in shards[start : start + MOST_IN_BATCH]
                ]
                answer = sqs.send_message_batch(QueueUrl=self._url, Entries=entries)
                if answer.get("Failed"):
                    self._lost("refused")
        except Exception as error:  # noqa: BLE001 - the wake-up is durable already; a schedule follows it up
            self._lost(type(error).__name__)

    def _lost(self, why: str) -> None:
        _log.warning("a hint to the queue %s was lost: %s", QUEUE, why)
        self.alarms.raise_("hint_lost", QUEUE)
