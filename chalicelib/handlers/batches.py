"""Working off a batch of an SQS queue, in the one mode that is safe under every deployment.

The messages that succeeded are deleted here, and the handler raises if any failed: so a redelivery holds the failed
ones and nothing is dropped.
"""

import json
from collections.abc import Callable
from typing import Any

from chalicelib import wiring
from chalicelib.handlers import log


class BatchFailed(Exception):
    """Some messages of a batch failed; they stay in the queue."""


def work_off(event: Any, queue: str, do: Callable[[dict[str, Any]], None]) -> None:
    """Do each message of a batch; delete those that succeeded, and raise if any failed."""
    records = event.to_dict()["Records"]
    failed = 0
    for record in records:
        try:
            do(json.loads(record["body"]))
        except Exception as error:  # noqa: BLE001 (one bad message must not stop the others)
            failed += 1
            log.failure("message failed", error, queue=queue)
        else:
            wiring.queues().delete(queue, record["receiptHandle"])
    if failed:
        raise BatchFailed(f"{failed} of {len(records)} messages failed")
