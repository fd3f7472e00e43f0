"""What providers say of their users: who may say what, and that all of it comes true, whatever fails."""

import dataclasses

import pytest

from chalicelib.errors import AlreadyExists, Conflict, InvalidValue, NotFound, NotPermitted
from chalicelib.protocol.base64url import encode_base64url
from chalicelib.protocol.delivery.account_api import AccountEventBody
from chalicelib.protocol.delivery.group_state import RemovalReason
from chalicelib.protocol.delivery.group_updates import AddClients
from chalicelib.protocol.delivery.queueing import QueueingServiceResponse as Result
from chalicelib.protocol.timestamps import DAY, MINUTE
from chalicelib.services.delivery.senders import WrongSender
from chalicelib.services.delivery.state import MARK_LIFE
from chalicelib.services.queueing.deletion import QueueDeletion
from tests.fakes.queueing import QueueWorld
from tests.services.delivery.accounts.user import PROVIDER, QUEUE, User, client_of, event, package, removals
from tests.services.delivery.house import GROUP, SUITE, House, Person
from tests.services.queueing.queues import Hub, Qs


@pytest.fixture
def bob(bob: User) -> User:
    """Both of bob's clients have KeyPackages."""
    bob.publish(*(package(client) for client in bob.clients))
    return bob


# Who is whose.


def test_a_user_is_registered_and_again(house: House, bob: User) -> None:
    assert bob.register() == encode_base64url(bob.sender.value)  # type: ignore[arg-type]
    found = house.world.users.of(bob.user)
    assert found is not None
    assert (found.provider_id, found.signature_key) == (PROVIDER, bob.key.signature_key)


def test_a_new_key_takes_the_place_of_the_former(house: House, bob: User, alice: User) -> None:
    other = User(house, "other").key
    old = bob.claiming(alice)
    bob.register(signature_key=encode_base64url(other.signature_key))
    with pytest.raises(WrongSender):
        house.serve(old)
    bob.key = other
    bob.claim(alice)


def test_a_user_belongs_to_one_provider_and_a_key_to_one_user(house: House, bob: User, alice: User) -> None:
    with pytest.raises(AlreadyExists):
        bob.register("beta")
    with pytest.raises(AlreadyExists):
        alice.register(signature_key=encode_base64url(bob.key.signature_key))


@pytest.mark.parametrize("name", ["mimi://eu.ds.example/u/dave", "mimi://example.com/u/dave", "ZGF2ZQ"])
def test_a_provider_registers_users_of_its_own_domain_of_ours_and_of_none(house: House, name: str) -> None:
    User(house, "dave").register(user=name)


def test_a_provider_does_not_register_users_of_other_domains(house: House) -> None:
    """[mds-account-1]"""
    with pytest.raises(NotPermitted):
        User(house, "dave").register(user="mimi://us.ds.example/u/dave")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("user", "mimi://example.com/d/bob/phone"),
        ("user", "mimi://Example.com/u/bob"),
        ("user", "mimi://example.com/u/b/ob"),
        ("user", "mimi://example.com/u/b ob"),
        ("user", "mimi://example.com/u/"),
        ("user", encode_base64url(b"mimi://example.com/u/bob")),
        ("user", "Ym9i="),
        ("user", "bob!"),
        ("user", "böb"),
        ("signature_key", "!"),
        ("signature_key", encode_base64url(b"k" * 31)),
        ("cipher_suite", 0x7777),
        ("cipher_suite", 2),
    ],
)
def test_a_registration_that_names_nobody_or_no_key_is_refused(house: House, field: str, value: object) -> None:
    """[mds-account-2]"""
    with pytest.raises(InvalidValue) as told:
        User(house, "bob").register(PROVIDER, **{field: value})
    assert told.value.field == ("signature_key" if value == 2 else field)


def test_events_are_taken_of_the_providers_own_users_only(house: House, bob: User) -> None:
    """[mds-account-4]"""
    with pytest.raises(NotFound):
        bob.tell(provider_id="beta")
    with pytest.raises(NotFound):
        User(house, "nobody").tell()
    assert house.world.account_events.removed(bob.user, house.world.clock()) == []


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"event": "client_removed"}, "client"),
        ({"event": "user_deleted", "client": "cGhvbmU"}, "client"),
        ({"event": "client_removed", "client": "="}, "client"),
        ({"event": "client_removed", "client": encode_base64url(b"mimi://example.com/d/alice/phone")}, "client"),
        ({"event": "user_deleted", "queues": ("cXE",)}, "queues"),
    ],
)
def test_an_event_that_makes_no_sense_is_refused(house: House, bob: User, said: dict[str, str], field: str) -> None:
    with pytest.raises(InvalidValue) as told:
        house.account_desk.take_in(PROVIDER, AccountEventBody(user=bob.user.decode(), **said))  # type: ignore[arg-type]
    assert told.value.field == field


# What follows.


def test_a_deleted_user_leaves_every_group_and_the_directory(group: House, alice: User, bob: User) -> None:
    bob.tell(queues=(QUEUE,))
    assert removals(group) == {client_of(client): RemovalReason.USER_DELETED for client in bob.clients}
    assert group.world.users.of(bob.user) is None
    assert alice.claim(bob) == ()
    assert group.world.queue_remover.removed == {QUEUE}
    assert group.world.account_events.due(group.world.clock() + 40 * DAY, 10) == []


def test_a_removed_client_leaves_and_the_users_others_stay(group: House, alice: User, bob: User) -> None:
    phone, laptop = bob.clients
    bob.tell(client=client_of(phone), queues=(QUEUE,))
    assert removals(group) == {client_of(phone): RemovalReason.CLIENT_REMOVED}
    assert group.world.users.of(bob.user) is not None
    (left,) = alice.claim(bob)
    assert left.key_package.leaf_node.signature_key == laptop.identity.signature_key
    assert group.world.queue_remover.removed == {QUEUE}


def test_members_are_told_and_the_group_waits_for_the_commit_that_removes(group: House, alice: User, bob: User) -> None:
    bob.tell()
    (creator,) = alice.clients
    before = group.head()
    assert before.blocked_since == group.world.clock()
    (row,) = group.world.groups.log(GROUP, before.seq - 1, 9)
    (one, two) = [each.body for each in group.fanout.recipients.as_delivered(GROUP, row, 0)]
    creator.receive(one)
    creator.receive(two)
    state = group.vault.open(before)
    pending = creator.commit(*(stored.reference for stored in state.proposals))
    assert {client.member.leaf_index for client in bob.clients} == set(pending.staged.removed)


def test_the_same_event_twice_removes_once(group: House, bob: User) -> None:
    bob.tell()
    head = group.head()
    bob.tell()
    bob.tell(client=client_of(bob.clients[0]))
    assert group.head() == head


def test_a_client_that_is_named_by_its_key_must_be_the_users_own(house: House) -> None:
    """Where the credential names no client, the key does, and a provider might name anybody's."""
    alice, mallory = named_by_key(house, "alice"), named_by_key(house, "mallory")
    (creator,), (client,) = alice.clients, mallory.clients
    creator.create()
    creator.add(client)
    house.deliver()
    mallory.publish(package(client))
    mallory.tell_by_key(creator)
    assert removals(house) == {}
    mallory.tell_by_key(client)
    assert removals(house) == {client.identity.signature_key: RemovalReason.CLIENT_REMOVED}


class ByKey(User):
    """A user whose clients' credentials all say its name alone."""

    def tell_by_key(self, client: Person) -> None:
        self.house.account_desk.take_in(
            PROVIDER,
            AccountEventBody(
                event="client_removed",
                user=encode_base64url(self.name.encode()),
                client=encode_base64url(client.identity.signature_key),
            ),
        )


def named_by_key(house: House, name: str) -> ByKey:
    person = Person(house, name)
    person.identity = type(person.identity).basic(SUITE, name.encode(), person.random)
    user = ByKey(house, name, person)
    user.register(user=encode_base64url(name.encode()))
    return user


def test_a_deleted_user_is_not_registered_again_before_its_mark_is_gone(house: House, bob: User) -> None:
    """[mds-account-3]"""
    bob.tell()
    with pytest.raises(Conflict):
        bob.register()
    with pytest.raises(Conflict):
        bob.register("beta")
    house.world.clock.advance(MARK_LIFE + MINUTE)
    bob.register("beta")


def test_a_registration_that_meets_a_deletion_does_not_stay(
    house: House, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    register = house.world.users.register

    def late(*arguments: object) -> None:
        bob.tell()
        register(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(house.world.users, "register", late)
    with pytest.raises(Conflict):
        bob.register()
    assert house.world.users.of(bob.user) is None


# Noticed late.


def test_a_membership_that_is_noticed_late_meets_the_removal(house: House, alice: User, bob: User) -> None:
    (creator,) = alice.clients
    creator.create()
    creator.add(*bob.clients)
    bob.tell()
    assert removals(house) == {}
    house.deliver()
    assert set(removals(house)) == {client_of(client) for client in bob.clients}


def test_a_client_that_comes_by_an_old_package_meets_its_removal(house: House, alice: User, bob: User) -> None:
    """Its user is a member already, so the index learns nothing new."""
    phone, laptop = bob.clients
    (creator,) = alice.clients
    creator.create()
    creator.add(laptop)
    house.deliver()
    bob.tell(client=client_of(phone))
    house.world.clock.advance(10 * DAY)
    creator.add(phone, kind=AddClients)
    house.deliver()
    assert removals(house) == {client_of(phone): RemovalReason.CLIENT_REMOVED}


def test_a_mark_that_is_gone_removes_nobody(house: House, alice: User, bob: User) -> None:
    phone, laptop = bob.clients
    (creator,) = alice.clients
    creator.create()
    bob.tell(client=client_of(phone))
    house.world.clock.advance(MARK_LIFE + MINUTE)
    creator.add(phone, laptop)
    house.deliver()
    assert removals(house) == {}


# Hubs elsewhere.


def test_a_hub_elsewhere_hears_of_it_by_the_queue_that_is_gone(house: House, bob: User) -> None:
    """The provider names the queue; the hub's next message to it is rejected, and -02 §6 removes the client there."""
    queues = QueueWorld()
    qs = Qs.in_memory(queues)
    phone, laptop = qs.owner("phone"), qs.owner("laptop")
    hub = Hub(qs)
    assert hub.send(b"one", phone, laptop) == [Result.OK, Result.OK]
    desk = dataclasses.replace(house.account_desk, queues=QueueDeletion(queues.heads, queues.entries, queues.clock))
    for _ in range(2):
        desk.take_in(PROVIDER, event(bob.user, client_of(bob.clients[0]), (phone.queue_id, QUEUE)))
    assert hub.send(b"two", phone, laptop) == [Result.INVALID_CLIENT_QUEUE_INFORMATION, Result.OK]
    with pytest.raises(NotFound):
        phone.fetch()
    assert laptop.messages() == [b"one", b"two"]
