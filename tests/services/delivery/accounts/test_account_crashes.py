"""Account events: whatever fails, what was accepted comes true, once and wholly."""

import pytest

from chalicelib.protocol.delivery.group_state import RemovalReason
from chalicelib.protocol.timestamps import DAY, HOUR
from chalicelib.services.delivery.account_desk import LEASE
from chalicelib.services.delivery.state import GroupId, Head
from tests.services.delivery.accounts.user import PROVIDER, QUEUE, User, client_of, package, removals
from tests.services.delivery.house import SUITE, House


@pytest.fixture
def bob(bob: User) -> User:
    """Both of bob's clients have KeyPackages."""
    bob.publish(*(package(client) for client in bob.clients))
    return bob


STEPS = [
    ("account_events", "take"),
    ("users", "remove"),
    ("directory", "remove"),
    ("queue_remover", "remove"),
    ("memberships", "of"),
    ("account_events", "advance"),
    ("groups", "load"),
    ("objects", "load"),
    ("objects", "put"),
    ("groups", "advance"),
    ("account_events", "done"),
]


def assert_gone(house: House, bob: User) -> None:
    assert removals(house) == {client_of(client): RemovalReason.USER_DELETED for client in bob.clients}
    assert len(house.vault.open(house.head()).proposals) == len(bob.clients)
    assert house.world.users.of(bob.user) is None
    assert house.world.directory.claim(bob.user, SUITE, house.world.clock()) == []
    assert house.world.queue_remover.removed == {QUEUE}
    assert house.world.account_events.due(house.world.clock() + 40 * DAY, 10) == []
    assert len(house.world.account_events.removed(bob.user, house.world.clock())) == 1


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("port", "method"), STEPS)
def test_an_event_that_fails_anywhere_is_worked_off_by_the_schedule(
    group: House, bob: User, port: str, method: str, when: str
) -> None:
    group.world.fail(port, method, "before" if when == "before" else "after")
    bob.tell(queues=(QUEUE,))
    assert group.world.faults.armed == []
    group.restart()
    group.world.clock.advance(LEASE)
    group.account_desk.sweep()
    assert_gone(group, bob)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("port", "method"), [step for step in STEPS if step != ("objects", "load")])
def test_a_worker_that_dies_anywhere_leaves_the_event_to_the_next(
    group: House, bob: User, port: str, method: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A death runs no handler, so nothing is postponed, and only the lease ends."""
    fake = getattr(group.world, port)
    call = getattr(fake, method)

    class Death(BaseException):
        pass

    def dies(*arguments: object, **named: object) -> None:
        if when == "after":
            call(*arguments, **named)
        raise Death

    monkeypatch.setattr(fake, method, dies)
    with pytest.raises(Death):
        bob.tell(queues=(QUEUE,))
    monkeypatch.undo()
    group.restart()
    if not ((port, method) == ("account_events", "done") and when == "after"):
        never_taken = (port, method, when) == ("account_events", "take", "before")
        assert group.account_desk.sweep() == (1 if never_taken else 0)  # Else somebody seems to be at it.
        group.world.clock.advance(LEASE)
        assert group.account_desk.sweep() == (0 if never_taken else 1)
    assert_gone(group, bob)


def test_an_event_that_is_not_stored_is_not_accepted(group: House, bob: User) -> None:
    group.world.fail("account_events", "add")
    with pytest.raises(ConnectionError):
        bob.tell()
    assert removals(group) == {}
    bob.tell(queues=(QUEUE,))
    assert_gone(group, bob)


def test_an_event_whose_reply_was_lost_is_there_and_can_be_said_again(group: House, bob: User) -> None:
    group.world.fail("account_events", "add", "after")
    with pytest.raises(ConnectionError):
        bob.tell(queues=(QUEUE,))
    bob.tell(queues=(QUEUE,))
    assert_gone(group, bob)


def test_a_group_that_fails_does_not_keep_a_client_in_the_others(house: House, alice: User, bob: User) -> None:
    groups = [GroupId(b"group %d" % number) for number in range(3)]
    for client, group_id in zip((*bob.clients, *bob.clients), groups, strict=False):
        client.create(group_id)
    house.deliver()
    house.world.fail("groups", "advance", skip=1)
    bob.tell()
    assert sorted(len(removals(house, group_id)) for group_id in groups) == [0, 1, 1]
    assert house.account_desk.sweep() == 0
    house.world.clock.advance(HOUR)
    assert house.account_desk.sweep() == 1
    assert sorted(len(removals(house, group_id)) for group_id in groups) == [1, 1, 1]


def test_a_sweep_goes_on_after_an_event_that_fails(house: House, alice: User, bob: User) -> None:
    house.world.fail("directory", "remove", times=2)
    alice.tell()
    bob.tell()
    house.world.clock.advance(LEASE)
    house.world.fail("directory", "remove")
    with pytest.raises(ConnectionError):
        house.account_desk.sweep()
    assert house.world.users.of(bob.user) is None
    assert len(house.world.account_events.due(house.world.clock() + HOUR, 10)) == 1
    house.world.clock.advance(HOUR)
    assert house.account_desk.sweep() == 1


def test_the_operator_hears_of_events_that_wait(group: House, bob: User) -> None:
    group.world.fail("directory", "remove")
    bob.tell()
    assert ("account-event-delayed", PROVIDER) in group.world.alarms.raised


class Killed(BaseException):
    """A function's time was up."""


def test_a_user_in_more_groups_than_a_worker_has_time_for_is_taken_out_of_each(
    group: House, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have made them itself, and chosen their names, so that the one it is to leave is looked at last."""
    own = {GroupId(b"%d of bob's" % number) for number in range(1, 41)}
    for group_id in own:
        group.world.memberships.add(bob.user, group_id)
    load, looked_at = group.world.groups.load, list[GroupId]()

    def slow(group_id: GroupId, digest: bytes) -> tuple[Head | None, bytes | None]:
        looked_at.append(group_id)
        if len(looked_at) % 8 == 0:
            raise Killed
        return load(group_id, digest)

    with monkeypatch.context() as patch:
        patch.setattr(group.world.groups, "load", slow)
        with pytest.raises(Killed):
            bob.tell()
        for _ in range(20):
            group.world.clock.advance(LEASE)
            with pytest.raises(Killed):
                group.account_desk.sweep()
    assert own < set(looked_at)
    assert removals(group) == {client_of(client): RemovalReason.USER_DELETED for client in bob.clients}
