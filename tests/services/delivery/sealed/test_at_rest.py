"""What can be read of a sealed group at rest, and what cannot."""

from collections.abc import Callable

import pytest

from chalicelib.client.mls_member import Pending
from chalicelib.protocol.delivery.messages import DSMessage
from chalicelib.protocol.delivery.refusals import UnknownGroup
from chalicelib.protocol.delivery.responses import Ok
from chalicelib.protocol.delivery.sealed_state import SMALLEST
from chalicelib.protocol.mls.proposals import SelfRemove
from chalicelib.protocol.timestamps import DAY, HOUR, start_of_month
from chalicelib.services.delivery import commits, recipients
from chalicelib.services.delivery.safe import MOST_PAST
from chalicelib.services.delivery.sealed_rows import OpenRow
from chalicelib.services.delivery.state import Kind
from tests.fakes.clock import FixedEntropy
from tests.services.delivery.house import GROUP, House, Person, done
from tests.services.delivery.sealed.insiders import (
    KEY,
    OTHER,
    OVERHEAD,
    Cast,
    Insider,
    contents,
    got,
    new_cast,
    sealed_key,
    traces,
)


def test_nothing_of_the_members_can_be_read_at_rest(cast: Cast) -> None:
    house, alice, bob, carol = cast.house, cast.alice, cast.bob, cast.carol
    everybody = (alice, bob, carol)
    steps: list[Callable[[], DSMessage]] = [
        lambda: alice.adding(carol)[0],
        lambda: bob.saying(b"hello"),
        lambda: bob.proposing(SelfRemove()),
        lambda: carol.asking_to_return(),
    ]
    for step in steps:
        assert house.serve(step())
        assert traces(house, *everybody) == set()
        rows = house.world.tables.logs[GROUP].values()
        for row in rows:
            assert (row.kind, row.root, row.body, row.sender) == (Kind.SEALED, b"", b"", None)
            assert (row.joiners, row.joined, row.left) == ((), (), ())
        if step is steps[0]:
            assert len(rows) == 2
        # While it is delivered, and after.
        house.deliver()
        assert traces(house, *everybody) == set()
        assert house.world.tables.logs[GROUP] == {}
        if step is steps[0]:
            bob.receive(got(house, bob)[-1])
    assert house.world.tables.pasts == {}
    assert house.noticed == []
    assert all(house.world.memberships.of(user) == [] for user in (b"mimi://example.com/u/alice", b"alice"))


def test_a_sealed_group_begins_without_a_row() -> None:
    house = House()
    alice = Insider(house, "alice")
    alice.create()
    assert (house.head().seq, house.world.tables.logs[GROUP], traces(house, alice)) == (0, {}, set())
    house.deliver()
    assert house.noticed == []


def test_a_row_names_the_queues_that_get_it_and_no_other(cast: Cast) -> None:
    house, alice, bob, carol = cast.house, cast.alice, cast.bob, cast.carol
    assert house.serve(alice.adding(carol)[0]) == Ok()
    commit, welcome = (house.vault.as_delivered(GROUP, row) for row in house.world.tables.logs[GROUP].values())
    assert isinstance(commit, OpenRow)
    assert isinstance(welcome, OpenRow)
    assert (commit.kind, commit.queues) == (Kind.COMMIT, (bob.queue,))
    assert (welcome.kind, welcome.queues) == (Kind.WELCOME, (carol.queue,))
    assert [place for _, place in welcome.joiners] == [0]
    assert commit.inbox_key == welcome.inbox_key == contents(cast).inbox


def test_each_group_has_an_inbox_key_of_its_own(cast: Cast) -> None:
    other = new_cast()
    other.house.world.entropy = FixedEntropy("another seed")
    other.house.restart()
    Insider(other.house, "dave").create(OTHER)
    key = contents(cast).inbox_key
    opened = other.house.vault.unlock(other.house.head(OTHER), sealed_key(other.house, KEY, OTHER))
    assert opened.safe is not None
    assert len({key, opened.safe.inbox_key, bytes(32)}) == 3
    assert contents(cast).inbox_key == key


def test_a_sealed_group_has_one_shard_however_large_it_is(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "SHARD_LEAVES", 1)
    monkeypatch.setattr(recipients, "SHARD_LEAVES", 1)
    cast.alice.add(cast.carol)
    assert cast.house.head().shards == 1
    cast.alice.say(b"hello")
    cast.house.deliver()
    assert len(got(cast.house, cast.carol)) == 2


def test_of_a_group_that_is_not_sealed_everything_can() -> None:
    house = House()
    alice, bob = Person(house, "alice"), Person(house, "bob")
    alice.create()
    alice.add(bob)
    assert len(traces(house, alice, bob)) == 6


def test_the_head_says_the_month_and_what_ordering_needs(cast: Cast) -> None:
    house, alice = cast.house, cast.alice
    month = start_of_month(house.world.clock())
    head = house.head()
    assert (head.created_at, head.used_at, head.shards, head.blocked_since) == (month, month, 1, 0)
    house.world.clock.advance(40 * DAY)
    alice.say(b"still here")
    assert house.head().used_at == start_of_month(house.world.clock()) > month


def test_of_the_stored_state_it_is_known_on_which_day_it_was_written_and_not_when(cast: Cast) -> None:
    house = cast.house
    for number in range(5):
        house.world.clock.advance(7 * HOUR + number)
        cast.alice.add(Insider(house, f"guest {number}"))
    written = house.world.garbage.objects(GROUP).values()
    assert len(written) == 7
    assert all(moment % DAY == 0 for moment in written)


def test_a_state_is_collected_when_it_is_a_day_old_and_two_at_most(cast: Cast) -> None:
    """What the service knows of its age is rounded so that it is never taken for older than it is."""
    house = cast.house
    house.world.clock.advance(DAY - house.world.clock() % DAY - 1)
    done(cast.alice.updating(), cast.alice)
    before = house.head().root
    done(cast.alice.updating(), cast.alice)
    house.world.clock.advance(DAY)
    house.upkeep.tend(GROUP)
    assert before in house.world.garbage.objects(GROUP)
    house.world.clock.advance(1)
    house.upkeep.tend(GROUP)
    assert list(house.world.garbage.objects(GROUP)) == [house.head().root]
    cast.alice.say(b"and on")


def test_the_stored_state_has_the_size_of_a_power_of_two(cast: Cast) -> None:
    house = cast.house
    sizes = set()
    for number in range(12):
        cast.alice.add(Insider(house, f"guest {number}"))
        sizes.add(len(house.world.tables.objects[GROUP][house.head().root]) - OVERHEAD)
    assert len(sizes) > 1
    assert all(size & (size - 1) == 0 and size >= SMALLEST for size in sizes)
    assert all(len(content) - OVERHEAD in sizes | {SMALLEST} for content in house.world.tables.objects[GROUP].values())


def test_no_two_versions_have_anything_in_common(cast: Cast) -> None:
    for _ in range(3):
        message, pending = cast.alice.updating()
        assert cast.house.serve(message) == Ok()
        cast.alice.accepted(pending)
    names = list(cast.house.world.tables.objects[GROUP])
    assert len({name[:8] for name in names}) == len({name[8:] for name in names}) == len(names) == 5


def test_the_state_does_not_grow_with_its_history(cast: Cast) -> None:
    """What no epoch can ask for any more is dropped, and so are epochs that are too old or too many."""
    house, alice = cast.house, cast.alice
    pendings: list[Pending] = []
    guests = [Insider(house, f"guest {number}") for number in range(MOST_PAST + 1)]
    for guest in guests:
        message, pending = alice.adding(guest)
        assert house.serve(message) == Ok()
        alice.accepted(pending)
        pendings.append(pending)
    with pytest.raises(UnknownGroup):
        guests[0].join(pendings[0])
    for guest, pending in list(zip(guests, pendings, strict=True))[1:3]:
        guest.join(pending)
    house.world.clock.advance(91 * DAY)
    with pytest.raises(UnknownGroup):
        guests[3].join(pendings[3])
    full = len(contents(cast).objects)
    message, pending = alice.updating()
    assert house.serve(message) == Ok()
    assert len(contents(cast).objects) < full / 2
    assert contents(cast).past == ()


def test_rows_stay_while_a_domain_is_behind(cast: Cast) -> None:
    house, alice, carol = cast.house, cast.alice, cast.carol
    alice.add(carol)
    house.deliver()
    house.world.queueing_services.down.add("us.ds.example")
    alice.say(b"one")
    alice.say(b"two")
    house.deliver()
    assert len(house.world.tables.logs[GROUP]) == 2
    assert traces(house, alice, carol) == set()
    house.world.queueing_services.down.clear()
    house.deliver()
    assert len(got(house, carol)) == 3
    assert house.world.tables.logs[GROUP] == {}
    assert house.world.tables.wakes == {}
