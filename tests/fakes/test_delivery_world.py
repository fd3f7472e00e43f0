"""A delivery service's fakes: they fail as asked, and they tell on their callers."""

import dataclasses
import hashlib

import pytest

from chalicelib.protocol.mls.chunks import Ref, reference
from chalicelib.services.delivery.state import GroupId, Head, KeptAnswer, Kind, LogRow
from tests.fakes.clock import START
from tests.fakes.delivery import DeliveryWorld
from tests.fakes.faults import Misuse

GROUP = GroupId(b"a group")
CONTENT = b"a root"
ROOT = reference(b"attempt1", CONTENT)
HEAD = Head(GROUP, epoch=0, version=1, seq=0, root=ROOT, shards=1, created_at=START, used_at=START)
ANSWER = KeptAnswer(b"d" * 32, b"answer", START + 1000)
ROW = LogRow(seq=1, kind=Kind.COMMIT, epoch=0, root=ROOT, accepted_at=START, body=b"commit", sender=0)
NEXT = dataclasses.replace(HEAD, epoch=1, version=2, seq=1)


@pytest.fixture
def world() -> DeliveryWorld:
    world = DeliveryWorld()
    world.objects.put(GROUP, {ROOT: CONTENT})
    world.groups.create(HEAD, (), ANSWER)
    return world


def test_a_failure_before_the_effect_leaves_everything_as_it_was(world: DeliveryWorld) -> None:
    world.fail("groups", "advance", when="before")
    with pytest.raises(ConnectionError):
        world.groups.advance(HEAD, NEXT, [ROW])
    assert world.groups.load(GROUP, b"") == (HEAD, None)


def test_a_failure_after_the_effect_is_a_lost_reply(world: DeliveryWorld) -> None:
    world.fail("groups", "advance", when="after")
    with pytest.raises(ConnectionError):
        world.groups.advance(HEAD, NEXT, [ROW])
    assert world.groups.load(GROUP, b"") == (NEXT, None)


@pytest.mark.parametrize(("port", "method"), [("hints", "fan_out"), ("groups", "advanse"), ("objects", "of")])
def test_a_failure_that_could_never_come_is_refused(world: DeliveryWorld, port: str, method: str) -> None:
    with pytest.raises((ValueError, AttributeError)):
        world.fail(port, method)


def test_reading_objects_can_fail_too(world: DeliveryWorld) -> None:
    world.fail("objects", "load")
    with pytest.raises(ConnectionError):
        world.objects.of(GROUP).load([ROOT])
    assert world.calls("objects") == [("objects", "put"), ("objects", "load")]


@pytest.mark.parametrize(
    ("after", "row"),
    [
        (dataclasses.replace(NEXT, epoch=2), ROW),
        (dataclasses.replace(NEXT, version=3), ROW),
        (dataclasses.replace(NEXT, shards=0), ROW),
        (dataclasses.replace(NEXT, root=Ref(b"r" * 24)), ROW),
        (dataclasses.replace(NEXT, created_at=0), ROW),
        (dataclasses.replace(NEXT, deleted=True), ROW),
        (NEXT, dataclasses.replace(ROW, seq=2)),
        (NEXT, dataclasses.replace(ROW, epoch=2)),
        (NEXT, dataclasses.replace(ROW, root=Ref(b"r" * 24))),
        (NEXT, dataclasses.replace(ROW, body=b"")),
    ],
    ids=str,
)
def test_a_step_that_no_group_makes_fails_the_test(world: DeliveryWorld, after: Head, row: LogRow) -> None:
    with pytest.raises(Misuse):
        world.groups.advance(HEAD, after, [row])
    world.groups.advance(HEAD, NEXT, [ROW])


def test_an_object_that_is_not_what_its_name_says_fails_the_test(world: DeliveryWorld) -> None:
    with pytest.raises(Misuse):
        world.objects.put(GROUP, {ROOT: b"something else"})


def test_deleting_an_object_that_a_row_names_fails_the_test(world: DeliveryWorld) -> None:
    with pytest.raises(Misuse):
        world.garbage.delete(GROUP, [ROOT])


def test_a_cursor_that_falls_or_runs_ahead_fails_the_test(world: DeliveryWorld) -> None:
    world.groups.advance(HEAD, NEXT, [ROW])
    taken = world.shards.take(GROUP, 0, START, START + 1)
    assert taken is not None
    with pytest.raises(Misuse):
        world.shards.save(dataclasses.replace(taken, cursor=2))
    saved = world.shards.save(dataclasses.replace(taken, cursor=1))
    with pytest.raises(Misuse):
        world.shards.save(dataclasses.replace(saved, cursor=0))


def test_a_hint_at_a_shard_that_is_not_there_fails_the_test(world: DeliveryWorld) -> None:
    world.hints.fan_out(GROUP, [0])
    with pytest.raises(Misuse):
        world.hints.fan_out(GROUP, [1])
    assert world.hints.take() == [(GROUP, 0)]


def test_what_a_client_uploads_is_what_it_said(world: DeliveryWorld) -> None:
    digest = hashlib.sha256(b"body").digest()
    url = world.uploads.link_in(digest, 4)
    assert not world.uploads.put_in(url, b"not!")
    with pytest.raises(LookupError):
        world.uploads.fetch(digest, 4)
    assert world.uploads.put_in(url, b"body")
    assert world.uploads.fetch(digest, 4) == b"body"
