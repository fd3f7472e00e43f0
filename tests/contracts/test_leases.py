"""Whatever is worked on by one worker at a time is leased alike: `Outbox`, `AccountEvents` and `Shards`."""

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.protocol.timestamps import MINUTE, SECOND
from chalicelib.services.delivery.state import AccountEvent, EventName
from chalicelib.services.ports import Lost
from chalicelib.services.provider.state import OutboxId
from chalicelib.services.provider.writes import AddOutbox
from chalicelib.storage.datakeys import DataKeys
from chalicelib.storage.delivery_account_events import AwsAccountEvents
from chalicelib.storage.dynamodb import Database
from chalicelib.storage.sealing import Sealer
from tests.contracts import aws, delivery
from tests.contracts.aws import AwsPorts
from tests.contracts.delivery import GROUP, DsPorts
from tests.contracts.examples import NOW, outbox_entry
from tests.contracts.ports import Ports, memory
from tests.contracts.races import race, winners
from tests.fakes.account_events import MemoryAccountEvents
from tests.fakes.clock import SettableClock
from tests.fakes.faults import Faults

EVENT = AccountEvent(b"mimi://eu.ds.example/u/alice", b"phone", (), "alpha", created_at=NOW, next_at=NOW)


@dataclasses.dataclass(frozen=True)
class Leased:
    """Something to be taken, due at `NOW`, and another that is not there; workers see the parts that are common."""

    take: Callable[[int, int], Any]
    take_unknown: Callable[[int, int], Any]
    give_back: Callable[[Any, int], object]
    count: Callable[[Any], int]
    until: Callable[[Any], int]
    lose_reply: Callable[[str], None]
    giving: str

    def taken(self, now: int = NOW) -> Any:
        lease = self.take(now, now + MINUTE)
        assert lease is not None
        return lease

    def give(self, lease: Any, at: int) -> None:
        """Give it back, to be taken from then on; who is too late may be told or not."""
        with contextlib.suppress(Lost):
            self.give_back(lease, at)


def outbox(ports: Ports | AwsPorts) -> Leased:
    port = ports.outbox
    ports.store.commit(AddOutbox(outbox_entry()))
    return Leased(
        take=lambda now, until: port.take(outbox_entry().outbox_id, now, until),
        take_unknown=lambda now, until: port.take(OutboxId("unknown"), now, until),
        give_back=port.postpone,
        count=lambda entry: int(entry.attempts),
        until=lambda entry: int(entry.next_at),
        lose_reply=lambda method: ports.lose_reply("outbox", method),
        giving="postpone",
    )


def account_events(*, real: bool) -> Leased:
    faults = Faults()
    port: AwsAccountEvents | MemoryAccountEvents = MemoryAccountEvents(faults)
    if real:
        database = Database(aws.new_stage("delivery"))
        keys = DataKeys(database, SettableClock())
        port = AwsAccountEvents(database, keys, Sealer(keys))
    name = port.add(EVENT)

    def lose_reply(method: str) -> None:
        if real:
            aws.lose_next_reply()
        else:
            faults.arm("account_events", method, "after", 1, 0)

    return Leased(
        take=lambda now, until: port.take(name, now, until),
        take_unknown=lambda now, until: port.take(EventName(name[::-1]), now, until),
        give_back=port.postpone,
        count=lambda event: int(event.version),
        until=lambda event: int(event.next_at),
        lose_reply=lose_reply,
        giving="postpone",
    )


def shard(ds: DsPorts) -> Leased:
    ds.create()
    return Leased(
        take=lambda now, until: ds.shards.take(GROUP, 0, now, until),
        take_unknown=lambda now, until: ds.shards.take(GROUP, 1, now, until),
        give_back=lambda lease, at: ds.shards.save(dataclasses.replace(lease, leased_until=at)),
        count=lambda lease: int(lease.version),
        until=lambda lease: int(lease.leased_until),
        lose_reply=lambda method: ds.lose_reply("shards", method),
        giving="save",
    )


@pytest.fixture(params=["memory", "aws"])
def real(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "aws")


@pytest.fixture(params=["outbox", "account events", "shards"])
def leased(request: pytest.FixtureRequest, real: bool) -> Leased:
    if request.param == "outbox":
        return outbox(aws.ports() if real else memory())
    if request.param == "account events":
        return account_events(real=real)
    return shard(delivery.new_on_aws() if real else delivery.memory())


def test_of_many_workers_one_takes_what_is_new_or_was_given_back(leased: Leased) -> None:
    for _ in range(2):
        outcomes = race(*(lambda: leased.take(NOW, NOW + MINUTE) for _ in range(6)))
        assert winners(outcomes, AssertionError) == 6
        (lease,) = [outcome for outcome in outcomes if outcome is not None]
        assert leased.until(lease) == NOW + MINUTE
        leased.give(lease, NOW)


def test_a_worker_that_dies_gives_up_what_it_took(leased: Leased) -> None:
    first = leased.taken()
    assert leased.take(NOW + MINUTE - 1, NOW + 2 * MINUTE) is None
    second = leased.taken(NOW + MINUTE)
    assert (leased.count(second), leased.until(second)) == (leased.count(first) + 1, NOW + 2 * MINUTE)


def test_a_lease_whose_reply_was_lost_is_over_in_its_time(leased: Leased) -> None:
    leased.give(leased.taken(), NOW)
    leased.lose_reply("take")
    race(lambda: leased.take(NOW, NOW + MINUTE))
    assert leased.take(NOW + MINUTE - 1, NOW + 2 * MINUTE) is None
    leased.taken(NOW + MINUTE)


def test_what_is_not_there_is_not_taken(leased: Leased) -> None:
    assert leased.take_unknown(NOW, NOW + MINUTE) is None


def test_what_was_given_back_is_taken_from_then_on(leased: Leased) -> None:
    leased.give(leased.taken(), NOW + 5 * MINUTE)
    assert leased.take(NOW + 5 * MINUTE - 1, NOW + 6 * MINUTE) is None
    leased.taken(NOW + 5 * MINUTE)


def test_giving_back_repeats_and_may_be_to_an_earlier_time_than_the_lease(leased: Leased) -> None:
    lease = leased.taken()
    for _ in range(2):
        leased.give(lease, NOW + SECOND)
    leased.taken(NOW + SECOND)


def test_a_worker_whose_lease_is_over_gives_back_nothing_of_its_successors(leased: Leased) -> None:
    late = leased.taken()
    leased.taken(NOW + MINUTE)
    leased.give(late, NOW)
    assert leased.take(NOW + MINUTE, NOW + 2 * MINUTE) is None
    leased.taken(NOW + 2 * MINUTE)


def test_giving_back_whose_reply_was_lost_was_done(leased: Leased) -> None:
    lease = leased.taken()
    leased.lose_reply(leased.giving)
    (outcome,) = race(lambda: leased.give_back(lease, NOW + SECOND))
    assert not isinstance(outcome, Lost)
    leased.taken(NOW + SECOND)
