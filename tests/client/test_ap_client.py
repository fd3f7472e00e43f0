"""What a company's server reads of a refusal."""

import pytest

from chalicelib.client import ApiProblem

KIND = "urn:glados:problem:invalid-value"


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        ({"type": KIND, "detail": "a code is 6 digits"}, f"{KIND}: a code is 6 digits"),
        ({"type": KIND, "detail": "this is no date", "field": "until"}, f"{KIND}: until: this is no date"),
        ({"error": "invalid_client", "error_description": "it is not known"}, "invalid_client: it is not known"),
        ({}, "no problem document: "),
    ],
)
def test_a_problem_says_what_was_wrong_and_with_which_field(problem: dict[str, str], told: str) -> None:
    assert str(ApiProblem(422, problem, {})) == f"422 {told}"
