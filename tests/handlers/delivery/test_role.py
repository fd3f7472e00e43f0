"""What a delivery service serves whatever its use cases are, and whom its operator lets in."""

from typing import Any

import pytest

from chalicelib.errors import AlreadyExists, InvalidValue, NotFound
from chalicelib.handlers.calls import Call
from chalicelib.handlers.routing import Door, GladosApp
from chalicelib.protocol.timestamps import MINUTE
from chalicelib.services.delivery.state import DsPeer
from infra.local.authority import Authority, Identity
from infra.operator import NoSuchStage
from tests.fakes.clock import SettableClock
from tests.handlers.conftest import Enrol, operate
from tests.handlers.delivery.conftest import DOMAIN
from tests.handlers.edge import Answer, Ap, Edge

MEDIA = "application/mimi-ds-fanout"


@pytest.fixture(scope="module")
def alpha(enrol: Enrol) -> Ap:
    return enrol("alpha")


@pytest.fixture(scope="module")
def for_peers(stage: None) -> Edge:
    """An app with a route for other delivery services."""
    door = Door(__name__)

    @door.serve("POST", "/peers", "ds_peer", takes_bytes=(MEDIA,), gives=MEDIA)
    def who(call: Call[Any]) -> bytes:
        """Say who calls."""
        return call.caller_as(DsPeer).domain.encode()

    app = GladosApp(app_name="peers")
    app.register_blueprint(door)
    return Edge(app)


def call_as(edge: Edge, identity: Identity | None) -> Answer:
    return edge.call("POST", "/peers", b"x", {"content-type": MEDIA}, identity=identity)


def admit(domain: str, *identities: Identity, origin: str = "https://us.ds.example") -> dict[str, Any]:
    shown = [word for one in identities for word in ("--certificate", str(one.cert))]
    return operate("admit-ds", domain, "--origin", origin, *shown)


def test_its_description_and_keys_are_public_and_name_no_route_of_a_provider(edge: Edge) -> None:
    document = edge.call("GET", "/openapi.json").json
    assert document["info"]["title"] == DOMAIN
    assert {"/oauth2/token", "/openapi.json"} <= set(document["paths"])
    assert not [path for path in document["paths"] if path.startswith(("/v1/", "/federation/"))]
    (key,) = edge.call("GET", "/.well-known/jwks.json").json["keys"]
    assert "d" not in key
    # Chalice's own 403 for a path that no route has; in front of it stands the gateway.
    assert edge.call("GET", "/.well-known/glados").status in (403, 404)


def test_an_enrolled_provider_gets_tokens_for_the_one_scope_there_is(alpha: Ap) -> None:
    granted = alpha.grant()
    assert (granted.status, granted.json["scope"]) == (200, "delivery")
    refused = alpha.grant({"grant_type": "client_credentials", "scope": "query"})
    assert (refused.status, refused.json["error"]) == (400, "invalid_scope")
    stranger = alpha.grant(secret="guess")
    assert (stranger.status, stranger.json["error"]) == (401, "invalid_client")


def test_a_scope_of_providers_cannot_be_had_here(authority: Authority, edge: Edge) -> None:
    said = ["--name", "Beta", "--domain", "beta.example", "--review", "none", "--scope", "query"]
    certificate = str(authority.issue_client("beta").cert)
    with pytest.raises(InvalidValue, match="scopes are some of: delivery"):
        operate("enrol-ap", "beta", *said, "--certificate", certificate)


def test_a_delivery_service_is_let_in_by_its_certificates_once_it_is_admitted(
    for_peers: Edge, authority: Authority, clock: SettableClock
) -> None:
    old, new = authority.issue_client("us-old"), authority.issue_client("us-new")
    call_as(for_peers, old).problem(401, "unknown-certificate")
    told = admit("us.ds.example", old, new)
    assert told["thumbprints"] == sorted([old.thumbprint(), new.thumbprint()])
    for identity in (old, new):
        answer = call_as(for_peers, identity)
        assert (answer.status, answer.body) == (200, b"us.ds.example")
    admit("us.ds.example", new)
    clock.advance(MINUTE)
    call_as(for_peers, old).problem(401, "unknown-certificate")
    assert call_as(for_peers, new).body == b"us.ds.example"
    operate("remove-ds", "us.ds.example")
    clock.advance(MINUTE)
    call_as(for_peers, new).problem(401, "unknown-certificate")


def test_nobody_else_is_a_delivery_service(for_peers: Edge, alpha: Ap, stranger: Identity) -> None:
    call_as(for_peers, None).problem(401, "client-certificate-required")
    for identity in (alpha.identity, stranger):
        call_as(for_peers, identity).problem(401, "unknown-certificate")


def test_a_providers_certificate_is_no_peers_and_the_other_way_round(
    for_peers: Edge, alpha: Ap, authority: Authority, enrol: Enrol
) -> None:
    with pytest.raises(AlreadyExists):
        admit("asia.ds.example", alpha.identity)
    admit("asia.ds.example", authority.issue_client("gamma"))
    call_as(for_peers, alpha.identity).problem(401, "unknown-certificate")


@pytest.mark.parametrize(
    ("domain", "origin", "field"),
    [
        ("US.ds.example", "https://us.ds.example", "domain"),
        ("us", "https://us.ds.example", "domain"),
        (DOMAIN, "https://eu.ds.example", "domain"),
        ("us.ds.example", "http://us.ds.example", "origin"),
        ("us.ds.example", "https://us.ds.example/ds", "origin"),
        ("us.ds.example", "https://user@us.ds.example", "origin"),
    ],
)
def test_a_peer_that_cannot_be_is_not_admitted(
    stage: None, stranger: Identity, domain: str, origin: str, field: str
) -> None:
    with pytest.raises(InvalidValue) as refused:
        admit(domain, stranger, origin=origin)
    assert refused.value.field == field


def test_who_is_not_admitted_cannot_be_removed(stage: None) -> None:
    with pytest.raises(NotFound):
        operate("remove-ds", "nowhere.example")


def test_a_command_for_another_stage_says_which_there_are(stage: None) -> None:
    with pytest.raises(NoSuchStage, match="has no stage ds-mars; it has: gp-eu, gp-us, ds-eu, ds-us"):
        operate("--stage", "ds-mars", "remove-ds", "us.ds.example")
