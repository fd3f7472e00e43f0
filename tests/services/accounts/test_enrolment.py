"""Enrolment: the operator's acts, each one conditional write that may be repeated."""

from typing import Any

import pytest

from chalicelib.errors import AlreadyExists, InvalidValue, NotFound
from chalicelib.protocol.glados.trust import Peer, PeerKeys, TrustList
from chalicelib.services.accounts.state import Account
from tests.fakes.world import World
from tests.services.accounts.conftest import Stage, thumbprint

GOOD: dict[str, Any] = {
    "provider_id": "gamma",
    "name": "Gamma",
    "domain": "gamma.example",
    "review": "ticket 9",
    "certificates": ((thumbprint("gamma"), 1),),
}
PEER = Peer(gp="us", name="GP us", origins=["https://us.example"], thumbprints=[thumbprint("gp us")], keys=PeerKeys())


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
        ("query_rate", 0),
        ("send_rate", -5),
    ],
)
def test_what_an_account_may_not_be(stage: Stage, field: str, value: object) -> None:
    with pytest.raises(InvalidValue) as refused:
        stage.enrolment.enrol(**{**GOOD, field: value})
    assert refused.value.field == field
    assert stage.world.tables.accounts == {}


def test_the_secret_is_shown_once_and_kept_as_a_digest(stage: Stage) -> None:
    account, secret = stage.enrolment.enrol(**GOOD)
    assert secret not in repr(stage.world.tables)
    assert repr(account.secret_tag) not in repr(account)
    grant = stage.access.grant(account.client_id, secret, thumbprint("gamma"), None)
    _, newer = stage.enrolment.rotate_secret("gamma")
    stage.world.clock.advance(60_000)
    assert newer != secret
    with pytest.raises(Exception, match="not known here"):
        stage.access.grant(account.client_id, secret, thumbprint("gamma"), None)
    assert stage.access.caller(grant.access_token, thumbprint("gamma"), "query").provider_id == "gamma"


def test_a_provider_or_certificate_that_is_taken_is_not_given_again(stage: Stage, alpha: Account) -> None:
    with pytest.raises(AlreadyExists):
        stage.enrolment.enrol(**{**GOOD, "provider_id": "alpha"})
    with pytest.raises(AlreadyExists):
        stage.enrolment.enrol(**{**GOOD, "certificates": ((thumbprint("alpha"), 1),)})
    stage.world.tables.trust_list = TrustList(version=1, peers=[PEER])
    with pytest.raises(AlreadyExists):
        stage.enrolment.enrol(**{**GOOD, "certificates": ((thumbprint("gp us"), 1),)})


def test_only_a_trusted_provider_gets_the_scope_of_bulk(stage: Stage, alpha: Account) -> None:
    account, _ = stage.enrolment.enrol(**GOOD, trusted_bulk=True)
    assert "bulk" in account.scopes
    assert "bulk" not in alpha.scopes


@pytest.mark.parametrize("act", ["suspend", "resume", "show", "rotate_secret"])
def test_nobody_is_suspended_who_is_not_enrolled(stage: Stage, act: str) -> None:
    with pytest.raises(NotFound):
        getattr(stage.enrolment, act)("nobody")


def test_suspending_twice_is_one_change(stage: Stage, alpha: Account, world: World) -> None:
    stage.enrolment.suspend("alpha")
    before = world.tables.accounts
    assert stage.enrolment.suspend("alpha").status == "suspended"
    assert world.tables.accounts == before
