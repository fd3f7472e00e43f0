"""The directory: whose KeyPackages it takes, who gets them, and how fast."""

import dataclasses
from collections.abc import Callable

import pytest

from chalicelib.client.mls_identity import Identity
from chalicelib.errors import InvalidValue
from chalicelib.protocol.crypto import UnsupportedCipherSuite
from chalicelib.protocol.delivery.directory import AddPackage, KeyPackagesQuery, UserID
from chalicelib.protocol.delivery.parts import Domain
from chalicelib.protocol.delivery.responses import KeyPackagesAnswer
from chalicelib.protocol.mls.extensions import Extension
from chalicelib.protocol.timestamps import DAY, HOUR
from chalicelib.services.delivery.senders import WrongSender
from tests.protocol.mls.story import refused
from tests.services.delivery.accounts.user import User, client_of, package, peer
from tests.services.delivery.house import SUITE, House, Person

US = "us.ds.example"


def test_a_claim_gets_one_package_of_every_client_and_each_only_once(alice: User, bob: User) -> None:
    packages = [package(client) for client in (*bob.clients, *bob.clients)]
    bob.publish(*packages)
    first, second = alice.claim(bob), alice.claim(bob)
    assert sorted(one.encode() for one in first + second) == sorted(one.encode() for one in packages)
    assert {client_of(client) for client in bob.clients} == {
        one.key_package.leaf_node.credential.content for one in first
    }
    assert alice.claim(bob) == ()


def test_the_last_resort_is_given_again_and_again(alice: User, bob: User) -> None:
    phone = bob.clients[0]
    once, always = package(phone), package(phone, last_resort=True)
    bob.publish(always, once)
    assert [alice.claim(bob) for _ in range(3)] == [(once,), (always,), (always,)]


def test_users_without_packages_are_absent(alice: User, bob: User) -> None:
    bob.publish(package(bob.clients[0]))
    assert len(alice.claim(alice, b"nobody", bob)) == 1


def test_publishing_replaces_the_packages_of_the_clients_that_are_named(alice: User, bob: User) -> None:
    phone, laptop = bob.clients
    bob.publish(package(phone), package(laptop))
    new = package(phone)
    bob.publish(new)
    claimed = alice.claim(bob)
    assert len(claimed) == 2
    assert new in claimed


def test_a_package_of_another_suite_is_not_claimed(alice: User, bob: User, house: House) -> None:
    bob.publish(package(bob.clients[0]))
    answer = house.serve(alice.claiming(bob, suite=3))
    assert answer == KeyPackagesAnswer(())


def tampered(one: AddPackage) -> AddPackage:
    return dataclasses.replace(one, last_resort=not one.last_resort, signed=b"")


def elsewhere(person: Person) -> AddPackage:
    queue = dataclasses.replace(person.queue, ds_domain=Domain(US))
    offered = person.identity.key_package(person.random, person.now).public
    return AddPackage.sign(offered, queue, person.identity.sign)


def unsigned(person: Person) -> AddPackage:
    offered = person.identity.key_package(person.random, person.now).public
    broken = dataclasses.replace(offered, signature=b"s" * 64)
    return AddPackage.sign(broken, person.queue, person.identity.sign)


def same_keys(person: Person) -> AddPackage:
    offered = person.identity.key_package(person.random, person.now).public
    same = dataclasses.replace(offered, init_key=offered.leaf_node.encryption_key, signed=b"", signature=b"")
    signed = dataclasses.replace(same, signature=person.identity.sign("KeyPackageTBS", same.signed), signed=same.signed)
    return AddPackage.sign(signed, person.queue, person.identity.sign)


def large(person: Person) -> AddPackage:
    return AddPackage.sign(person.offering(Extension(0xF0F0, b"c" * (16 << 10))), person.queue, person.identity.sign)


@pytest.mark.parametrize(
    ("check", "made"),
    [
        ("mds-directory-2", large),
        ("mls-10.1-3", unsigned),
        ("mls-10.1-4", same_keys),
        ("mls-7.2-4", lambda person: package(person, lifetime=-1)),
        ("ds-22", lambda person: tampered(package(person))),
        ("mds-directory-5", elsewhere),
        ("mds-directory-4", lambda person: package(Person(person.house, "mallory"))),
    ],
)
def test_a_package_that_nobody_could_add_by_is_refused_with_all_others(
    alice: User, bob: User, house: House, check: str, made: Callable[[Person], AddPackage]
) -> None:
    """[mds-directory-3] among others: the KeyPackage must be valid by itself, and its leaf's key have signed it all."""
    phone, laptop = bob.clients
    before = package(laptop)
    bob.publish(before)
    with refused(check):
        house.serve(bob.publishing(package(laptop), made(phone)))
    assert alice.claim(bob) == (before,)


def test_a_package_that_is_over_is_refused(bob: User, house: House) -> None:
    old = package(bob.clients[0], lifetime=86_400)
    house.world.clock.advance(DAY + 2 * HOUR)
    with refused("mls-7.3-6"):
        house.serve(bob.publishing(old))


def test_there_are_1_to_200_packages_each_of_them_once(bob: User, house: House) -> None:
    one = package(bob.clients[0])
    for packages, check in (
        ((), "mds-directory-1"),
        ((one,) * 201, "mds-directory-1"),
        ((one, one), "mds-directory-6"),
    ):
        with refused(check):
            house.serve(bob.publishing(*packages))


def test_a_suite_that_is_not_served_is_refused(alice: User, bob: User, house: House) -> None:
    odd = dataclasses.replace(package(bob.clients[0]).key_package, cipher_suite=0x7777, signed=b"")
    with pytest.raises(UnsupportedCipherSuite):
        house.serve(bob.publishing(AddPackage.sign(odd, bob.clients[0].queue, bob.clients[0].identity.sign)))
    with pytest.raises(UnsupportedCipherSuite):
        house.serve(alice.claiming(bob, suite=0x7777))


def test_strangers_neither_publish_nor_claim(bob: User, house: House) -> None:
    stranger = User(house, "stranger")
    with pytest.raises(WrongSender):
        house.serve(stranger.publishing(package(stranger.clients[0])))
    with pytest.raises(WrongSender):
        house.serve(stranger.claiming(bob))


def test_a_user_cannot_sign_with_another_ones_key(alice: User, bob: User, house: House) -> None:
    bob.publish(package(bob.clients[0]))
    alice.key = Identity.basic(SUITE, b"x", alice.random)
    with pytest.raises(WrongSender):
        house.serve(alice.claiming(bob))


def test_a_client_whose_provider_removed_it_publishes_nothing_more(alice: User, bob: User, house: House) -> None:
    phone, laptop = bob.clients
    bob.tell(client=client_of(phone))
    with refused("mds-directory-7"):
        house.serve(bob.publishing(package(laptop), package(phone)))
    bob.publish(package(laptop))
    assert len(alice.claim(bob)) == 1


def test_a_package_that_is_published_while_its_client_is_removed_does_not_stay(
    alice: User, bob: User, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone = bob.clients[0]
    directory = house.world.directory
    publish = directory.publish

    def late(*arguments: object) -> None:
        bob.tell(client=client_of(phone))  # It removes what is there, which is nothing yet.
        publish(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(directory, "publish", late)
    with refused("mds-directory-7"):
        house.serve(bob.publishing(package(phone)))
    assert alice.claim(bob) == ()


@pytest.mark.parametrize(
    ("users", "check"),
    [
        ((), "mds-claim-1"),
        (tuple(b"user %d" % number for number in range(101)), "mds-claim-1"),
        ((b"bob", b"bob"), "mds-claim-2"),
        ((b"",), "mds-claim-2"),
    ],
)
def test_a_claim_names_1_to_100_users_each_of_them_once(
    alice: User, house: House, users: tuple[bytes, ...], check: str
) -> None:
    with refused(check):
        house.serve(alice.claiming(*users))
    query = KeyPackagesQuery(SUITE, tuple(map(UserID, users)))
    with pytest.raises(InvalidValue):
        house.key_packages.answer(peer(US), query.encode())


def test_a_user_publishes_for_50_clients(house: House, alice: User, bob: User) -> None:
    people = [Person(house, f"bob-{number}", user="bob") for number in range(51)]
    bob.publish(*map(package, people[:40]))
    with refused("mds-directory-8"):
        house.serve(bob.publishing(*map(package, people[30:])))
    bob.publish(*map(package, people[30:50]))
    bob.publish(*map(package, people[:50]))
    with refused("mds-directory-8"):
        house.serve(bob.publishing(package(people[50])))
    assert len(alice.claim(bob)) == 50
    bob.tell(client=client_of(people[0]))
    bob.publish(package(people[50]))
