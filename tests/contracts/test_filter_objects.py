"""`FilterObjects`: immutable bytes by name."""

import hashlib
from functools import partial

import pytest

from chalicelib.services.provider.state import StoredObject
from tests.contracts.ports import Ports
from tests.contracts.races import race

NAME = "versions/1/raw"


@pytest.mark.parametrize("data", [b"", b"\x00\xff", bytes(100_000)], ids=len)
def test_an_object_is_read_as_it_was_put(ports: Ports, data: bytes) -> None:
    stored = ports.filter_objects.put(NAME, data)
    assert stored == StoredObject(NAME, len(data), hashlib.sha256(data).hexdigest())
    assert ports.filter_objects.get(NAME) == data


def test_writing_an_object_again_says_the_same(ports: Ports) -> None:
    ports.lose_reply("filter_objects", "put")
    race(partial(ports.filter_objects.put, NAME, b"data"))
    assert ports.filter_objects.put(NAME, b"data") == ports.filter_objects.put(NAME, b"data")
    assert ports.filter_objects.get(NAME) == b"data"


def test_an_unknown_object_is_a_lookup_error(ports: Ports) -> None:
    with pytest.raises(LookupError):
        ports.filter_objects.get(NAME)


def test_a_deleted_object_is_gone_however_often_it_is_deleted(ports: Ports) -> None:
    ports.filter_objects.put(NAME, b"data")
    ports.filter_objects.put("other", b"other")
    for _ in range(2):
        ports.filter_objects.delete(NAME)
    with pytest.raises(LookupError):
        ports.filter_objects.get(NAME)
    assert ports.filter_objects.get("other") == b"other"


def test_a_link_leads_to_one_object(ports: Ports) -> None:
    ports.filter_objects.put(NAME, b"data")
    ports.filter_objects.put("other", b"other")
    assert NAME in ports.filter_objects.link(NAME)
    assert ports.filter_objects.link(NAME) != ports.filter_objects.link("other")
