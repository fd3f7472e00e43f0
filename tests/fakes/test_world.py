"""The fakes themselves: they are the ports, they fail as asked, and they tell on their callers."""

import pytest

from chalicelib.services import ports as shared_ports
from chalicelib.services.provider import ports
from chalicelib.services.provider.state import LimitKey, OutboxId
from chalicelib.services.provider.writes import CountUp
from tests.fakes.clock import START
from tests.fakes.faults import Misuse
from tests.fakes.world import World

LIMIT = LimitKey("sends", "alice", START, START + 1_000)
UP = CountUp(LIMIT, at_most=5, now=START)


def counted(world: World) -> int:
    return world.tables.counts[LIMIT].count if LIMIT in world.tables.counts else 0


@pytest.fixture
def world() -> World:
    return World(gp="eu")


def test_a_failure_before_the_effect_leaves_everything_as_it_was(world: World) -> None:
    world.fail("store", "commit", when="before")
    with pytest.raises(ConnectionError):
        world.store.commit(UP)
    assert counted(world) == 0


def test_a_failure_after_the_effect_is_a_lost_reply(world: World) -> None:
    world.fail("store", "commit", when="after")
    with pytest.raises(ConnectionError):
        world.store.commit(UP)
    assert counted(world) == 1


def test_only_the_calls_asked_for_fail(world: World) -> None:
    world.fail("store", "commit", skip=1, times=2)
    outcomes = []
    for _ in range(4):
        try:
            world.store.commit(UP)
            outcomes.append("done")
        except ConnectionError:
            outcomes.append("failed")
    assert outcomes == ["done", "failed", "failed", "done"]
    assert world.faults.armed == []


@pytest.mark.parametrize(
    ("port", "method"), [("store", "comit"), ("stor", "commit"), ("hints", "outbox"), ("clock", "now")]
)
def test_a_failure_that_could_never_come_is_refused(world: World, port: str, method: str) -> None:
    with pytest.raises((ValueError, AttributeError)):
        world.fail(port, method)


def test_every_call_is_on_record_the_failed_ones_too(world: World) -> None:
    world.fail("store", "commit")
    with pytest.raises(ConnectionError):
        world.store.commit(UP)
    world.pending_log.read()
    assert world.calls() == [("store", "commit"), ("pending_log", "read")]
    assert world.calls("pending_log") == [("pending_log", "read")]


def test_two_worlds_have_different_keys_and_one_world_always_the_same(world: World) -> None:
    there = World(gp="us").keyring
    assert world.keyring.code_key() == World(gp="eu").keyring.code_key() != there.code_key()


def test_a_hint_at_work_that_is_not_durable_yet_fails_the_test(world: World) -> None:
    with pytest.raises(Misuse):
        world.hints.outbox(OutboxId("never-written"))


def test_a_commit_of_two_writes_to_one_row_fails_the_test(world: World) -> None:
    with pytest.raises(Misuse):
        world.store.commit(UP, UP)


def test_a_clocks_hands_move_only_when_they_are_moved(world: World) -> None:
    before = world.clock()
    assert world.clock() == before
    assert world.clock.advance(5) == world.clock() == before + 5


def test_what_leaves_the_house_leaves_by_the_ports(world: World) -> None:
    """The stored ports are held to their types by the contract suite; these are the others."""
    outside: tuple[ports.Hints, ports.Messenger, ports.WebhookSender, ports.PeerClient, shared_ports.Alarms] = (
        world.hints,
        world.messenger,
        world.webhook_sender,
        world.peer_client,
        world.alarms,
    )
    chance: tuple[shared_ports.Clock, shared_ports.Entropy] = (world.clock, world.entropy)
    assert len({id(port) for port in (*outside, *chance)}) == 7
    assert world.entropy(16) != world.entropy(16)
