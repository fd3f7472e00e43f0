"""Who has not the key of a sealed group hears of no group."""

import dataclasses

import pytest

from chalicelib.errors import DecodeError
from chalicelib.protocol.delivery.refusals import InvalidRequest, UnknownGroup
from chalicelib.protocol.delivery.responses import Ok
from chalicelib.protocol.mls.errors import StaleEpoch
from chalicelib.services.delivery import vault
from tests.services.delivery.house import GROUP, House
from tests.services.delivery.sealed.insiders import (
    IMPROPER,
    KEY,
    OTHER,
    Cast,
    Insider,
    requests,
    sealed_key,
)

KINDS = ("send", "commit", "propose", "come back", "queue", "welcome")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", [None, bytes(32)], ids=["missing", "wrong"])
def test_who_has_not_the_key_hears_of_no_group(cast: Cast, kind: str, key: bytes | None) -> None:
    """[mds-sealed-1]"""
    make = dict(requests(cast))[kind]
    cast.alice.key = cast.bob.key = key
    with pytest.raises(UnknownGroup):
        cast.house.serve(make())
    cast.alice.key = cast.bob.key = KEY
    cast.house.serve(make())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", IMPROPER.values(), ids=IMPROPER)
def test_what_is_too_short_or_too_long_for_a_key_is_malformed(cast: Cast, kind: str, key: bytes) -> None:
    make = dict(requests(cast))[kind]
    cast.alice.key = cast.bob.key = key
    with pytest.raises(DecodeError, match="another length"):
        cast.house.serve(make())


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_that_was_sealed_for_another_group_opens_nothing(
    cast: Cast, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = dict(requests(cast))[kind]
    sealed = sealed_key(cast.house, KEY, OTHER)
    monkeypatch.setattr("tests.services.delivery.sealed.insiders.sealed_key", lambda *_: sealed)
    with pytest.raises(UnknownGroup):
        cast.house.serve(make())


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_for_a_group_that_is_not_sealed_is_refused(kind: str) -> None:
    house = House()
    people = [Insider(house, name) for name in ("alice", "bob", "carol")]
    for person in people:
        person.key = None
    cast = Cast(house, *people)
    make = dict(requests(cast))[kind]
    for person in people:
        person.key = KEY
    with pytest.raises(UnknownGroup):
        house.serve(make())


def test_who_has_not_the_key_does_not_hear_the_epoch(cast: Cast) -> None:
    stale, _ = cast.bob.updating()
    message, _ = cast.alice.updating()
    assert cast.house.serve(message) == Ok()
    with pytest.raises(StaleEpoch):
        cast.house.serve(stale)
    cast.bob.key = bytes(32)
    with pytest.raises(UnknownGroup):
        cast.house.serve(cast.bob.updating()[0])


def test_a_group_is_created_under_a_proper_key_only(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    sealed = sealed_key(house, KEY, OTHER)
    monkeypatch.setattr("tests.services.delivery.sealed.insiders.sealed_key", lambda *_: sealed)
    with pytest.raises(InvalidRequest) as refused:
        house.serve(Insider(house, "alice").creation())
    assert refused.value.check == "mds-sealed-3"
    assert house.world.tables.heads == {}


def test_a_key_that_the_operator_rotates_goes_on_opening(cast: Cast) -> None:
    old = cast.alice.saying(b"one")
    cast.house.world.keys.rotate()
    assert cast.house.serve(old) == Ok()
    cast.bob.say(b"two")


def test_an_older_state_does_not_open_under_a_newer_head(cast: Cast) -> None:
    tables = cast.house.world.tables
    before = tables.heads[GROUP]
    message, pending = cast.alice.updating()
    assert cast.house.serve(message) == Ok()
    cast.alice.accepted(pending, others=[cast.bob])
    after = tables.heads[GROUP]
    tables.heads[GROUP] = dataclasses.replace(after, root=before.root)
    with pytest.raises(UnknownGroup):
        cast.bob.say(b"hello")
    tables.heads[GROUP] = after
    cast.bob.say(b"hello")


def test_the_state_of_another_group_does_not_open_under_the_same_key(cast: Cast) -> None:
    dave = Insider(cast.house, "dave")
    dave.create(OTHER)
    tables = cast.house.world.tables
    theirs = tables.heads[GROUP]
    stolen = dataclasses.replace(theirs, version=1, root=tables.heads[OTHER].root)
    tables.heads[GROUP], tables.objects[GROUP] = stolen, tables.objects[OTHER]
    with pytest.raises(UnknownGroup):
        cast.bob.say(b"hello")


def test_a_sealed_group_has_a_limit(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault, "MOST_MEMBERS", 2)
    message, _ = cast.alice.adding(cast.carol)
    with pytest.raises(InvalidRequest) as refused:
        cast.house.serve(message)
    assert refused.value.check == "mds-sealed-2"
    assert cast.house.serve(cast.alice.updating()[0]) == Ok()
