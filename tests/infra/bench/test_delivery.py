"""The benchmark's groups are ones that a delivery service takes requests for, and its counts are counts."""

from collections import Counter
from collections.abc import Callable

import pytest

from chalicelib.protocol.delivery.messages import DSMessage
from chalicelib.protocol.delivery.responses import Ok
from chalicelib.services.delivery.state import SHARD_LEAVES
from infra.bench._counted import Tally, counted
from infra.bench._delivery import CrowdGroup
from tests.protocol.delivery.requests import QUEUE
from tests.services.delivery.house import House


def settled(house: House, members: int) -> CrowdGroup:
    group = CrowdGroup(members, house.vault)
    group.settle(house.world.groups, [QUEUE], house.world.clock())
    return group


@pytest.mark.parametrize("members", [2, 10, 70])
def test_whatever_its_members_ask_is_done(members: int) -> None:
    house = House()
    group, clock = settled(house, members), house.world.clock
    asking: list[Callable[[], DSMessage]] = [
        lambda: group.committing(clock()),
        lambda: group.sending(clock()),
        lambda: group.moving(clock(), QUEUE),
    ]
    for _ in range(3):
        for ask in asking:
            assert house.serve(ask()) == Ok()
    head = house.head(group.group_id)
    assert (head.epoch, head.version, head.seq) == (group.group.epoch, 7, 7)


def test_a_group_has_shards_for_its_members_and_no_more() -> None:
    house = House()
    group = settled(house, SHARD_LEAVES + 30)
    assert group.group.tree.leaf_capacity > 2 * SHARD_LEAVES
    assert house.serve(group.committing(house.world.clock())) == Ok()
    assert house.head(group.group_id).shards == 2


def test_what_other_processes_did_is_added() -> None:
    tally = Tally(Counter(a=1), 1, 2, 3, 4)
    tally.add(Tally(Counter(a=1, b=2), 10, 20, 30, 40))
    assert tally == Tally(Counter(a=2, b=2), 11, 22, 33, 44)
    assert tally.total == 4


def test_nothing_is_counted_where_nothing_is_done() -> None:
    with counted() as tally:
        pass
    assert tally == Tally()
