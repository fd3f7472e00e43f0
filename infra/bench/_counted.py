"""Which AWS calls this process makes, and how much they carry.

A call is counted where botocore is about to send it, so each attempt counts. Items and bytes are DynamoDB's: items
that are asked for by key or found by a query are read, those of a put, an update or a transaction are written, and
bytes are those of its JSON, where binary values take a third more than they have.
"""

import contextlib
import dataclasses
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from chalicelib.storage import clients
from chalicelib.storage.signed_call import SignedCall

READS = {"BatchGetItem", "Query", "Scan", "GetItem"}


@dataclasses.dataclass
class Tally:
    """What some work came to."""

    calls: Counter[str] = dataclasses.field(default_factory=Counter)
    read: int = 0
    written: int = 0
    bytes_read: int = 0
    bytes_written: int = 0

    @property
    def total(self) -> int:
        """How many calls there were."""
        return self.calls.total()

    def add(self, other: "Tally") -> None:
        """Count what another process did."""
        self.calls += other.calls
        self.read += other.read
        self.written += other.written
        self.bytes_read += other.bytes_read
        self.bytes_written += other.bytes_written


_open: list[Tally] = []


@contextlib.contextmanager
def counted() -> Iterator[Tally]:
    """Count what is done meanwhile, in all threads."""
    tally = Tally()
    _open.append(tally)
    try:
        yield tally
    finally:
        _open.remove(tally)


def install() -> None:
    """Begin to watch; before the first client is made, and once a process."""
    events = clients.session()
    events.register("before-send", _count_call)
    events.register("after-call.dynamodb", _count_answer)
    send = SignedCall.send

    def watched(self: SignedCall, operation: str, body: bytes) -> bytes:
        answer = send(self, operation, body)
        _weigh(operation, body, answer)
        return answer

    SignedCall.send = watched  # type: ignore[method-assign]


def _count_call(event_name: str, **_: Any) -> None:
    for tally in _open:
        tally.calls[event_name.removeprefix("before-send.")] += 1


def _count_answer(http_response: Any, parsed: dict[str, Any], **_: Any) -> None:
    for tally in _open:
        tally.read += parsed.get("Count", 0)
        tally.bytes_read += len(http_response.content)


def _weigh(operation: str, body: bytes, answer: bytes) -> None:
    if not _open:
        return
    request = json.loads(body)
    if operation == "BatchGetItem":
        items = sum(len(asked["Keys"]) for asked in request["RequestItems"].values())
    elif operation == "BatchWriteItem":
        items = sum(map(len, request["RequestItems"].values()))
    else:
        items = len(request.get("TransactItems", [None]))
    for tally in _open:
        if operation in READS:
            tally.read += items
            tally.bytes_read += len(answer)
        else:
            tally.written += items
            tally.bytes_written += len(body)
