"""A worker that delivers dies at any of its calls, or is so slow that another takes its shard.

Whatever happens, every queue has every row once and in order, and nothing stays undone once the others come by.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib.protocol.delivery import removals
from chalicelib.protocol.delivery.group_updates import AddClients
from chalicelib.protocol.delivery.queueing import QueueingServiceResponse as Result
from chalicelib.protocol.delivery.responses import Ok
from chalicelib.services.delivery.fanout import LEASE
from tests.fakes.delivery import NEVER_RAISE
from tests.fakes.faults import When
from tests.services.delivery.house import GROUP, House, Person, done, settled

WRITES = {"advance", "put", "save", "take", "settle", "postpone", "enqueue", "add", "remove"}
US = "us.ds.example"
MINUTE = 60_000


class Stage:
    """A log with everything in it: Welcomes, messages, a commit that removes, a queue that is gone, a domain behind."""

    def __init__(self) -> None:
        self.house = House()
        names = ("alice", "bob", "carol", "dora", "emil")
        self.people = [Person(self.house, name, US if name in {"carol", "emil"} else None) for name in names]
        alice, bob, carol, dora, emil = self.people
        settled(alice, bob, carol, dora)
        self.house.world.queueing_services.down.add(US)
        alice.say(b"one")
        self.house.deliver()
        self.house.world.queueing_services.down.clear()
        message, pending = bob.adding(emil)
        assert self.house.serve(message) == Ok()
        bob.accepted(pending, [emil], [alice, carol, dora])
        emil.say(b"two")
        done(alice.removing(dora), alice, bob, carol, emil)
        phone = Person(self.house, "phone", user="bob")
        bob.add(phone, kind=AddClients)
        self.people.append(phone)
        self.house.world.queueing_services.results[emil.queue] = Result.INVALID_CLIENT_QUEUE_INFORMATION
        self.house.world.clock.advance(MINUTE)
        self.house.world.faults.calls.clear()

    def outcome(self) -> dict[str, Any]:
        """Let others come by until nothing is left to do, and return what is to be the same."""
        for _ in range(8):
            self.house.world.clock.advance(LEASE)
            self.house.sweep.sweep()
        # What is left is to give up the removal, should nobody cover it.
        lapse = self.house.head().blocked_since + removals.LAPSE
        assert [wake.next_at for wake in self.house.world.tables.wakes.values()] == [lapse]
        shards = self.house.world.shards.of(GROUP)
        assert {shard.cursor for shard in shards} == {self.house.head().seq}
        assert not any(shard.behind for shard in shards)
        return {
            "queues": {person.name: self.house.kinds(person) for person in self.people},
            "removals": [(one.leaf_index, one.reason) for one in self.house.state().removals],
            "users": {person.user: self.house.world.memberships.of(user(person)) for person in self.people},
        }


def user(person: Person) -> bytes:
    return f"mimi://example.com/u/{person.user}".encode()


def undisturbed() -> tuple[dict[str, Any], list[tuple[str, str]]]:
    stage = Stage()
    stage.house.sweep.sweep()
    calls = list(stage.house.world.faults.calls)
    return stage.outcome(), calls


OUTCOME, CALLS = undisturbed()


def deaths() -> Iterator[Any]:
    seen: dict[tuple[str, str], int] = {}
    for call in CALLS:
        skip = seen.get(call, 0)
        seen[call] = skip + 1
        if call[0] in NEVER_RAISE:
            continue
        for when in ("before", "after"):
            if when == "before" or call[1] in WRITES:
                yield pytest.param(*call, skip, when, id=f"{when} {'.'.join(call)} {skip}")


def test_undisturbed_everybody_gets_what_is_meant_for_it() -> None:
    assert OUTCOME["queues"] == {
        "alice": ["commit", "application", "commit", "proposal"],
        "bob": ["welcome", "application", "application", "commit", "proposal"],
        "carol": ["welcome", "application", "commit", "application", "commit", "commit", "proposal"],
        "dora": ["welcome", "application", "commit", "application", "commit"],
        "emil": [],
        "phone": ["welcome", "proposal"],
    }
    assert [leaf_index for leaf_index, _ in OUTCOME["removals"]] == [4]
    assert OUTCOME["users"]["dora"] == []
    assert {call for call in CALLS if call[1] in WRITES} >= {
        ("shards", "take"),
        ("shards", "save"),
        ("queueing_services", "enqueue"),
        ("memberships", "add"),
        ("groups", "advance"),
        ("wakes", "settle"),
    }


@pytest.mark.parametrize(("port", "method", "skip", "when"), list(deaths()))
def test_what_a_dead_worker_left_others_finish(port: str, method: str, skip: int, when: When) -> None:
    stage = Stage()
    stage.house.world.fail(port, method, when=when, skip=skip)
    try:
        stage.house.sweep.sweep()
    except ConnectionError:
        failed = False
    else:
        failed = True
        # What failed was the removal that a rejected queue leads to: the queue will be rejected again.
        assert ("removal-failed", US) in stage.house.world.alarms.raised
    assert stage.house.world.faults.armed == []
    stage.house.restart()
    outcome = stage.outcome()
    assert spoken(outcome) == spoken(OUTCOME)
    assert failed or outcome == OUTCOME


def spoken(outcome: dict[str, Any]) -> dict[str, Any]:
    """Return what everybody got but proposals, and the index of users."""
    queues = {name: [kind for kind in kinds if kind != "proposal"] for name, kinds in outcome["queues"].items()}
    return {"queues": queues, "users": outcome["users"]}


@pytest.mark.parametrize("number", range(CALLS.count(("queueing_services", "enqueue"))))
def test_a_worker_whose_lease_ran_out_changes_nothing_any_more(number: int) -> None:
    """It stops before a request, another takes the shard and finishes; then the first one goes on."""
    stage = Stage()
    world, enqueue, turns = stage.house.world, stage.house.world.queueing_services.enqueue, iter(range(100))
    slow, quick = stage.house.sweep, House(stage.house.world).sweep

    def overtaken(*args: Any) -> Any:
        if next(turns) == number:
            world.queueing_services.enqueue = enqueue  # type: ignore[method-assign]
            world.clock.advance(LEASE)
            quick.sweep()
        return enqueue(*args)

    world.queueing_services.enqueue = overtaken  # type: ignore[method-assign,assignment]
    slow.sweep()
    assert stage.outcome() == OUTCOME


def test_two_workers_at_once_do_not_share_a_shard() -> None:
    stage = Stage()
    stage.house.meanwhile("queueing_services", "enqueue", lambda: House(stage.house.world).fanout.deliver(GROUP, 0))
    calls = len(stage.house.world.calls("queueing_services"))
    stage.house.fanout.deliver(GROUP, 0)
    undisturbed_calls = CALLS.count(("queueing_services", "enqueue"))
    assert len(stage.house.world.calls("queueing_services")) - calls <= undisturbed_calls
    assert stage.outcome() == OUTCOME
