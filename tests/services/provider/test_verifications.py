"""Sending codes: what may be sent to whom, how often, and what survives a network or a limiter that is down."""

import logging
from collections.abc import Callable

import pytest

from chalicelib.errors import (
    IdempotencyKeyReused,
    InvalidIdentifier,
    InvalidValue,
    NotFound,
    SendingPaused,
    TooManyRequests,
    Unavailable,
    VerificationEnded,
    WrongCode,
)
from chalicelib.protocol.glados.client_api import Code, VerificationRequest
from chalicelib.protocol.timestamps import DAY, HOUR, MINUTE, SECOND, parse_time
from chalicelib.services.accounts.state import Account
from chalicelib.services.ports import Unreachable
from chalicelib.services.provider.state import VerificationId
from chalicelib.services.provider.verifications import SEND_GRACE
from tests.fakes.world import World
from tests.services.provider.providers import MAIL, OTHER_PHONE, PHONE, TEST_NUMBER, Gp, uri

NUMBER = uri(PHONE).address


def failing(error: type[Exception]) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error("as asked")

    return fail


def wait_for(refused: TooManyRequests) -> int:
    assert refused.retry_after_seconds is not None
    return round(refused.retry_after_seconds)


# --- what is opened


@pytest.mark.parametrize(("sii", "channel"), [(PHONE, "sms"), (MAIL, "email")])
def test_a_code_goes_by_the_identifiers_own_channel(gp: Gp, alpha: Account, sii: str, channel: str) -> None:
    answer, _ = gp.verifications.open(alpha, VerificationRequest(sii=sii, user_id="alice"), None)
    assert (answer.channel, answer.attempts_left) == (channel, 5)
    assert parse_time(answer.expires_at) == gp.world.clock() + 10 * MINUTE
    assert [message.to for message in gp.world.messenger.inbox] == [uri(sii).address]


def test_the_code_goes_to_the_canonical_address(gp: Gp, alpha: Account) -> None:
    gp.open(alpha, "TEL:+49 (151) 2345-6789")
    assert [message.to for message in gp.world.messenger.inbox] == [NUMBER]


def test_a_channel_that_does_not_fit_is_refused(gp: Gp, alpha: Account) -> None:
    request = VerificationRequest(sii=PHONE, user_id="alice", channel="email")
    with pytest.raises(InvalidValue, match="goes by sms"):
        gp.verifications.open(alpha, request, None)


@pytest.mark.parametrize(
    "sii",
    ["tel:+1800FLOWERS", "tel:+493012345;ext=5", "tel:+4930123456", "tel:+8823456789", "mailto:a@b@c", "sip:alice@b"],
)
def test_what_takes_no_message_is_refused_and_uses_up_nothing(gp: Gp, alpha: Account, sii: str) -> None:
    with pytest.raises(InvalidIdentifier):
        gp.open(alpha, sii)
    assert gp.world.messenger.inbox == []
    assert gp.world.tables.counts == {}


def test_a_region_is_closed_until_the_operator_opens_it(gp: Gp, world: World) -> None:
    account, _ = gp.enrolment.enrol(
        "gamma", "Gamma", "gamma.example", review="ticket 9", certificates=(("g" * 43, 1),), sms_regions=("FR",)
    )
    with pytest.raises(InvalidIdentifier, match="region"):
        gp.open(account, PHONE)
    gp.open(account, "tel:+33612345678")
    gp.open(account, MAIL)
    assert len(world.messenger.inbox) == 2


def test_a_new_verification_cancels_the_pairs_old_one_and_nobody_elses(
    gp: Gp, alpha: Account, beta: Account, world: World
) -> None:
    opened = []
    for account, user in ((alpha, "alice"), (alpha, "bob"), (beta, "alice"), (alpha, "alice")):
        opened.append(gp.open(account, user=user))
        world.clock.advance(2 * HOUR)
    world.clock.advance(-8 * HOUR)
    states = [world.tables.verifications[VerificationId(name)].state for name in opened]
    assert states == ["cancelled", "pending", "pending", "pending"]


def test_another_providers_verification_is_as_unknown_as_none(gp: Gp, alpha: Account, beta: Account) -> None:
    opened = gp.open(alpha)
    for act in (gp.verifications.status, gp.verifications.resend, gp.verifications.cancel):
        for account, name in ((beta, opened), (alpha, "no-such-thing")):
            with pytest.raises(NotFound):
                act(account, name)
    assert gp.verifications.status(alpha, opened).state == "pending"


def test_a_test_number_is_for_flagged_providers_and_is_sent_nothing(gp: Gp, alpha: Account, world: World) -> None:
    with pytest.raises(InvalidIdentifier):
        gp.open(alpha, TEST_NUMBER)
    flagged = gp.enrol("flagged", test_numbers=True)
    for _ in range(20):
        gp.open(flagged, TEST_NUMBER)
    assert world.messenger.inbox == []
    assert world.tables.counts == {}


# --- the same request again


def test_a_repeat_with_the_same_key_lands_on_the_same_verification(gp: Gp, alpha: Account, world: World) -> None:
    assert gp.open(alpha, key="one") == gp.open(alpha, key="one")
    assert len(world.messenger.inbox) == 1


def test_a_key_is_one_providers_own(gp: Gp, alpha: Account, beta: Account, world: World) -> None:
    one = gp.open(alpha, key="one")
    world.clock.advance(MINUTE)
    assert gp.open(beta, key="one") != one


@pytest.mark.parametrize(("sii", "user"), [(OTHER_PHONE, "alice"), (PHONE, "bob")])
def test_another_request_under_a_key_in_use_is_refused(gp: Gp, alpha: Account, sii: str, user: str) -> None:
    gp.open(alpha, key="one")
    with pytest.raises(IdempotencyKeyReused):
        gp.open(alpha, sii, user, key="one")
    assert len(gp.world.messenger.inbox) == 1


def test_a_key_is_free_again_after_a_day(gp: Gp, alpha: Account, world: World) -> None:
    seen = set()
    for _ in range(4):
        opened = gp.open(alpha, key="one")
        assert gp.verifications.status(alpha, opened).state == "pending"
        assert gp.open(alpha, key="one") == opened
        seen.add(opened)
        world.clock.advance(DAY)
    assert len(seen) == 4


# --- how often


def test_sends_are_spaced_ever_wider(gp: Gp, alpha: Account, world: World) -> None:
    opened, waits = gp.open(alpha), []
    for _ in range(3):
        with pytest.raises(TooManyRequests) as refused:
            gp.verifications.resend(alpha, opened)
        waits.append(wait_for(refused.value))
        world.clock.advance(waits[-1] * SECOND - 1)
        with pytest.raises(TooManyRequests):
            gp.verifications.resend(alpha, opened)
        world.clock.advance(1)
        gp.verifications.resend(alpha, opened)
    assert waits == [30, 60, 300]
    assert len({message.code for message in world.messenger.inbox}) == 1


def test_one_provider_sends_four_a_day_and_all_together_eight(gp: Gp, world: World) -> None:
    accounts = [gp.enrol(name) for name in ("one", "two", "three")]
    limits = []
    for account in accounts:
        for turn in range(5):
            world.clock.advance(HOUR)
            try:
                gp.open(account, user=f"user {turn}")
            except TooManyRequests as refused:
                limits.append(refused.limit)
    assert len(world.messenger.inbox) == 8
    assert limits == ["sends-to-identifier-by-provider"] + ["sends-to-identifier"] * 6


def test_a_delay_does_not_end_at_midnight(gp: Gp, alpha: Account, beta: Account, world: World) -> None:
    world.clock.advance(DAY - world.clock() % DAY - SECOND)
    gp.open(alpha)
    world.clock.advance(2 * SECOND)
    with pytest.raises(TooManyRequests) as refused:
        gp.open(beta)
    assert (refused.value.limit, wait_for(refused.value)) == ("send-delay", 28)


def test_a_right_code_clears_the_delay_and_keeps_the_count(gp: Gp, alpha: Account, beta: Account, world: World) -> None:
    world.clock.advance(DAY - world.clock() % DAY - SECOND)
    opened = gp.open(alpha)
    world.clock.advance(2 * SECOND)
    gp.enter(alpha, opened)
    gp.enter(beta, gp.open(beta))
    gp.enter(alpha, gp.open(alpha))
    counts = sorted(
        (limit.window, count.count) for limit, count in world.tables.counts.items() if limit.kind == "sends"
    )
    assert [count for _, count in counts] == [1, 2]


def test_a_refused_send_consumes_nothing(gp: Gp, alpha: Account, world: World) -> None:
    gp.open(alpha)
    before = dict(world.tables.counts), dict(world.buckets._rows)
    with pytest.raises(TooManyRequests):
        gp.open(alpha)
    assert (dict(world.tables.counts), dict(world.buckets._rows)) == before


def test_attempts_that_were_spent_stay_spent_when_the_code_is_sent_again(gp: Gp, alpha: Account, world: World) -> None:
    opened = gp.open(alpha)
    spend_wrong(gp, alpha, opened)
    world.clock.advance(MINUTE)
    answer, _ = gp.verifications.resend(alpha, opened)
    assert answer.attempts_left == 4


def spend_wrong(gp: Gp, account: Account, opened: str) -> None:
    wrong = f"{(int(gp.code(opened)) + 1) % 10**6:06d}"
    with pytest.raises(WrongCode):
        gp.confirmation.confirm(account, opened, Code(user_id="alice", code=wrong))


def test_a_provider_whose_codes_do_not_come_back_is_paused(gp: Gp, alpha: Account, world: World) -> None:
    for turn in range(100):
        gp.open(alpha, f"mailto:user{turn}@example.com")
    world.clock.advance(HOUR)
    with pytest.raises(SendingPaused):
        gp.open(alpha)


def test_the_operators_floor_of_sends_is_a_burst_for_each_provider(gp: Gp, alpha: Account) -> None:
    for turn in range(200):
        gp.open(alpha, f"mailto:user{turn}@example.com")
    with pytest.raises(TooManyRequests) as refused:
        gp.open(alpha)
    assert refused.value.limit == "sends-by-provider"
    assert len(gp.world.messenger.inbox) == 200


def test_a_region_bounds_all_providers_together_and_refuses_for_free(gp: Gp, alpha: Account, beta: Account) -> None:
    for turn in range(100):
        gp.open(alpha if turn % 2 else beta, f"tel:+4915123{turn:06d}")
    tokens = gp.world.buckets._rows["alpha", "sends"].tokens
    with pytest.raises(TooManyRequests) as refused:
        gp.open(alpha, "tel:+4915123999999")
    assert refused.value.limit == "sends-to-region"
    assert gp.world.buckets._rows["alpha", "sends"].tokens == tokens


def test_nothing_is_sent_while_the_limiter_is_down(gp: Gp, alpha: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gp.world.buckets, "take", failing(Unreachable))
    with pytest.raises(Unavailable):
        gp.open(alpha)
    assert gp.world.messenger.inbox == []
    assert gp.world.tables.verifications == {}


# --- the message


def test_a_network_that_is_down_does_not_fail_the_request_and_the_outbox_sends_later(
    gp: Gp, alpha: Account, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as outage:
        outage.setattr(world.messenger, "send_sms", failing(Unreachable))
        opened = gp.open(alpha)
        assert gp.verifications.status(alpha, opened).delivery.state == "queued"
        world.clock.advance(SEND_GRACE)
        assert gp.dispatch.sweep() == 1
    assert world.messenger.inbox == []
    world.clock.advance(MINUTE)
    assert gp.dispatch.sweep() == 1
    assert gp.verifications.status(alpha, opened).delivery.state == "sent"
    assert gp.enter(alpha, opened).mapping.user_id == "alice"


def test_what_the_network_refuses_for_good_is_told_and_not_tried_again(gp: Gp, alpha: Account, world: World) -> None:
    world.messenger.undeliverable.add(NUMBER)
    opened = gp.open(alpha)
    assert gp.verifications.status(alpha, opened).delivery.state == "failed"
    assert world.outbox.entries == []


def test_a_message_for_a_verification_that_has_ended_is_not_sent(
    gp: Gp, alpha: Account, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as outage:
        outage.setattr(world.messenger, "send_sms", failing(Unreachable))
        gp.verifications.cancel(alpha, gp.open(alpha))
    world.clock.advance(MINUTE)
    gp.dispatch.sweep()
    assert (world.messenger.inbox, world.outbox.entries) == ([], [])


def test_cancelling_twice_is_no_error_and_the_code_is_dead(gp: Gp, alpha: Account) -> None:
    opened = gp.open(alpha)
    gp.verifications.cancel(alpha, opened)
    gp.verifications.cancel(alpha, opened)
    with pytest.raises(VerificationEnded):
        gp.enter(alpha, opened)
    with pytest.raises(VerificationEnded):
        gp.verifications.resend(alpha, opened)


def test_no_code_stands_in_any_log_or_in_the_outbox(
    gp: Gp, alpha: Account, world: World, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        world.fail("store", "commit", skip=1)
        with pytest.raises(ConnectionError):
            gp.open(alpha, key="one")
        opened = gp.open(alpha, key="one")
        code = gp.code(opened)
        kept = repr(world.tables)
        gp.enter(alpha, opened)
    written = capfd.readouterr()
    assert code not in caplog.text + written.out + written.err
    assert code not in kept
