"""How fast KeyPackages go, and how they are claimed between delivery services."""

import pytest

from chalicelib.errors import InvalidValue, Refusal, TooManyRequests, Unavailable
from chalicelib.protocol.delivery import media
from chalicelib.protocol.delivery.directory import AddPackage, KeyPackagesQuery, UserID
from chalicelib.protocol.delivery.responses import KeyPackagesAnswer
from chalicelib.protocol.mls.extensions import Extension
from chalicelib.protocol.timestamps import HOUR
from chalicelib.protocol.tls import decode
from chalicelib.services.ports import Unreachable
from tests.fakes.delivery import DeliveryWorld
from tests.protocol.mls.story import refused
from tests.services.delivery.accounts.user import User, package, peer
from tests.services.delivery.house import SUITE, House, Person

US = "us.ds.example"


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
    for number in range(600):
        house.key_packages.answer(peer(f"{number % 2}.ds.example"), query)
    with pytest.raises(TooManyRequests) as told:
        house.serve(alice.claiming(bob))
    assert told.value.limit == "claims-of-user"
    assert told.value.retry_after_seconds == pytest.approx(6, abs=0.1)
    house.world.clock.advance(6001)
    assert alice.claim(bob) == (last,)


def test_a_claim_that_is_refused_for_one_user_costs_the_others_nothing(house: House, alice: User, bob: User) -> None:
    bob.publish(package(bob.clients[0]))
    drained = KeyPackagesQuery(SUITE, (alice.user,)).encode()
    for number in range(600):
        house.key_packages.answer(peer(f"{number % 2}.ds.example"), drained)
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
    for number in range(600):
        house.key_packages.answer(peer(f"{number % 2}.ds.example"), KeyPackagesQuery(SUITE, (alice.user,)).encode())
    crowd = [UserID(b"user %d" % number) for number in range(99)]
    for _ in range(20):
        with pytest.raises(TooManyRequests) as told:
            house.key_packages.answer(peer(US), KeyPackagesQuery(SUITE, (*crowd, alice.user)).encode())
        assert told.value.limit == "claims-of-user"


# Between delivery services.


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
    crowd = [User(house, f"user{number}") for number in range(5)]
    for user in crowd:
        user.register()
        user.publish(*(heavy(user, number) for number in range(50)))
    answer = house.key_packages.answer(peer(US), KeyPackagesQuery(SUITE, tuple(user.user for user in crowd)).encode())
    assert len(decode(KeyPackagesAnswer.read, answer).add_packages) == 200
    assert len(alice.claim(crowd[-1])) == 50


def heavy(user: User, number: int) -> AddPackage:
    person = Person(user.house, f"{user.name}-{number}", user=user.name)
    return AddPackage.sign(person.offering(Extension(0xF0F0, b"c" * 15_500)), person.queue, person.identity.sign)


def test_one_user_takes_only_a_share_of_anothers_packages(house: House, alice: User, bob: User) -> None:
    """[mds-claim-4]"""
    carol = User(house, "carol")
    carol.register()
    for _ in range(5):
        alice.claim(bob)
    with pytest.raises(TooManyRequests) as told:
        alice.claim(bob, carol)
    assert told.value.limit == "claims-of-user-by-user"
    for _ in range(5):
        alice.claim(carol)
        carol.claim(bob)
    house.world.clock.advance(6 * 60_000)
    alice.claim(bob)


def test_one_peer_takes_half_of_a_users_packages(house: House, alice: User, bob: User) -> None:
    """[mds-claim-4]"""
    query = KeyPackagesQuery(SUITE, (bob.user,)).encode()
    for _ in range(300):
        house.key_packages.answer(peer("us.ds.example"), query)
    with pytest.raises(TooManyRequests) as told:
        house.key_packages.answer(peer("us.ds.example"), query)
    assert told.value.limit == "claims-of-user-by-peer"
    house.key_packages.answer(peer("asia.ds.example"), query)
    alice.claim(bob)
