"""Queries: who is asked, what is told, and what it costs."""

import pytest

from chalicelib.errors import AccountSuspended, InvalidIdentifier, TooManyRequests
from chalicelib.protocol.glados.federation_api import PeerQuery
from chalicelib.services.accounts.state import Account
from tests.fakes.world import World
from tests.services.provider.providers import (
    MAIL,
    OTHER_PHONE,
    PHONE,
    Gp,
    as_peer,
    federation,
    presented,
    settle,
)


def test_an_unknown_identifier_is_not_found_and_nobody_is_told_of_the_question() -> None:
    eu, us = federation("eu", "us")
    alpha = eu.enrol("alpha")
    settle(eu, us)
    answer, _ = eu.queries.find(presented(alpha), PHONE)
    assert (answer.found, answer.mapping, answer.consulted, answer.complete) == (False, None, [], True)
    assert eu.world.peer_client.asked == []


def test_a_peer_that_is_down_is_reported_and_not_fatal() -> None:
    eu, us, ap = federation("eu", "us", "ap")
    alpha, gamma = eu.enrol("alpha"), us.enrol("gamma")
    us.register(gamma)
    eu.world.peer_client.down.add("ap")
    answer, _ = eu.queries.find(presented(alpha), PHONE)
    assert answer.mapping is not None
    assert (answer.mapping.gp, answer.complete) == ("us", False)
    assert {one.gp: one.outcome for one in answer.consulted} == {"us": "answered", "ap": "unreachable"}
    eu.world.peer_client.skipped.add("ap")
    answer, _ = eu.queries.find(presented(alpha), PHONE)
    assert {one.gp: one.outcome for one in answer.consulted} == {"us": "answered", "ap": "skipped"}
    assert ap.world.peer_client.asked == []


def test_only_its_own_provider_sees_a_mappings_id_and_state(gp: Gp, alpha: Account, beta: Account) -> None:
    mapping = gp.register(alpha).mapping
    mine, _ = gp.queries.find(presented(alpha), PHONE)
    theirs, _ = gp.queries.find(presented(beta), PHONE)
    assert mine.mapping == mapping
    assert theirs.mapping is not None
    assert (type(theirs.mapping.mapping_id), type(theirs.mapping.state)) == (type(theirs.mapping.state),) * 2
    assert theirs.mapping.ssi == mapping.ssi


def test_the_newest_owner_is_answered_and_not_the_last_in_the_alphabet(gp: Gp) -> None:
    zed, abe = gp.enrol("zed"), gp.enrol("abe")
    gp.register(zed, user="bob")
    gp.register(abe)
    gp.choose(abe, "prefer")
    assert gp.ask(zed) == "eu/abe/alice"


def test_a_query_costs_the_same_however_many_mappings_there_are(gp: Gp, alpha: Account, world: World) -> None:
    costs = []
    for turn in range(100):
        gp.register(alpha, f"mailto:user{turn}@example.com")
        before = len(world.calls())
        gp.ask(alpha, MAIL)
        costs.append(len(world.calls()) - before)
    assert set(costs[1:]) == {costs[-1]}
    assert costs[-1] <= 6


@pytest.mark.parametrize("sii", ["tel:+1800FLOWERS", "tel:１２３", "call +4915123456789", "tel:+4915123456789;ext=5"])
def test_what_is_no_identifier_is_refused(gp: Gp, alpha: Account, sii: str) -> None:
    with pytest.raises(InvalidIdentifier):
        gp.ask(alpha, sii)


def test_a_look_alike_address_is_another_address(gp: Gp, alpha: Account) -> None:
    gp.register(alpha, "mailto:boss@example.com")
    assert gp.ask(alpha, "mailto:BOSS@EXAMPLE.COM") == "eu/alpha/alice"
    assert gp.ask(alpha, "mailto:boſs@example.com") is None


def test_a_suspended_provider_is_not_answered(gp: Gp, alpha: Account) -> None:
    gp.enrolment.suspend("alpha")
    with pytest.raises(AccountSuspended):
        gp.ask(alpha)


def test_peers_are_answered_from_local_records_and_nobody_is_asked_for_them() -> None:
    eu, us = federation("eu", "us")
    alpha, gamma = eu.enrol("alpha", test_numbers=True), us.enrol("gamma")
    us.register(gamma, OTHER_PHONE)
    eu.register(alpha)
    before = list(eu.world.peer_client.asked)
    answers = [
        eu.queries.find_for_peer(as_peer(us), PeerQuery(sii=sii, asker="x")).mappings for sii in (PHONE, OTHER_PHONE)
    ]
    assert [len(found) for found in answers] == [1, 0]
    assert eu.world.peer_client.asked == before


def test_a_peer_asks_within_what_the_trust_list_allows(gp: Gp) -> None:
    peer = as_peer(federation("us")[0])
    for _ in range(peer.limits.burst):
        gp.queries.find_for_peer(peer, PeerQuery(sii=PHONE, asker="x"))
    with pytest.raises(TooManyRequests):
        gp.queries.find_for_peer(peer, PeerQuery(sii=PHONE, asker="x"))


def test_peers_know_an_asker_by_a_pseudonym_of_the_day() -> None:
    eu, _ = federation("eu", "us")
    alpha, beta = eu.enrol("alpha"), eu.enrol("beta")
    for account in (alpha, alpha, beta):
        eu.ask(account)
    eu.world.clock.advance(24 * 60 * 60 * 1000)
    eu.ask(alpha)
    one, again, other, tomorrow = eu.world.peer_client.askers
    assert one == again
    assert len({one, other, tomorrow}) == 3
    assert not any("alpha" in asker for asker in (one, tomorrow))
