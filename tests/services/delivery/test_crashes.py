"""A request dies at any of its calls, before or after the call took effect, and is repeated to another container.

Each operation is served once undisturbed, and its calls are written down. Then it is served again for each of them,
dying there. The repeat gets the answer that the undisturbed one got; afterwards the group is the same, and every
queue gets the same messages.
"""

import copy
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chalicelib.protocol.delivery.directory import RequestGroupId
from chalicelib.protocol.delivery.group_updates import AddClients, DeleteGroupRequest
from chalicelib.protocol.delivery.info_requests import WelcomeInfo
from chalicelib.protocol.delivery.messages import DSMessage, DSSenderID
from chalicelib.protocol.delivery.responses import DSResponse, DSResponseType
from chalicelib.protocol.mls.proposals import ReInit, Remove
from chalicelib.protocol.tls import TREE_ELEMENTS, decode
from tests.fakes.delivery import NEVER_RAISE
from tests.fakes.faults import When
from tests.services.delivery.house import GROUP, SUITE, House, Person, done, settled

HOUR = 3_600_000


class Stage:
    """Three people in a group, one of them at another domain, and one who is outside."""

    def __init__(self) -> None:
        self.house = House()
        self.alice, self.bob = Person(self.house, "alice"), Person(self.house, "bob")
        self.carol = Person(self.house, "carol", "us.ds.example")
        self.dora = Person(self.house, "dora")
        self.phone = Person(self.house, "phone", user="bob")
        self.people = [self.alice, self.bob, self.carol, self.dora, self.phone]

    def photograph(self) -> Callable[[], None]:
        """Return what takes the world back to how it is now: a commit cannot be made twice the same."""
        world = self.house.world
        places: list[tuple[object, str]] = [(world.clock, "now")]
        places += [(world.tables, field.name) for field in dataclasses.fields(world.tables) if field.name != "lock"]
        places += [(world.queueing_services, name) for name in ("streams", "delivered")]
        kept = [(owner, name, copy.deepcopy(getattr(owner, name))) for owner, name in places]

        def restore() -> None:
            for owner, name, value in kept:
                setattr(owner, name, copy.deepcopy(value))
            world.faults.calls.clear()
            self.house.restart()

        return restore

    def settle(self) -> "Stage":
        settled(self.alice, self.bob, self.carol)
        self.alice.say(b"before")
        self.house.deliver()
        return self

    def check(self) -> dict[str, Any]:
        """Deliver, and return everything that must be the same whatever happened: all but the names of objects."""
        for _ in range(2):
            self.house.deliver()
        return {
            "queues": {person.name: self.house.queue(person) for person in self.people},
            "heads": [
                dataclasses.replace(head, root=b"", used_at=0)  # type: ignore[arg-type]
                for head in self.house.world.tables.heads.values()
            ],
            "log": [dataclasses.replace(row, root=b"") for row in self.house.world.groups.rows(GROUP)],  # type: ignore[arg-type]
            "state": None if self.house.head().deleted else self.contents(),
            "wakes": self.house.world.tables.wakes,
        }

    def contents(self) -> Any:
        state = self.house.state()
        return state.group.context, list(state.records.all()), state.proposals, state.removals


def outside(person: Person, old_leaf: int | None, removed: Person | None = None) -> DSMessage:
    if removed is not None:
        person.house.want_removed(removed)
    answer = person.house.serve(person.asking_to_return())
    return person.returning(answer.group_info.body, answer.ratchet_tree, old_leaf)[0]


def covering(stage: Stage) -> DSMessage:
    stage.house.want_removed(stage.carol)
    stage.house.deliver()
    stage.alice.catch_up()
    return stage.alice.covering()[0]


def after_the_hour(stage: Stage) -> DSMessage:
    stage.house.want_removed(stage.carol)
    stage.house.world.clock.advance(HOUR)
    return stage.alice.saying(b"hello")


def frozen(stage: Stage) -> Stage:
    done(stage.alice.committing(ReInit(b"the next", 1, SUITE, ()), path=False), stage.alice, stage.bob)
    return stage


def welcome_info(stage: Stage) -> DSMessage:
    bob = stage.bob
    assert bob.offered is not None
    request = WelcomeInfo(GROUP, bob.identity.signature_key, 1, bob.fresh())
    return bob.sign(DSSenderID.key_package(bob.offered.public.reference(bob.member_suite)), request)


def by_the_users_key(stage: Stage) -> DSMessage:
    user = stage.bob.registered()
    return stage.bob.sign(user, stage.bob.adding(stage.phone, kind=AddClients)[0].request.body)


OPERATIONS: dict[str, Callable[[Stage], DSMessage]] = {
    "add-users": lambda stage: stage.alice.adding(stage.dora)[0],
    "add-clients": by_the_users_key,
    "remove-users": lambda stage: stage.alice.removing(stage.carol)[0],
    "update-client": lambda stage: stage.alice.updating()[0],
    "commit that covers": covering,
    "delete-group": lambda stage: stage.alice.removing(stage.bob, stage.carol, kind=DeleteGroupRequest)[0],
    "resync-client": lambda stage: outside(stage.bob, 1),
    "join-by-external-commit": lambda stage: outside(stage.phone, None, stage.carol),
    "send-message": lambda stage: stage.alice.saying(b"hello"),
    "send-message after the hour": after_the_hour,
    "submit-proposals": lambda stage: stage.bob.proposing(Remove(2)),
    "self-remove": lambda stage: stage.carol.leaving(),
    "update-queue-info": lambda stage: stage.bob.moving("elsewhere"),
    "update-queue-info of a reinitialised group": lambda stage: frozen(stage).bob.moving("elsewhere"),
    "close-group": lambda stage: frozen(stage).bob.closing(),
    "welcome-info": welcome_info,
    "external-commit-info": lambda stage: stage.bob.asking_to_return(),
    "request-group-id": lambda stage: stage.bob.sign(stage.bob.registered(), RequestGroupId(1, stage.bob.fresh())),
}
CREATION = "create-group"


def prepared(name: str) -> tuple[Stage, DSMessage]:
    stage = Stage()
    if name == CREATION:
        return stage, stage.alice.creation()
    stage.settle()
    message = OPERATIONS[name](stage)
    return stage, message


def serve(stage: Stage, message: DSMessage) -> bytes:
    return stage.house.desk.serve(message.request.request_type.route, message.encode())


class Run:
    """One operation, served undisturbed: what it was answered, what came of it, and the calls on the way."""

    def __init__(self, name: str) -> None:
        self.stage, self.message = prepared(name)
        self.restore = self.stage.photograph()
        self.restore()
        self.answer = serve(self.stage, self.message)
        self.calls = list(self.stage.house.world.faults.calls)
        self.outcome = self.stage.check()


RUNS = {name: Run(name) for name in (CREATION, *OPERATIONS)}


def deaths() -> Iterator[Any]:
    """Yield each operation with each of its calls and on which side of its effect it fails."""
    for name, run in RUNS.items():
        seen: dict[tuple[str, str], int] = {}
        for call in run.calls:
            skip = seen.get(call, 0)
            seen[call] = skip + 1
            if call[0] in NEVER_RAISE:
                continue
            for when in ("before", "after"):
                if when == "before" or call[1] in {"create", "advance", "append", "put"}:
                    yield pytest.param(name, *call, skip, when, id=f"{name}, {when} {'.'.join(call)} {skip}")


@pytest.mark.parametrize(("name", "port", "method", "skip", "when"), list(deaths()))
def test_a_request_that_broke_off_is_repeated(name: str, port: str, method: str, skip: int, when: When) -> None:
    run = RUNS[name]
    run.restore()
    world = run.stage.house.world
    world.fail(port, method, when=when, skip=skip)
    with pytest.raises(ConnectionError):
        serve(run.stage, run.message)
    assert world.faults.armed == []
    run.stage.house.restart()
    assert serve(run.stage, run.message) == run.answer
    assert serve(run.stage, run.message) == run.answer
    assert run.stage.check() == run.outcome


def test_what_is_served_is_written_at_once() -> None:
    """One call makes it true, and objects are stored before it."""
    for name, run in RUNS.items():
        writes = [call for call in run.calls if call[1] in {"create", "advance", "append", "put"}]
        expected = {
            CREATION: ["put", "create"],
            "send-message": ["append"],
            "close-group": ["advance"],  # Nothing is left of it.
            "send-message after the hour": ["put", "advance", "append"],
        }
        read_only = decode(DSResponse.read, run.answer, TREE_ELEMENTS).response_type != DSResponseType.OK
        assert [method for _, method in writes] == ([] if read_only else expected.get(name, ["put", "advance"])), name


@pytest.mark.parametrize("hour", [False, True], ids=["proposed", "given up"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("method", ["load", "advance"])
def test_a_removal_that_broke_off_is_proposed_by_the_repeat(method: str, when: When, hour: bool) -> None:
    stage = Stage().settle()
    house = stage.house
    if hour:
        house.want_removed(stage.carol)
        house.world.clock.advance(HOUR)
    house.world.fail("groups", method, when=when)
    head = house.world.tables.heads[GROUP]
    with pytest.raises(ConnectionError):
        act(stage, hour)
    house.restart()
    head = house.world.tables.heads[GROUP]
    act(stage, hour)
    act(stage, hour)
    (removal,) = house.state().removals
    assert (removal.leaf_index, removal.lapsed) == (2, hour)
    assert house.head().blocked_since == (0 if hour else removal.issued_at)
    house.deliver()
    assert house.kinds(stage.bob) == ["welcome", "application", "proposal"]
    assert head.epoch == 1


def act(stage: Stage, hour: bool) -> None:
    house = stage.house
    if hour:
        opened = house.vault.unlock(house.head(), None)
        house.removals.settle(opened, house.world.clock())
    else:
        house.want_removed(stage.carol)
