"""`PeerHeads`: the row of all peers' heads, changed by compare-and-swap."""

import dataclasses
from functools import partial

import pytest

from chalicelib.services.ports import Lost
from chalicelib.services.provider.state import Heads
from tests.contracts.filters import peer_head
from tests.contracts.ports import Ports
from tests.contracts.races import race, winners


def test_at_first_nothing_is_held_of_anybody(ports: Ports) -> None:
    assert ports.peer_heads.load().value == Heads()


def test_heads_are_read_as_they_were_written(ports: Ports) -> None:
    heads = Heads((peer_head("us"), dataclasses.replace(peer_head("ap"), quarantine="digest", subscription_id=None)))
    ports.peer_heads.replace(ports.peer_heads.load(), heads)
    assert ports.peer_heads.load().value == heads


def test_heads_that_changed_since_they_were_loaded_are_not_replaced(ports: Ports) -> None:
    before = ports.peer_heads.load()
    ports.peer_heads.replace(before, Heads((peer_head("us"),)))
    with pytest.raises(Lost):
        ports.peer_heads.replace(before, Heads((peer_head("ap"),)))
    assert ports.peer_heads.load().value == Heads((peer_head("us"),))


@pytest.mark.parametrize("known", [False, True], ids=["first", "later"])
def test_of_rivals_for_the_heads_one_wins(ports: Ports, known: bool) -> None:
    if known:
        ports.peer_heads.replace(ports.peer_heads.load(), Heads((peer_head("us"),)))
    before = ports.peer_heads.load()
    rivals = [Heads((peer_head("us", seq),)) for seq in range(1, 7)]
    outcomes = race(*(partial(ports.peer_heads.replace, before, heads) for heads in rivals))
    assert winners(outcomes, Lost) == 1
    assert ports.peer_heads.load().value == rivals[outcomes.index(None)]


def test_a_replacement_whose_reply_was_lost_is_seen_by_the_next_load(ports: Ports) -> None:
    before = ports.peer_heads.load()
    ports.lose_reply("peer_heads", "replace")
    (told,) = race(partial(ports.peer_heads.replace, before, Heads((peer_head("us"),))))
    assert not isinstance(told, Lost)
    assert ports.peer_heads.load().value == Heads((peer_head("us"),))
