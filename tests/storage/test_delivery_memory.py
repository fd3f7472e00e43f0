"""A container's memory of immutable objects: what is in it is not read again, and there is an end to it."""

from collections.abc import Collection, Mapping

import pytest

from chalicelib.protocol.mls.chunks import Ref, reference
from chalicelib.services.delivery.state import GroupId
from chalicelib.storage import delivery_memory
from chalicelib.storage.delivery_memory import RememberedObjects
from tests.fakes.delivery import DeliveryWorld

GROUP, OTHER = GroupId(b"a group"), GroupId(b"another")


def objects(*contents: bytes) -> Mapping[Ref, bytes]:
    return {reference(b"attempt0", content): content for content in contents}


def loads(world: DeliveryWorld) -> int:
    return world.calls("objects").count(("objects", "load"))


@pytest.fixture
def world() -> DeliveryWorld:
    return DeliveryWorld()


def load(memory: RememberedObjects, refs: Collection[Ref], group_id: GroupId = GROUP) -> Mapping[Ref, bytes]:
    return memory.of(group_id).load(refs)


def test_what_was_written_is_not_read(world: DeliveryWorld) -> None:
    memory, written = RememberedObjects(world.objects), objects(b"root", b"chunk")
    memory.put(GROUP, written)
    assert load(memory, list(written)) == written
    assert loads(world) == 0
    assert world.objects.load(GROUP, list(written)) == written


def test_what_was_read_is_read_once_and_the_rest_together(world: DeliveryWorld) -> None:
    memory, some, more = RememberedObjects(world.objects), objects(b"one"), objects(b"two", b"three")
    world.objects.put(GROUP, {**some, **more})
    load(memory, list(some))
    assert load(memory, [*some, *more]) == {**some, **more}
    assert loads(world) == 2
    load(memory, [*some, *more])
    assert loads(world) == 2


def test_a_write_that_failed_is_not_remembered(world: DeliveryWorld) -> None:
    memory, written = RememberedObjects(world.objects), objects(b"root")
    world.fail("objects", "put")
    with pytest.raises(ConnectionError):
        memory.put(GROUP, written)
    with pytest.raises(LookupError):
        load(memory, list(written))


def test_groups_do_not_share_objects(world: DeliveryWorld) -> None:
    memory, written = RememberedObjects(world.objects), objects(b"root")
    memory.put(GROUP, written)
    with pytest.raises(LookupError):
        load(memory, list(written), OTHER)


def test_what_was_not_used_for_longest_is_forgotten(world: DeliveryWorld) -> None:
    memory = RememberedObjects(world.objects, most_bytes=30)
    first, second, third = (objects(letter * 10) for letter in (b"a", b"b", b"c"))
    for written in (first, second, third):
        memory.put(GROUP, written)
    load(memory, list(first))
    memory.put(GROUP, objects(b"d" * 10))
    load(memory, list(first))
    load(memory, list(third))
    assert loads(world) == 0
    load(memory, list(second))
    assert loads(world) == 1


def test_what_is_very_large_is_read_each_time(world: DeliveryWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_memory, "LARGEST", 20)
    memory, large, small = RememberedObjects(world.objects), objects(bytes(21)), objects(bytes(20))
    memory.put(GROUP, {**large, **small})
    for times in (1, 2):
        assert load(memory, list(large)) == large
        load(memory, list(small))
        assert loads(world) == times


def test_a_new_container_knows_nothing(world: DeliveryWorld) -> None:
    memory, written = RememberedObjects(world.objects), objects(b"root")
    memory.put(GROUP, written)
    memory.forget()
    assert load(memory, list(written)) == written
    assert loads(world) == 1
