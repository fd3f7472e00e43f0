"""`/openapi.json` is good OpenAPI 3.1, and says exactly what is served."""

import re
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from chalicelib.handlers import problems
from tests.handlers.edge import Edge
from tests.handlers.examples import ROUTES


@pytest.fixture
def document(edge: Edge) -> dict[str, Any]:
    described: dict[str, Any] = edge.call("GET", "/openapi.json").json
    return described


def test_it_is_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(document).validate()


def test_every_route_is_in_it_and_nothing_else(document: dict[str, Any]) -> None:
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == {(route.method, route.path) for route in ROUTES}


def test_problem_types_are_a_closed_enum_equal_to_the_table(document: dict[str, Any]) -> None:
    problem = document["components"]["schemas"]["Problem"]
    assert problem["properties"]["type"]["enum"] == problems.TYPES
    assert set(problem["required"]) >= {"type", "title", "status", "detail", "request_id"}


def test_every_operation_says_who_may_call_what_it_takes_and_how_it_refuses(document: dict[str, Any]) -> None:
    for route in ROUTES:
        operation = document["paths"][route.path][route.method.lower()]
        schemes = {scheme for alternative in operation["security"] for scheme in alternative}
        assert ("mutualTLS" in schemes) != route.public
        assert ("token" in schemes) == (route.caller in ("token", "account"))
        assert ("requestBody" in operation) == (route.takes is not None or route.path == "/oauth2/token")
        parameters = {(one["name"], one["in"]) for one in operation.get("parameters", [])}
        assert {(name, "path") for name in re.findall(r"{(\w+)}", route.path)} <= parameters
        assert (("Idempotency-Key", "header") in parameters) == route.repeatable
        assert str(route.status) in operation["responses"]
        media = "application/json" if route.path == "/oauth2/token" else problems.MEDIA_TYPE
        assert list(operation["responses"]["default"]["content"]) == [media]


def test_bodies_are_closed_as_the_doors_hold_them(document: dict[str, Any]) -> None:
    for route in ROUTES:
        if route.takes is not None:
            assert document["components"]["schemas"][route.takes.__name__]["additionalProperties"] is False


def test_names_of_operations_are_their_own(document: dict[str, Any]) -> None:
    names = [one["operationId"] for methods in document["paths"].values() for one in methods.values()]
    assert len(set(names)) == len(names) == len(ROUTES)


def test_who_we_are_points_at_what_is_served(edge: Edge, document: dict[str, Any]) -> None:
    described = edge.call("GET", "/.well-known/glados").json
    assert described["gp"] == "eu"
    assert described["problem_types"] == problems.TYPES
    assert described["token_endpoint"] == "https://eu.gp.example/oauth2/token"
    for name in ("jwks_uri", "openapi"):
        assert described[name].removeprefix("https://public.eu.gp.example") in document["paths"]


def test_public_keys_are_public_and_one_a_purpose(edge: Edge) -> None:
    keys = edge.call("GET", "/.well-known/jwks.json").json["keys"]
    assert len({jwk["kid"] for jwk in keys}) == len(keys) >= 4
    assert all((jwk["kty"], jwk["crv"]) == ("EC", "P-256") and "d" not in jwk for jwk in keys)
