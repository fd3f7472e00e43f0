"""DynamoDB as this provider uses it: typed writes, consistent reads, transactions whose failures can be named.

A thin layer over the calls themselves (`signed_call`) and, for queries and scans, over botocore's client. Values
are plain Python; an expression names attributes as `#name` and values as `:name`, and the layer tells DynamoDB
which is which, so reserved words need no thought. Every item carries the version of its schema. What is sent again,
and when, is told in `resending`.
"""

import dataclasses
import functools
import random
import re
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import msgspec
from botocore.exceptions import ClientError

from chalicelib.storage import clients, notation
from chalicelib.storage.notation import Attribute, from_attributes, from_wire, to_wire, value_to_wire
from chalicelib.storage.resending import cancellation_reasons, code_of, repeat, repeat_what_is_left
from chalicelib.storage.signed_call import SignedCall

SCHEMA = 1
MOST_IN_TRANSACTION = 100
MOST_IN_BATCH = 100
MOST_IN_BATCH_WRITE = 25
FIRST_DELAY = 0.02

Value = notation.Value
Item = notation.Item


class ConditionFailed(Exception):
    """The row is not as the write requires; `row` is what it was, where it was asked for."""

    def __init__(self, row: Item | None = None) -> None:
        super().__init__("the condition of a write does not hold")
        self.row = row


class Cancelled(Exception):
    """Nothing of a transaction was written; `failed` are the positions of the operations whose condition failed."""

    def __init__(self, failed: tuple[int, ...]) -> None:
        super().__init__(f"the conditions of the operations {failed} of a transaction do not hold")
        self.failed = failed


@dataclasses.dataclass(frozen=True, slots=True)
class Put:
    """Write a whole item."""

    table: str
    item: Item
    condition: str = ""
    values: Item = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Update:
    """Change some attributes of an item, or make it."""

    table: str
    key: Item
    change: str
    condition: str = ""
    values: Item = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Delete:
    """Remove an item."""

    table: str
    key: Item
    condition: str = ""
    values: Item = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """Write nothing, but require something of an item; for transactions only."""

    table: str
    key: Item
    condition: str
    values: Item = dataclasses.field(default_factory=dict)


Operation = Put | Update | Delete | Check


class _Batch(msgspec.Struct, frozen=True):
    Responses: dict[str, list[dict[str, Attribute]]]
    UnprocessedKeys: dict[str, Any]


class _BatchWritten(msgspec.Struct, frozen=True):
    UnprocessedItems: dict[str, Any]


class _Written(msgspec.Struct, frozen=True):
    Attributes: dict[str, Attribute] | None = None


_batch = msgspec.json.Decoder(_Batch)
_batch_written = msgspec.json.Decoder(_BatchWritten)
_written = msgspec.json.Decoder(_Written)


class Database:
    """The tables of one stage; safe for threads, and cheap to make.

    `jitter` returns a number from 0 to 1 by which each wait is multiplied, so that losers of a race do not meet
    again at the next turn.
    """

    def __init__(
        self,
        stage: str,
        jitter: Callable[[], float] = random.random,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.stage = stage
        self.jitter = jitter
        self.sleep = sleep
        self._signed_call: SignedCall | None = None

    def wait(self, attempt: int) -> None:
        """Wait before the next attempt: each time longer, and after the first, 0, least."""
        self.sleep(FIRST_DELAY * 2**attempt * self.jitter())

    def name(self, table: str) -> str:
        """Return a table's full name."""
        return f"glados-{self.stage}-{table}"

    def get(self, table: str, key: Item) -> Item | None:
        """Return an item as it is now, or None."""
        return self.batch_get([(table, key)])[0]

    def batch_get(self, wanted: Sequence[tuple[str, Item]]) -> list[Item | None]:
        """Return items in the order they are asked for, each read consistently, by one call for each hundred."""
        rows = dict.fromkeys((self.name(table), tuple(key.items())) for table, key in wanted)
        parts = {name: [part for part, _ in key] for name, key in rows}
        found: dict[tuple[str, tuple[tuple[str, Value], ...]], Item] = {}

        def read(asked: dict[str, Any]) -> dict[str, Any]:
            answer = _batch.decode(self._send("BatchGetItem", {"RequestItems": asked}, safe=True))
            for name, items in answer.Responses.items():
                for item in map(from_attributes, items):
                    found[name, tuple((part, item[part]) for part in parts[name])] = item
            return answer.UnprocessedKeys

        for start in range(0, len(rows), MOST_IN_BATCH):
            asked: dict[str, Any] = {}
            for name, key in list(rows)[start : start + MOST_IN_BATCH]:
                asked.setdefault(name, {"Keys": [], "ConsistentRead": True})["Keys"].append(to_wire(dict(key)))
            repeat_what_is_left(read, asked, self.wait)
        return [found.get((self.name(table), tuple(key.items()))) for table, key in wanted]

    def batch_write(self, operations: Sequence[Put | Delete]) -> None:
        """Do writes without conditions, each by itself and in no order, by one call for each twenty-five.

        No two may be of one item. If this raises, some may have been done.
        """
        for start in range(0, len(operations), MOST_IN_BATCH_WRITE):
            asked: dict[str, Any] = {}
            for operation in operations[start : start + MOST_IN_BATCH_WRITE]:
                if operation.condition:
                    raise ValueError("a batch writes without conditions")
                request = self._request(operation)
                kind = "PutRequest" if isinstance(operation, Put) else "DeleteRequest"
                asked.setdefault(request.pop("TableName"), []).append({kind: request})
            repeat_what_is_left(self._write_batch, asked, self.wait)

    def _write_batch(self, asked: dict[str, Any]) -> dict[str, Any]:
        answer = self._send("BatchWriteItem", {"RequestItems": asked}, safe=True)
        return _batch_written.decode(answer).UnprocessedItems

    def write(
        self,
        operation: Put | Update | Delete,
        returns: Literal["NONE", "ALL_NEW"] = "NONE",
        *,
        repeatable: bool = False,
    ) -> Item | None:
        """Do one write; raise `ConditionFailed` with the row as it was.

        `repeatable` says that the caller would not mistake its own first success for another's.
        """
        request = self._request(operation)
        request["ReturnValues"] = returns
        if operation.condition:
            request["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        name = {Put: "PutItem", Update: "UpdateItem", Delete: "DeleteItem"}[type(operation)]
        try:
            answer = self._send(name, request, safe=repeatable)
        except ClientError as error:
            if code_of(error) != "ConditionalCheckFailedException":
                raise
            row = msgspec.convert(dict(error.response).get("Item"), dict[str, Attribute] | None)
            raise ConditionFailed(from_attributes(row) if row else None) from error
        changed = _written.decode(answer).Attributes
        return from_attributes(changed) if changed else None

    def transact(self, operations: Sequence[Operation]) -> None:
        """Do all operations or none; raise `Cancelled` with those whose condition failed.

        The token makes it safe for this method to send the transaction again when an answer is lost.
        """
        if len(operations) > MOST_IN_TRANSACTION:
            raise ValueError(f"a transaction of {len(operations)} items; DynamoDB takes {MOST_IN_TRANSACTION}")
        kinds = {Put: "Put", Update: "Update", Delete: "Delete", Check: "ConditionCheck"}
        items = [{kinds[type(operation)]: self._request(operation)} for operation in operations]
        request = {"TransactItems": items, "ClientRequestToken": str(uuid.uuid4())}
        try:
            self._send("TransactWriteItems", request, safe=True)
        except ClientError as error:
            reasons = cancellation_reasons(error)
            failed = tuple(place for place, reason in enumerate(reasons) if reason == "ConditionalCheckFailed")
            if not failed:
                raise
            raise Cancelled(failed) from error

    def query(
        self,
        table: str,
        condition: str,
        values: Item,
        *,
        index: str | None = None,
        most: int | None = None,
        newest_first: bool = False,
        only: Sequence[str] = (),
    ) -> Iterator[Item]:
        """Yield the items of one partition in key order; consistently, unless it is an index that is asked.

        `only` names the attributes that are wanted; the price is that of whole items all the same.
        """
        projection = ", ".join("#" + name for name in only)
        request: dict[str, Any] = {
            "TableName": self.name(table),
            "KeyConditionExpression": condition,
            "ExpressionAttributeNames": _names(f"{condition} {projection}"),
            "ExpressionAttributeValues": {":" + name: value_to_wire(value) for name, value in values.items()},
            "ScanIndexForward": not newest_first,
            **({"ConsistentRead": True} if index is None else {"IndexName": index}),
            **({} if most is None else {"Limit": most}),
            **({"ProjectionExpression": projection} if only else {}),
        }
        return self._pages("query", request, most)

    def scan(self, table: str, segment: int = 0, segments: int = 1) -> Iterator[Item]:
        """Yield every item of a table's segment, read consistently: for schedules, never for a request."""
        request = {
            "TableName": self.name(table),
            "ConsistentRead": True,
            "Segment": segment,
            "TotalSegments": segments,
        }
        return self._pages("scan", request, None)

    def _pages(self, method: str, request: dict[str, Any], most: int | None) -> Iterator[Item]:
        call = getattr(clients.client("dynamodb"), method)
        count = 0
        while True:
            page = repeat(functools.partial(call, **request), self.wait, safe=True)
            for item in page["Items"]:
                yield from_wire(item)
                count += 1
                if count == most:
                    return
            if "LastEvaluatedKey" not in page:
                return
            request = {**request, "ExclusiveStartKey": page["LastEvaluatedKey"]}

    def _request(self, operation: Operation) -> dict[str, Any]:
        request: dict[str, Any] = {"TableName": self.name(operation.table)}
        if isinstance(operation, Put):
            request["Item"] = to_wire({**operation.item, "schema": SCHEMA})
        else:
            request["Key"] = to_wire(operation.key)
        change = operation.change if isinstance(operation, Update) else ""
        if change:
            request["UpdateExpression"] = change
        if operation.condition:
            request["ConditionExpression"] = operation.condition
        names = _names(f"{change} {operation.condition}")
        if names:
            request["ExpressionAttributeNames"] = names
        if operation.values:
            request["ExpressionAttributeValues"] = {
                ":" + name: value_to_wire(value) for name, value in operation.values.items()
            }
        return request

    def _send(self, operation: str, request: dict[str, Any], *, safe: bool) -> bytes:
        """Return the answer to a call."""
        call = self._signed_call = self._signed_call or SignedCall()
        return repeat(functools.partial(call.send, operation, msgspec.json.encode(request)), self.wait, safe=safe)


def _names(expression: str) -> dict[str, str]:
    return {"#" + name: name for name in re.findall(r"#(\w+)", expression)}


def text(item: Item, name: str) -> str:
    """Return a string attribute that the item must have."""
    value = item[name]
    if not isinstance(value, str):
        raise TypeError(f"the attribute {name} is no string")
    return value


def number(item: Item, name: str, default: int | None = None) -> int:
    """Return an integer attribute, or the default where the item has none."""
    value = item.get(name, default)
    if not isinstance(value, int):
        raise TypeError(f"the attribute {name} is no number")
    return value


def blob(item: Item, name: str) -> bytes:
    """Return a binary attribute that the item must have."""
    value = item[name]
    if not isinstance(value, bytes):
        raise TypeError(f"the attribute {name} is not binary")
    return value
