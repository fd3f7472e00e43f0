"""A handler dies at any of its calls, before or after the call took effect; nothing is lost and nothing doubled.

Each journey is run once undisturbed, and its calls are written down. Then it is run again for each of them, dying
there. What follows is the recovery that exists: the caller asks again with the same idempotency key, or nobody
does, and then the schedules run, without any hint from a queue. What must be equal to the undisturbed run is
everything but times and the ids made of them.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from chalicelib.protocol.glados.client_api import Code
from chalicelib.protocol.glados.mappings import best
from chalicelib.protocol.timestamps import DAY, MINUTE
from chalicelib.services.accounts.state import Account
from chalicelib.services.provider.state import OutboxId
from tests.fakes.faults import When
from tests.services.provider.providers import (
    OTHER_PHONE,
    PHONE,
    Gp,
    check_followed,
    check_sound,
    endpoint_of,
    federation,
    settle,
    uri,
)


@dataclasses.dataclass
class Stage:
    """Two GPs that follow each other's filters: alpha and beta are at one, gamma is at the other."""

    eu: Gp
    us: Gp
    alpha: Account
    beta: Account
    gamma: Account
    notes: dict[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def set(cls) -> "Stage":
        eu, us = federation("eu", "us")
        alpha, beta = eu.enrol("alpha", webhook=True), eu.enrol("beta", webhook=True)
        gamma = us.enrol("gamma", webhook=True)
        settle(eu, us)
        return cls(eu, us, alpha, beta, gamma)


Act = Callable[[Stage], Any]


@dataclasses.dataclass(frozen=True)
class Journey:
    """What is prepared undisturbed, what is then done, and whose calls fail."""

    name: str
    prepare: Act
    act: Act
    at: str = "eu"

    def __str__(self) -> str:
        return self.name


def owned(stage: Stage) -> None:
    """Alpha has the number, and it is known everywhere."""
    stage.eu.register(stage.alpha)
    settle(stage.eu, stage.us)


def opened(stage: Stage) -> None:
    stage.notes["verification"] = stage.eu.open(stage.alpha, key="one")


def opened_a_minute_ago(stage: Stage) -> None:
    opened(stage)
    stage.eu.world.clock.advance(MINUTE)


def contested(stage: Stage) -> None:
    """Gamma has the number at the other GP, alpha had it here, and beta's user has just proved to hold it."""
    stage.us.register(stage.gamma)
    stage.eu.register(stage.alpha)
    settle(stage.eu, stage.us)
    stage.eu.register(stage.beta, user="bob")


def opened_again(stage: Stage) -> None:
    owned(stage)
    stage.eu.world.clock.advance(2 * MINUTE)
    stage.notes["verification"] = stage.eu.open(stage.beta, user="bob", key="one")


def moved(stage: Stage) -> None:
    """Alpha's number went to another of its users."""
    owned(stage)
    stage.eu.world.clock.advance(2 * MINUTE)
    stage.notes["verification"] = stage.eu.open(stage.alpha, user="bob", key="one")


def removed(stage: Stage) -> None:
    """Alpha's mapping has gone and its user wants it back."""
    owned(stage)
    (mapping,) = stage.eu.preferences.search(stage.alpha, PHONE).mappings
    stage.notes["mapping"] = str(mapping.mapping_id)
    stage.eu.preferences.remove(stage.alpha, stage.notes["mapping"])
    settle(stage.eu, stage.us)
    stage.eu.register(stage.alpha)


def mapped(stage: Stage) -> None:
    owned(stage)
    (mapping,) = stage.eu.preferences.search(stage.alpha, PHONE).mappings
    stage.notes["mapping"] = str(mapping.mapping_id)


def waiting(kind: str, prepare: Act, at: str = "eu") -> Act:
    """Prepare, and note the outbox entry of a kind that is waiting then."""

    def prepared(stage: Stage) -> None:
        prepare(stage)
        gp: Gp = getattr(stage, at)
        (entry,) = [entry for entry in gp.world.outbox.entries if entry.kind == kind][:1]
        stage.notes["entry"] = entry.outbox_id

    return prepared


def replaced(stage: Stage) -> None:
    contested(stage)
    stage.eu.choose(stage.beta, "replace", user="bob")


def unsent(stage: Stage) -> None:
    """A verification whose request died before its message went out."""
    stage.eu.world.fail("messenger", "send_sms")
    with pytest.raises(ConnectionError):
        stage.eu.open(stage.alpha, key="one")
    stage.eu.world.clock.advance(MINUTE)


def overdue(stage: Stage) -> None:
    """A rebuild is due, with a member to keep and one to lose."""
    stage.eu.register(stage.beta, OTHER_PHONE, "bob")
    mapped(stage)
    stage.eu.preferences.remove(stage.alpha, stage.notes["mapping"])
    settle(stage.eu, stage.us)
    stage.eu.world.clock.advance(DAY)


def building(stage: Stage) -> None:
    overdue(stage)
    stage.eu.rebuild.step()
    stage.eu.world.clock.advance(2 * MINUTE)
    stage.eu.register(stage.alpha)
    stage.eu.sequencer.run()


def version_being_built(stage: Stage) -> int:
    version = stage.eu.world.filter_pointer._row.value.in_state("building")
    return 0 if version is None else version.version


def behind(stage: Stage) -> None:
    """A subscriber has yet to be told of an addition."""
    stage.eu.register(stage.alpha)
    stage.eu.sequencer.run()


def published(stage: Stage) -> None:
    """A new version is out, and its followers hold the one before."""
    building(stage)
    stage.eu.rebuild.scan(version_being_built(stage), 0)


def deliver(stage: Stage, at: str = "eu") -> None:
    getattr(stage, at).dispatch.work_off(OutboxId(stage.notes["entry"]))


def confirm_as(name: str, user: str) -> Act:
    def confirm(stage: Stage) -> Any:
        verification_id = stage.notes["verification"]
        code = Code(user_id=user, code=stage.eu.code(verification_id))
        return stage.eu.confirmation.confirm(getattr(stage, name), verification_id, code)

    return confirm


def nothing(stage: Stage) -> None:
    pass


JOURNEYS = [
    Journey("open", nothing, lambda stage: stage.eu.open(stage.alpha, key="one")),
    Journey("open another", opened_a_minute_ago, lambda stage: stage.eu.open(stage.alpha, key="two")),
    Journey("send a code from the outbox", waiting("code", unsent), deliver),
    Journey("confirm", opened, confirm_as("alpha", "alice")),
    Journey("confirm beside another", opened_again, confirm_as("beta", "bob")),
    Journey("confirm a number that moved", moved, confirm_as("alpha", "bob")),
    Journey("prefer", contested, lambda stage: stage.eu.choose(stage.beta, "prefer", user="bob")),
    Journey("replace", contested, lambda stage: stage.eu.choose(stage.beta, "replace", user="bob")),
    Journey("restore", removed, lambda stage: stage.eu.preferences.restore(stage.alpha, stage.notes["mapping"])),
    Journey("remove", mapped, lambda stage: stage.eu.preferences.remove(stage.alpha, stage.notes["mapping"])),
    Journey("deliver a webhook", waiting("event", replaced), deliver),
    Journey("send a claim", waiting("claim", replaced), deliver),
    Journey("receive a claim", waiting("claim", replaced), deliver, at="us"),
    Journey("sequence", lambda stage: stage.eu.register(stage.alpha), lambda stage: forget(stage.eu.sequencer.run())),
    Journey("begin a rebuild", overdue, lambda stage: stage.eu.rebuild.step()),
    Journey("scan and publish", building, lambda stage: stage.eu.rebuild.scan(version_being_built(stage), 0)),
    Journey("notify", behind, lambda stage: forget(stage.eu.publication.notify_all())),
    Journey("be notified", behind, lambda stage: forget(stage.eu.publication.notify_all()), at="us"),
    Journey("follow", behind, lambda stage: stage.us.following.follow("eu"), at="us"),
    Journey("follow to a new version", published, lambda stage: stage.us.following.follow("eu"), at="us"),
    Journey("serve a follower and its subscription", published, lambda stage: stage.us.following.follow("eu")),
    Journey("move the webhook", owned, lambda stage: stage.eu.webhooks.set(stage.alpha, "https://alpha.example/2")),
    Journey("drop the webhook", owned, lambda stage: stage.eu.webhooks.delete(stage.alpha)),
    Journey("sweep", replaced, lambda stage: forget(stage.eu.dispatch.sweep())),
    Journey("a whole minute", replaced, lambda stage: stage.eu.minute()),
]


def forget(_answer: object) -> None:
    """Nobody waits for what a worker returns."""


def calls_of(journey: Journey) -> list[tuple[str, str]]:
    """Return the calls of an undisturbed run, in order."""
    stage = Stage.set()
    journey.prepare(stage)
    world = getattr(stage, journey.at).world
    before = len(world.calls())
    journey.act(stage)
    return list(world.calls()[before:])


def run(journey: Journey, dies: tuple[tuple[str, str], int, When] | None, *, asks_again: bool) -> tuple[Stage, Any]:
    """Run a journey that dies at a call (its how manieth of that name), recover, and return the last answer."""
    stage = Stage.set()
    journey.prepare(stage)
    world = getattr(stage, journey.at).world
    if dies is not None:
        (port, method), skip, when = dies
        world.faults.arm(port, method, when, times=1, skip=skip)
    answer = None
    try:
        answer = journey.act(stage)
    except ConnectionError:
        if asks_again:
            answer = journey.act(stage)
    assert world.faults.armed == []
    settle(stage.eu, stage.us, queues=False)
    return stage, answer


def without_times(answer: Any) -> Any:
    """Return an answer as plain values, without its moments."""
    plain = msgspec.to_builtins(answer)

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                name: item is None if name.endswith("_at") else strip(item)
                for name, item in value.items()
                if name not in ("resend_after", "secret")
            }
        return [strip(item) for item in value] if isinstance(value, list) else value

    return strip(plain)


def standing(gp: Gp) -> dict[str, Any]:
    """Return what a GP has stored in the end, without moments and without ids that are made of them."""
    tables, now = gp.world.tables, gp.world.clock()
    return {
        "records": {
            sii.uri: sorted(
                (
                    record.mapping_id,
                    record.user_id,
                    record.state,
                    record.preferred_at is not None,
                    record.sequence,
                    record == best(row.value.active, now),
                )
                for record in row.value.all
            )
            for sii, row in tables.records.items()
        },
        "users": +tables.users,
        "verifications": {
            name: (found.state, found.attempts, found.sends, found.delivery, found.answer is not None)
            for name, found in tables.verifications.items()
        },
        "proofs": {(key, pair.proof, pair.proof_used) for key, pair in tables.pairs.items()},
        "counts": Counter(
            {
                (limit.kind, limit.value): sum(
                    other.count
                    for at, other in tables.counts.items()
                    if (at.kind, at.value) == (limit.kind, limit.value)
                )
                for limit in tables.counts
            }
        ),
        "webhooks": {name: row.value.webhook and row.value.webhook.url for name, row in tables.accounts.items()},
        "pending": len(tables.pending),
        "outbox": gp.world.outbox.entries,
    }


def told(gp: Gp) -> Counter[tuple[object, ...]]:
    """Return the events that providers were told of, each with its outcome."""
    return Counter(
        (event.provider_id, event.type, event.mapping_id, event.user_id, event.sequence, event.state)
        for event in gp.world.tables.events.values()
    )


def sent(gp: Gp) -> tuple[Counter[tuple[str, str]], set[tuple[str, str]]]:
    """Return how often each code was sent to whom, and which webhooks were told of what kind of event."""
    codes = Counter((message.to, message.code) for message in gp.world.messenger.inbox)
    posts = {(post.url, msgspec.json.decode(post.body)["type"]) for post in gp.world.webhook_sender.posts}
    return codes, posts


def cases(journey: Journey) -> list[tuple[tuple[str, str], int, When]]:
    """Return every death of a journey: each of its calls, before and after its effect."""
    calls = calls_of(journey)
    deaths: tuple[When, When] = ("before", "after")
    return [(call, calls[:turn].count(call), when) for turn, call in enumerate(calls) for when in deaths]


@pytest.mark.parametrize("journey", JOURNEYS, ids=str)
def test_whoever_asks_again_after_a_death_finds_what_an_undisturbed_request_left(journey: Journey) -> None:
    undisturbed, expected = run(journey, None, asks_again=False)
    for dies in cases(journey):
        stage, answer = run(journey, dies, asks_again=True)
        assert without_times(answer) == without_times(expected), dies
        for one, other in ((stage.eu, undisturbed.eu), (stage.us, undisturbed.us)):
            assert standing(one) == standing(other), dies
            assert told(one) >= told(other), dies
            assert sent(one)[0] >= sent(other)[0], dies
            assert sent(one)[1] == sent(other)[1], dies
        check_sound(stage.eu, stage.us)
        check_followed(stage.eu, stage.us)


@pytest.mark.parametrize("journey", JOURNEYS, ids=str)
def test_nothing_is_left_half_done_when_nobody_asks_again(journey: Journey) -> None:
    ended = {"delivered", "failed"} if journey.name == "drop the webhook" else {"delivered"}
    for dies in cases(journey):
        stage, _ = run(journey, dies, asks_again=False)
        check_sound(stage.eu, stage.us)
        check_followed(stage.eu, stage.us)
        for gp in (stage.eu, stage.us):
            assert {event.state for event in gp.world.tables.events.values()} <= ended, dies


def test_the_deaths_are_many_enough_to_mean_something() -> None:
    assert len(cases(JOURNEYS[3])) == 20
    assert uri(PHONE) in run(JOURNEYS[3], None, asks_again=False)[0].eu.world.tables.records
    assert endpoint_of("alpha") == "https://alpha.example/hook"
