"""`Buckets`: it may admit too few and never too many."""

from functools import partial

from chalicelib.protocol.timestamps import DAY, MINUTE, SECOND
from tests.contracts.examples import NOW
from tests.contracts.ports import Ports
from tests.contracts.races import race

RATE, BURST = 10.0, 20


def take(ports: Ports, want: int, now: int = NOW, owner: str = "alpha", kind: str = "query") -> int:
    taken, _, _ = ports.buckets.take(owner, kind, want, RATE, BURST, now)
    return taken


def test_a_new_bucket_is_full_and_gives_what_it_has(ports: Ports) -> None:
    assert [take(ports, want) for want in (5, 10, 10, 10)] == [5, 10, 5, 0]


def test_a_bucket_fills_by_its_rate_and_not_above_its_burst(ports: Ports) -> None:
    take(ports, BURST)
    assert take(ports, BURST, NOW + SECOND) == 10
    assert take(ports, 2 * BURST, NOW + MINUTE) == BURST


def test_parts_of_a_token_add_up(ports: Ports) -> None:
    take(ports, BURST)
    half = int(SECOND / RATE / 2)
    assert [take(ports, 1, NOW + step * half) for step in range(1, 7)] == [0, 1, 0, 1, 0, 1]


def test_an_empty_bucket_says_when_the_next_token_comes(ports: Ports) -> None:
    _, wait, _ = ports.buckets.take("alpha", "query", BURST, RATE, BURST, NOW)
    assert wait == 100
    assert take(ports, 1, NOW + wait - 1) == 0
    assert take(ports, 1, NOW + wait) == 1


def test_a_bucket_with_tokens_has_nobody_wait(ports: Ports) -> None:
    _, wait, _ = ports.buckets.take("alpha", "query", 1, RATE, BURST, NOW)
    assert wait == 0


def test_of_any_number_of_takers_at_once_no_more_than_the_burst_is_given(ports: Ports) -> None:
    outcomes = race(*(lambda: take(ports, 7) for _ in range(8)))
    taken = [outcome for outcome in outcomes if not isinstance(outcome, Exception)]
    assert sum(taken) <= BURST
    assert sum(taken) + take(ports, BURST) == BURST


def test_tokens_whose_reply_was_lost_are_gone(ports: Ports) -> None:
    ports.lose_reply("buckets", "take")
    race(lambda: take(ports, 15))
    assert take(ports, BURST) <= 5


def test_a_clock_behind_the_last_takers_makes_no_tokens(ports: Ports) -> None:
    take(ports, BURST, NOW + SECOND)
    assert take(ports, BURST, NOW) == 0
    assert take(ports, BURST, NOW + SECOND) == 0


def test_tokens_that_were_not_used_come_back_up_to_the_burst(ports: Ports) -> None:
    take(ports, 15)
    ports.buckets.give_back("alpha", "query", 10, BURST)
    assert take(ports, BURST) == 15
    ports.buckets.give_back("alpha", "query", 10 * BURST, BURST)
    assert take(ports, 2 * BURST) == BURST


def test_tokens_that_another_gave_back_are_there_for_one_who_found_none(ports: Ports) -> None:
    take(ports, BURST)
    assert take(ports, 1) == 0
    ports.buckets.give_back("alpha", "query", 3, BURST)
    assert take(ports, 1) == 1


def test_another_owner_or_kind_is_another_bucket(ports: Ports) -> None:
    take(ports, BURST)
    assert take(ports, BURST, owner="beta") == BURST
    assert take(ports, BURST, kind="code") == BURST


def sketched(ports: Ports, sketch: bytes, now: int = NOW) -> bytes:
    _, _, merged = ports.buckets.take("alpha", "query", 1, RATE, BURST, now, sketch)
    return merged


def test_what_was_seen_in_a_day_is_seen_together(ports: Ports) -> None:
    assert sketched(ports, b"\x01\x00") == b"\x01\x00"
    assert sketched(ports, b"\x00\x02") == b"\x01\x02"
    assert sketched(ports, b"\x01\x00") == b"\x01\x02"
    assert sketched(ports, b"") == b"\x01\x02"


def test_what_two_saw_at_once_is_not_lost(ports: Ports) -> None:
    seen = [bytes(place == mine for place in range(4)) for mine in range(4)]
    race(*(partial(sketched, ports, one) for one in seen))
    assert sketched(ports, bytes(4)) == bytes([1, 1, 1, 1])


def test_another_day_begins_with_nothing_seen(ports: Ports) -> None:
    sketched(ports, b"\x01\x00")
    assert sketched(ports, b"\x00\x02", NOW + DAY) == b"\x00\x02"


def test_a_sketch_is_merged_though_no_token_is_left(ports: Ports) -> None:
    take(ports, BURST)
    sketched(ports, b"\x01\x00")
    assert sketched(ports, b"\x00\x02") == b"\x01\x02"
