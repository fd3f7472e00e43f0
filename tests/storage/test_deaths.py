"""Handlers killed before and after each call to AWS, with the real adapters, and the same request again to another one.

Each story is told once undisturbed, and its calls are counted. Then the tables are taken back and it is told again for
each of them: the process dies there, a new one gets the same bytes or lets the sweeps run, and afterwards everything
is as it was without a death. By default some deaths of each story are drawn; a campaign has all of them.
"""

import copy
import dataclasses
import hashlib
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chalicelib.protocol.base64url import encode_base64url
from chalicelib.protocol.delivery.directory import UploadReference
from chalicelib.protocol.delivery.media import DS_MESSAGE, DS_REFERENCE, DS_RESPONSE, QS_MESSAGE
from chalicelib.protocol.delivery.messages import DSMessage
from chalicelib.protocol.delivery.queue_requests import Acknowledge, Fetch, QSMessage
from chalicelib.protocol.delivery.responses import DSResponse, Ok
from chalicelib.protocol.mls.proposals import Remove
from chalicelib.protocol.tls import TREE_ELEMENTS, decode
from chalicelib.services.delivery import account_desk, fanout
from chalicelib.services.delivery.state import DsPeer
from chalicelib.storage.ds_peer_client import HttpsPeerCalls
from chalicelib.wiring import delivery, groups
from infra.local.authority import Authority
from tests.handlers.edge import Answer
from tests.services.delivery.house import GROUP, SUITE, Person
from tests.storage.deaths import PEER, Death, Photograph, Side, Stage, deployed, dying

DRAWN = 3
NAMES = ("alice", "bob", "carol", "dora")
USER = b"mimi://example.com/u/carol"


@dataclasses.dataclass
class Told:
    """An answer, but for the headers that are different each time."""

    status: int
    body: bytes

    @classmethod
    def of(cls, answer: Answer) -> "Told":
        return cls(answer.status, answer.body)


class World:
    """Alice, bob and carol are in a group, and what was said so far is in their queues; dora is not in it."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.people = {name: stage.person(name) for name in NAMES}
        stage.owner("bob's other queue")
        user = {"user": USER.decode(), "cipher_suite": SUITE}
        key = encode_base64url(self.carol.identity.signature_key)
        assert stage.ap.call("POST", "/ds/v1/users", {**user, "signature_key": key}).status == 200
        self.empty = Photograph(stage)
        self.alice.create()
        self.alice.add(self.bob, self.carol)
        self.sweep()
        self.full = Photograph(stage)

    @property
    def alice(self) -> Person:
        return self.people["alice"]

    @property
    def bob(self) -> Person:
        return self.people["bob"]

    @property
    def carol(self) -> Person:
        return self.people["carol"]

    def sweep(self) -> None:
        """Let the schedules run as often as it takes for leases to end and for one to follow up another."""
        for _ in range(3):
            self.stage.world.clock.advance(max(account_desk.LEASE, fanout.LEASE))
            self.stage.account_desk.sweep()
            self.stage.sweep.sweep()

    def outcome(self) -> dict[str, Any]:
        """Return all that must be the same whatever happened, once nothing is left to do."""
        self.sweep()
        now, far = self.stage.world.clock(), 1 << 50
        # What is left is to give up a removal, should nobody cover it.
        assert groups.sweep().wakes.due(far, 100) == []
        assert len(groups.sweep().wakes.due(far, 100, waiting=True)) == bool(self.stage.head().blocked_since)
        assert groups.account_events().due(far, 100) == []
        head, state = self.stage.head(), self.stage.state()
        log = groups.rows().log(GROUP, 0, 1_000)
        assert [row.seq for row in log] == list(range(1, head.seq + 1))
        return {
            "head": (head.epoch, head.version, head.seq, bool(head.blocked_since), head.frozen, head.deleted),
            "log": [(row.kind, row.epoch, row.body, row.sender, row.joined) for row in log],
            "context": state.group.context,
            "records": [(leaf, record.config) for leaf, record in state.records.all()],
            "proposals": [one.reference for one in state.proposals],
            "removals": [(one.leaf_index, one.reason) for one in state.removals],
            "queues": {name: self.queue(name) for name in self.stage.owners},
            "groups": groups.memberships().of(USER),
            "events": [(one.user, one.client) for one in groups.account_events().removed(USER, now)],
        }

    def queue(self, name: str) -> list[Any] | None:
        """Return what lies in a queue, each once, as its client tells what it has; None where there is no queue."""
        owner = self.stage.owners[name]
        owner.qs = self.stage.queueing
        (head,) = delivery.queue_heads().load([owner.queue_id])
        if head is None or head.deleted:
            return None
        entries = owner.all()
        assert [one.number for one in entries] == list(range(head.acknowledged + 1, head.seq + 1))
        once = {(one.hub, one.group_id, one.seq): one.message for one in entries}
        assert all(one.message == once[one.hub, one.group_id, one.seq] for one in entries)
        assert list(once) == sorted(once), "not in the order of the log"
        return [head.acknowledged, once]


Act = Callable[[], Any]
"""What is done at once, or again, with the same bytes; it returns the answer."""

Story = Callable[[World], Act]


def asked(world: World, message: DSMessage) -> Act:
    content, route = message.encode(), message.request.request_type.route

    def act() -> Told:
        return Told.of(world.stage.post(f"/ds/v1/{route}", DS_MESSAGE, content))

    return act


def asked_of_queue(world: World, route: str, message: QSMessage) -> Act:
    content = message.encode()
    return lambda: Told.of(world.stage.post(f"/qs/v1/{route}", QS_MESSAGE, content))


def create_group(world: World) -> Act:
    world.empty.restore()
    return asked(world, copy.copy(world.alice).creation())


LARGE = random.Random(7).randbytes(500_000)  # Neither a row nor an answer takes it.


def from_a_guest(world: World) -> Act:
    """The hub fetches what a guest's service refers to, in two pieces."""
    content = world.alice.saying(LARGE).encode()
    reference = UploadReference(hashlib.sha256(content).digest(), len(content)).encode()

    def get(_calls: HttpsPeerCalls, _peer: DsPeer, path: str, *_bounds: object) -> tuple[int, dict[str, str], bytes]:
        offset = int(path.partition("?offset=")[2])
        return 200, {"body-length": str(len(content))}, content[offset : offset + 300_000]

    def act() -> Told:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(HttpsPeerCalls, "get", get)
            return Told.of(world.stage.post("/ds/v1/send-message", DS_REFERENCE, reference, world.stage.peer))

    return act


def for_a_hub(world: World) -> Act:
    """A guest's service passes on what was uploaded, and the hub finds it whenever it is told."""
    digest = hashlib.sha256(LARGE).digest()
    delivery.bucket().put(f"uploads/in/{digest.hex()}-{len(LARGE)}", LARGE)

    def post(_calls: HttpsPeerCalls, peer: DsPeer, *_request: object) -> tuple[int, str, bytes]:
        assert groups.enclosures().read(peer.domain, digest, 0) == (LARGE, len(LARGE))
        return 200, DS_RESPONSE, DSResponse(digest, Ok()).encode()

    def act() -> Told:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(HttpsPeerCalls, "post", post)
            reference = UploadReference(digest, len(LARGE)).encode()
            return Told.of(world.stage.post(f"/ds/v1/hubs/{PEER}/send-message", DS_REFERENCE, reference))

    return act


def fan_out(world: World, said: bytes = b"to be delivered") -> Act:
    world.alice.say(said)
    return lambda: (world.stage.world.clock.advance(fanout.LEASE), groups.sweep().sweep())[2:]


def account_event(world: World) -> Act:
    client = encode_base64url(world.carol.identity.credential.content)
    queue = encode_base64url(world.stage.owners["carol"].queue_id)
    said = {"event": "client_removed", "user": USER.decode(), "client": client, "queues": [queue]}
    token = world.stage.ap.token()
    return lambda: Told.of(world.stage.ap.call("POST", "/ds/v1/account-events", said, token=token))


def moving(world: World) -> Act:
    other = world.stage.owners["bob's other queue"]
    other.qs = world.stage.queueing
    request: Any = world.bob.moving("other").request.body
    return asked(world, world.bob.as_member(dataclasses.replace(request, client_queue_config=other.config)))


def fetch(world: World) -> Act:
    owner = world.stage.owners["bob"]
    return asked_of_queue(world, "fetch", owner.sign(Fetch(0, 500, 0, owner.fresh())))


def acknowledge(world: World) -> Act:
    owner = world.stage.owners["bob"]
    return asked_of_queue(world, "acknowledge", owner.sign(Acknowledge(1, owner.fresh())))


STORIES: dict[str, Story] = {
    "create-group": create_group,
    "add-users": lambda world: asked(world, world.alice.adding(world.people["dora"])[0]),
    "send-message": lambda world: asked(world, world.alice.saying(b"hello")),
    "update-queue-info": moving,
    "submit-proposals": lambda world: asked(world, world.bob.proposing(Remove(world.carol.member.leaf_index))),
    "send-message, large": lambda world: asked(world, world.alice.saying(LARGE)),
    "send-message, large, from a guest": from_a_guest,
    "send-message, large, for a hub": for_a_hub,
    "a fan-out": fan_out,
    "a fan-out, large": lambda world: fan_out(world, LARGE),
    "a fetch": fetch,
    "an acknowledgement": acknowledge,
    "an account event": account_event,
}

OF_QUEUES = {"a fan-out", "a fan-out, large", "a fetch", "an acknowledgement", "an account event"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with deployed(Authority(tmp_path_factory.mktemp("authority"))) as stage:
        yield World(stage)


def die(act: Act, at: int, side: Side) -> None:
    with dying(at, side) as calls, pytest.raises(Death):
        act()
    assert len(calls) == at + 1, "it went on after its death"


def deaths(name: str, calls: int, campaign: int) -> list[tuple[int, Side]]:
    """Return some deaths of a story, the same in every run, or all of them; always the one after the last call."""
    sides: tuple[Side, Side] = ("before", "after")
    every = [(at, side) for at in range(calls) for side in sides]
    return every if campaign > 1 else [*random.Random(name).sample(every[:-1], DRAWN), every[-1]]


@pytest.mark.parametrize("name", list(STORIES))
def test_whichever_call_a_process_dies_at_the_next_one_ends_the_story_as_if_it_had_not(
    world: World, name: str, campaign: int
) -> None:
    world.full.restore()
    act = STORIES[name](world)
    before = Photograph(world.stage)
    with dying() as calls:
        answer = act()
    assert answer == () or answer.status in {200, 202, 204}
    if name not in OF_QUEUES:
        assert decode(DSResponse.read, answer.body, TREE_ELEMENTS).body == Ok()
    outcome = world.outcome()

    for at, side in deaths(name, len(calls), campaign):
        before.restore()
        die(act, at, side)
        world.stage.restart()
        where = f"{side} {calls[at]}, call {at} of {len(calls)}"
        assert act() == answer, where
        assert act() == answer, f"{where}, and again"
        assert world.outcome() == outcome, where


@pytest.mark.parametrize("name", ["add-users", "send-message", "an account event"])
def test_where_nobody_asks_again_the_schedules_finish_what_was_begun_or_nothing_was(
    world: World, name: str, campaign: int
) -> None:
    world.full.restore()
    act = STORIES[name](world)
    before = Photograph(world.stage)
    nothing = world.outcome()
    before.restore()
    with dying() as calls:
        act()
    everything = world.outcome()
    for at, side in deaths(f"nobody repeats {name}", len(calls), campaign):
        before.restore()
        die(act, at, side)
        world.stage.restart()
        assert world.outcome() in (nothing, everything), f"{side} {calls[at]}, call {at} of {len(calls)}"
