"""The directory: whose KeyPackages it takes, who gets them, and how fast."""

import dataclasses
from collections.abc import Callable

import pytest

from chalicelib.client.mls_identity import Identity
from chalicelib.errors import InvalidValue, Refusal, TooManyRequests, Unavailable
from chalicelib.protocol.crypto import UnsupportedCipherSuite
from chalicelib.protocol.delivery import media
from chalicelib.protocol.delivery.directory import AddPackage, KeyPackagesQuery, UserID
from chalicelib.protocol.delivery.parts import Domain
from chalicelib.protocol.delivery.responses import KeyPackagesAnswer
from chalicelib.protocol.timestamps import DAY, HOUR
from chalicelib.protocol.tls import decode
from chalicelib.services.delivery.senders import WrongSender
from chalicelib.services.delivery.state import DsPeer
from chalicelib.services.ports import Unreachable
from tests.fakes.delivery import DeliveryWorld
from tests.protocol.mls.story import refused
from tests.services.delivery.account import User, client_of, package
from tests.services.delivery.house import SUITE, House, Person

US = "us.ds.example"


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def bob(house: House) -> User:
    user = User(house, "bob", Person(house, "phone", user="bob"), Person(house, "laptop", user="bob"))
    user.register()
    return user


@pytest.fixture
def alice(house: House) -> User:
    user = User(house, "alice")
    user.register()
    return user


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
    capabilities = dataclasses.replace(person.identity.capabilities, extensions=tuple(range(1000, 1900)))
    identity = dataclasses.replace(person.identity, capabilities=capabilities)
    queue = dataclasses.replace(
        person.queue, sealed_config=dataclasses.replace(person.queue.sealed_config, ciphertext=b"c" * (16 << 10))
    )
    return AddPackage.sign(identity.key_package(person.random, person.now).public, queue, identity.sign)


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


# How fast.


def test_a_user_asks_for_200_users_and_then_60_an_hour(alice: User, house: House) -> None:
    many = [b"user %d" % number for number in range(100)]
    alice.claim(*many)
    alice.claim(*many)
    with pytest.raises(TooManyRequests) as told:
        house.serve(alice.claiming(*many[:30]))
    assert told.value.retry_after_seconds == pytest.approx(1800, abs=1)
    house.world.clock.advance(HOUR // 2)
    alice.claim(*many[:30])
    with pytest.raises(TooManyRequests):
        house.serve(alice.claiming(b"one"))


def test_whoever_asks_a_users_packages_go_600_times_an_hour(house: House, alice: User, bob: User) -> None:
    last = package(bob.clients[0], last_resort=True)
    bob.publish(last)
    query = KeyPackagesQuery(SUITE, (bob.user,)).encode()
    for _ in range(600):
        house.key_packages.answer(peer(US), query)
    with pytest.raises(TooManyRequests) as told:
        house.serve(alice.claiming(bob))
    assert told.value.limit == "claims-of-user"
    assert told.value.retry_after_seconds == pytest.approx(6, abs=0.1)
    house.world.clock.advance(6001)
    assert alice.claim(bob) == (last,)


def test_a_claim_that_is_refused_for_one_user_costs_the_others_nothing(house: House, alice: User, bob: User) -> None:
    bob.publish(package(bob.clients[0]))
    drained = KeyPackagesQuery(SUITE, (alice.user,)).encode()
    for _ in range(600):
        house.key_packages.answer(peer(US), drained)
    for _ in range(3):
        with pytest.raises(TooManyRequests):
            house.serve(alice.claiming(*(b"user %d" % number for number in range(98)), bob, alice))
    assert len(alice.claim(bob)) == 1


def test_a_peer_asks_for_1000_users_a_minute(house: House) -> None:
    many = KeyPackagesQuery(SUITE, tuple(UserID(b"user %d" % number) for number in range(100))).encode()
    for _ in range(10):
        house.key_packages.answer(peer(US), many)
    with pytest.raises(TooManyRequests):
        house.key_packages.answer(peer(US), many)
    house.key_packages.answer(peer("other.ds.example"), many)
    house.world.clock.advance(6000)
    house.key_packages.answer(peer(US), many)


def test_nothing_is_given_out_while_the_limiter_is_down(
    house: House, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob.publish(package(bob.clients[0]))

    def down(*_: object) -> None:
        raise Unreachable

    with monkeypatch.context() as patch:
        patch.setattr(house.world.buckets, "take", down)
        with pytest.raises(Unavailable):
            house.serve(alice.claiming(bob))
    assert len(alice.claim(bob)) == 1


def test_a_user_publishes_1000_packages_and_then_600_an_hour(house: House, bob: User) -> None:
    packages = [package(bob.clients[0]) for _ in range(200)]
    for _ in range(5):
        bob.publish(*packages)
    with pytest.raises(TooManyRequests):
        house.serve(bob.publishing(*packages))
    house.world.clock.advance(HOUR // 3)
    bob.publish(*packages)


def test_a_peers_query_that_is_refused_for_one_user_costs_the_peer_nothing(house: House, alice: User) -> None:
    for _ in range(600):
        house.key_packages.answer(peer("other.ds.example"), KeyPackagesQuery(SUITE, (alice.user,)).encode())
    crowd = [UserID(b"user %d" % number) for number in range(99)]
    for _ in range(20):
        with pytest.raises(TooManyRequests) as told:
            house.key_packages.answer(peer(US), KeyPackagesQuery(SUITE, (*crowd, alice.user)).encode())
        assert told.value.limit == "claims-of-user"


# Between delivery services.


def peer(domain: str) -> DsPeer:
    return DsPeer(domain, f"https://{domain}", frozenset({domain.ljust(43, "-")}))


@pytest.fixture
def us(house: House) -> House:
    """Another delivery service, which knows the first and is known to it."""
    there = House(DeliveryWorld(US, clock=house.world.clock))
    house.world.ds_peers.put(peer(US))

    def answer(path: str, media_type: str, body: bytes) -> tuple[int, str, bytes]:
        assert (path, media_type) == ("/ds/v1/federation/key-packages", media.KEY_PACKAGES)
        try:
            return 200, media.KEY_PACKAGES_RESPONSE, there.key_packages.answer(peer("eu.ds.example"), body)
        except TooManyRequests:
            return 429, "application/problem+json", b"{}"
        except Refusal:
            return 422, "application/problem+json", b"{}"

    house.world.peer_calls.answers[US] = answer
    return there


def test_packages_of_users_elsewhere_are_claimed_there(alice: User, us: House) -> None:
    carol = User(us, "carol")
    carol.register()
    one = package(carol.clients[0])
    carol.publish(one)
    assert alice.claim(carol, domain=US) == (one,)
    assert alice.claim(carol, domain=US) == ()


def test_a_user_of_the_same_name_here_is_not_the_one_elsewhere(alice: User, bob: User, us: House) -> None:
    bob.publish(package(bob.clients[0]))
    assert alice.claim(bob, domain=US) == ()


def test_a_domain_that_is_not_admitted_is_not_asked(alice: User, house: House) -> None:
    with refused("mds-claim-3"):
        house.serve(alice.claiming(b"carol", domain="other.ds.example"))
    assert house.world.calls("peer_calls") == []


def test_a_peer_that_does_not_answer_is_told_as_such(alice: User, house: House, us: House) -> None:
    del house.world.peer_calls.answers[US]
    with pytest.raises(Unavailable):
        house.serve(alice.claiming(b"carol", domain=US))


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((429, "application/problem+json", b"{}"), TooManyRequests),
        ((403, "application/problem+json", b"{}"), Unavailable),
        ((200, "text/html", b"<html>"), Unavailable),
        ((200, media.KEY_PACKAGES_RESPONSE, b"\x05no"), Unavailable),
    ],
)
def test_what_a_peer_answers_instead_is_no_answer(
    alice: User, house: House, us: House, answer: tuple[int, str, bytes], told: type[Refusal]
) -> None:
    house.world.peer_calls.answers[US] = lambda *_: answer
    with pytest.raises(told):
        house.serve(alice.claiming(b"carol", domain=US))


def test_a_peers_query_is_for_a_suite_that_is_served(house: House) -> None:
    with pytest.raises(InvalidValue):
        house.key_packages.answer(peer(US), KeyPackagesQuery(0x7777, (UserID(b"bob"),)).encode())


def test_an_answer_ends_before_it_is_too_large_and_takes_nothing_of_those_left_out(house: House, alice: User) -> None:
    crowd = [User(house, f"user{number}") for number in range(4)]
    for user in crowd:
        user.register()
        user.publish(*(heavy(user, number) for number in range(80)))
    answer = house.key_packages.answer(peer(US), KeyPackagesQuery(SUITE, tuple(user.user for user in crowd)).encode())
    assert len(decode(KeyPackagesAnswer.read, answer).add_packages) == 240
    assert len(alice.claim(crowd[-1])) == 80


def heavy(user: User, number: int) -> AddPackage:
    person = Person(user.house, f"{user.name}-{number}", user=user.name)
    sealed = dataclasses.replace(person.queue.sealed_config, ciphertext=b"c" * 15_500)
    offered = person.identity.key_package(person.random, person.now).public
    return AddPackage.sign(offered, dataclasses.replace(person.queue, sealed_config=sealed), person.identity.sign)
