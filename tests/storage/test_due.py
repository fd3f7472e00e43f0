"""What a sweep finds by an index: the rows that waited longest, wherever they stand, and one lane at a time."""

import pytest

from chalicelib.storage import delivery_wakes
from chalicelib.storage.dynamodb import Database, Put, number
from tests.contracts import aws

DUE = delivery_wakes.DUE


@pytest.fixture
def database() -> Database:
    return Database(aws.new_stage("delivery"))


def put(database: Database, at: int, lane: int = 0) -> None:
    identity = f"row {at} of lane {lane}".encode()
    database.write(Put(DUE.table, {"g": identity, **DUE.place(identity, at, lane)}))


def found(database: Database, until: int, most: int, lane: int = 0) -> list[int]:
    return [number(row, "next_at") for row in DUE.find(database, until, most, lane)]


def test_of_all_partitions_those_are_found_that_waited_longest(database: Database) -> None:
    for at in range(40):
        put(database, at)
    assert found(database, 30, 100) == list(range(31))
    assert found(database, 30, 7) == list(range(7))


def test_rows_of_one_lane_hide_none_of_another(database: Database) -> None:
    for at in range(20):
        put(database, at, lane=1)
    put(database, 50)
    assert found(database, 100, 1) == [50]
    assert found(database, 100, 3, lane=1) == [0, 1, 2]
