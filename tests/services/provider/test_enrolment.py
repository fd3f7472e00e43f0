"""Enrolment: the operator's acts, each one conditional write that may be repeated."""

from typing import Any

import pytest

from chalicelib.errors import AlreadyExists, InvalidValue, NotFound
from chalicelib.services.provider.state import Account
from tests.fakes.world import World
from tests.services.provider.providers import Gp, federation, thumbprint

GOOD: dict[str, Any] = {
    "provider_id": "gamma",
    "name": "Gamma",
    "domain": "gamma.example",
    "review": "ticket 9",
    "certificates": ((thumbprint("gamma"), 1),),
}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("provider_id", "Gamma"),
        ("provider_id", "gamma "),
        ("provider_id", "g" * 33),
        ("domain", "gamma"),
        ("domain", "gamma.example\n"),
        ("name", ""),
        ("name", "call 123456"),
        ("name", "two\nlines"),
        ("review", " "),
        ("certificates", ()),
        ("certificates", (("short", 1),)),
        ("scopes", ("query", "everything")),
        ("scopes", ()),
        ("sms_regions", ("de",)),
    ],
)
def test_what_an_account_may_not_be(gp: Gp, field: str, value: object) -> None:
    with pytest.raises(InvalidValue) as refused:
        gp.enrolment.enrol(**{**GOOD, field: value})
    assert refused.value.field == field
    assert gp.world.tables.accounts == {}


def test_the_secret_is_shown_once_and_kept_as_a_digest(gp: Gp) -> None:
    account, secret = gp.enrolment.enrol(**GOOD)
    assert secret not in repr(gp.world.tables)
    assert repr(account.secret_tag) not in repr(account)
    grant = gp.access.grant(account.client_id, secret, thumbprint("gamma"), None)
    _, newer = gp.enrolment.rotate_secret("gamma")
    gp.world.clock.advance(60_000)
    assert newer != secret
    with pytest.raises(Exception, match="not known here"):
        gp.access.grant(account.client_id, secret, thumbprint("gamma"), None)
    assert gp.access.caller(grant.access_token, thumbprint("gamma"), "query").provider_id == "gamma"


def test_a_provider_or_certificate_that_is_taken_is_not_given_again(gp: Gp, alpha: Account) -> None:
    with pytest.raises(AlreadyExists):
        gp.enrolment.enrol(**{**GOOD, "provider_id": "alpha"})
    with pytest.raises(AlreadyExists):
        gp.enrolment.enrol(**{**GOOD, "certificates": ((thumbprint("alpha"), 1),)})
    eu, _ = federation("eu", "us")
    with pytest.raises(AlreadyExists):
        eu.enrolment.enrol(**{**GOOD, "certificates": ((thumbprint("gp us"), 1),)})


def test_only_a_trusted_provider_gets_the_scope_of_bulk(gp: Gp) -> None:
    account, _ = gp.enrolment.enrol(**GOOD, trusted_bulk=True)
    assert "bulk" in account.scopes
    assert "bulk" not in gp.enrol("alpha").scopes


@pytest.mark.parametrize("act", ["suspend", "resume", "show", "rotate_secret"])
def test_nobody_is_suspended_who_is_not_enrolled(gp: Gp, act: str) -> None:
    with pytest.raises(NotFound):
        getattr(gp.enrolment, act)("nobody")


def test_suspending_twice_is_one_change(gp: Gp, alpha: Account, world: World) -> None:
    gp.enrolment.suspend("alpha")
    before = world.tables.accounts
    assert gp.enrolment.suspend("alpha").status == "suspended"
    assert world.tables.accounts == before
