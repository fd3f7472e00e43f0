"""What peers see of our filter, and what subscribers are owed."""

import functools

import pytest

from chalicelib.errors import Conflict, FilterVersionGone, InvalidValue, NotFound, Unavailable
from chalicelib.protocol.glados.federation_api import Notification, SubscriptionAnswer, SubscriptionRequest
from chalicelib.protocol.glados.filters import indexes
from chalicelib.protocol.timestamps import DAY, MINUTE, format_time
from chalicelib.services.accounts.state import Account
from chalicelib.services.provider.publication import MOST_SUBSCRIPTIONS, Link
from tests.services.provider.providers import MAIL, PHONE, Gp, as_peer, federation, meanwhile, settle, uri

CALLBACK = "https://us.example/federation/v1/notifications"
Pair = tuple[Gp, Gp, Account]


@pytest.fixture
def pair() -> Pair:
    """Two GPs; the second is about to follow the first, which has published a filter."""
    eu, us = federation("eu", "us")
    alpha = eu.enrol("alpha")
    settle(eu)
    return eu, us, alpha


def subscribe(eu: Gp, us: Gp, **request: object) -> SubscriptionAnswer:
    version = request.pop("version", None) or eu.versions()[-1].version
    asked = SubscriptionRequest(version=version, callback=CALLBACK, **request)  # type: ignore[arg-type]
    return eu.publication.subscribe(as_peer(us), asked)


def add(eu: Gp, alpha: Account, sii: str) -> list[int]:
    eu.register(alpha, sii)
    eu.sequencer.run()
    return list(indexes(eu.versions()[-1].parameters, uri(sii)))


def told_to(publisher: Gp, subscriber: str) -> list[list[int]]:
    """Keep the positions that a subscriber is told of, instead of bringing them there."""
    told: list[list[int]] = []

    def keep(_asking: str, sent: Notification) -> None:
        assert isinstance(sent.bits, list)
        told.append(sent.bits)

    publisher.world.peer_client.gps[subscriber].notify = keep
    return told


def test_before_the_first_filter_peers_are_told_to_come_later() -> None:
    (eu,) = federation("eu")
    with pytest.raises(Unavailable):
        eu.publication.filter()


def test_a_subscription_answers_with_what_was_missed_by_seq_or_by_time(pair: Pair) -> None:
    eu, us, alpha = pair
    one, two = add(eu, alpha, PHONE), add(eu, alpha, MAIL)
    answers = [subscribe(eu, us, after=after) for after in (0, 1, 2)]
    assert [answer.bits for answer in answers] == [sorted(one + two), two, []]
    at = format_time(eu.versions()[-1].at)
    assert subscribe(eu, us, since=at).bits == two
    assert {answer.seq for answer in answers} == {2}
    assert len({answer.subscription_id for answer in answers}) == 1


def test_a_peer_has_a_few_subscriptions_and_not_as_many_as_it_likes(pair: Pair) -> None:
    eu, us, _ = pair
    version = eu.versions()[-1].version

    def ask(number: int) -> str:
        callback = f"{CALLBACK}?n={number}"
        request = SubscriptionRequest(version=version, callback=callback, after=0)
        return eu.publication.subscribe(as_peer(us), request).subscription_id

    made = {ask(number) for number in range(MOST_SUBSCRIPTIONS)}
    with pytest.raises(Conflict):
        ask(MOST_SUBSCRIPTIONS)
    assert ask(0) in made


def test_an_addition_while_subscribing_is_in_the_answer_or_told(pair: Pair) -> None:
    eu, us, alpha = pair
    for port, method in (("subscriptions", "put"), ("subscriptions", "acknowledge")):
        told = told_to(eu, "us")
        sii = PHONE if method == "put" else MAIL
        after = eu.versions()[-1].seq
        meanwhile(getattr(eu.world, port), method, functools.partial(add, eu, alpha, sii))
        answer = subscribe(eu, us, after=after)
        eu.publication.notify_all()
        assert isinstance(answer.bits, list)
        assert answer.bits + [position for bits in told for position in bits] == list(
            indexes(eu.versions()[-1].parameters, uri(sii))
        )


def test_an_unknown_or_building_version_is_gone(pair: Pair) -> None:
    eu, us, _ = pair
    eu.rebuild.step(now_please=True)
    building = eu.world.filter_pointer._row.value.in_state("building")
    assert building is not None
    for version in (1, building.version):
        with pytest.raises(FilterVersionGone):
            subscribe(eu, us, after=0, version=version)
        with pytest.raises(FilterVersionGone):
            eu.publication.base(version, "raw")


def test_a_subscription_names_one_start_and_a_callback_of_its_own(pair: Pair) -> None:
    eu, us, _ = pair
    for request in ({}, {"after": 0, "since": format_time(0)}):
        with pytest.raises(InvalidValue):
            subscribe(eu, us, **request)
    elsewhere = SubscriptionRequest(version=eu.versions()[-1].version, callback="https://x.example/", after=0)
    with pytest.raises(InvalidValue):
        eu.publication.subscribe(as_peer(us), elsewhere)


def test_a_subscriber_that_is_down_is_told_everything_when_it_is_back(pair: Pair) -> None:
    eu, us, alpha = pair
    subscribe(eu, us, after=0)
    told = told_to(eu, "us")
    eu.world.peer_client.down.add("us")
    wanted = []
    for sii in (PHONE, MAIL):
        wanted += add(eu, alpha, sii)
        assert eu.publication.notify_all() == 0
    eu.world.peer_client.down.clear()
    eu.world.clock.advance(MINUTE)
    assert [eu.publication.notify_all(), eu.publication.notify_all()] == [1, 0]
    assert told == [sorted(wanted)]


def test_a_lost_acknowledgement_tells_once_more(pair: Pair) -> None:
    eu, us, alpha = pair
    subscribe(eu, us, after=0)
    told = told_to(eu, "us")
    wanted = add(eu, alpha, PHONE)
    eu.world.fail("subscriptions", "acknowledge")
    with pytest.raises(ConnectionError):
        eu.publication.notify_all()
    eu.publication.notify_all()
    assert told == [wanted, wanted]


def test_more_than_a_thousand_additions_are_told_as_deltas(pair: Pair) -> None:
    eu, us, alpha = pair
    subscribe(eu, us, after=0)
    for turn in range(1_020):
        eu.register(alpha, f"mailto:user{turn}@example.com")
        if turn % 250 == 0:
            eu.sequencer.run()
    eu.sequencer.run()
    answer = subscribe(eu, us, after=0)
    assert isinstance(answer.deltas, list)
    assert sum(ref.bits for ref in answer.deltas) == eu.versions()[-1].bits_set
    for ref in answer.deltas:
        data = eu.publication.delta(answer.version, ref.from_seq, ref.to_seq)
        assert not isinstance(data, Link)
        assert len(data) == ref.bytes
    with pytest.raises(NotFound):
        eu.publication.delta(answer.version, 1, 10_000)


def test_an_object_too_large_to_answer_with_is_a_link(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    eu, _, _ = pair
    monkeypatch.setattr("chalicelib.services.provider.publication.LARGEST_ANSWER", 1_000)
    assert isinstance(eu.publication.base(eu.versions()[-1].version, "raw"), Link)
    assert not isinstance(eu.publication.base(eu.versions()[-1].version, "rice"), Link)


def test_a_peer_that_left_the_trust_list_is_told_nothing_more(pair: Pair) -> None:
    eu, us, alpha = pair
    subscribe(eu, us, after=0)
    eu.world.tables.trust_list = federation("eu")[0].world.tables.trust_list
    eu.world.clock.advance(DAY)
    add(eu, alpha, PHONE)
    assert eu.publication.notify_all() == 0
    assert eu.world.subscriptions._rows == {}


def test_unsubscribing_twice_is_no_error(pair: Pair) -> None:
    eu, us, _ = pair
    answer = subscribe(eu, us, after=0)
    for _ in range(2):
        eu.publication.unsubscribe(as_peer(us), answer.subscription_id)
    assert eu.world.subscriptions._rows == {}
