"""`Users` and `Memberships`: who is registered here, by whom, with which key, and in which groups."""

import dataclasses
import hashlib
from functools import partial

import pytest

from chalicelib.errors import AlreadyExists
from chalicelib.services.delivery.state import GroupId, User
from tests.contracts.delivery import GROUP, DsPorts
from tests.contracts.races import race, winners

ALICE = User(b"alice@eu", "alpha", 1, b"k" * 32)
OTHER = GroupId(b"another")


def sha256(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def test_a_registered_user_is_found_by_name_and_by_key(ds: DsPorts) -> None:
    assert ds.users.of(ALICE.user) is None
    assert ds.users.by_key_hash(sha256(ALICE.signature_key)) is None
    for _ in range(2):
        ds.users.register(ALICE)
    assert ds.users.of(ALICE.user) == ALICE
    assert ds.users.by_key_hash(sha256(ALICE.signature_key)) == ALICE
    assert ds.users.of(b"bob@eu") is None


def test_a_user_whose_key_changed_is_not_found_by_the_old_one(ds: DsPorts) -> None:
    ds.users.register(ALICE)
    renewed = dataclasses.replace(ALICE, cipher_suite=2, signature_key=b"n" * 65)
    ds.users.register(renewed)
    assert ds.users.of(ALICE.user) == renewed
    assert ds.users.by_key_hash(sha256(renewed.signature_key)) == renewed
    assert ds.users.by_key_hash(sha256(ALICE.signature_key)) is None
    ds.users.register(dataclasses.replace(ALICE, user=b"bob@eu"))


def test_a_user_is_one_providers(ds: DsPorts) -> None:
    ds.users.register(ALICE)
    with pytest.raises(AlreadyExists):
        ds.users.register(dataclasses.replace(ALICE, provider_id="beta", signature_key=b"x" * 32))
    assert ds.users.of(ALICE.user) == ALICE
    assert ds.users.by_key_hash(sha256(b"x" * 32)) is None


def test_a_key_is_one_users(ds: DsPorts) -> None:
    ds.users.register(ALICE)
    with pytest.raises(AlreadyExists):
        ds.users.register(dataclasses.replace(ALICE, user=b"bob@eu"))
    assert ds.users.of(b"bob@eu") is None
    assert ds.users.by_key_hash(sha256(ALICE.signature_key)) == ALICE


def test_a_removed_user_leaves_name_and_key_to_others(ds: DsPorts) -> None:
    ds.users.register(ALICE)
    for _ in range(2):
        ds.users.remove(ALICE.user)
    assert ds.users.of(ALICE.user) is None
    assert ds.users.by_key_hash(sha256(ALICE.signature_key)) is None
    ds.users.register(dataclasses.replace(ALICE, provider_id="beta"))


def test_a_registration_whose_reply_was_lost_can_be_repeated(ds: DsPorts) -> None:
    ds.lose_reply("users", "register")
    (outcome,) = race(partial(ds.users.register, ALICE))
    assert not isinstance(outcome, AlreadyExists)
    ds.users.register(ALICE)
    assert ds.users.of(ALICE.user) == ALICE


def test_of_providers_that_register_one_user_at_once_one_has_it(ds: DsPorts) -> None:
    attempts = [dataclasses.replace(ALICE, provider_id=f"ap{n}", signature_key=bytes([n]) * 32) for n in range(6)]
    outcomes = race(*(partial(ds.users.register, attempt) for attempt in attempts))
    assert winners(outcomes, AlreadyExists) == 1
    (winner,) = [attempt for attempt, outcome in zip(attempts, outcomes, strict=True) if outcome is None]
    assert ds.users.of(ALICE.user) == winner
    found = [ds.users.by_key_hash(sha256(attempt.signature_key)) for attempt in attempts]
    assert [user for user in found if user is not None] == [winner]


def test_of_users_that_take_one_key_at_once_one_has_it(ds: DsPorts) -> None:
    attempts = [dataclasses.replace(ALICE, user=f"user{n}@eu".encode()) for n in range(6)]
    outcomes = race(*(partial(ds.users.register, attempt) for attempt in attempts))
    assert winners(outcomes, AlreadyExists) == 1
    registered = [attempt for attempt in attempts if ds.users.of(attempt.user) is not None]
    assert [ds.users.by_key_hash(sha256(ALICE.signature_key))] == registered


def test_a_users_groups_are_those_that_were_added_and_not_removed(ds: DsPorts) -> None:
    assert ds.memberships.of(ALICE.user) == []
    for group_id in (GROUP, OTHER, GROUP):
        ds.memberships.add(ALICE.user, group_id)
    ds.memberships.add(b"bob@eu", GROUP)
    assert sorted(ds.memberships.of(ALICE.user)) == sorted([GROUP, OTHER])
    for _ in range(2):
        ds.memberships.remove(ALICE.user, GROUP)
    assert ds.memberships.of(ALICE.user) == [OTHER]
    assert ds.memberships.of(b"bob@eu") == [GROUP]


def test_a_users_groups_come_by_the_page_in_an_order_that_stays(ds: DsPorts) -> None:
    groups = {GroupId(b"group %d" % number) for number in range(5)}
    for group_id in groups:
        ds.memberships.add(ALICE.user, group_id)
    ds.memberships.add(b"bob@eu", OTHER)
    found: list[GroupId] = []
    while page := ds.memberships.of(ALICE.user, found[-1] if found else None, 2):
        assert len(page) <= 2
        found += page
    assert set(found) == groups
    assert len(found) == len(groups)
    assert ds.memberships.of(ALICE.user) == found
    ds.memberships.remove(ALICE.user, found[1])
    assert ds.memberships.of(ALICE.user, found[1]) == found[2:]
