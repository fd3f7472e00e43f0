"""Choices that travel: claims that cross, repeat and come in any order end alike on all sides."""

import itertools

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.errors import DecodeError, TooManyRequests
from chalicelib.protocol.glados.federation_api import ClaimAnswer
from chalicelib.protocol.glados.mappings import AHEAD
from chalicelib.protocol.glados.trust import PeerLimits
from chalicelib.protocol.signed import sign, verify
from chalicelib.protocol.timestamps import DAY, MINUTE, SECOND, format_time
from chalicelib.services.accounts.state import Account
from tests.fakes.clock import START
from tests.services.provider.providers import (
    PHONE,
    Gp,
    as_peer,
    best_everywhere,
    check_sound,
    federation,
    settle,
    uri,
)

Pair = tuple[Gp, Gp, Account, Account]


def both_hold() -> Pair:
    """Alpha's user alice has the number at one GP and gamma's user bob at the other."""
    eu, us = federation("eu", "us")
    alpha, gamma = eu.enrol("alpha", webhook=True), us.enrol("gamma", webhook=True)
    settle(eu, us)
    eu.register(alpha)
    settle(eu, us)
    us.register(gamma, user="bob")
    settle(eu, us)
    return eu, us, alpha, gamma


def claims_to(receiver: Gp, sender: Gp) -> list[str]:
    """Keep the claims that a GP sends to another instead of bringing them there."""
    kept: list[str] = []

    def keep(_asking: str, claim: str) -> ClaimAnswer:
        kept.append(claim)
        return ClaimAnswer(state="applied")

    sender.world.peer_client.gps[receiver.world.gp].claim = keep
    return kept


def claimed(choice: str = "replace") -> tuple[Gp, Gp, str]:
    """Return two GPs and the claim that the second makes from the first."""
    eu, us, _, gamma = both_hold()
    kept = claims_to(eu, us)
    us.choose(gamma, choice, user="bob")
    us.hinted()
    (claim,) = kept
    return eu, us, claim


def states(gp: Gp) -> list[tuple[str, str]]:
    return [(record.user_id, record.state) for record in gp.world.tables.records[uri(PHONE)].value.all]


def forged(us: Gp, claim: str, **changes: object) -> str:
    """Return a claim with other contents, under the claiming GP's own signature."""
    key = us.world.keyring._signing_key("glados-claim+jwt")
    public = as_peer(us).verifying_keys("glados-claim+jwt")
    said = verify(claim, "glados-claim+jwt", public, issuer="us", audience="eu", now=us.world.clock())
    if "preferred_at" in changes:
        said["mapping"] = {**said["mapping"], "preferred_at": changes["preferred_at"]}
    return sign(key, "glados-claim+jwt", {**said, **changes})


def test_a_number_that_moved_is_answered_with_the_new_owner_on_both_gps() -> None:
    eu, us, alpha, gamma = both_hold()
    assert eu.ask(alpha) == us.ask(gamma) == "eu/alpha/alice"
    us.choose(gamma, "replace", user="bob")
    settle(eu, us)
    assert eu.ask(alpha) == us.ask(gamma) == "us/gamma/bob"
    (event,) = eu.events(alpha)
    assert event.by is not None
    assert (event.type, event.by.provider_id, event.by.gp, event.state) == (
        "mapping.superseded",
        "gamma",
        "us",
        "delivered",
    )
    assert (states(eu), eu.world.tables.users["alpha"]) == ([("alice", "superseded")], 0)
    check_sound(eu, us)


def test_a_claim_to_prefer_removes_nothing() -> None:
    eu, us, claim = claimed("prefer")
    assert eu.claim_receiver.receive(as_peer(us), claim).state == "applied"
    assert states(eu) == [("alice", "active")]
    assert [event.sequence for event in eu.events(eu.world.account("alpha"))] == [1]


@pytest.mark.parametrize("choice", ["prefer", "replace"])
def test_a_claim_received_again_changes_nothing_and_is_answered_alike(choice: str) -> None:
    eu, us, claim = claimed(choice)
    first = eu.claim_receiver.receive(as_peer(us), claim)
    before = eu.world.tables.records[uri(PHONE)], dict(eu.world.tables.events)
    assert eu.claim_receiver.receive(as_peer(us), claim) == first
    assert (eu.world.tables.records[uri(PHONE)], dict(eu.world.tables.events)) == before


@pytest.mark.parametrize("choice", ["prefer", "replace"])
def test_a_claim_received_again_spares_who_registered_in_between(choice: str) -> None:
    """The claiming GP's clock may be ahead of ours by minutes."""
    eu, us, claim = claimed(choice)
    claim = forged(us, claim, preferred_at=format_time(eu.world.clock() + AHEAD))
    eu.claim_receiver.receive(as_peer(us), claim)
    eu.register(eu.enrol("beta"), user="bob")
    before = states(eu)
    eu.claim_receiver.receive(as_peer(us), claim)
    assert states(eu) == before


def test_a_claim_about_somebody_unknown_leaves_no_trace() -> None:
    eu, us, claim = claimed()
    eu.world.tables.records.clear()
    assert eu.claim_receiver.receive(as_peer(us), claim).state == "unknown"
    assert eu.world.tables.records == {}


def test_what_was_chosen_later_here_stands_against_a_claim() -> None:
    eu, us, claim = claimed()
    alpha = eu.world.account("alpha")
    eu.register(alpha)
    eu.choose(alpha, "prefer")
    assert eu.claim_receiver.receive(as_peer(us), claim).state == "applied"
    assert states(eu) == [("alice", "active")]
    assert eu.ask(alpha) == "eu/alpha/alice"


def test_a_choice_after_a_claim_is_later_than_it() -> None:
    eu, us, claim = claimed("prefer")
    claim = forged(us, claim, preferred_at=format_time(eu.world.clock() + AHEAD))
    eu.claim_receiver.receive(as_peer(us), claim)
    alpha = eu.world.account("alpha")
    eu.register(alpha)
    answer = eu.choose(alpha, "prefer")
    assert answer.mapping.preferred_at is not None
    assert answer.mapping.preferred_at > format_time(eu.world.clock())


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "ap"},
        {"aud": "us"},
        {"exp": 0},
        {"exp": 2**40},
        {"sii": "tel:+49 151 23456789"},
        {"sii": "nobody"},
        {"choice": "keep"},
        {"preferred_at": "soon"},
        {"verified_at": "just now"},
        {"verified_at": format_time(START - 2 * DAY)},
        {"verified_at": format_time(START + DAY)},
        {"channel": "email"},
        {"extra": 1},
    ],
    ids=lambda changes: " ".join(f"{name} {value}" for name, value in changes.items()),
)
def test_a_claim_that_is_not_what_it_must_be_is_refused(changes: dict[str, object]) -> None:
    eu, us, claim = claimed()
    with pytest.raises(DecodeError):
        eu.claim_receiver.receive(as_peer(us), forged(us, claim, **changes))
    assert states(eu) == [("alice", "active")]


def test_a_claim_from_the_far_future_is_refused_with_an_alarm() -> None:
    eu, us, claim = claimed()
    far = format_time(eu.world.clock() + AHEAD + 1)
    with pytest.raises(DecodeError):
        eu.claim_receiver.receive(as_peer(us), forged(us, claim, preferred_at=far))
    assert ("peer-clock-ahead", "us") in eu.world.alarms.raised


def test_a_peer_that_claims_more_than_it_may_is_held_with_an_alarm_and_heard_again_later() -> None:
    eu, us, claim = claimed("prefer")
    hasty = msgspec.structs.replace(as_peer(us), limits=PeerLimits(claims_per_second=1, claim_burst=1))
    eu.claim_receiver.receive(hasty, claim)
    with pytest.raises(TooManyRequests):
        eu.claim_receiver.receive(hasty, claim)
    assert ("claims-held", "us") in eu.world.alarms.raised
    eu.world.clock.advance(SECOND)
    assert eu.claim_receiver.receive(hasty, claim).state == "applied"


def test_another_peers_claim_is_refused() -> None:
    eu, us, claim = claimed()
    with pytest.raises(DecodeError):
        eu.claim_receiver.receive(as_peer(federation("ap")[0]), claim)
    assert us.world.gp != "ap"


def test_a_peer_that_holds_nothing_is_told_nothing() -> None:
    eu, us = federation("eu", "us")
    alpha = eu.enrol("alpha")
    eu.world.peer_client.down.add("us")
    eu.register(alpha)
    eu.choose(alpha, "replace")
    eu.world.peer_client.down.clear()
    kept = claims_to(us, eu)
    settle(eu, us)
    assert (kept, us.world.tables.records) == ([], {})


def test_a_peer_that_refuses_for_a_month_is_given_up_with_an_alarm() -> None:
    _, us, _, gamma = both_hold()
    us.world.peer_client.gps["eu"].claim = lambda *_: None
    us.choose(gamma, "replace", user="bob")
    for _ in range(31 * 24):
        us.world.clock.advance(60 * MINUTE)
        us.dispatch.sweep()
    assert us.world.outbox.entries == []
    assert us.world.alarms.raised.count(("claim-given-up", "eu")) == 1


# --- claims that cross


@settings(max_examples=60, deadline=None)
@given(
    choices=st.tuples(*[st.sampled_from(["prefer", "replace"])] * 2),
    apart=st.sampled_from([0, 1, MINUTE]),
    order=st.permutations(["to eu", "to us", "to eu", "to us"]),
)
def test_choices_that_cross_end_alike_whatever_the_order_of_their_claims(
    choices: tuple[str, str], apart: int, order: list[str]
) -> None:
    """Each claim is delivered twice, in any order; neither GP knew of the other's choice when it made its own."""
    eu, us, alpha, gamma = both_hold()
    eu.register(alpha)
    doors = {"to us": eu.world.peer_client.gps["us"], "to eu": us.world.peer_client.gps["eu"]}
    kept = {"to us": claims_to(us, eu), "to eu": claims_to(eu, us)}
    answers = {name: door.query for name, door in doors.items()}
    for door in doors.values():
        door.query = lambda *_: None
    eu.choose(alpha, choices[0])
    eu.world.clock.advance(apart)
    us.choose(gamma, choices[1], user="bob")
    for name, door in doors.items():
        door.query = answers[name]
    eu.hinted()
    us.hinted()
    settle(eu, us)
    receivers = {"to us": (us, as_peer(eu)), "to eu": (eu, as_peer(us))}
    for name in order:
        gp, peer = receivers[name]
        (claim,) = kept[name]
        gp.claim_receiver.receive(peer, claim)
    settle(eu, us)
    check_sound(eu, us)
    (answer,) = best_everywhere((eu, us), (alpha, gamma), PHONE)
    assert answer in ({"us/gamma/bob"} if apart else {"us/gamma/bob", "eu/alpha/alice"})
    if choices == ("replace", "replace") and apart:
        assert (states(eu), states(us)) == ([("alice", "superseded")], [("bob", "active")])


def test_the_order_of_two_claims_to_one_gp_does_not_matter() -> None:
    ends = []
    for order in itertools.permutations(("us", "ap", "us", "ap")):
        eu, us, ap = federation("eu", "us", "ap")
        accounts = {gp.world.gp: gp.enrol(f"of-{gp.world.gp}") for gp in (eu, us, ap)}
        settle(eu, us, ap)
        kept = {gp.world.gp: claims_to(eu, gp) for gp in (us, ap)}
        for gp in (eu, us, ap):
            gp.register(accounts[gp.world.gp], user=gp.world.gp)
            settle(eu, us, ap)
        us.choose(accounts["us"], "replace", user="us")
        eu.world.clock.advance(MINUTE)
        ap.choose(accounts["ap"], "prefer", user="ap")
        settle(eu, us, ap)
        for name in order:
            eu.claim_receiver.receive(as_peer(us if name == "us" else ap), kept[name][0])
        record = eu.world.tables.records[uri(PHONE)].value
        ends.append((states(eu), record.floor, best_everywhere((eu, us, ap), list(accounts.values()), PHONE)))
    assert [ends[0]] * len(ends) == ends
    assert ends[0][2] == {"ap/of-ap/ap"}
