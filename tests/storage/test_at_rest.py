"""Whoever holds every table learns nothing of whom they are about."""

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag

from chalicelib.storage import clients
from tests.contracts.aws import STACK, AwsPorts
from tests.storage.journey import CODE, PHONE, SECRET, USER, live, map_user

PERSONAL = [PHONE.uri, PHONE.address, PHONE.address[1:], USER, "bob-of-beta", CODE, SECRET.decode()]
TABLES_ABOUT_PEOPLE = ["aps", "bucket", "events", "idem", "limit", "log", "outbox", "sii", "users", "verify"]


def rows(aws: AwsPorts) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every row of every table of the stage, as DynamoDB holds it."""
    client = clients.client("dynamodb")
    for resource in json.loads(STACK.read_text())["Resources"].values():
        if resource["Type"] == "AWS::DynamoDB::Table" and resource.get("Condition") != "IsDelivery":
            name = resource["Properties"]["TableName"]["Fn::Sub"].replace("${Stage}", aws.stage)
            for row in client.scan(TableName=name)["Items"]:
                yield name.removeprefix(f"glados-{aws.stage}-"), row


def leaves(value: object) -> Iterator[bytes]:
    """Yield every string and byte string inside a row, names of attributes included."""
    match value:
        case bytes():
            yield value
        case str():
            yield value.encode()
        case dict():
            for name, inner in value.items():
                yield from leaves(name)
                yield from leaves(inner)
        case list() | set() | frozenset():
            for inner in value:
                yield from leaves(inner)


def spellings(plain: str) -> Iterator[bytes]:
    """Yield the value and what anybody could compute from it."""
    data = plain.encode()
    yield data
    for digest in (hashlib.sha256, hashlib.sha1, hashlib.md5, hashlib.sha512, hashlib.blake2b):
        hashed = digest(data).digest()
        yield from (hashed, hashed.hex().encode(), base64.b64encode(hashed), base64.urlsafe_b64encode(hashed))


def test_no_table_holds_an_identifier_a_user_a_code_or_an_unkeyed_hash_of_one(aws: AwsPorts) -> None:
    live(aws)
    seen = list(rows(aws))
    assert {table for table, _ in seen} >= set(TABLES_ABOUT_PEOPLE)
    for table, row in seen:
        for leaf in leaves(row):
            for plain in PERSONAL:
                assert not any(spelling in leaf for spelling in spellings(plain)), (table, sorted(row))


def test_every_item_carries_its_schema_version(aws: AwsPorts) -> None:
    live(aws)
    without = {table for table, row in rows(aws) if "schema" not in row}
    assert without == set()


def test_a_sealed_value_opens_in_its_own_row_only(aws: AwsPorts) -> None:
    sealed = aws.sealer.seal("events", "one", b"alice")
    assert aws.sealer.open("events", "one", sealed) == b"alice"
    for table, row in [("events", "two"), ("outbox", "one")]:
        with pytest.raises(InvalidTag):
            aws.sealer.open(table, row, sealed)


def test_the_same_value_is_sealed_differently_each_time(aws: AwsPorts) -> None:
    assert aws.sealer.seal("sii", "h", b"alice") != aws.sealer.seal("sii", "h", b"alice")


def test_queues_carry_row_ids_only(aws: AwsPorts) -> None:
    live(aws)
    aws.hints.outbox(aws.outbox.due(aws.clock(), 1)[0])
    sqs = clients.client("sqs")
    url = sqs.get_queue_url(QueueName=f"glados-{aws.stage}-outbox")["QueueUrl"]
    (message,) = sqs.receive_message(QueueUrl=url)["Messages"]
    assert message["Body"] == '{"outbox_id": "send"}'


def test_a_mapping_id_says_nothing_of_whom_it_is_about(aws: AwsPorts) -> None:
    map_user(aws)
    (record,) = aws.store.records(PHONE).records.all
    assert aws.keyring.open_mapping_id("alpha", record.mapping_id) == PHONE
    assert aws.keyring.open_mapping_id("beta", record.mapping_id) is None
    opaque = base64.urlsafe_b64decode(record.mapping_id + "==")
    assert not any(spelling in opaque for spelling in spellings(PHONE.uri))
