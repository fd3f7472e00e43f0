"""Random histories of real clients against both delivery services, whose processes are killed in between.

Clients of three libraries speak, add, remove, renew, race, lose their state and come back, in groups at either
service; a service is killed while requests are under way and starts again; requests are sent again byte for byte.
When it is quiet, every client that is still in a group is in the same state as the others, and whoever was a member
when a message was accepted has received it once. `--campaign N` makes it N/15 times as long.
"""

import contextlib
import dataclasses
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest
import rine_mls

from chalicelib.client import ApClient
from chalicelib.client.ds_requests import DeliveryRefused
from chalicelib.protocol.base64url import encode_base64url
from chalicelib.protocol.delivery.messages import DSMessage
from chalicelib.protocol.delivery.responses import DSErrorCode, Ok
from infra.local.federation import Federation
from infra.local.services import Services
from tests.infra.crew import AgentvaultHand, OwnHand, RineHand, Roster
from tests.infra.mortal import Mortal, mortal_federation

STEPS = 60
LARGEST = 7
QUIET_SECONDS = 60.0
MUCH = 3_200_000
"""Bytes of a message that no request can hold: it is uploaded, and fetched by the hub and by its peer."""

EXPECTED = {DSErrorCode.STALE_EPOCH, DSErrorCode.MUST_COVER}
"""What a client hears that was slower than another, or that a removal has got in the way of."""

EVERYTHING = {
    *("death", "repeat", "delete", "OwnHand add", "OwnHand remove", "OwnHand update", "OwnHand come back"),
    *("RineHand add", "RineHand remove", "RineHand come back"),
    *("OwnHand say", "RineHand say", "AgentvaultHand say", "say much", "add: STALE_EPOCH"),
}
"""What a history is not over without."""

ALONE: dict[str, type[OwnHand | RineHand]] = {
    "delete": RineHand,
    "OwnHand come back": OwnHand,
    "RineHand come back": RineHand,
}
"""What is done while nobody else is at work, and who joins for it if there is nobody to whom it could be done."""

Kind = TypeVar("Kind", OwnHand, RineHand, AgentvaultHand)
Hand = OwnHand | RineHand | AgentvaultHand


@dataclasses.dataclass
class Room:
    """One group, as those saw it whose commits and messages were accepted."""

    group_id: bytes
    hub: str
    hands: list[Hand]
    rosters: dict[int, Roster] = dataclasses.field(default_factory=dict)
    said: list[tuple[int, Hand, bytes]] = dataclasses.field(default_factory=list)
    deletes: bool = False
    deleted: set[bytes] = dataclasses.field(default_factory=set)

    @property
    def members(self) -> list[Hand]:
        """Return who is in the group as far as is known, and not about to be removed."""
        newest = self.rosters[max(self.rosters)] - self.deleted
        return [hand for hand in self.hands if hand.signer.signature_key in newest]

    def committed(self, hand: Hand) -> None:
        """Note the epoch that somebody's commit led to, and who is in the group then."""
        epoch = hand.epoch(self.group_id)
        assert epoch not in self.rosters, "two commits of one epoch were accepted"
        self.rosters[epoch] = hand.roster(self.group_id)


class _Nothing(Exception):
    """There is nothing to do any more."""


class History:
    """What befalls some groups on a federation."""

    def __init__(self, federation: Federation, mortals: list[Mortal], folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.mortals, self.folder = mortals, folder
        self.services = Services.of(federation.endpoints)
        self.servers = {ap["gp"]: _server(federation, ap) for name, ap in federation.endpoints["aps"].items()
                        if name in {"alpha", "gamma"}}  # fmt: skip
        self.pool = ThreadPoolExecutor(4)
        self.seed = seed
        self.numbers = itertools.count()
        self.done: Counter[str] = Counter()
        self.accepted: list[tuple[Hand, str, DSMessage]] = []
        self.rooms = [self.room(home) for home in ("eu", "us", "eu")]
        self.rooms[2].deletes = True

    # Who and where.

    def room(self, home: str) -> Room:
        founder = self.own(home)
        hub = self.services.domains[home]
        named = founder.persist(lambda: founder.hub(hub).request_group_id(founder.as_user))
        founder.create(named.group_id, hub, named.external_sender)
        room = Room(named.group_id, hub, [founder])
        room.committed(founder)
        self.add(room, founder, self.rine("us"))
        self.add(room, founder, self.rine("eu"))
        return room

    def own(self, home: str) -> OwnHand:
        number = next(self.numbers)
        domain = {"eu": "alpha.example", "us": "gamma.example"}[home]
        return self.registered(home, OwnHand(self.services, home, f"mimi://{domain}/d/{self.seed}-{number}/own"))

    def rine(self, home: str) -> RineHand:
        name = f"rine-{self.seed}-{next(self.numbers)}"
        hand = self.registered(home, RineHand(self.services, home, name, self.folder))
        hand.publish(1)  # Of a user that is named by a key, a provider may delete what was published (mds-account-5).
        return hand

    def agentvault(self, home: str) -> AgentvaultHand:
        name = f"agentvault-{self.seed}-{next(self.numbers)}"
        return self.registered(home, AgentvaultHand(self.services, home, name))

    def newcomer(self, room: Room) -> Hand:
        home = self.random.choice(["eu", "us"])
        if not room.deletes and not any(isinstance(hand, AgentvaultHand) for hand in room.members):
            return self.agentvault(home)
        makers: list[Callable[[str], Hand]] = [self.own, self.rine, self.rine if room.deletes else self.agentvault]
        return self.random.choice(makers)(home)

    def registered(self, home: str, hand: Kind) -> Kind:
        body = {
            "user": _name(hand.user),
            "cipher_suite": hand.suite,
            "signature_key": encode_base64url(hand.signer.signature_key),
        }
        self.servers[home].call("POST", "/ds/v1/users", body)
        return hand

    # What somebody does; each says whether it was accepted.

    def attempt(self, room: Room, hand: Hand, what: str, do: Callable[[], object]) -> bool:
        """Have somebody do something who may be late; what is accepted is remembered, to be sent again."""
        try:
            hand.drain()
            if not hand.inside(room.group_id):
                self.done[f"{what}: removed meanwhile"] += 1
                return False
            do()
        except DeliveryRefused as refusal:
            if refusal.code not in EXPECTED:
                raise
            self.done[f"{what}: {refusal.code.name}"] += 1
            return False
        self.done[f"{type(hand).__name__} {what}"] += 1
        self.accepted.append((hand, room.hub, hand.memory.sent[-1]))
        return True

    def say(self, room: Room, hand: Hand, *, much: bool = False) -> None:
        data = f"{hand.name} says {next(self.numbers)}".encode().ljust(MUCH if much else 0)

        def do() -> None:
            if hand.waiting.get(room.group_id) and not isinstance(hand, OwnHand):
                raise _Nothing  # mls-rs says nothing while it knows of a proposal.
            epoch = hand.epoch(room.group_id)
            hand.say(room.group_id, data)
            room.said.append((epoch, hand, data))

        with contextlib.suppress(_Nothing):
            if self.attempt(room, hand, "say", do) and much:
                self.done["say much"] += 1

    def add(self, room: Room, hand: Hand, newcomer: Hand) -> None:
        if self.attempt(room, hand, "add", lambda: hand.add(room.group_id, [newcomer.offer()])):
            room.hands.append(newcomer)
            room.committed(hand)

    def remove(self, room: Room, hand: Hand, victim: Hand) -> None:
        def do() -> None:
            leaf_index = hand.placed(room.group_id).get(victim.signer.signature_key)
            if leaf_index is None:
                raise _Nothing
            hand.remove(room.group_id, leaf_index)

        with contextlib.suppress(_Nothing):  # Somebody was faster.
            if self.attempt(room, hand, "remove", do):
                room.committed(hand)

    def update(self, room: Room, hand: OwnHand) -> None:
        if self.attempt(room, hand, "update", lambda: hand.update(room.group_id)):
            room.committed(hand)

    def come_back(self, room: Room, hand: OwnHand | RineHand) -> None:
        """Have somebody lose its state, and come back by an external commit."""
        if not hand.lost:
            hand.lose(room.group_id)
        with contextlib.suppress(rine_mls.RineMlsError):  # It needs the tree inside the GroupInfo; is it there?
            hand.come_back(room.group_id, room.hub)
            room.committed(hand)
            self.done[f"{type(hand).__name__} come back"] += 1

    def delete(self, room: Room, hand: Hand) -> None:
        """Have the hand's provider delete its user, so that the hub proposes its removal."""
        home = next(name for name, domain in self.services.domains.items() if domain == hand.domain)
        self.servers[home].call("POST", "/ds/v1/account-events", {"event": "user_deleted", "user": _name(hand.user)})
        room.deleted.add(hand.signer.signature_key)
        self.done["delete"] += 1

    def repeat(self, hand: Hand, hub: str, message: DSMessage) -> None:
        """Send something again that was accepted, byte for byte."""
        assert hand.persist(lambda: hand.hub(hub).send(message)) == Ok()
        self.done["repeat"] += 1

    # Time passes.

    def live(self, steps: int) -> None:
        """Let some steps pass, and then become quiet."""
        for step in range(3 * steps):
            if step >= steps and self.done.keys() >= EVERYTHING:
                break
            self.step()
        for room in self.rooms:
            self.settle(room)

    def step(self) -> None:
        """Let up to three things happen at once, and sometimes a service die meanwhile."""
        rooms = [room for room in self.rooms if room.members]
        if self.random.random() < 0.15:
            self.alone(rooms)
            return
        busy: set[Hand] = set()
        tasks = [task for _ in range(3) if (task := self.task(self.random.choice(rooms), busy))]
        running = [self.pool.submit(task) for task in tasks]
        if self.random.random() < 0.12:
            self.die()
        for done in running:
            done.result(120)

    def die(self) -> None:
        """Kill a service some time after requests have begun, and start it again."""
        mortal = self.random.choice(self.mortals)
        time.sleep(self.random.random() * 0.1)  # It is to die in the midst of them, anywhere.
        mortal.kill()
        mortal.start()
        self.done["death"] += 1

    def task(self, room: Room, busy: set[Hand]) -> Callable[[], None] | None:
        """Return something that somebody who is not busy can do together with others."""
        free = [hand for hand in room.members if hand not in busy and not hand.lost]
        committers = [hand for hand in free if not isinstance(hand, AgentvaultHand)]
        if self.random.random() < 0.1 and self.accepted:
            hand, hub, message = self.random.choice(self.accepted)
            return None if hand in busy else lambda: self.repeat(hand, hub, message)
        if not committers or self.random.random() < 0.6:
            if not free:
                return None
            speaker, much = self.random.choice(free), self.random.random() < 0.05
            busy.add(speaker)
            return lambda: self.say(room, speaker, much=much)
        hand = self.random.choice(committers)
        busy.add(hand)
        if isinstance(hand, OwnHand) and self.random.random() < 0.4:
            updater = hand
            return lambda: self.update(room, updater)
        victims = [other for other in room.members if other not in busy]
        if victims and len(room.members) + self.random.randint(0, 3) > LARGEST:
            victim = self.random.choice(victims)
            busy.add(victim)
            return lambda: self.remove(room, hand, victim)
        newcomer: Hand = self.newcomer(room)
        return lambda: self.add(room, hand, newcomer)

    def alone(self, rooms: list[Room]) -> None:
        """Let somebody lose its state or be deleted, with nobody else at work: what has been done least."""
        what = min(ALONE, key=lambda one: (self.done[one], self.random.random()))
        room = self.random.choice([room for room in rooms if room.deletes or what != "delete"])
        present = [hand for hand in room.members if isinstance(hand, OwnHand | RineHand)]
        committers = [hand for hand in present if not hand.lost]
        if not committers:
            return
        if what == "delete":
            fit = [hand for hand in present if hand.domain == room.hub and hand not in committers[:2]]
        else:
            fit = [hand for hand in present if isinstance(hand, ALONE[what])]
            fit = [hand for hand in fit if hand.lost] or [hand for hand in fit if hand not in committers[:1]]
        if not fit:
            home = next(home for home, domain in self.services.domains.items() if domain == room.hub)
            self.add(room, committers[0], self.own(home) if ALONE[what] is OwnHand else self.rine(home))
            return
        hand = self.random.choice(fit)
        if what == "delete":
            self.delete(room, hand)
            return
        hand.drain()
        if hand.lost or hand.inside(room.group_id):
            self.come_back(room, hand)

    def settle(self, room: Room) -> None:
        """Have the removals that are due committed."""
        until = time.monotonic() + QUIET_SECONDS
        while room.deleted & room.rosters[max(room.rosters)]:
            assert time.monotonic() < until, "a removal was not committed"
            committers = [hand for hand in room.members if not isinstance(hand, AgentvaultHand) and not hand.lost]
            told = []
            for hand in committers:
                hand.drain()
                told += [hand] if hand.waiting.get(room.group_id) else []
            if told:
                self.add(room, told[0], self.rine("eu"))
            time.sleep(0.1)  # The proposal comes by a schedule, if its worker was killed.

    # What holds when it is quiet.

    def check(self) -> None:
        """Hold what everybody has against what was accepted."""
        for room in self.rooms:
            for hand in room.members:
                if not hand.lost:
                    hand.reach(room.group_id, max(room.rosters))
            self.check_state(room)
            self.check_messages(room)

    def check_state(self, room: Room) -> None:
        newest = max(room.rosters)
        assert set(room.rosters) == set(range(min(room.rosters), newest + 1)), "an epoch is nobody's"
        present = [hand for hand in room.members if not hand.lost]
        assert len(present) > 1
        for hand in present:
            assert hand.epoch(room.group_id) == newest
            assert hand.roster(room.group_id) == room.rosters[newest]
        assert len({hand.tree_hash(room.group_id) for hand in present}) == 1
        assert len({hand.exported(room.group_id) for hand in present} - {None}) <= 1

    def check_messages(self, room: Room) -> None:
        owed: dict[Hand, set[bytes]] = {hand: set() for hand in room.hands}
        for epoch, speaker, data in room.said:
            for hand in room.hands:
                was_member = hand.signer.signature_key in room.rosters[epoch]
                if was_member and hand is not speaker and not hand.lost and epoch >= hand.floors.get(room.group_id, 0):
                    owed[hand].add(data)
        for hand, expected in owed.items():
            self.check_heard(room, hand, expected)

    def check_heard(self, room: Room, hand: Hand, expected: set[bytes]) -> None:
        """Hold what somebody heard against what was said while it was there."""

        def heard() -> Counter[bytes]:
            return Counter(data for _, data in hand.heard if data)

        hand.take_in(lambda: len(expected - heard().keys()) <= hand.missed, "what was said")
        hand.drain()
        assert max(heard().values(), default=1) == 1, "a message was heard twice"
        came_back = hand.lost or hand.floors
        assert came_back or heard().keys() <= expected, "something was heard that was not accepted"
        self.done["missed by its library"] += hand.missed
        self.done["heard"] += len(expected)


@pytest.mark.timeout(0)  # Each wait in it has a bound of its own, and how many there are is a campaign's matter.
def test_histories_with_deaths_lose_nothing_and_repeat_nothing(tmp_path: Path, campaign: int) -> None:
    with mortal_federation(tmp_path / "state") as (federation, mortals):
        history = History(federation, mortals, tmp_path, seed=campaign)
        history.live(STEPS * campaign)
        history.check()
        print(dict(sorted(history.done.items())), [len(room.rosters) for room in history.rooms])
    assert history.done.keys() >= EVERYTHING


def _name(user: bytes) -> str:
    return user.decode() if user.startswith(b"mimi://") else encode_base64url(user)


def _server(federation: Federation, ap: dict[str, object]) -> ApClient:
    """Return a provider's way to its delivery service."""
    said = ap["ds"]
    assert isinstance(said, dict)
    url = federation.endpoints["ds"][ap["gp"]]["url"]
    ca = federation.endpoints["ca"]
    return ApClient(url, said["client_id"], said["client_secret"], cert=str(ap["cert"]), key=str(ap["key"]), ca=ca)
