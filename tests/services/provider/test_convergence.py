"""Two or three GPs live through a random history, and agree once it is quiet.

Users register, choose, leave and come back at every GP. Meanwhile hints are dropped and doubled, handlers die on
either side of a write, replies between GPs get lost, and peers cannot be reached for a while. Then the faults end
and the schedules run: every GP must name the same mapping for every identifier, every event must have arrived, and
no filter may rule out what its owner holds. A history that fails is run again by its seed.
"""

import dataclasses
import random

import msgspec

from chalicelib.errors import Refusal
from chalicelib.protocol.timestamps import HOUR, MINUTE, SECOND, parse_time
from chalicelib.services.accounts.state import Account
from chalicelib.services.ports import Unreachable
from chalicelib.services.provider.preferences import ClaimToSend
from tests.fakes.faults import When
from tests.services.provider.providers import (
    MAIL,
    OTHER_PHONE,
    PHONE,
    Gp,
    best_everywhere,
    check_followed,
    check_sound,
    federation,
    settle,
    uri,
)

STEPS = 150
SIIS = (PHONE, OTHER_PHONE, MAIL)
USERS = ("alice", "bob")
FRAGILE = (
    ("store", "commit"),
    ("store", "records"),
    ("snapshots", "read"),
    ("outbox", "take"),
    ("outbox", "done"),
    ("events", "record"),
    ("webhook_sender", "post"),
    ("filter_pointer", "replace"),
    ("filter_objects", "put"),
    ("pending_log", "discard"),
    ("peer_heads", "replace"),
    ("subscriptions", "put"),
    ("subscriptions", "acknowledge"),
    ("rebuild_jobs", "create"),
    ("rebuild_jobs", "finish_segment"),
    ("peer_client", "ask"),
    ("peer_client", "claim"),
    ("peer_client", "notify"),
    ("peer_client", "subscribe"),
)


@dataclasses.dataclass
class History:
    """One random life of a federation."""

    chance: random.Random
    gps: list[Gp]
    accounts: dict[str, list[Account]]
    done: dict[str, int] = dataclasses.field(default_factory=dict)
    claims: dict[str, ClaimToSend] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, seed: int) -> "History":
        chance = random.Random(seed)
        gps = federation("eu", "us", "ap")[: chance.choice((2, 3))]
        if len(gps) == 2:
            gps = federation("eu", "us")
        accounts = {
            gp.world.gp: [gp.enrol(f"{gp.world.gp}-{name}", webhook=True) for name in ("one", "two")] for gp in gps
        }
        settle(*gps)
        return cls(chance, gps, accounts)

    def live(self) -> None:
        for _ in range(STEPS):
            name, step = self.chance.choice(self.acts)
            gp = self.chance.choice(self.gps)
            try:
                step(self, gp)
                self.done[name] = self.done.get(name, 0) + 1
            except (Refusal, ConnectionError, Unreachable):
                pass  # The caller is refused, or its handler died; it may come again or not.
            for entry in gp.world.outbox.entries:
                if entry.kind == "claim":
                    self.claims[entry.outbox_id] = msgspec.json.decode(entry.ref, type=ClaimToSend)

    def rest(self) -> None:
        """End the faults and let the schedules run until there is nothing left to do."""
        for gp in self.gps:
            gp.world.peer_client.down.clear()
            gp.world.faults._armed.clear()
        settle(*self.gps, minutes=300)

    # --- what may happen

    def someone(self, gp: Gp) -> tuple[Account, str, str]:
        return self.chance.choice(self.accounts[gp.world.gp]), self.chance.choice(SIIS), self.chance.choice(USERS)

    def register(self, gp: Gp) -> None:
        account, sii, user = self.someone(gp)
        gp.register(account, sii, user)

    def choose(self, gp: Gp) -> None:
        """Choose for whoever has just proved something, most of the time."""
        account, sii, user = self.someone(gp)
        proved = [key for key, pair in gp.world.tables.pairs.items() if pair.proof is not None and not pair.proof_used]
        if proved:
            key = self.chance.choice(sorted(proved, key=str))
            account, sii, user = gp.world.account(key.provider_id), key.sii.uri, key.user_id
        gp.choose(account, self.chance.choice(("prefer", "replace", "replace", "keep")), sii, user)

    def _own(self, gp: Gp, *, active: bool) -> tuple[Account, str]:
        _, sii, _ = self.someone(gp)
        row = gp.world.tables.records.get(uri(sii))
        held = [] if row is None else [record for record in row.value.all if (record.state == "active") == active]
        if not held:
            raise ConnectionError("there is nothing to act on")
        record = self.chance.choice(held)
        return gp.world.account(record.provider.provider_id), record.mapping_id

    def remove(self, gp: Gp) -> None:
        gp.preferences.remove(*self._own(gp, active=True))

    def restore(self, gp: Gp) -> None:
        gp.preferences.restore(*self._own(gp, active=False))

    def hints(self, gp: Gp) -> None:
        gp.hinted(twice=self.chance.random() < 0.5)

    def lose_hints(self, gp: Gp) -> None:
        gp.world.hints.take()

    def minute(self, gp: Gp) -> None:
        gp.world.clock.advance(MINUTE)
        gp.minute()

    def wait(self, gp: Gp) -> None:
        gp.world.clock.advance(self.chance.choice((1, SECOND, MINUTE, 3 * HOUR)))

    def rebuild(self, gp: Gp) -> None:
        gp.rebuild.step(now_please=True)

    def cut_off(self, gp: Gp) -> None:
        gp.world.peer_client.down.add(self.chance.choice(self.gps).world.gp)

    def reach_again(self, gp: Gp) -> None:
        gp.world.peer_client.down.clear()

    def break_something(self, gp: Gp) -> None:
        port, method = self.chance.choice(FRAGILE)
        when: When = self.chance.choice(("before", "after"))
        gp.world.faults.arm(port, method, when, times=self.chance.choice((1, 1, 2)), skip=self.chance.choice((0, 0, 1)))

    acts = (
        *(("register", register),) * 6,
        *(("choose", choose),) * 5,
        ("remove", remove),
        *(("restore", restore),) * 2,
        *(("hints", hints),) * 3,
        ("lose hints", lose_hints),
        *(("minute", minute),) * 3,
        *(("wait", wait),) * 3,
        ("rebuild", rebuild),
        ("cut off", cut_off),
        ("reach again", reach_again),
        *(("break", break_something),) * 3,
    )


def check_followed_choices(history: History) -> None:
    """Each peer that was known to hold an identifier has followed each choice that another GP made for it."""
    gps = {gp.world.gp: gp for gp in history.gps}
    for claim in history.claims.values():
        row = gps[claim.gp].world.tables.records.get(uri(claim.sii))
        chosen_at = parse_time(claim.preferred_at)
        if claim.sure:
            assert row is not None
            assert row.value.floor >= chosen_at
            if claim.choice == "replace":
                assert all(record.stamp >= chosen_at for record in row.value.active)


def test_a_federation_that_comes_to_rest_agrees(campaign_seed: int) -> None:
    history = History.of(campaign_seed)
    history.live()
    history.rest()
    check_sound(*history.gps)
    check_followed(*history.gps)
    check_followed_choices(history)
    askers = [history.accounts[gp.world.gp][0] for gp in history.gps]
    for sii in SIIS:
        assert len(best_everywhere(history.gps, askers, sii)) == 1
    for gp in history.gps:
        assert all(event.state in {"delivered", "undeliverable"} for event in gp.world.tables.events.values())


def test_the_histories_are_eventful() -> None:
    done: dict[str, int] = {}
    choices = 0
    for seed in range(5):
        history = History.of(seed)
        history.live()
        for name, times in history.done.items():
            done[name] = done.get(name, 0) + times
        history.rest()
        choices += sum(
            event.type == "mapping.superseded" for gp in history.gps for event in gp.world.tables.events.values()
        )
    assert done.keys() == {name for name, _ in History.acts}
    assert done["register"] > 20
    assert done["choose"] > 20
    assert choices > 20
