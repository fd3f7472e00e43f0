"""Following a peer's filter: never back, never incomplete, and confirmed only by what the peer says now."""

import dataclasses

import msgspec
import pytest

from chalicelib.errors import DecodeError, NotPermitted, Refusal
from chalicelib.protocol.glados.federation_api import FilterAnswer, Notification
from chalicelib.protocol.timestamps import MINUTE, SECOND
from chalicelib.services.accounts.state import Account
from chalicelib.services.provider.state import Heads, PeerHead
from tests.services.provider.providers import (
    MAIL,
    OTHER_PHONE,
    PHONE,
    Gp,
    as_peer,
    check_followed,
    door,
    federation,
    meanwhile,
    settle,
)

Pair = tuple[Gp, Gp, Account, Account]


@pytest.fixture
def pair() -> Pair:
    """Two GPs that hold each other's filters; alpha is at the first, gamma at the second."""
    eu, us = federation("eu", "us")
    alpha, gamma = eu.enrol("alpha"), us.enrol("gamma")
    settle(eu, us)
    return eu, us, alpha, gamma


def held(gp: Gp, of: str) -> PeerHead:
    head = gp.world.tables.heads.value.of(of)
    assert head is not None
    return head


def told_by(eu: Gp, us: Gp) -> list[Notification]:
    """Keep what the first GP tells the second one instead of bringing it there."""
    kept: list[Notification] = []
    eu.world.peer_client.gps["us"].notify = lambda _, notification: kept.append(notification)
    return kept


def test_a_stranger_is_ruled_out_without_being_asked(pair: Pair) -> None:
    eu, us, alpha, gamma = pair
    eu.register(alpha)
    settle(eu, us)
    assert us.ask(gamma, OTHER_PHONE) is None
    assert us.world.peer_client.asked == []
    assert us.ask(gamma) == "eu/alpha/alice"
    assert [gp for gp, _ in us.world.peer_client.asked] == ["eu"]


def test_an_addition_is_taken_in_when_it_is_told_and_again_changes_nothing(pair: Pair) -> None:
    eu, us, alpha, _ = pair
    kept = told_by(eu, us)
    eu.register(alpha)
    eu.hinted()
    (notification,) = kept
    for _ in range(2):
        us.following.notified(as_peer(eu), notification)
        assert (held(us, "eu").seq, held(us, "eu").bits_set) == (1, 1)
    check_followed(eu, us)


def test_a_notification_that_comes_late_confirms_nothing(pair: Pair) -> None:
    eu, us, alpha, _ = pair
    kept = told_by(eu, us)
    for sii in (PHONE, MAIL):
        eu.register(alpha, sii)
        eu.hinted()
    us.following.follow("eu")
    before = held(us, "eu")
    us.world.clock.advance(MINUTE)
    us.following.notified(as_peer(eu), kept[0])
    assert held(us, "eu") == before


def test_a_notification_before_which_something_is_missing_fetches_it(pair: Pair) -> None:
    eu, us, alpha, _ = pair
    kept = told_by(eu, us)
    eu.register(alpha)
    eu.hinted()
    version = eu.versions()[-1]
    for subscription in eu.world.subscriptions._rows.values():
        eu.world.subscriptions.acknowledge(subscription, version.seq)
    eu.register(alpha, MAIL)
    eu.hinted()
    us.following.notified(as_peer(eu), kept[-1])
    assert held(us, "eu").seq == 2
    check_followed(eu, us)


def test_what_could_not_be_fetched_is_not_acknowledged(pair: Pair) -> None:
    """The publisher would never tell of it again."""
    eu, us, alpha, _ = pair
    us.world.tables.heads = us.world.tables.heads.next(Heads())
    us.world.peer_client.down.add("eu")
    eu.register(alpha)
    eu.sequencer.run()
    assert eu.publication.notify_all() == 0
    assert [row.acked_seq for row in eu.world.subscriptions._rows.values()] == [0]
    us.world.peer_client.down.clear()
    eu.world.clock.advance(MINUTE)
    assert eu.publication.notify_all() == 1
    check_followed(eu, us)


def test_a_quarantined_filter_is_not_trusted_again_for_an_old_notification(pair: Pair) -> None:
    eu, us, alpha, gamma = pair
    kept = told_by(eu, us)
    eu.register(alpha)
    eu.hinted()
    us.following.follow("eu")
    eu.register(alpha, MAIL)
    eu.sequencer.run()
    honest = us.world.peer_client.gps["eu"]
    us.world.peer_client.gps["eu"] = dataclasses.replace(honest, filter=lambda _: forged(eu))
    us.following.follow("eu")
    assert held(us, "eu").quarantine is not None
    with pytest.raises(Refusal):
        us.following.notified(as_peer(eu), kept[0])
    assert held(us, "eu").quarantine is not None
    us.ask(gamma, OTHER_PHONE)
    assert [gp for gp, _ in us.world.peer_client.asked] == ["eu"]
    us.world.peer_client.gps["eu"] = honest
    us.following.follow("eu")
    assert held(us, "eu").quarantine is None
    check_followed(eu, us)


def forged(publisher: Gp) -> FilterAnswer:
    """Return the publisher's answer with the signatures of somebody else."""
    answer = publisher.publication.filter()
    return FilterAnswer(manifest=answer.manifest, head=answer.head[:-4] + "AAAA", deltas=answer.deltas)


def test_a_version_never_goes_back(pair: Pair) -> None:
    eu, us, _, _ = pair
    old = eu.publication.filter()
    eu.rebuild.step(now_please=True)
    settle(eu, us)
    newer = held(us, "eu").version
    us.world.peer_client.gps["eu"].filter = lambda _: old
    us.following.follow("eu")
    assert (held(us, "eu").version, held(us, "eu").quarantine) == (newer, "the peer's filter version went back")


def test_a_delta_that_is_missing_shows_and_nothing_is_taken_over(pair: Pair) -> None:
    eu, us, alpha, _ = pair
    told_by(eu, us)
    eu.register(alpha)
    eu.hinted()
    answer = eu.publication.filter()
    us.world.peer_client.gps["eu"].filter = lambda _: FilterAnswer(
        manifest=answer.manifest, head=answer.head, deltas=[]
    )
    us.following.follow("eu")
    assert (held(us, "eu").seq, held(us, "eu").quarantine is None) == (0, False)


def test_a_peer_that_was_not_confirmed_for_three_minutes_is_asked(pair: Pair) -> None:
    _eu, us, _, gamma = pair
    us.world.clock.advance(180 * SECOND)
    us.ask(gamma, OTHER_PHONE)
    assert us.world.peer_client.asked == []
    us.world.clock.advance(1)
    us.ask(gamma, OTHER_PHONE)
    assert len(us.world.peer_client.asked) == 1


def test_a_peer_that_cannot_be_reached_does_not_keep_us_from_the_others() -> None:
    eu, us, ap = federation("eu", "us", "ap")
    settle(eu, us, ap)
    before = held(eu, "ap").checked_at
    eu.world.peer_client.down.add("us")
    eu.world.clock.advance(MINUTE)
    eu.following.follow_all()
    assert held(eu, "ap").checked_at == before + MINUTE
    assert ("peer-filter-unreachable", "us") in eu.world.alarms.raised


def test_additions_between_base_and_subscription_are_not_missed(pair: Pair) -> None:
    eu, us, alpha, _ = pair
    eu.rebuild.step(now_please=True)
    eu.world.clock.advance(2 * MINUTE)
    eu.rebuild.step()
    eu.hinted()

    def add() -> None:
        eu.register(alpha)
        eu.sequencer.run()

    meanwhile(us.world.peer_client, "subscribe", add)
    us.following.follow("eu")
    assert held(us, "eu").seq == 1
    check_followed(eu, us)


def test_many_additions_keep_the_objects_few(pair: Pair) -> None:
    eu, us, alpha, _ = pair
    for turn in range(100):
        eu.register(alpha, f"mailto:user{turn}@example.com")
        eu.hinted()
    assert len(held(us, "eu").deltas) <= 32
    assert len(eu.versions()[-1].deltas) <= 64
    check_followed(eu, us)
    stranger = federation("eu", "us")[1]
    stranger.world.peer_client.gps = {"eu": door(eu, {"us": as_peer(us)})}
    stranger.world.clock.now = eu.world.clock()
    stranger.following.follow("eu")
    assert held(stranger, "eu").bits_set == held(us, "eu").bits_set


def test_the_wrong_peers_notification_is_refused(pair: Pair) -> None:
    eu, us, alpha, _ = pair
    kept = told_by(eu, us)
    eu.register(alpha)
    eu.hinted()
    stranger = msgspec.structs.replace(as_peer(eu), gp="ap")
    with pytest.raises(DecodeError):
        us.following.notified(stranger, kept[0])


def test_an_inbound_peer_is_not_followed_whatever_it_tells(pair: Pair) -> None:
    eu, us, alpha, _ = pair
    kept = told_by(eu, us)
    eu.register(alpha)
    eu.hinted()
    us.world.tables.heads = us.world.tables.heads.next(Heads())
    before = len(us.world.calls("peer_client"))
    with pytest.raises(NotPermitted):
        us.following.notified(msgspec.structs.replace(as_peer(eu), direction="inbound"), kept[0])
    assert len(us.world.calls("peer_client")) == before
