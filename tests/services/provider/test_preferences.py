"""The user's choice: its proof, its effect on every other provider, and its undoing."""

import dataclasses

import pytest

from chalicelib.errors import Gone, NotFound, TooManyRequests, VerificationRequired
from chalicelib.protocol.glados.client_api import ChoiceAnswer, Code
from chalicelib.protocol.glados.mappings import TOMBSTONE_LIFE
from chalicelib.protocol.timestamps import DAY, HOUR, MINUTE
from chalicelib.services.accounts.state import Account
from tests.services.provider.providers import (
    PHONE,
    TEST_NUMBER,
    Gp,
    check_sound,
    federation,
    meanwhile,
    settle,
    uri,
)

Two = tuple[Gp, Account, Account]


@pytest.fixture
def two(gp: Gp, alpha: Account, beta: Account) -> Two:
    """Alpha's user has the number; beta's user bob has just proved to hold it too."""
    gp.register(alpha)
    gp.register(beta, user="bob")
    return gp, alpha, beta


def types(gp: Gp, account: Account) -> list[tuple[str, int | None]]:
    return [(event.type, event.sequence) for event in gp.events(account)]


def own(gp: Gp, account: Account) -> list[tuple[str, object]]:
    return [(mapping.user_id, mapping.state) for mapping in gp.preferences.search(account, PHONE).mappings]


# --- the three choices


def test_prefer_moves_the_answer_and_removes_nothing(two: Two) -> None:
    gp, alpha, beta = two
    answer = gp.choose(beta, "prefer", user="bob")
    assert (answer.choice, answer.pending, answer.mapping.preferred_at is None) == ("prefer", [], False)
    assert gp.ask(alpha) == "eu/beta/bob"
    assert (own(gp, alpha), own(gp, beta)) == ([("alice", "active")], [("bob", "active")])
    assert types(gp, alpha) == [("mapping.superseded", 1)]


def test_replace_makes_tombstones_and_says_by_whom(two: Two) -> None:
    gp, alpha, beta = two
    gp.choose(beta, "replace", user="bob")
    assert gp.ask(alpha) == "eu/beta/bob"
    assert own(gp, alpha) == [("alice", "superseded")]
    (event,) = gp.events(alpha)
    assert event.by is not None
    assert (event.type, event.user_id, event.by.provider_id) == ("mapping.superseded", "alice", "beta")
    settle(gp)
    assert (gp.world.tables.users["alpha"], gp.world.tables.users["beta"]) == (0, 1)


def test_keep_changes_nothing_needs_no_proof_and_is_written_down(two: Two) -> None:
    gp, _, beta = two
    for _ in range(2):
        assert gp.choose(beta, "keep", user="bob").mapping.preferred_at is None
    assert gp.ask(beta) == "eu/alpha/alice"
    assert types(gp, beta) == [("mapping.kept", None)] * 2
    gp.world.clock.advance(2 * MINUTE)
    assert gp.webhooks.history(beta, None).events == []
    gp.choose(beta, "prefer", user="bob")
    assert gp.ask(beta) == "eu/beta/bob"


# --- the proof


def test_a_choice_needs_a_code_of_the_last_day(two: Two) -> None:
    gp, _, beta = two
    gp.world.clock.advance(DAY + 1)
    with pytest.raises(VerificationRequired):
        gp.choose(beta, "prefer", user="bob")
    gp.register(beta, user="bob")
    gp.world.clock.advance(DAY)
    gp.choose(beta, "prefer", user="bob")


def test_a_code_is_good_for_one_choice(two: Two) -> None:
    gp, _, beta = two
    gp.choose(beta, "prefer", user="bob")
    with pytest.raises(VerificationRequired):
        gp.choose(beta, "replace", user="bob")


def test_the_same_choice_asked_for_again_is_answered_as_it_stands(two: Two) -> None:
    gp, alpha, beta = two
    first = gp.choose(beta, "replace", user="bob")
    gp.world.clock.advance(HOUR)
    assert gp.choose(beta, "replace", user="bob") == first
    assert types(gp, alpha) == [("mapping.superseded", 1)]


@pytest.mark.parametrize("key", [None, "another key"])
def test_the_same_choice_by_another_request_needs_another_code(two: Two, key: str | None) -> None:
    gp, _, beta = two
    gp.choose(beta, "replace", user="bob", key=key)
    with pytest.raises(VerificationRequired):
        gp.choose(beta, "replace", user="bob", key=None)


def test_a_choice_that_another_has_overtaken_is_not_answered_as_if_it_stood(two: Two) -> None:
    gp, alpha, beta = two
    gp.choose(beta, "prefer", user="bob")
    gp.register(alpha)
    gp.choose(alpha, "prefer")
    with pytest.raises(VerificationRequired):
        gp.choose(beta, "prefer", user="bob")
    assert gp.ask(beta) == "eu/alpha/alice"


@pytest.mark.parametrize("choice", ["prefer", "replace", "keep"])
def test_a_choice_is_for_the_providers_own_mapping_of_that_user(two: Two, choice: str) -> None:
    gp, _, beta = two
    stranger = gp.enrol("stranger")
    for account, user in ((stranger, "bob"), (beta, "alice")):
        with pytest.raises((NotFound, VerificationRequired)):
            gp.choose(account, choice, user=user)
    assert gp.ask(beta) == "eu/alpha/alice"


def test_four_choices_a_day_and_no_more(gp: Gp, alpha: Account, beta: Account) -> None:
    flagged = [gp.enrol(name, test_numbers=True) for name in ("one", "two")]
    for turn in range(5):
        for account in flagged:
            opened = gp.open(account, TEST_NUMBER)
            gp.confirmation.confirm(account, opened, code_of_test_number())
            gp.world.clock.advance(MINUTE)
        if turn < 4:
            gp.choose(flagged[0], "prefer", TEST_NUMBER)
    with pytest.raises(TooManyRequests) as refused:
        gp.choose(flagged[0], "prefer", TEST_NUMBER)
    assert refused.value.limit == "choices-a-day"
    gp.choose(flagged[1], "prefer", TEST_NUMBER)


def code_of_test_number() -> Code:
    return Code(user_id="alice", code="900123")


# --- at once


@pytest.mark.parametrize("calls_before", [("snapshots", "read"), ("store", "pair"), ("store", "commit")])
def test_the_same_choice_twice_at_once_is_made_once(two: Two, calls_before: tuple[str, str]) -> None:
    gp, alpha, beta = two
    port, method = calls_before
    other: list[ChoiceAnswer] = []
    meanwhile(getattr(gp.world, port), method, lambda: other.append(gp.choose(beta, "replace", user="bob")))
    assert [gp.choose(beta, "replace", user="bob")] == other
    assert types(gp, alpha) == [("mapping.superseded", 1)]


def test_of_two_choices_at_once_the_one_that_came_last_stands(two: Two) -> None:
    gp, alpha, beta = two
    gp.register(alpha)
    meanwhile(gp.world.store, "commit", lambda: gp.choose(alpha, "prefer"))
    gp.choose(beta, "replace", user="bob")
    assert gp.ask(alpha) == "eu/beta/bob"
    assert types(gp, alpha) == [("mapping.superseded", 1)]
    assert types(gp, beta) == [("mapping.superseded", 1)]
    check_sound(gp)


# --- ends and beginnings


def test_a_removed_mapping_is_a_tombstone_for_thirty_days(gp: Gp, alpha: Account, beta: Account) -> None:
    mapping_id = str(gp.register(alpha).mapping.mapping_id)
    removed = gp.preferences.remove(alpha, mapping_id)
    assert gp.preferences.remove(alpha, mapping_id) == removed
    assert (removed.state, gp.ask(alpha), types(gp, alpha)) == ("removed", None, [("mapping.removed", 1)])
    gp.world.clock.advance(TOMBSTONE_LIFE - HOUR)
    gp.register(beta, user="bob")
    assert gp.preferences.show(alpha, mapping_id).state == "removed"
    gp.world.clock.advance(HOUR)
    gp.register(beta, user="bob")
    with pytest.raises(NotFound):
        gp.preferences.show(alpha, mapping_id)


def test_another_providers_mapping_is_as_unknown_as_none(two: Two) -> None:
    gp, alpha, beta = two
    (mapping,) = gp.preferences.search(alpha, PHONE).mappings
    for act in (gp.preferences.show, gp.preferences.remove, gp.preferences.restore):
        for name in (str(mapping.mapping_id), "map_nothing", ""):
            with pytest.raises(NotFound):
                act(beta, name)
    assert own(gp, alpha) == [("alice", "active")]


def test_restoring_needs_a_proof_and_brings_the_old_record_back_as_the_choice(two: Two) -> None:
    gp, alpha, beta = two
    before = gp.preferences.search(alpha, PHONE).mappings[0]
    gp.choose(beta, "replace", user="bob")
    gp.world.clock.advance(DAY + HOUR)
    with pytest.raises(VerificationRequired):
        gp.preferences.restore(alpha, str(before.mapping_id))
    gp.register(alpha)
    restored = gp.preferences.restore(alpha, str(before.mapping_id))
    assert (restored.mapping_id, restored.registered_at, restored.state) == (
        before.mapping_id,
        before.registered_at,
        "active",
    )
    assert gp.preferences.restore(alpha, str(before.mapping_id)) == restored
    assert sorted(own(gp, alpha)) == [("alice", "active"), ("alice", "superseded")]
    assert gp.ask(beta) == "eu/alpha/alice"
    settle(gp)
    check_sound(gp)
    assert gp.world.tables.users["alpha"] == 1


def test_two_restores_at_once_leave_the_record_active(two: Two) -> None:
    """The second one has a proof of its own and finds the tombstone risen already."""
    gp, alpha, beta = two
    mapping_id = str(gp.preferences.search(alpha, PHONE).mappings[0].mapping_id)
    gp.choose(beta, "replace", user="bob")
    gp.register(alpha)

    def restore_and_prove_again() -> None:
        gp.preferences.restore(alpha, mapping_id)
        gp.register(alpha)

    meanwhile(gp.world.snapshots, "read", restore_and_prove_again)
    assert gp.preferences.restore(alpha, mapping_id).state == "active"
    assert gp.ask(beta) == "eu/alpha/alice"
    check_sound(gp)


def test_a_tombstone_whose_time_is_up_does_not_rise(gp: Gp, alpha: Account) -> None:
    mapping_id = str(gp.register(alpha).mapping.mapping_id)
    gp.preferences.remove(alpha, mapping_id)
    gp.world.clock.advance(TOMBSTONE_LIFE - 2 * MINUTE - 1)
    gp.register(alpha)
    gp.world.clock.advance(MINUTE)
    with pytest.raises((Gone, NotFound)):
        gp.preferences.restore(alpha, mapping_id)


# --- peers


def test_a_choice_is_later_than_every_stamp_that_peers_tell_of() -> None:
    eu, us = federation("eu", "us")
    alpha, gamma = eu.enrol("alpha"), us.enrol("gamma")
    us.register(gamma)
    row = us.world.tables.records[uri(PHONE)]
    (record,) = row.value.all
    ahead = dataclasses.replace(record, preferred_at=us.world.clock() + 4 * MINUTE)
    us.world.tables.records[uri(PHONE)] = row.next(dataclasses.replace(row.value, all=(ahead,)))
    eu.register(alpha, user="bob")
    eu.choose(alpha, "prefer", user="bob")
    assert eu.ask(alpha) == us.ask(gamma) == "eu/alpha/bob"


def test_a_choice_names_the_peers_that_could_not_be_asked_and_claims_from_them_later() -> None:
    eu, us = federation("eu", "us")
    alpha, gamma = eu.enrol("alpha", webhook=True), us.enrol("gamma", webhook=True)
    us.register(gamma)
    eu.world.peer_client.down.add("us")
    eu.register(alpha, user="bob")
    assert eu.choose(alpha, "replace", user="bob").pending == ["us"]
    settle_for(eu, us, minutes=30)
    assert own(us, gamma) == [("alice", "active")]
    eu.world.peer_client.down.clear()
    settle(eu, us, minutes=120)
    assert us.ask(gamma) == eu.ask(alpha) == "eu/alpha/bob"
    assert own(us, gamma) == [("alice", "superseded")]
    assert [event.type for event in us.events(gamma)] == ["mapping.superseded"]


def settle_for(*gps: Gp, minutes: int) -> None:
    for _ in range(minutes):
        gps[0].world.clock.advance(MINUTE)
        for gp in gps:
            gp.minute()
