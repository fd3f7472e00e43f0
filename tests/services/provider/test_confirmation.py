"""Codes that come back: how many may be wrong, what the right one makes, and who wins when several come at once."""

import dataclasses
import threading

import pytest

from chalicelib.errors import (
    InvalidValue,
    NotFound,
    Refusal,
    TooManyMappings,
    TooManyRequests,
    VerificationEnded,
    WrongCode,
)
from chalicelib.protocol.glados.client_api import Code, ConfirmAnswer
from chalicelib.protocol.glados.mappings import MOST_ACTIVE
from chalicelib.protocol.timestamps import DAY, HOUR, MINUTE, SECOND, format_time
from chalicelib.services.accounts.state import Account
from chalicelib.services.provider.state import VerificationId
from tests.fakes.world import World
from tests.services.provider.providers import (
    MAIL,
    PHONE,
    TEST_NUMBER,
    Gp,
    check_sound,
    federation,
    meanwhile,
    settle,
    uri,
)


def wrong_for(gp: Gp, opened: str, turn: int = 0) -> str:
    return f"{(int(gp.code(opened)) + 1 + turn) % 10**6:06d}"


def guess(gp: Gp, account: Account, opened: str, turn: int = 0, user: str = "alice") -> type[Refusal]:
    """Enter a wrong code and return how it was refused."""
    with pytest.raises(Refusal) as refused:
        gp.confirmation.confirm(account, opened, Code(user_id=user, code=wrong_for(gp, opened, turn)))
    return type(refused.value)


def lock(gp: Gp, account: Account, opened: str) -> None:
    for turn in range(5):
        guess(gp, account, opened, turn)


# --- wrong codes


def test_four_wrong_codes_count_down_and_the_fifth_ends_it(gp: Gp, alpha: Account) -> None:
    opened, left = gp.open(alpha), []
    for turn in range(4):
        with pytest.raises(WrongCode) as refused:
            gp.confirmation.confirm(alpha, opened, Code(user_id="alice", code=wrong_for(gp, opened, turn)))
        left.append(refused.value.attempts_left)
    assert left == [4, 3, 2, 1]
    assert guess(gp, alpha, opened) is VerificationEnded
    with pytest.raises(VerificationEnded):
        gp.enter(alpha, opened)


def test_ten_thousand_wrong_codes_never_let_the_right_one_in_afterwards(
    gp: Gp, alpha: Account, beta: Account, world: World
) -> None:
    """Neither in the verification that was guessed at, nor in any later one of the day, whoever opens it."""
    opened = gp.open(alpha)
    for turn in range(10_000):
        guess(gp, alpha, opened, turn % 999_999)
    with pytest.raises(VerificationEnded):
        gp.enter(alpha, opened)
    world.clock.advance(MINUTE)
    lock(gp, beta, gp.open(beta))
    world.clock.advance(HOUR)
    for account in (alpha, beta):
        with pytest.raises(TooManyRequests) as refused:
            gp.open(account)
        assert refused.value.limit == "wrong-codes-a-day"
    assert gp.ask(alpha) is None


def test_every_wrong_code_counts_against_the_number_whoever_asked(gp: Gp, alpha: Account, beta: Account) -> None:
    first = gp.open(alpha)
    gp.world.clock.advance(MINUTE)
    second = gp.open(beta)
    gp.world.clock.advance(MINUTE)
    third = gp.open(alpha, user="bob")
    lock(gp, alpha, first)
    lock(gp, beta, second)
    code = Code(user_id="bob", code=gp.code(third))
    with pytest.raises(TooManyRequests) as refused:
        gp.confirmation.confirm(alpha, third, code)
    assert refused.value.limit == "wrong-codes"
    verification = gp.world.tables.verifications[VerificationId(third)]
    assert (verification.state, verification.attempts) == ("pending", 0)


def test_the_refusal_of_a_month_says_when_the_month_ends(gp: Gp, alpha: Account, world: World) -> None:
    world.clock.advance(-(world.clock() % (30 * DAY)))
    for _ in range(6):
        lock(gp, alpha, gp.open(alpha))
        world.clock.advance(12 * HOUR)
    with pytest.raises(TooManyRequests) as refused:
        gp.open(alpha)
    assert (refused.value.limit, refused.value.retry_after_seconds) == ("wrong-codes-in-30-days", 27 * DAY / SECOND)


def test_a_code_entered_at_the_months_limit_says_when_the_month_ends(gp: Gp, alpha: Account, world: World) -> None:
    world.clock.advance(-(world.clock() % (30 * DAY)))
    for _ in range(5):
        lock(gp, alpha, gp.open(alpha))
        world.clock.advance(DAY)
    opened = gp.open(alpha, user="bob")
    world.clock.advance(MINUTE)
    lock(gp, alpha, gp.open(alpha))
    with pytest.raises(TooManyRequests) as refused:
        gp.enter(alpha, opened, "bob")
    assert refused.value.retry_after_seconds == (25 * DAY - MINUTE) / SECOND


@pytest.mark.parametrize("code", ["12345", "1234567", "12345a", "１２３４５６", " 12345", ""])
def test_what_is_no_code_costs_no_attempt(gp: Gp, alpha: Account, code: str) -> None:
    opened = gp.open(alpha)
    with pytest.raises(InvalidValue):
        gp.confirmation.confirm(alpha, opened, Code(user_id="alice", code=code))
    assert gp.verifications.status(alpha, opened).attempts_left == 5


def test_a_code_is_good_for_ten_minutes(gp: Gp, alpha: Account, world: World) -> None:
    opened = gp.open(alpha)
    world.clock.advance(10 * MINUTE)
    with pytest.raises(VerificationEnded) as ended:
        gp.enter(alpha, opened)
    assert ended.value.state == "expired"
    assert gp.verifications.status(alpha, opened).state == "expired"


def test_a_code_is_good_for_its_own_verification_user_and_provider(gp: Gp, alpha: Account, beta: Account) -> None:
    one = gp.open(alpha)
    code = gp.code(one)
    gp.world.clock.advance(MINUTE)
    other = gp.open(alpha, user="bob")
    for account, opened, user, refusal in (
        (beta, one, "alice", NotFound),
        (alpha, one, "bob", InvalidValue),
        (alpha, other, "bob", WrongCode),
    ):
        with pytest.raises(refusal):
            gp.confirmation.confirm(account, opened, Code(user_id=user, code=code))
    assert gp.verifications.status(alpha, one).attempts_left == 5


# --- the mapping


def test_the_first_mapping_of_an_identifier_is_preferred_by_itself(gp: Gp, alpha: Account, beta: Account) -> None:
    first = gp.register(alpha)
    assert (first.prior, first.prior_complete) == ([], True)
    assert first.mapping.preferred_at == first.mapping.registered_at == format_time(gp.world.clock())
    second = gp.register(beta, user="bob")
    assert [prior.provider_id for prior in second.prior] == ["alpha"]
    assert second.mapping.preferred_at is None
    assert gp.ask(beta) == "eu/alpha/alice"


def test_a_mapping_can_be_asked_for_the_moment_its_code_was_answered(gp: Gp, alpha: Account) -> None:
    gp.register(alpha, MAIL)
    assert gp.ask(alpha, MAIL) == "eu/alpha/alice"


def test_the_same_user_verified_again_keeps_registration_and_choice(gp: Gp, alpha: Account) -> None:
    first = gp.register(alpha).mapping
    assert gp.register(alpha).mapping == first
    settle(gp)
    assert gp.world.tables.users["alpha"] == 1


def test_a_number_that_moved_replaces_the_providers_record_and_tells_it(gp: Gp, alpha: Account) -> None:
    first = gp.register(alpha).mapping
    second = gp.register(alpha, user="bob").mapping
    assert second.mapping_id != first.mapping_id
    assert gp.ask(alpha) == "eu/alpha/bob"
    (event,) = [event for event in gp.events(alpha) if event.type == "mapping.superseded"]
    assert (event.mapping_id, event.user_id, event.sequence) == (first.mapping_id, "alice", 1)
    settle(gp)
    check_sound(gp)


def test_a_search_that_was_not_complete_makes_no_preferred_mapping() -> None:
    eu, us = federation("eu", "us")
    alpha = eu.enrol("alpha")
    eu.world.peer_client.down.add("us")
    answer = eu.register(alpha)
    assert (answer.prior, answer.prior_complete, answer.mapping.preferred_at) == ([], False, None)
    assert us.world.peer_client.asked == []


def test_prior_mappings_are_found_on_peers_too() -> None:
    eu, us = federation("eu", "us")
    alpha, gamma = eu.enrol("alpha"), us.enrol("gamma")
    eu.register(alpha)
    answer = us.register(gamma)
    assert [(prior.gp, prior.provider_id) for prior in answer.prior] == [("eu", "alpha")]
    assert answer.mapping.preferred_at is None


def test_a_namesake_at_another_gp_is_prior_and_takes_nobody_over() -> None:
    """Provider ids are each GP's own: the operator of one does not ask the other's."""
    eu, us = federation("eu", "us")
    here, there = eu.enrol("alpha"), us.enrol("alpha")
    eu.register(here)
    answer = us.register(there, user="bob")
    assert [(prior.gp, prior.provider_id) for prior in answer.prior] == [("eu", "alpha")]
    assert answer.mapping.preferred_at is None
    assert us.ask(there) == eu.ask(here) == "eu/alpha/alice"


def test_an_identifier_has_at_most_32_mappings(gp: Gp, world: World) -> None:
    for turn in range(MOST_ACTIVE):
        gp.register(gp.enrol(f"ap-{turn}"))
        world.clock.advance(DAY)
    late = gp.enrol("late")
    with pytest.raises(TooManyMappings):
        gp.register(late)
    assert gp.preferences.search(late, PHONE).mappings == []


def test_a_test_number_is_mapped_by_its_last_digits_and_seen_by_flagged_providers_only(gp: Gp, alpha: Account) -> None:
    flagged = gp.enrol("flagged", test_numbers=True)
    opened = gp.open(flagged, TEST_NUMBER)
    gp.confirmation.confirm(flagged, opened, Code(user_id="alice", code="900123"))
    assert gp.ask(flagged, TEST_NUMBER) == "eu/flagged/alice"
    assert gp.ask(alpha, TEST_NUMBER) is None
    settle(gp)
    assert all(version.keys == version.bits_set == 0 for version in gp.versions())


# --- the right code again


def test_the_right_code_again_gives_the_same_answer_and_one_mapping(gp: Gp, alpha: Account, world: World) -> None:
    opened = gp.open(alpha)
    first = gp.enter(alpha, opened)
    world.clock.advance(HOUR)
    assert gp.enter(alpha, opened) == first
    assert len(world.tables.records[uri(PHONE)].value.all) == 1
    assert guess(gp, alpha, opened) is VerificationEnded


def test_a_finished_verification_is_no_place_to_guess(gp: Gp, alpha: Account) -> None:
    """An AP might take the answer to a repeat for a proof."""
    opened = gp.open(alpha)
    gp.enter(alpha, opened)
    outcomes = [guess(gp, alpha, opened, turn) for turn in range(12)]
    assert outcomes == [VerificationEnded] * 10 + [TooManyRequests] * 2
    with pytest.raises(TooManyRequests):
        gp.enter(alpha, opened)


def test_a_right_code_whose_mapping_was_not_made_can_be_entered_for_a_day(gp: Gp, alpha: Account, world: World) -> None:
    world.clock.advance(55 * MINUTE)
    opened = gp.open(alpha)
    world.fail("snapshots", "read")
    with pytest.raises(ConnectionError):
        gp.enter(alpha, opened)
    assert gp.verifications.status(alpha, opened).state == "matched"
    world.clock.advance(DAY)
    assert gp.enter(alpha, opened).mapping.state == "active"


def test_after_that_day_it_cannot(gp: Gp, alpha: Account, world: World) -> None:
    opened = gp.open(alpha)
    world.fail("snapshots", "read")
    with pytest.raises(ConnectionError):
        gp.enter(alpha, opened)
    world.clock.advance(DAY + 1)
    with pytest.raises(VerificationEnded):
        gp.enter(alpha, opened)
    assert gp.ask(alpha) is None


# --- at once


@pytest.mark.parametrize("calls_before", [("snapshots", "read"), ("store", "commit"), ("store", "verification")])
def test_the_same_right_code_twice_at_once_makes_one_mapping_and_one_answer(
    gp: Gp, alpha: Account, calls_before: tuple[str, str]
) -> None:
    opened = gp.open(alpha)
    port, method = calls_before
    other: list[ConfirmAnswer] = []
    meanwhile(getattr(gp.world, port), method, lambda: other.append(gp.enter(alpha, opened)))
    assert [gp.enter(alpha, opened)] == other
    assert len(gp.world.tables.records[uri(PHONE)].value.all) == 1
    assert gp.world.tables.verifications[VerificationId(opened)].attempts == 1


def test_of_two_providers_that_confirm_at_once_the_loser_sees_the_winner_as_prior(
    gp: Gp, alpha: Account, beta: Account
) -> None:
    one = gp.open(alpha)
    gp.world.clock.advance(MINUTE)
    two = gp.open(beta)
    winners: list[ConfirmAnswer] = []

    def win_at_the_commit() -> None:
        # The first commit spends the attempt; the second one makes the mapping.
        meanwhile(gp.world.store, "commit", lambda: winners.append(gp.enter(beta, two)))

    meanwhile(gp.world.snapshots, "read", win_at_the_commit)
    loser = gp.enter(alpha, one)
    (winner,) = winners
    assert (winner.prior, winner.mapping.preferred_at is None) == ([], False)
    assert ([prior.provider_id for prior in loser.prior], loser.mapping.preferred_at) == (["beta"], None)
    assert gp.ask(alpha) == "eu/beta/alice"


def test_many_providers_in_many_threads_leave_one_preferred_mapping(gp: Gp, world: World) -> None:
    accounts = [gp.enrol(f"ap-{turn}") for turn in range(6)]
    opened = []
    for account in accounts:
        opened.append(gp.open(account))
        world.clock.advance(61 * MINUTE)
    # Nobody's code has expired: the clock goes back to when the last was sent, and all were sent by then.
    for name in opened:
        verification = world.tables.verifications[VerificationId(name)]
        later = dataclasses.replace(verification, opened_at=world.clock(), expires_at=world.clock() + 10 * MINUTE)
        world.tables.verifications[later.verification_id] = later
    answers: list[ConfirmAnswer] = []
    start = threading.Barrier(len(accounts))

    def enter(account: Account, name: str) -> None:
        start.wait()
        answers.append(gp.enter(account, name))

    threads = [threading.Thread(target=enter, args=pair) for pair in zip(accounts, opened, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(len(answer.prior) for answer in answers) == list(range(6))
    assert sum(answer.mapping.preferred_at is not None for answer in answers) == 1
    settle(gp)
    check_sound(gp)
