"""What invokes functions besides HTTP: queues and schedules.

As on AWS, a queue's messages are deleted when the function has returned, and left alone when it has raised:
they come back after the queue's visibility timeout and end in its dead-letter queue. A function may delete
messages itself before it raises.
"""

import datetime
import logging
import os
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from chalice import Chalice
from chalice.app import ScheduledEventConfig, ScheduleExpression, SQSEventConfig

from infra.local.invocation import LambdaContext, where
from infra.local.schedules import Schedule, parse_schedule

logger = logging.getLogger(__name__)

FUNCTION_SECONDS = 900.0
POLL_SECONDS = 2
RECEIVE_AT_MOST = 10  # SQS gives no more at once.
PAUSE_SECONDS = 1.0

Function = Callable[[dict[str, Any], LambdaContext], object]


class Pump:
    """Polls the queues and watches the clock for one application, a thread for each event source.

    One thread means that a function never runs twice at once here, which AWS does not promise for queues.
    `returned` and `raised` count runs by function name.
    """

    def __init__(self, app: Chalice, *, time_scale: float = 1.0) -> None:
        self.returned: Counter[str] = Counter()
        self.raised: Counter[str] = Counter()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        sources = [source for source in app.event_sources if isinstance(source, SQSEventConfig)]
        self._sqs = boto3.client(
            "sqs", config=Config(max_pool_connections=len(sources) + 1, retries={"max_attempts": 1})
        )
        for source in sources:
            name = source.queue or source.queue_arn.rpartition(":")[2]
            self._add(self._drain, source.name, app.handler_map[source.name], name, source.batch_size)
        for source in app.event_sources:
            if isinstance(source, ScheduledEventConfig):
                schedule = parse_schedule(_expression(source.schedule_expression))
                self._add(self._fire, source.name, app.handler_map[source.name], schedule, time_scale)

    def _add(self, run: Callable[..., None], *args: object) -> None:
        self._threads.append(threading.Thread(target=run, args=args, name=str(args[0]), daemon=True))

    def start(self) -> None:
        """Begin to invoke functions."""
        for thread in self._threads:
            thread.start()

    def stop(self, seconds: float = 10.0) -> None:
        """Invoke nothing more; functions that are running get some time to return."""
        self._stopping.set()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))
        self._sqs.close()

    def _drain(self, name: str, function: Function, queue: str, batch_size: int) -> None:
        """Pass a queue's messages to `function`, batch by batch, until the pump stops."""
        url = None
        while not self._stopping.is_set():
            try:
                if url is None:
                    url = self._sqs.get_queue_url(QueueName=queue)["QueueUrl"]
                    arn = self._queue_arn(url)
                messages = self._receive(url, batch_size)
                if messages and self._invoke(name, function, {"Records": [_record(each, arn) for each in messages]}):
                    self._delete(url, messages)
            except (BotoCoreError, ClientError) as error:
                # The queue may not exist yet, or the emulator is going away.
                logger.warning("queue of %s: %s", name, type(error).__name__)
                self._stopping.wait(PAUSE_SECONDS)

    def _queue_arn(self, url: str) -> str:
        attributes = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return str(attributes["Attributes"]["QueueArn"])

    def _receive(self, url: str, batch_size: int) -> list[dict[str, Any]]:
        """Wait for messages, and take up to `batch_size` of those that are there."""
        messages: list[dict[str, Any]] = []
        wait = POLL_SECONDS
        while len(messages) < batch_size:
            most = min(RECEIVE_AT_MOST, batch_size - len(messages))
            received = self._sqs.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=most,
                WaitTimeSeconds=wait,
                MessageSystemAttributeNames=["All"],
                MessageAttributeNames=["All"],
            ).get("Messages", [])
            messages += received
            if len(received) < most:
                break
            wait = 0
        return messages

    def _delete(self, url: str, messages: list[dict[str, Any]]) -> None:
        for start in range(0, len(messages), RECEIVE_AT_MOST):
            entries = [
                {"Id": str(index), "ReceiptHandle": message["ReceiptHandle"]}
                for index, message in enumerate(messages[start : start + RECEIVE_AT_MOST])
            ]
            self._sqs.delete_message_batch(QueueUrl=url, Entries=entries)

    def _fire(self, name: str, function: Function, schedule: Schedule, time_scale: float) -> None:
        """Invoke `function` whenever `schedule` says so, on a clock that runs `time_scale` times as fast.

        A run that outlasts its period delays the next; what was missed meanwhile is not made up for.
        """
        began = datetime.datetime.now(datetime.UTC)

        def scaled_now() -> datetime.datetime:
            return began + (datetime.datetime.now(datetime.UTC) - began) * time_scale

        due = schedule.next_after(began)
        while not self._stopping.wait(max(0.0, (due - scaled_now()).total_seconds() / time_scale)):
            self._invoke(name, function, _scheduled_event(name))
            now = scaled_now()
            while due <= now:
                due = schedule.next_after(due)

    def _invoke(self, name: str, function: Function, event: dict[str, Any]) -> bool:
        """Return whether the function returned; what it raises is logged and counted."""
        try:
            function(event, LambdaContext(name, FUNCTION_SECONDS))
        except Exception as error:  # noqa: BLE001 - whatever a function raises, the others must go on
            self.raised[name] += 1
            logger.error("%s raised %s", name, where(error))  # noqa: TRY400 - see `where`
            return False
        self.returned[name] += 1
        return True


def _expression(expression: str | ScheduleExpression) -> str:
    return expression if isinstance(expression, str) else str(expression.to_string())


def _record(message: dict[str, Any], queue_arn: str) -> dict[str, Any]:
    """Return a received message as Lambda's event shows it."""
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message.get("Attributes", {}),
        "messageAttributes": {
            name: {
                "stringValue": attribute.get("StringValue"),
                "binaryValue": attribute.get("BinaryValue"),
                "stringListValues": [],
                "binaryListValues": [],
                "dataType": attribute["DataType"],
            }
            for name, attribute in message.get("MessageAttributes", {}).items()
        },
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": queue_arn.split(":")[3],
    }


def _scheduled_event(name: str) -> dict[str, Any]:
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION", "")
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "000000000000",
        "time": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}",
        "region": region,
        "resources": [f"arn:aws:events:{region}:000000000000:rule/{name}"],
        "detail": {},
    }
