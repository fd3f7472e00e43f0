"""Who may enter which door: fail closed, route by route, from the route table."""

from collections.abc import Callable

import pytest

from chalicelib.handlers.calls import Route
from infra.local.authority import Identity
from tests.fakes.clock import SettableClock
from tests.handlers.conftest import Enrol, operate
from tests.handlers.edge import Answer, Ap, Edge
from tests.handlers.examples import BODIES, GUARDED, OF_APS, OF_PEERS, PUBLIC, ROUTES, name_of, path_of

TOKEN_LIFE = 900_000
CONTRACT = """
GET /.well-known/glados
GET /.well-known/jwks.json
GET /openapi.json
POST /oauth2/token
POST /v1/queries
POST /v1/verifications
GET /v1/verifications/{verification_id}
POST /v1/verifications/{verification_id}/resend
DELETE /v1/verifications/{verification_id}
POST /v1/verifications/{verification_id}/code
POST /v1/preferences
GET /v1/mappings/{mapping_id}
DELETE /v1/mappings/{mapping_id}
POST /v1/mappings/{mapping_id}/restore
POST /v1/mappings/search
PUT /v1/webhook
GET /v1/webhook
DELETE /v1/webhook
POST /v1/webhook/test
POST /v1/webhook/rotate
GET /v1/events
POST /v1/events/{event_id}/redeliver
GET /v1/account
POST /federation/v1/queries
GET /federation/v1/filter
GET /federation/v1/filter/{version}/raw
GET /federation/v1/filter/{version}/rice
GET /federation/v1/filter/{version}/deltas/{span}
POST /federation/v1/subscriptions
DELETE /federation/v1/subscriptions/{subscription_id}
POST /federation/v1/notifications
POST /federation/v1/claims
"""

Send = Callable[..., Answer]


@pytest.fixture(scope="module")
def expired(alpha: Ap, clock: SettableClock) -> tuple[str, str]:
    """Two tokens that are over: one that this container has seen, and one that it has not."""
    seen, unseen = alpha.token(), alpha.token()
    assert alpha.call("GET", "/v1/account", token=seen).status == 200
    clock.advance(TOKEN_LIFE)
    return seen, unseen


@pytest.fixture(scope="module")
def suspended(enrol: Enrol) -> tuple[Ap, str]:
    ap = enrol("epsilon")
    token = ap.token()
    operate("suspend", "epsilon")
    return ap, token


def send(edge: Edge, route: Route, identity: Identity | None, authorization: str | None = None) -> Answer:
    """Send a request that nothing is wrong with but its sender."""
    headers = {} if authorization is None else {"Authorization": authorization}
    body = None if route.takes is None else BODIES[route.takes]
    return edge.call(route.method, path_of(route), body, headers, identity=identity)


def each(routes: list[Route]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("route", routes, ids=name_of)


def test_the_route_table_is_the_contracts_and_the_apps(edge: Edge) -> None:
    assert sorted(map(name_of, ROUTES)) == sorted(CONTRACT.split("\n")[1:-1])
    served = {f"{method} {path}" for path, methods in edge.client._app.routes.items() for method in methods}
    assert served == set(map(name_of, ROUTES))


def test_only_what_says_who_we_are_is_public() -> None:
    assert set(map(name_of, PUBLIC)) == {
        "GET /.well-known/glados", "GET /.well-known/jwks.json", "GET /openapi.json",
    }  # fmt: skip
    assert all(route.public == (route.caller == "anyone") for route in ROUTES)


def test_every_route_of_an_account_names_the_scope_it_takes() -> None:
    scopes = {"/v1/queries": "query", "/v1/webhook": "webhooks", "/v1/events": "webhooks", "/v1/account": "account"}
    for route in OF_APS:
        expected = next((scope for path, scope in scopes.items() if route.path.startswith(path)), "register")
        assert route.scope == expected, name_of(route)


@each(GUARDED)
def test_without_a_client_certificate_nothing_is_served_that_is_not_public(edge: Edge, alpha: Ap, route: Route) -> None:
    if route.caller == "certificate":
        refused = edge.call("POST", path_of(route), b"grant_type=client_credentials", token_form())
        assert (refused.status, refused.json["error"]) == (401, "invalid_client")
    else:
        for authorization in (None, f"Bearer {alpha.token()}"):
            send(edge, route, None, authorization).problem(401, "client-certificate-required")


def token_form() -> dict[str, str]:
    return {"content-type": "application/x-www-form-urlencoded", "Authorization": "Basic YTpi"}


@each(PUBLIC)
def test_public_routes_are_served_to_anybody(edge: Edge, alpha: Ap, route: Route) -> None:
    for identity in (None, alpha.identity):
        answer = edge.call(route.method, path_of(route), identity=identity)
        assert answer.status == 200
        assert answer.headers["cache-control"] == "public, max-age=300"
        assert answer.headers["x-request-id"]


@each(OF_APS)
def test_a_route_for_providers_refuses_whoever_shows_no_good_token(
    edge: Edge, alpha: Ap, beta: Ap, stranger: Identity, route: Route
) -> None:
    good = alpha.token()
    for absent in (None, "", "Bearer", "Bearer ", "Basic YTpi", good):
        send(edge, route, alpha.identity, absent).problem(401, "token-required")
    forged = good[:-4] + ("AAAA" if good[-4:] != "AAAA" else "BBBB")
    for malformed in ("x", "a.b.c", good + ".x", forged, "ä"):
        send(edge, route, alpha.identity, f"Bearer {malformed}").problem(401, "invalid-token")
    for holder in (beta.identity, stranger):
        refused = send(edge, route, holder, f"Bearer {good}")
        refused.problem(401, "invalid-token")
        assert refused.headers["www-authenticate"] == 'Bearer error="invalid_token"'


@each(OF_APS)
def test_an_expired_token_is_refused(edge: Edge, alpha: Ap, expired: tuple[str, str], route: Route) -> None:
    for token in expired:
        refused = send(edge, route, alpha.identity, f"Bearer {token}").problem(401, "invalid-token")
        assert refused["detail"].endswith("has expired")


@each(OF_APS)
def test_a_token_without_the_routes_scope_is_refused(edge: Edge, alpha: Ap, route: Route) -> None:
    other = "account" if route.scope != "account" else "query"
    refused = send(edge, route, alpha.identity, f"bearer {alpha.token(other)}")
    assert refused.problem(403, "insufficient-scope")["scope"] == route.scope
    assert refused.headers["www-authenticate"] == f'Bearer error="insufficient_scope", scope="{route.scope}"'


@each(OF_APS)
def test_a_suspended_account_is_refused_with_a_token_from_before(
    edge: Edge, suspended: tuple[Ap, str], route: Route
) -> None:
    ap, token = suspended
    send(edge, route, ap.identity, f"Bearer {token}").problem(403, "account-suspended")


@each(OF_PEERS)
def test_a_route_for_peers_refuses_every_certificate_that_is_no_peers(
    edge: Edge, alpha: Ap, stranger: Identity, route: Route
) -> None:
    for identity in (alpha.identity, stranger):
        send(edge, route, identity, f"Bearer {alpha.token()}").problem(401, "unknown-certificate")


@each(OF_APS)
def test_a_peers_certificate_opens_no_route_for_providers(edge: Edge, alpha: Ap, peer: Identity, route: Route) -> None:
    send(edge, route, peer).problem(401, "token-required")
    send(edge, route, peer, f"Bearer {alpha.token()}").problem(401, "invalid-token")


def test_what_is_somebody_elses_is_as_unknown_as_what_never_was(alpha: Ap, beta: Ap, number: str) -> None:
    code = {"user_id": "alice", "code": "000000"}
    verification = alpha.call("POST", "/v1/verifications", {"sii": number, "user_id": "alice"}).headers["location"]
    for path in (verification, "/v1/verifications/unknown"):
        for method, suffix, body in (
            ("GET", "", None), ("DELETE", "", None), ("POST", "/resend", {}), ("POST", "/code", code),
        ):  # fmt: skip
            beta.call(method, path + suffix, body).problem(404, "not-found")


def test_another_providers_mapping_is_unknown(alpha: Ap, beta: Ap, mapping_id: str) -> None:
    own = alpha.call("GET", f"/v1/mappings/{mapping_id}")
    assert own.status == 200
    details = set()
    for one in (mapping_id, "unknown", mapping_id[:-1]):
        for method, suffix, body in (("GET", "", None), ("DELETE", "", None), ("POST", "/restore", {})):
            details.add(beta.call(method, f"/v1/mappings/{one}{suffix}", body).problem(404, "not-found")["detail"])
    assert len(details) == 1, "nothing tells the two apart"
    assert alpha.call("GET", f"/v1/mappings/{mapping_id}").json == own.json


def test_another_providers_event_is_unknown(alpha: Ap, beta: Ap) -> None:
    for ap in (alpha, beta):
        ap.call("PUT", "/v1/webhook", {"url": f"https://{ap.provider_id}.example/hook"})
    event_id = alpha.call("POST", "/v1/webhook/test").json["id"]
    assert alpha.call("POST", f"/v1/events/{event_id}/redeliver").status == 202
    beta.call("POST", f"/v1/events/{event_id}/redeliver").problem(404, "not-found")
    beta.call("POST", "/v1/events/unknown/redeliver").problem(404, "not-found")


def test_another_peers_subscription_is_left_alone_and_nothing_tells(edge: Edge, peer: Identity) -> None:
    answer = edge.call("DELETE", "/federation/v1/subscriptions/unknown", identity=peer)
    assert (answer.status, answer.body) == (204, b"")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/queries", {"POST"}),
        ("PATCH", "/v1/webhook", {"GET", "PUT", "DELETE"}),
        ("GET", "/oauth2/token", {"POST"}),
        ("POST", "/.well-known/glados", {"GET"}),
    ],
)
def test_a_path_that_does_not_take_a_method_says_which_it_takes(
    edge: Edge, alpha: Ap, method: str, path: str, allowed: set[str]
) -> None:
    answer = edge.call(method, path, identity=alpha.identity)
    answer.problem(405, "method-not-allowed")
    assert set(answer.headers["allow"].split(", ")) == allowed


def test_an_id_that_is_too_long_is_no_id(alpha: Ap) -> None:
    alpha.call("GET", "/v1/mappings/" + "a" * 1_025).problem(404, "not-found")
    alpha.call("GET", "/v1/verifications/" + "a" * 1_024).problem(404, "not-found")
