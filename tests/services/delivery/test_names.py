"""Names that another provider registers: nobody is believed about a member because of a name alone (decision 29)."""

import hashlib

import pytest

from chalicelib.client.mls_identity import Identity
from chalicelib.protocol.base64url import encode_base64url
from chalicelib.protocol.delivery.account_api import AccountEventBody, UserRegistration
from chalicelib.protocol.delivery.directory import AddPackage, KeyPackageRefQuery, PublishKeyPackages
from chalicelib.protocol.delivery.group_updates import AddClients, RemoveClients
from chalicelib.protocol.delivery.info_requests import ExternalCommitInfo
from chalicelib.protocol.delivery.messages import DSSenderID
from chalicelib.protocol.delivery.refusals import UnknownGroup
from chalicelib.protocol.delivery.responses import ExternalCommitInfoAnswer, KeyPackagesAnswer, Ok
from chalicelib.protocol.tls import decode
from chalicelib.services.delivery.state import DsPeer
from tests.services.delivery.house import GROUP, SUITE, House, Person, settled
from tests.services.delivery.messages import update_of

GUEST = b"guest"


@pytest.fixture
def guest(house: House, alice: Person) -> Person:
    """A member whose name nobody has registered here."""
    guest = Person(house, "guest", keyed=True)
    settled(alice, guest)
    house.deliver()
    return guest


@pytest.fixture
def eve(house: House, guest: Person) -> Person:
    """Somebody whose provider registers the guest's name with a key of hers."""
    eve = Person(house, "eve")
    eve.identity = Identity.basic(SUITE, GUEST, eve.random, (10,))
    register(house, eve, "evil")
    return eve


def register(house: House, person: Person, provider: str) -> None:
    key = encode_base64url(person.identity.signature_key)
    said = UserRegistration(user=encode_base64url(GUEST), cipher_suite=SUITE, signature_key=key)
    house.account_desk.register(provider, f"{provider}.example", said)


def as_user(person: Person) -> DSSenderID:
    return DSSenderID.user(hashlib.sha256(person.identity.signature_key).digest())


def publish(person: Person) -> bytes:
    """Publish as the registered user, and return the KeyPackage's reference."""
    offered = person.key_package().public
    package = AddPackage.sign(offered, person.queue, person.identity.sign)
    message = person.sign(as_user(person), PublishKeyPackages((package,), person.fresh()))
    assert person.house.serve(message) == Ok()
    return offered.reference(person.member_suite)


def info(person: Person, sender: DSSenderID) -> ExternalCommitInfoAnswer:
    request = ExternalCommitInfo(GROUP, person.identity.signature_key, None, person.fresh())
    answer = person.house.serve(person.sign(sender, request))
    assert isinstance(answer, ExternalCommitInfoAnswer)
    return answer


def delete(house: House, provider: str) -> None:
    house.account_desk.take_in(provider, AccountEventBody(event="user_deleted", user=encode_base64url(GUEST)))


def test_who_takes_a_guests_name_learns_nothing(eve: Person) -> None:
    """[mds-account-5] Not even after publishing a client of its own."""
    for _ in range(2):
        with pytest.raises(UnknownGroup):
            info(eve, as_user(eve))
        publish(eve)


def test_who_takes_a_guests_name_removes_nobody(house: House, eve: Person) -> None:
    publish(eve)
    delete(house, "evil")
    assert house.state().removals == ()


def test_who_takes_a_guests_name_does_not_come_in(eve: Person) -> None:
    """[mds-vouch-2]"""
    with pytest.raises(UnknownGroup):
        info(eve, DSSenderID.key_package(publish(eve)))


def test_who_takes_a_guests_name_does_not_change_its_clients(house: House, eve: Person, guest: Person) -> None:
    """[mds-account-5]"""
    commit = update_of(guest.commit())
    for kind in (AddClients, RemoveClients):
        house.refuses(eve.sign(as_user(eve), kind(commit)), "mds-sender-1")


def test_another_service_does_not_vouch_for_a_name_that_was_taken_there(house: House, eve: Person) -> None:
    """[mds-vouch-2] It is told the keys that the group knows."""
    reference, own = publish(eve), eve.identity.signature_key

    def asked(*keys: bytes) -> bool:
        query = KeyPackageRefQuery(reference, keys).encode()
        return bool(decode(KeyPackagesAnswer.read, house.vouching.answer(query)).add_packages)

    assert not asked(b"k" * 32)
    assert not asked()
    assert asked(b"k" * 32, own)


def test_the_keys_that_the_group_knows_are_told_to_the_service_that_is_asked(house: House, alice: Person) -> None:
    guest = Person(house, "guest", "us.ds.example", keyed=True)
    settled(alice, guest)
    told = []

    def answer(path: str, media_type: str, body: bytes) -> tuple[int, str, bytes]:
        told.append(decode(KeyPackageRefQuery.read, body).signature_keys)
        return 200, "", b""

    house.world.ds_peers.put(DsPeer(guest.domain, f"https://{guest.domain}", frozenset({"t"})))
    house.world.peer_calls.answers[guest.domain] = answer
    eve = Person(house, "eve", "us.ds.example")
    eve.identity = Identity.basic(SUITE, GUEST, eve.random, (10,))
    with pytest.raises(UnknownGroup):
        house.serve(eve.asking_to_return(published=False))
    assert told == [(guest.identity.signature_key,)]


def test_who_registered_before_is_believed_about_the_clients_it_published(house: House, guest: Person) -> None:
    """Also when the packages are gone, as a user's are that was deleted."""
    register(house, guest, "honest")
    publish(guest)
    assert info(guest, as_user(guest)).ratchet_tree
    delete(house, "honest")
    (removal,) = house.state().removals
    assert removal.leaf_index == guest.member.leaf_index
