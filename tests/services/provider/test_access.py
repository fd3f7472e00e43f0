"""Tokens: worthless without the certificate they were made for, and without an account in good standing."""

import pytest

from chalicelib.errors import (
    AccountSuspended,
    ClientCertificateRequired,
    InsufficientScope,
    InvalidToken,
    TokenRefused,
    UnknownCertificate,
)
from chalicelib.protocol.signed import sign
from chalicelib.protocol.timestamps import MINUTE, SECOND
from chalicelib.services.provider.state import Account
from chalicelib.services.provider.trusting import calling
from tests.services.provider.providers import Gp, federation, thumbprint

MINE, OTHER = thumbprint("alpha"), thumbprint("somebody")


@pytest.fixture
def secret(gp: Gp, alpha: Account) -> str:
    return gp.enrolment.rotate_secret("alpha")[1]


@pytest.fixture
def token(gp: Gp, alpha: Account, secret: str) -> str:
    gp.world.clock.advance(MINUTE)
    return gp.access.grant(alpha.client_id, secret, MINE, None).access_token


def test_a_token_admits_its_account_for_fifteen_minutes(gp: Gp, token: str) -> None:
    assert gp.access.caller(token, MINE, "query").provider_id == "alpha"
    gp.world.clock.advance(15 * MINUTE - SECOND)
    gp.access.caller(token, MINE, "query")
    gp.world.clock.advance(SECOND)
    with pytest.raises(InvalidToken, match="expired"):
        gp.access.caller(token, MINE, "query")


@pytest.mark.parametrize("wrong", ["client", "certificate", "no certificate", "secret", "all"])
def test_which_of_client_certificate_or_secret_was_wrong_is_not_told(
    gp: Gp, alpha: Account, secret: str, wrong: str
) -> None:
    gp.world.clock.advance(MINUTE)
    client = "alpha.000000000000" if wrong in {"client", "all"} else alpha.client_id
    presented = {"certificate": OTHER, "all": OTHER, "no certificate": None}.get(wrong, MINE)
    with pytest.raises(TokenRefused) as refused:
        gp.access.grant(client, "guess" if wrong in {"secret", "all"} else secret, presented, None)
    assert (refused.value.error, str(refused.value)) == (
        "invalid_client",
        "the client, its certificate or its secret is not known here",
    )


def test_a_token_is_bound_to_its_certificate(gp: Gp, token: str) -> None:
    for _ in range(2):
        with pytest.raises(InvalidToken, match="another certificate"):
            gp.access.caller(token, OTHER, "query")
        gp.access.caller(token, MINE, "query")
    with pytest.raises(ClientCertificateRequired):
        gp.access.caller(token, None, "query")


def test_a_token_has_the_scopes_that_were_asked_for_and_no_more(gp: Gp, alpha: Account, secret: str) -> None:
    gp.world.clock.advance(MINUTE)
    grant = gp.access.grant(alpha.client_id, secret, MINE, "account query")
    assert grant.scope == "query account"
    with pytest.raises(InsufficientScope):
        gp.access.caller(grant.access_token, MINE, "register")
    for scope in ("query bulk", "", "query  account", "admin"):
        with pytest.raises(TokenRefused) as refused:
            gp.access.grant(alpha.client_id, secret, MINE, scope)
        assert refused.value.error == "invalid_scope"


def test_suspension_ends_tokens_within_a_minute(gp: Gp, alpha: Account, secret: str, token: str) -> None:
    gp.enrolment.suspend("alpha")
    gp.world.clock.advance(MINUTE)
    with pytest.raises(AccountSuspended):
        gp.access.caller(token, MINE, "query")
    with pytest.raises(TokenRefused) as refused:
        gp.access.grant(alpha.client_id, secret, MINE, None)
    assert refused.value.error == "unauthorized_client"
    gp.enrolment.resume("alpha")
    gp.world.clock.advance(MINUTE)
    gp.access.caller(token, MINE, "query")


def test_a_certificate_that_was_taken_away_ends_its_tokens(gp: Gp, token: str) -> None:
    gp.enrolment.set_certificates("alpha", ((OTHER, 1),))
    gp.world.clock.advance(MINUTE)
    with pytest.raises(InvalidToken, match="no longer registered"):
        gp.access.caller(token, MINE, "query")


def test_what_another_key_or_purpose_signed_is_no_token(gp: Gp, token: str) -> None:
    keyring = gp.world.keyring
    claims = {"iss": "https://eu.example", "aud": "https://eu.example", "sub": "alpha", "scope": "query"}
    dated = {**claims, "iat": gp.world.clock() // 1000, "exp": gp.world.clock() // 1000 + 60, "cnf": {"x5t#S256": MINE}}
    foreign = federation("us")[0].world.keyring._signing_key("at+jwt")
    for made in (
        token[:-4] + "AAAA",
        sign(foreign, "at+jwt", dated),
        sign(keyring._signing_key("glados-claim+jwt"), "glados-claim+jwt", dated),
        sign(keyring._signing_key("at+jwt"), "at+jwt", {**dated, "aud": "us"}),
        "",
    ):
        with pytest.raises(InvalidToken):
            gp.access.present(made, MINE)


def test_a_peer_is_known_by_its_certificate_alone() -> None:
    eu, _ = federation("eu", "us")
    assert calling(eu.world.trust_lists, thumbprint("gp us")).gp == "us"
    for unknown, refusal in ((MINE, UnknownCertificate), (None, ClientCertificateRequired)):
        with pytest.raises(refusal):
            calling(eu.world.trust_lists, unknown)
