"""Idempotency-Key: a repeat is answered as the first time and does nothing twice."""

from typing import Any

import pytest

from chalicelib import errors
from chalicelib.handlers.serving import IN_FLIGHT
from chalicelib.wiring import provider
from tests.fakes.clock import SettableClock
from tests.handlers.conftest import code_in, texts
from tests.handlers.edge import Answer, Ap
from tests.handlers.examples import ROUTES

DAY = 86_400_000
SEND_DELAY = 30_000
PATH = "/v1/verifications"


def body(number: str, user_id: str = "alice") -> dict[str, str]:
    return {"sii": number, "user_id": user_id}


def wrong(number: str) -> dict[str, str]:
    """Return a code that is not the one that the number was sent."""
    right = int(code_in(texts(number)[0]))
    return {"user_id": "alice", "code": f"{(right + 1) % 1_000_000:06d}"}


def failing_once(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Let the next verification that is opened fail."""
    service = provider.verifications()

    class Failing:
        def open(self, *_: Any) -> Any:
            monkeypatch.setattr(provider, "verifications", lambda: service)
            raise error

    monkeypatch.setattr(provider, "verifications", Failing)


def test_every_post_that_writes_for_a_provider_takes_a_key() -> None:
    reading = {"/v1/queries", "/v1/mappings/search"}
    posts = {route.path for route in ROUTES if route.method == "POST" and route.caller in ("token", "account")}
    assert {route.path for route in ROUTES if route.repeatable} == posts - reading


def test_the_same_body_is_answered_as_the_first_time_and_done_once(alpha: Ap, number: str) -> None:
    first, second = (alpha.call("POST", PATH, body(number), key="once") for _ in range(2))
    assert (second.status, second.body) == (first.status, first.body) == (201, first.body)
    for name in ("location", "content-type", "cache-control"):
        assert second.headers[name] == first.headers[name]
    assert second.headers["x-request-id"] != first.headers["x-request-id"]
    assert len(texts(number)) == 1


def test_another_body_under_the_same_key_is_409(alpha: Ap, number: str) -> None:
    alpha.call("POST", PATH, body(number), key="reused")
    alpha.call("POST", PATH, body(number, "bob"), key="reused").problem(409, "idempotency-key-reused")
    assert len(texts(number)) == 1


def test_a_refusal_is_kept_too_and_names_the_request_that_it_answers(alpha: Ap) -> None:
    none = {"sii": "tel:+1", "user_id": "alice"}
    first, second = (alpha.call("POST", PATH, none, key="refused").problem(422, "invalid-identifier") for _ in range(2))
    assert first["request_id"] != second["request_id"]
    assert {**first, "request_id": ""} == {**second, "request_id": ""}


def test_a_repeat_that_comes_while_the_first_is_worked_on_is_told_to_wait(
    alpha: Ap, number: str, monkeypatch: pytest.MonkeyPatch, clock: SettableClock
) -> None:
    service, meanwhile = provider.verifications(), []

    class Slow:
        def open(self, *asked: Any) -> Any:
            meanwhile.append(alpha.call("POST", PATH, body(number), key="slow"))
            return service.open(*asked)

    monkeypatch.setattr(provider, "verifications", Slow)
    assert alpha.call("POST", PATH, body(number), key="slow").status == 201
    meanwhile[0].problem(409, "request-in-flight")
    assert 1 <= int(meanwhile[0].headers["retry-after"]) <= IN_FLIGHT / 1000
    assert alpha.call("POST", PATH, body(number), key="slow").status == 201


def test_a_429_is_not_kept(alpha: Ap, number: str, clock: SettableClock) -> None:
    alpha.call("POST", PATH, body(number), key="first")
    refused = alpha.call("POST", PATH, body(number), key="second")
    assert refused.problem(429, "too-many-requests")["limit"] == "send-delay"
    clock.advance(int(refused.headers["retry-after"]) * 1000)
    assert alpha.call("POST", PATH, body(number), key="second").status == 201


@pytest.mark.parametrize("error", [RuntimeError("a bug"), errors.Unavailable("not now")], ids=["bug", "outage"])
def test_a_5xx_is_not_kept(alpha: Ap, number: str, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    key = type(error).__name__
    failing_once(monkeypatch, error)
    assert alpha.call("POST", PATH, body(number), key=key).status >= 500
    assert alpha.call("POST", PATH, body(number), key=key).status == 201


def test_a_key_is_one_providers_and_one_routes(alpha: Ap, beta: Ap, number: str, clock: SettableClock) -> None:
    opened = alpha.call("POST", PATH, body(number), key="mine")
    clock.advance(SEND_DELAY)
    assert beta.call("POST", PATH, body(number, "bob"), key="mine").status == 201
    code = wrong(number)
    alpha.call("POST", f"{opened.headers['location']}/code", code, key="mine").problem(422, "wrong-code")


def test_a_wrong_code_that_is_repeated_costs_one_attempt(alpha: Ap, number: str) -> None:
    location = alpha.call("POST", PATH, body(number)).headers["location"]
    code = wrong(number)
    left = {
        alpha.call("POST", f"{location}/code", code, key="x").problem(422, "wrong-code")["attempts_left"]
        for _ in range(3)
    }
    assert left == {4}
    assert alpha.call("GET", location).json["attempts_left"] == 4


def test_a_key_is_free_again_after_a_day(alpha: Ap, number: str, clock: SettableClock) -> None:
    first = alpha.call("POST", PATH, body(number), key="old")
    clock.advance(DAY - 1)
    alpha.call("POST", PATH, body(number, "bob"), key="old").problem(409, "idempotency-key-reused")
    clock.advance(1)
    second = alpha.call("POST", PATH, body(number, "bob"), key="old")
    assert (second.status, second.json["verification_id"] != first.json["verification_id"]) == (201, True)


@pytest.mark.parametrize("key", ["", "a" * 256, "ä", "a\tb", "a\x7f"])
def test_a_key_that_is_none_is_422(alpha: Ap, number: str, key: str) -> None:
    assert alpha.call("POST", PATH, body(number), key=key).problem(422, "invalid-value")["field"] == "Idempotency-Key"


def test_limits_are_told_as_a_lower_bound(alpha: Ap, number: str) -> None:
    def told(answer: Answer) -> tuple[str, int]:
        policy, quota = answer.headers["ratelimit-policy"].split(";")[:2]
        name, remaining = answer.headers["ratelimit"].split(";")[:2]
        assert name == policy
        assert 0 <= int(remaining.removeprefix("r=")) < int(quota.removeprefix("q="))
        return policy, int(remaining.removeprefix("r="))

    assert told(alpha.call("POST", PATH, body(number)))[0] == '"sends"'
    for _ in range(3):
        assert told(alpha.call("POST", "/v1/queries", {"sii": number}))[0] == '"queries"'


def test_a_provider_that_asks_too_fast_is_told_when_to_come_back(alpha: Ap, number: str, clock: SettableClock) -> None:
    answers: list[Answer] = []
    token = alpha.token()
    while not answers or answers[-1].status == 200:
        answers.append(alpha.call("POST", "/v1/queries", {"sii": number}, token=token))
        assert len(answers) <= 250
    refused = answers[-1]
    assert refused.problem(429, "too-many-requests")["limit"] == "queries"
    clock.advance(int(refused.headers["retry-after"]) * 1000)
    assert alpha.call("POST", "/v1/queries", {"sii": number}).status == 200
