"""The stage's queues in SQS, at both ends: hints that wake a worker, and what the worker deletes when it is done.

A hint carries ids of rows and nothing else. What it is about is durable before it is given and is found by a sweep
without it, so a hint that is lost is an alarm and no error.
"""

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chalicelib.services.ports import Alarms
from chalicelib.storage import clients

MOST_IN_BATCH = 10

_log = logging.getLogger(__name__)


class PartlyRefused(Exception):
    """SQS took some messages of a batch, and not all."""


class Queues:
    """The queues of one stage."""

    def __init__(self, stage: str, alarms: Alarms) -> None:
        self.stage = stage
        self.alarms = alarms
        self._urls: dict[str, str] = {}

    def hint(self, queue: str, body: Mapping[str, object], delay_seconds: int = 0) -> None:
        """Send one message, or count it as lost."""
        with self._losing(queue) as sqs:
            sqs.send_message(QueueUrl=self._url(queue), MessageBody=json.dumps(body), DelaySeconds=delay_seconds)

    def hint_many(self, queue: str, bodies: Sequence[Mapping[str, object]]) -> None:
        """Send at most ten messages in one call, or count them as lost."""
        entries = [{"Id": str(place), "MessageBody": json.dumps(body)} for place, body in enumerate(bodies)]
        with self._losing(queue) as sqs:
            if sqs.send_message_batch(QueueUrl=self._url(queue), Entries=entries).get("Failed"):
                raise PartlyRefused

    def delete(self, queue: str, receipt: str) -> None:
        """Remove a message that was received from `queue`, by its receipt handle; doing it twice is no error."""
        _sqs().delete_message(QueueUrl=self._url(queue), ReceiptHandle=receipt)

    @contextlib.contextmanager
    def _losing(self, queue: str) -> Iterator[Any]:
        try:
            yield _sqs()
        except Exception as error:  # noqa: BLE001 - the work is durable already; a sweep does it within a minute
            _log.warning("a hint to the queue %s was lost: %s", queue, type(error).__name__)
            self.alarms.raise_("hint-lost", queue)

    def _url(self, queue: str) -> str:
        url = self._urls.get(queue)
        if url is None:
            url = self._urls[queue] = _sqs().get_queue_url(QueueName=f"glados-{self.stage}-{queue}")["QueueUrl"]
        return url


def _sqs() -> Any:
    return clients.client("sqs", 2)
