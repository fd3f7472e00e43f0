"""`Subscriptions`: which peer is told of which version, and how far it has acknowledged."""

import dataclasses
from functools import partial

from chalicelib.services.provider.state import Subscription
from tests.contracts.examples import NOW
from tests.contracts.ports import Ports
from tests.contracts.races import race, winners

ONE = Subscription("us", "sub_1", version=1, callback="https://us.example/notify", acked_seq=3)


def stored(ports: Ports) -> Subscription:
    found = ports.subscriptions.get("us", "sub_1")
    assert found is not None
    return found


def test_a_subscription_is_read_as_it_was_put(ports: Ports) -> None:
    full = dataclasses.replace(ONE, next_at=NOW, failures=2)
    ports.subscriptions.put(full)
    assert stored(ports) == full


def test_putting_it_again_replaces_it(ports: Ports) -> None:
    ports.subscriptions.put(ONE)
    moved = dataclasses.replace(ONE, version=2, acked_seq=0, callback="https://us.example/other")
    ports.subscriptions.put(moved)
    assert stored(ports) == moved
    assert ports.subscriptions.of_version(1) == []
    assert ports.subscriptions.of_version(2) == [moved]


def test_another_peers_subscription_is_not_found(ports: Ports) -> None:
    ports.subscriptions.put(ONE)
    assert ports.subscriptions.get("ap", "sub_1") is None
    assert ports.subscriptions.get("us", "sub_2") is None


def test_a_version_has_all_its_subscribers_and_no_other(ports: Ports) -> None:
    for gp, name, version in [("us", "a", 1), ("us", "b", 1), ("ap", "a", 1), ("us", "c", 2)]:
        ports.subscriptions.put(dataclasses.replace(ONE, gp=gp, subscription_id=name, version=version))
    found = {(one.gp, one.subscription_id) for one in ports.subscriptions.of_version(1)}
    assert found == {("us", "a"), ("us", "b"), ("ap", "a")}


def test_an_acknowledgement_only_ever_raises_the_seq(ports: Ports) -> None:
    ports.subscriptions.put(ONE)
    seqs = []
    for seq in (5, 4, 5, 6):
        ports.subscriptions.acknowledge(ONE, seq)
        seqs.append(stored(ports).acked_seq)
    assert seqs == [5, 5, 5, 6]


def test_acknowledgements_that_overtake_each_other_leave_the_highest(ports: Ports) -> None:
    ports.subscriptions.put(ONE)
    outcomes = race(*(partial(ports.subscriptions.acknowledge, ONE, seq) for seq in (9, 4, 7, 5)))
    assert winners(outcomes, AssertionError) == 4
    assert stored(ports).acked_seq == 9


def test_an_acknowledgement_ends_a_run_of_failures(ports: Ports) -> None:
    ports.subscriptions.put(ONE)
    ports.subscriptions.failed(ONE, NOW + 1)
    ports.subscriptions.acknowledge(stored(ports), 4)
    assert stored(ports) == dataclasses.replace(ONE, acked_seq=4)


def test_a_failure_waits_and_is_counted_and_leaves_the_seq(ports: Ports) -> None:
    ports.subscriptions.put(ONE)
    ports.subscriptions.acknowledge(ONE, 4)
    ports.subscriptions.failed(stored(ports), NOW + 1)
    assert stored(ports) == dataclasses.replace(ONE, acked_seq=4, failures=1, next_at=NOW + 1)
    ports.subscriptions.failed(stored(ports), NOW + 2)
    assert (stored(ports).failures, stored(ports).next_at) == (2, NOW + 2)


def test_what_is_deleted_is_gone_and_no_late_answer_brings_it_back(ports: Ports) -> None:
    ports.subscriptions.put(ONE)
    for _ in range(2):
        ports.subscriptions.delete("us", "sub_1")
    ports.subscriptions.acknowledge(ONE, 9)
    ports.subscriptions.failed(ONE, NOW)
    assert ports.subscriptions.get("us", "sub_1") is None
    assert ports.subscriptions.of_version(1) == []
