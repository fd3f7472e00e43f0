"""`Idempotency`: the same key and body has one answer for a day, and one worker at a time."""

import pytest

from chalicelib.errors import IdempotencyKeyReused, RequestInFlight
from chalicelib.protocol.timestamps import DAY, SECOND
from chalicelib.services.accounts.state import StoredAnswer
from tests.contracts.examples import NOW
from tests.contracts.ports import Ports
from tests.contracts.races import race, winners

KEY = ("alpha", "POST", "/v1/verifications", "1")
BODY = b'{"sii": "tel:+4915123456789"}'
UNTIL = NOW + 30 * SECOND
ANSWER: StoredAnswer = (201, {"content-type": "application/json"}, b'{"\x00"}')


def test_a_repeat_has_the_answer_of_the_first(ports: Ports) -> None:
    assert ports.idempotency.begin(KEY, BODY, NOW, UNTIL) is None
    ports.idempotency.finish(KEY, ANSWER)
    assert ports.idempotency.begin(KEY, BODY, NOW + 1, UNTIL + 1) == ANSWER


def test_of_repeats_at_once_one_is_worked_on(ports: Ports) -> None:
    outcomes = race(*(lambda: ports.idempotency.begin(KEY, BODY, NOW, UNTIL) for _ in range(6)))
    assert winners(outcomes, RequestInFlight) == 1
    assert [outcome for outcome in outcomes if not isinstance(outcome, Exception)] == [None]


def test_who_waits_is_told_how_long(ports: Ports) -> None:
    ports.idempotency.begin(KEY, BODY, NOW, UNTIL)
    with pytest.raises(RequestInFlight) as waiting:
        ports.idempotency.begin(KEY, BODY, UNTIL - 2 * SECOND, UNTIL)
    assert waiting.value.retry_after_seconds is not None
    assert 0 < waiting.value.retry_after_seconds <= 2


def test_a_worker_that_died_is_waited_for_no_longer_than_it_said(ports: Ports) -> None:
    ports.idempotency.begin(KEY, BODY, NOW, UNTIL)
    assert ports.idempotency.begin(KEY, BODY, UNTIL, UNTIL + 30 * SECOND) is None
    with pytest.raises(RequestInFlight):
        ports.idempotency.begin(KEY, BODY, UNTIL, UNTIL + 30 * SECOND)


@pytest.mark.parametrize("finished", [False, True], ids=["in flight", "finished"])
def test_another_body_under_the_same_key_is_refused(ports: Ports, finished: bool) -> None:
    ports.idempotency.begin(KEY, BODY, NOW, UNTIL)
    if finished:
        ports.idempotency.finish(KEY, ANSWER)
    with pytest.raises(IdempotencyKeyReused):
        ports.idempotency.begin(KEY, BODY + b" ", NOW + 1, UNTIL)


@pytest.mark.parametrize("place", range(len(KEY)))
def test_another_caller_route_or_key_is_another_request(ports: Ports, place: int) -> None:
    ports.idempotency.begin(KEY, BODY, NOW, UNTIL)
    other = [*KEY[:place], "other", *KEY[place + 1 :]]
    assert ports.idempotency.begin(other, b"another body", NOW, UNTIL) is None


def test_the_parts_of_a_key_do_not_run_together(ports: Ports) -> None:
    ports.idempotency.begin(("ab", "c"), BODY, NOW, UNTIL)
    assert ports.idempotency.begin(("a", "bc"), BODY, NOW, UNTIL) is None


def test_an_abandoned_request_can_begin_again_with_any_body(ports: Ports) -> None:
    ports.idempotency.begin(KEY, BODY, NOW, UNTIL)
    ports.idempotency.abandon(KEY)
    ports.idempotency.abandon(KEY)
    assert ports.idempotency.begin(KEY, b"another body", NOW, UNTIL) is None


def test_an_answer_whose_reply_was_lost_is_not_abandoned(ports: Ports) -> None:
    ports.idempotency.begin(KEY, BODY, NOW, UNTIL)
    ports.lose_reply("idempotency", "finish")
    race(lambda: ports.idempotency.finish(KEY, ANSWER))
    ports.idempotency.abandon(KEY)
    assert ports.idempotency.begin(KEY, BODY, NOW + 1, UNTIL) == ANSWER


def test_an_answer_is_kept_for_a_day(ports: Ports) -> None:
    ports.idempotency.begin(KEY, BODY, NOW, UNTIL)
    ports.idempotency.finish(KEY, ANSWER)
    late = NOW + DAY - SECOND
    assert ports.idempotency.begin(KEY, BODY, late, late + SECOND) == ANSWER
    later = NOW + DAY + SECOND
    assert ports.idempotency.begin(KEY, b"another body", later, later + SECOND) is None
