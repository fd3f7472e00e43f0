"""`Accounts`: who is enrolled, and that a certificate belongs to one of them alone."""

import dataclasses
from functools import partial

import pytest

from chalicelib.errors import AlreadyExists
from chalicelib.protocol.glados.trust import Peer, PeerKeys, TrustList
from chalicelib.protocol.timestamps import SECOND
from chalicelib.services.accounts.state import Account, ProviderId, WebhookEndpoint, WebhookSigningSecret
from chalicelib.services.ports import Lost, Versioned
from tests.contracts.examples import NOW, account, register
from tests.contracts.ports import Ports
from tests.contracts.races import race, winners

ID = ProviderId("alpha")

FULL = dataclasses.replace(
    account(),
    thumbprints=("a".ljust(43, "-"), "b".ljust(43, "-")),
    certificate_expiry=(("a".ljust(43, "-"), NOW),),
    webhook=WebhookEndpoint(
        url="https://alpha.example/hook",
        secrets=(WebhookSigningSecret(b"new"), WebhookSigningSecret(b"old", until=NOW)),
        state="enabled",
        since=NOW,
        last_failure_at=NOW,
        last_failure="500",
    ),
    query_rate=20,
    trusted_bulk=True,
    test_numbers=True,
    strikes=1,
)


def loaded(ports: Ports, provider_id: str = "alpha") -> Versioned[Account]:
    found = ports.accounts.load(ProviderId(provider_id))
    assert found is not None
    return found


def peer(thumbprint: str) -> Peer:
    return Peer(
        gp="us",
        name="The other one",
        origins=["https://us.example"],
        thumbprints=[thumbprint.ljust(43, "-")],
        keys=PeerKeys(),
    )


@pytest.mark.parametrize("one", [account(), FULL], ids=["least", "full"])
def test_an_account_is_read_as_it_was_created(ports: Ports, one: Account) -> None:
    ports.accounts.create(one)
    assert loaded(ports).value == one
    assert ports.accounts.recent(ID) == one


def test_nobody_is_enrolled_at_first(ports: Ports) -> None:
    assert ports.accounts.load(ID) is None
    assert ports.accounts.recent(ID) is None


def test_a_provider_is_enrolled_once(ports: Ports) -> None:
    ports.accounts.create(account())
    with pytest.raises(AlreadyExists):
        ports.accounts.create(dataclasses.replace(account(), name="Another"))
    assert loaded(ports).value == account()


def test_an_enrolment_whose_reply_was_lost_can_be_repeated(ports: Ports) -> None:
    ports.lose_reply("accounts", "create")
    race(lambda: ports.accounts.create(account()))
    ports.accounts.create(account())
    assert loaded(ports).value == account()


def test_a_certificate_belongs_to_one_provider(ports: Ports) -> None:
    ports.accounts.create(account("alpha", "a"))
    with pytest.raises(AlreadyExists):
        ports.accounts.create(account("beta", "a"))
    assert ports.accounts.load(ProviderId("beta")) is None
    ports.accounts.create(account("beta", "b"))
    before = loaded(ports, "beta")
    with pytest.raises(AlreadyExists):
        ports.accounts.replace(before, account("beta", "a"))
    assert loaded(ports, "beta") == before


def test_of_two_providers_with_one_certificate_one_is_enrolled(ports: Ports) -> None:
    rivals = [account(name, "a") for name in ("alpha", "beta", "gamma")]
    outcomes = race(*(partial(ports.accounts.create, one) for one in rivals))
    assert winners(outcomes, AlreadyExists) == 1
    assert sum(ports.accounts.load(one.provider_id) is not None for one in rivals) == 1


def test_a_certificate_of_a_peer_is_no_providers(ports: Ports) -> None:
    ports.trust_lists.replace(TrustList(version=1, peers=[peer("a")]))
    with pytest.raises(AlreadyExists):
        ports.accounts.create(account("alpha", "a"))
    assert ports.accounts.load(ID) is None


def test_a_certificate_that_is_given_up_is_free_for_another(ports: Ports) -> None:
    ports.accounts.create(account("alpha", "a"))
    ports.accounts.replace(loaded(ports), account("alpha", "c"))
    ports.accounts.create(account("beta", "a"))
    assert loaded(ports, "beta").value.thumbprints == account("beta", "a").thumbprints


def test_an_account_that_changed_since_it_was_loaded_is_not_replaced(ports: Ports) -> None:
    ports.accounts.create(account())
    before = loaded(ports)
    suspended = dataclasses.replace(account(), status="suspended")
    ports.accounts.replace(before, suspended)
    with pytest.raises(Lost):
        ports.accounts.replace(before, dataclasses.replace(account(), name="Another"))
    assert loaded(ports).value == suspended


def test_of_rivals_for_one_account_one_wins(ports: Ports) -> None:
    ports.accounts.create(account())
    before = loaded(ports)
    rivals = [dataclasses.replace(account(), name=f"Alpha {number}") for number in range(4)]
    outcomes = race(*(partial(ports.accounts.replace, before, one) for one in rivals))
    assert winners(outcomes, Lost) == 1


def test_a_replacement_leaves_the_count_of_users_alone(ports: Ports) -> None:
    ports.accounts.create(account())
    before = loaded(ports)
    register(ports.store)
    ports.pending_log.discard(ports.pending_log.read())
    assert loaded(ports).value.users == 1
    ports.accounts.replace(before, dataclasses.replace(before.value, strikes=1))
    assert (loaded(ports).value.users, loaded(ports).value.strikes) == (1, 1)


def test_a_change_is_seen_at_once_by_load_and_within_a_minute_by_recent(ports: Ports) -> None:
    ports.accounts.create(account())
    assert ports.accounts.recent(ID) == account()
    suspended = dataclasses.replace(account(), status="suspended")
    ports.accounts.replace(loaded(ports), suspended)
    assert loaded(ports).value == suspended
    assert ports.accounts.recent(ID) in (account(), suspended)
    ports.clock.advance(60 * SECOND)
    assert ports.accounts.recent(ID) == suspended
