"""Tokens: worthless without the certificate they were made for, and without an account in good standing."""

import pytest

from chalicelib.errors import (
    AccountSuspended,
    ClientCertificateRequired,
    InsufficientScope,
    InvalidToken,
    TokenRefused,
)
from chalicelib.protocol.signed import sign
from chalicelib.protocol.timestamps import MINUTE, SECOND
from chalicelib.services.accounts.state import Account
from tests.fakes.world import World
from tests.services.accounts.conftest import Stage, thumbprint

MINE, OTHER = thumbprint("alpha"), thumbprint("somebody")


@pytest.fixture
def secret(stage: Stage, alpha: Account) -> str:
    return stage.enrolment.rotate_secret("alpha")[1]


@pytest.fixture
def token(stage: Stage, alpha: Account, secret: str) -> str:
    stage.world.clock.advance(MINUTE)
    return stage.access.grant(alpha.client_id, secret, MINE, None).access_token


def test_a_token_admits_its_account_for_fifteen_minutes(stage: Stage, token: str) -> None:
    assert stage.access.caller(token, MINE, "query").provider_id == "alpha"
    stage.world.clock.advance(15 * MINUTE - SECOND)
    stage.access.caller(token, MINE, "query")
    stage.world.clock.advance(SECOND)
    with pytest.raises(InvalidToken, match="expired"):
        stage.access.caller(token, MINE, "query")


@pytest.mark.parametrize("wrong", ["client", "certificate", "no certificate", "secret", "all"])
def test_which_of_client_certificate_or_secret_was_wrong_is_not_told(
    stage: Stage, alpha: Account, secret: str, wrong: str
) -> None:
    stage.world.clock.advance(MINUTE)
    client = "alpha.000000000000" if wrong in {"client", "all"} else alpha.client_id
    presented = {"certificate": OTHER, "all": OTHER, "no certificate": None}.get(wrong, MINE)
    with pytest.raises(TokenRefused) as refused:
        stage.access.grant(client, "guess" if wrong in {"secret", "all"} else secret, presented, None)
    assert (refused.value.error, str(refused.value)) == (
        "invalid_client",
        "the client, its certificate or its secret is not known here",
    )


def test_a_token_is_bound_to_its_certificate(stage: Stage, token: str) -> None:
    for _ in range(2):
        with pytest.raises(InvalidToken, match="another certificate"):
            stage.access.caller(token, OTHER, "query")
        stage.access.caller(token, MINE, "query")
    with pytest.raises(ClientCertificateRequired):
        stage.access.caller(token, None, "query")


def test_a_token_has_the_scopes_that_were_asked_for_and_no_more(stage: Stage, alpha: Account, secret: str) -> None:
    stage.world.clock.advance(MINUTE)
    grant = stage.access.grant(alpha.client_id, secret, MINE, "account query")
    assert grant.scope == "query account"
    with pytest.raises(InsufficientScope):
        stage.access.caller(grant.access_token, MINE, "register")
    for scope in ("query bulk", "", "query  account", "admin"):
        with pytest.raises(TokenRefused) as refused:
            stage.access.grant(alpha.client_id, secret, MINE, scope)
        assert refused.value.error == "invalid_scope"


def test_suspension_ends_tokens_within_a_minute(stage: Stage, alpha: Account, secret: str, token: str) -> None:
    stage.enrolment.suspend("alpha")
    stage.world.clock.advance(MINUTE)
    with pytest.raises(AccountSuspended):
        stage.access.caller(token, MINE, "query")
    with pytest.raises(TokenRefused) as refused:
        stage.access.grant(alpha.client_id, secret, MINE, None)
    assert refused.value.error == "unauthorized_client"
    stage.enrolment.resume("alpha")
    stage.world.clock.advance(MINUTE)
    stage.access.caller(token, MINE, "query")


def test_a_certificate_that_was_taken_away_ends_its_tokens(stage: Stage, token: str) -> None:
    stage.enrolment.set_certificates("alpha", ((OTHER, 1),))
    stage.world.clock.advance(MINUTE)
    with pytest.raises(InvalidToken, match="no longer registered"):
        stage.access.caller(token, MINE, "query")


def test_what_another_key_or_purpose_signed_is_no_token(stage: Stage, token: str) -> None:
    keyring = stage.world.keyring
    claims = {"iss": "https://eu.example", "aud": "https://eu.example", "sub": "alpha", "scope": "query"}
    dated = {
        **claims,
        "iat": stage.world.clock() // 1000,
        "exp": stage.world.clock() // 1000 + 60,
        "cnf": {"x5t#S256": MINE},
    }
    foreign = World(gp="us").keyring._signing_key("at+jwt")
    for made in (
        token[:-4] + "AAAA",
        sign(foreign, "at+jwt", dated),
        sign(keyring._signing_key("glados-claim+jwt"), "glados-claim+jwt", dated),
        sign(keyring._signing_key("at+jwt"), "at+jwt", {**dated, "aud": "us"}),
        "",
    ):
        with pytest.raises(InvalidToken):
            stage.access.present(made, MINE)
