"""The port `FanoutHints`: SQS messages that wake workers for the shards of a group, in one call however many.

A call takes ten messages. Where there are more shards, each message names its share of them, and whoever gets it
gives the others' hints in the same way before it begins with its own: ten times as many workers at each step.
"""

import json
import logging
from collections.abc import Sequence

from chalicelib.protocol.base64url import encode_base64url
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
            shares = [list(shards[first::MOST_IN_BATCH]) for first in range(min(MOST_IN_BATCH, len(shards)))]
            if not shares:
                return
            entries = [
                {"Id": str(shard), "MessageBody": json.dumps({"g": name, "shard": shard, "more": more})}
                for shard, *more in shares
            ]
            answer = sqs.send_message_batch(QueueUrl=self._url, Entries=entries)
            if answer.get("Failed"):
                self._lost("refused")
        except Exception as error:  # noqa: BLE001 - the wake-up is durable already; a schedule follows it up
            self._lost(type(error).__name__)

    def _lost(self, why: str) -> None:
        _log.warning("a hint to the queue %s was lost: %s", QUEUE, why)
        self.alarms.raise_("hint-lost", QUEUE)
