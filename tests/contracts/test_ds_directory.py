"""`Directory`: each one-time KeyPackage goes out once, to whoever asks first."""

import dataclasses
import functools
import random
from functools import partial

import pytest

from chalicelib.client.mls_identity import Identity
from chalicelib.protocol.crypto import cipher_suite
from chalicelib.protocol.delivery.directory import AddPackage
from chalicelib.protocol.timestamps import DAY, SECOND
from tests.contracts.delivery import DsPorts
from tests.contracts.races import race, winners
from tests.fakes.clock import START
from tests.protocol.delivery.requests import QUEUE

ALICE, PHONE, LAPTOP = b"alice@eu", b"alice's phone", b"alice's laptop"
LIFETIME = 30 * 86_400
Published = tuple[bytes, AddPackage]


@functools.cache
def identity(suite: int) -> Identity:
    return Identity.basic(suite, ALICE, random.Random(f"alice {suite}").randbytes)


@functools.cache
def package(name: str, suite: int = 1, lifetime: int = LIFETIME, *, last_resort: bool = False) -> Published:
    """Return a KeyPackage of that name, and its reference."""
    chance = random.Random(f"{name} {suite} {lifetime}").randbytes
    owner = identity(suite)
    key_package = owner.key_package(chance, START // SECOND, lifetime).public
    offered = AddPackage.sign(key_package, QUEUE, owner.sign, last_resort=last_resort)
    return key_package.reference(cipher_suite(suite)), offered


ONE, TWO, LAST = package("one"), package("two"), package("last", last_resort=True)


def claimed(ds: DsPorts, suite: int = 1) -> list[AddPackage]:
    return ds.directory.claim(ALICE, suite, ds.clock())


def test_each_package_goes_out_once_and_then_the_last_resort(ds: DsPorts) -> None:
    ds.directory.publish(ALICE, PHONE, 1, [ONE, LAST, TWO])
    first, second = claimed(ds), claimed(ds)
    assert len(first) == len(second) == 1
    assert {one.encode() for one in (*first, *second)} == {ONE[1].encode(), TWO[1].encode()}
    assert claimed(ds) == claimed(ds) == [LAST[1]]


def test_without_a_last_resort_a_client_has_nothing_more(ds: DsPorts) -> None:
    ds.directory.publish(ALICE, PHONE, 1, [ONE])
    assert claimed(ds) == [ONE[1]]
    assert claimed(ds) == []


def test_a_claim_takes_one_of_every_client_of_that_user_and_suite(ds: DsPorts) -> None:
    other_suite, bobs = package("p256", 2), package("bob's")
    ds.directory.publish(ALICE, PHONE, 1, [ONE])
    ds.directory.publish(ALICE, LAPTOP, 1, [TWO])
    ds.directory.publish(ALICE, PHONE, 2, [other_suite])
    ds.directory.publish(b"bob@eu", b"bob's phone", 1, [bobs])
    assert sorted(one.encode() for one in claimed(ds)) == sorted([ONE[1].encode(), TWO[1].encode()])
    assert claimed(ds) == []
    assert claimed(ds, 2) == [other_suite[1]]
    assert ds.directory.claim(b"bob@eu", 1, START) == [bobs[1]]
    assert ds.directory.claim(b"nobody", 1, START) == []


def test_packages_whose_lifetime_is_over_are_neither_given_out_nor_found(ds: DsPorts) -> None:
    short, long = package("short", lifetime=86_400), package("long", lifetime=LIFETIME)
    last = package("short last", lifetime=86_400, last_resort=True)
    ds.directory.publish(ALICE, PHONE, 1, [short, last])
    ds.directory.publish(ALICE, LAPTOP, 1, [long])
    ds.clock.advance(DAY)
    assert ds.directory.find(short[0]) is None
    assert claimed(ds) == [long[1]]
    assert ds.directory.find(long[0]) == long[1]
    ds.clock.advance(29 * DAY)
    assert ds.directory.find(long[0]) is None


def test_publishing_replaces_what_the_client_offered_in_that_suite(ds: DsPorts) -> None:
    other_suite = package("p256", 2)
    ds.directory.publish(ALICE, PHONE, 1, [ONE, LAST])
    ds.directory.publish(ALICE, PHONE, 2, [other_suite])
    ds.directory.publish(ALICE, LAPTOP, 1, [package("laptop")])
    ds.directory.publish(ALICE, PHONE, 1, [TWO])
    assert ds.directory.find(ONE[0]) is None
    assert ds.directory.find(LAST[0]) is None
    assert {one.encode() for one in claimed(ds)} == {TWO[1].encode(), package("laptop")[1].encode()}
    assert claimed(ds) == []
    assert claimed(ds, 2) == [other_suite[1]]


def test_publishing_nothing_takes_everything_back(ds: DsPorts) -> None:
    ds.directory.publish(ALICE, PHONE, 1, [ONE])
    ds.directory.publish(ALICE, PHONE, 1, [])
    assert claimed(ds) == []


def test_a_package_that_was_given_out_is_still_found_after_it_was_replaced(ds: DsPorts) -> None:
    ds.directory.publish(ALICE, PHONE, 1, [ONE])
    assert ds.directory.find(ONE[0]) == ONE[1]
    claimed(ds)
    assert ds.directory.find(ONE[0]) == ONE[1]
    ds.directory.publish(ALICE, PHONE, 1, [LAST])
    claimed(ds)
    ds.directory.publish(ALICE, PHONE, 1, [TWO])
    assert ds.directory.find(ONE[0]) == ONE[1]
    assert ds.directory.find(LAST[0]) == LAST[1]
    assert ds.directory.find(b"no reference") is None


def test_a_last_resort_that_was_given_out_is_given_to_nobody_after_it_was_replaced(ds: DsPorts) -> None:
    ds.directory.publish(ALICE, PHONE, 1, [LAST])
    assert claimed(ds) == [LAST[1]]
    ds.directory.publish(ALICE, PHONE, 1, [TWO])
    assert claimed(ds) == [TWO[1]]
    assert claimed(ds) == []


def test_a_package_that_was_given_out_is_not_offered_again_by_being_published_again(ds: DsPorts) -> None:
    ds.directory.publish(ALICE, PHONE, 1, [ONE, TWO])
    (first,) = claimed(ds)
    ds.directory.publish(ALICE, PHONE, 1, [ONE, TWO])
    (second,) = claimed(ds)
    assert {first.encode(), second.encode()} == {ONE[1].encode(), TWO[1].encode()}
    ds.directory.publish(ALICE, PHONE, 1, [ONE, TWO])
    assert claimed(ds) == []


def test_publishing_can_be_repeated_when_its_reply_was_lost(ds: DsPorts) -> None:
    ds.lose_reply("directory", "publish")
    race(partial(ds.directory.publish, ALICE, PHONE, 1, [ONE, LAST]))
    ds.directory.publish(ALICE, PHONE, 1, [ONE, LAST])
    assert claimed(ds) == [ONE[1]]
    assert claimed(ds) == [LAST[1]]


def test_a_claim_whose_reply_was_lost_loses_a_package_and_gives_none_twice(ds: DsPorts) -> None:
    ds.directory.publish(ALICE, PHONE, 1, [ONE, TWO])
    ds.lose_reply("directory", "claim")
    (outcome,) = race(lambda: claimed(ds))
    assert isinstance(outcome, Exception)
    assert len(claimed(ds)) == 1
    assert claimed(ds) == []


def test_of_many_that_claim_at_once_no_two_get_the_same(ds: DsPorts) -> None:
    many = [package(f"number {number}") for number in range(12)]
    ds.directory.publish(ALICE, PHONE, 1, many)
    outcomes = race(*(lambda: claimed(ds) for _ in range(8)))
    assert winners(outcomes, AssertionError) == 8
    given = [one.encode() for outcome in outcomes if isinstance(outcome, list) for one in outcome]
    assert len(set(given)) == len(given) == 8
    assert set(given) < {one.encode() for _, one in many}


def test_of_two_that_claim_the_only_package_one_gets_it(ds: DsPorts) -> None:
    ds.directory.publish(ALICE, PHONE, 1, [ONE])
    outcomes = race(*(lambda: claimed(ds) for _ in range(6)))
    assert winners(outcomes, AssertionError) == 6
    assert [outcome for outcome in outcomes if outcome] == [[ONE[1]]]


def test_a_removed_client_has_no_packages_and_cannot_be_found_by_those_it_gave_out(ds: DsPorts) -> None:
    ds.directory.publish(ALICE, PHONE, 1, [ONE, LAST])
    ds.directory.publish(ALICE, LAPTOP, 1, [TWO])
    claimed(ds)
    ds.directory.publish(ALICE, LAPTOP, 1, [package("laptop")])
    for _ in range(2):
        ds.directory.remove(ALICE, PHONE)
    assert ds.directory.find(ONE[0]) is None
    assert ds.directory.find(LAST[0]) is None
    assert ds.directory.find(TWO[0]) == TWO[1]
    assert claimed(ds) == [package("laptop")[1]]
    ds.directory.publish(ALICE, PHONE, 1, [ONE])
    assert claimed(ds) == []


def test_a_removed_user_has_no_packages(ds: DsPorts) -> None:
    bobs = package("bob's")
    ds.directory.publish(ALICE, PHONE, 1, [ONE])
    ds.directory.publish(ALICE, LAPTOP, 2, [package("p256", 2)])
    ds.directory.publish(b"bob@eu", b"bob's phone", 1, [bobs])
    ds.directory.remove(ALICE)
    assert claimed(ds) == claimed(ds, 2) == []
    assert ds.directory.find(ONE[0]) is None
    assert ds.directory.find(bobs[0]) == bobs[1]


@pytest.mark.parametrize("count", [99, 130])
def test_a_client_may_offer_many(ds: DsPorts, count: int) -> None:
    one = identity(1).key_package(random.Random("many").randbytes, START // SECOND).public
    many = []
    for number in range(count):
        key_package = dataclasses.replace(one, init_key=number.to_bytes(32, "big"), signed=b"")
        many.append((key_package.reference(cipher_suite(1)), AddPackage(key_package, QUEUE, False, b"s" * 64)))
    ds.directory.publish(ALICE, PHONE, 1, many[:-1])
    (given,) = claimed(ds)
    ds.directory.publish(ALICE, PHONE, 1, many)
    assert all(ds.directory.find(ref) == offered for ref, offered in many)
    ds.directory.publish(ALICE, PHONE, 1, [LAST])
    left = [ref for ref, offered in many if ds.directory.find(ref) is not None]
    assert left == [given.key_package.reference(cipher_suite(1))]
    assert claimed(ds) == [LAST[1]]


def test_other_clients_are_those_that_offer_something_and_are_not_named(ds: DsPorts) -> None:
    assert ds.directory.others(ALICE, [b"phone"]) == 0
    for client, suite in ((b"phone", 1), (b"phone", 3), (b"laptop", 3)):
        ds.directory.publish(ALICE, client, suite, [package(f"{client!r} {suite}", suite)])
    assert [ds.directory.others(ALICE, named) for named in ([], [b"phone"], [b"phone", b"laptop"], [b"x"])] == [
        2,
        1,
        0,
        2,
    ]
    assert ds.directory.others(b"somebody else", []) == 0
    ds.directory.remove(ALICE, b"phone")
    ds.directory.publish(ALICE, b"laptop", 3, [])
    assert ds.directory.others(ALICE, []) == 0


def test_keys_are_remembered_of_a_user_and_a_provider_until_their_time(ds: DsPorts) -> None:
    keys, until = (b"one", b"two"), ds.clock() + DAY
    ds.directory.publish(ALICE, PHONE, 1, [ONE])
    ds.directory.record_keys(ALICE, "alpha", keys, until)
    ds.directory.record_keys(ALICE, "alpha", (b"two",), until + DAY)
    ds.directory.remove(ALICE)
    asked = (b"one", b"two", b"three")
    assert ds.directory.published_keys(ALICE, "alpha", asked, until - 1) == set(keys)
    assert ds.directory.published_keys(ALICE, "alpha", asked, until) == {b"two"}
    assert ds.directory.published_keys(ALICE, "beta", asked, ds.clock()) == set()
    assert ds.directory.published_keys(b"bob@eu", "alpha", asked, ds.clock()) == set()
    assert ds.directory.published_keys(ALICE, "alpha", (), ds.clock()) == set()
    assert ds.directory.others(ALICE, ()) == 0
