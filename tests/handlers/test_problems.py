"""The table from refusals to HTTP is complete and closed."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from chalicelib import errors
from chalicelib.handlers import problems
from infra.local.problems import GatewayProblem
from tests.handlers.edge import Edge
from tests.handlers.examples import NUMBER

MLS = (
    "chalicelib.protocol.mls",
    "chalicelib.protocol.crypto",
    "chalicelib.protocol.delivery",
    "chalicelib.services.delivery",
)
"""What MLS and its delivery refuse is told in the delivery service's own answers, not in a problem document."""


def subclasses(of: type[errors.Refusal]) -> Iterator[type[errors.Refusal]]:
    for one in of.__subclasses__():
        if one.__module__.startswith("chalicelib.") and not one.__module__.startswith(MLS):
            yield one
            yield from subclasses(one)


def test_every_refusal_that_can_be_raised_has_a_row_and_every_row_is_one() -> None:
    served = set(subclasses(errors.Refusal))
    assert served == set(problems.PROBLEMS)


def test_problem_types_are_a_closed_list() -> None:
    slugs = {row.slug for row in (*problems.PROBLEMS.values(), *problems.GATEWAY_PROBLEMS, problems.INTERNAL)}
    assert sorted(f"urn:glados:problem:{slug}" for slug in slugs) == problems.TYPES
    assert all(slug == slug.lower() and slug.replace("-", "").isalpha() for slug in slugs)


def test_one_slug_means_one_status_and_title() -> None:
    rows = (*problems.PROBLEMS.values(), *problems.GATEWAY_PROBLEMS, problems.INTERNAL)
    assert len({(row.slug, row.status, row.title) for row in rows}) == len({row.slug for row in rows})


def test_the_local_gateway_knows_only_types_of_the_list() -> None:
    own = {json.loads(problem.document("1"))["type"] for problem in GatewayProblem}
    assert own <= set(problems.TYPES)


@pytest.mark.parametrize("refused", list(subclasses(errors.NotAuthenticated)), ids=lambda one: one.__name__)
def test_every_401_says_how_to_authenticate(refused: type[errors.Refusal]) -> None:
    assert problems.PROBLEMS[refused].status == 401
    assert problems.headers_of(refused("who is it")).keys() >= {"WWW-Authenticate"}


def test_facts_never_overrule_the_documents_own_members() -> None:
    facts = {"status": 200, "type": "mine", "field": "sii"}
    document = problems.body_of(problems.INTERNAL, "it broke", "request-1", facts)
    assert (document["status"], document["type"], document["field"]) == (
        500,
        "urn:glados:problem:internal-error",
        "sii",
    )


def test_a_wait_is_told_in_whole_seconds_and_never_as_none() -> None:
    waits = [problems.headers_of(errors.TooManyRequests("queries", wait))["Retry-After"] for wait in (0, 0.2, 1.01)]
    assert waits == ["1", "1", "2"]


def test_refusals_are_raised_under_the_names_of_the_table_only() -> None:
    sources = " ".join(path.read_text() for path in Path("chalicelib").rglob("*.py"))
    never = [refused.__name__ for refused in problems.PROBLEMS if f"{refused.__name__}(" not in sources]
    assert never == []


def test_a_bug_is_a_bare_500_and_its_message_goes_nowhere(
    edge: Edge, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise RuntimeError(f"about {NUMBER}")

    monkeypatch.setattr("chalicelib.wiring.signing_keys", broken)
    answer = edge.call("GET", "/.well-known/jwks.json")
    document = answer.problem(500, "internal-error")
    assert set(document) == {"type", "title", "status", "detail", "request_id"}
    said = capsys.readouterr()
    logged = [json.loads(line) for line in said.err.splitlines()]
    assert [one["request_id"] for one in logged] == [document["request_id"]], "the log is found by the request id"
    assert [one["error"] for one in logged] == ["RuntimeError"]
    assert NUMBER not in f"{said}{caplog.text}"
