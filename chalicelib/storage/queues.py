"""The receiving side of the stage's queues: a worker deletes what it has done itself."""

import functools

from chalicelib.storage.clients import client


class Queues:
    """Deletes messages whose work is done; deleting one twice is no error."""

    def __init__(self, stage: str) -> None:
        self.stage = stage

    def delete(self, queue: str, receipt: str) -> None:
        """Remove a message that was received from `queue`, by its receipt handle."""
        client("sqs", attempts=3).delete_message(QueueUrl=_url(f"glados-{self.stage}-{queue}"), ReceiptHandle=receipt)


@functools.cache
def _url(name: str) -> str:
    url: str = client("sqs", attempts=3).get_queue_url(QueueName=name)["QueueUrl"]
    return url
