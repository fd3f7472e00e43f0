"""What is spoiled at rest, and what only cannot be had just now: delivery gives up the one and waits for the other."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from chalicelib.protocol.delivery.errors import CannotOpen
from chalicelib.services.delivery.state import Kind
from chalicelib.storage import delivery_rows as rows_of
from chalicelib.storage.delivery_rows import GROUPS
from chalicelib.storage.dynamodb import Database, Put
from chalicelib.storage.objects import Objects
from tests.contracts import aws
from tests.contracts.delivery import GROUP, DsPorts, on_aws
from tests.fakes.clock import SettableClock
from tests.fakes.faults import Misuse

LARGE = b"x" * 100_000


@pytest.fixture
def stage() -> str:
    return aws.new_stage("delivery")


@pytest.fixture
def ds(stage: str) -> DsPorts:
    return on_aws(stage, SettableClock())


def change(stage: str, name: str, **values: Any) -> None:
    """Write other values into one of the group's rows."""
    database = Database(stage)
    row = database.get(GROUPS, rows_of.key(GROUP, name))
    if row is None:
        raise Misuse("there is no such row")
    database.write(Put(GROUPS, {**row, **values}))


def seen(ds: DsPorts) -> list[tuple[int, Kind, bytes]]:
    return [(row.seq, row.kind, row.body) for row in ds.groups.log(GROUP, 1, 10)]


SPOILED: dict[str, Callable[[bytes], bytes]] = {
    "changed": lambda sealed: sealed[:-1] + bytes([sealed[-1] ^ 1]),
    "cut off": lambda sealed: sealed[:40],
    "cut off in the nonce": lambda sealed: sealed[:7],
    "nothing": lambda _: b"",
    "under a key that is no more": lambda sealed: b"\x00\x00\xff\xff" + sealed[4:],
}


@pytest.mark.parametrize("how", SPOILED.values(), ids=SPOILED)
def test_a_row_that_does_not_open_keeps_its_place_and_spoils_no_other(
    ds: DsPorts, stage: str, how: Callable[[bytes], bytes]
) -> None:
    ds.create()
    ds.say(b"one", b"two", b"three")
    row = Database(stage).get(GROUPS, rows_of.key(GROUP, rows_of.log_name(3)))
    assert row is not None
    change(stage, rows_of.log_name(3), sealed=how(bytes(row["sealed"])))  # type: ignore[arg-type]
    a, one = Kind.APPLICATION, Kind.UNREADABLE
    assert seen(ds) == [(2, a, b"one"), (3, one, b""), (4, a, b"three")]


@pytest.mark.parametrize(
    "content", [b"", b"\xc1", b"\x90", b"\x96\x01\x01\x01\x01\x01\x01"], ids=["empty", "none", "short", "wrong"]
)
def test_nor_does_one_that_opens_and_is_something_else(ds: DsPorts, stage: str, content: bytes) -> None:
    ds.create()
    ds.say(b"one", b"two")
    sealer = ds.groups.sealer  # type: ignore[attr-defined]
    name = rows_of.log_name(2)
    change(stage, name, sealed=rows_of.seal(sealer, GROUP, name, content))
    assert seen(ds) == [(2, Kind.UNREADABLE, b""), (3, Kind.APPLICATION, b"two")]


def test_nor_does_one_of_a_kind_that_this_program_does_not_know(ds: DsPorts, stage: str) -> None:
    ds.create()
    ds.say(b"one", b"two")
    change(stage, rows_of.log_name(2), kind="of tomorrow")
    assert seen(ds) == [(2, Kind.UNREADABLE, b""), (3, Kind.APPLICATION, b"two")]


def test_nor_does_one_whose_message_is_gone_from_s3(ds: DsPorts, stage: str) -> None:
    ds.create()
    ds.say(LARGE, b"two", LARGE)
    bucket = Objects(stage, "objects")
    first, _second = sorted(bucket.names("log/"))
    bucket.delete([first])
    a = Kind.APPLICATION
    assert seen(ds) == [(2, Kind.UNREADABLE, b""), (3, a, b"two"), (4, a, LARGE)]


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "SlowDown"}}, "GetObject"),
        ClientError({"Error": {"Code": "AccessDenied"}}, "GetObject"),
        ClientError({"Error": {"Code": "NoSuchBucket"}}, "GetObject"),
        ClientError({"Error": {"Code": "ThrottlingException"}}, "Decrypt"),
        EndpointConnectionError(endpoint_url="https://s3"),
        TimeoutError("it takes too long"),
    ],
    ids=["slow down", "not permitted", "no bucket", "KMS", "no connection", "time"],
)
def test_what_may_be_had_later_is_not_given_up(
    ds: DsPorts, stage: str, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    ds.create()
    ds.say(LARGE)
    ref = ds.store(b"y" * 400_000)

    def failing(*_: Any) -> Any:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Objects, "get", failing)
        with pytest.raises(type(error)):
            ds.groups.log(GROUP, 1, 10)
        with pytest.raises(type(error)):
            ds.objects.of(GROUP).load([ref])
    assert seen(ds) == [(2, Kind.APPLICATION, LARGE)]


def test_an_object_that_does_not_open_is_as_good_as_gone(ds: DsPorts, stage: str) -> None:
    small, large = ds.store(b"small"), ds.store(b"y" * 400_000)
    change(stage, rows_of.object_name(small), sealed=b"\x00\x00\x00\x01" + bytes(40))
    bucket = Objects(stage, "objects")
    (name,) = bucket.names("objects/")
    bucket.put(name, b"\x00\x00\x00\x01" + bytes(40))
    for ref in (small, large):
        with pytest.raises(LookupError):
            ds.objects.of(GROUP).load([ref])


@pytest.mark.parametrize("sealed", [b"", b"short", b"\x00\x00\x00\x01sho", bytes(60), b"\x00\x00\x00\x01" + bytes(60)])
def test_what_waits_in_a_row_and_was_not_sealed_so_cannot_be_opened(ds: DsPorts, sealed: bytes) -> None:
    with pytest.raises(CannotOpen):
        ds.keys.open("log row", GROUP, sealed)
