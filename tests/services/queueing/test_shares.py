"""Who holds how much of a queue, and that no sender can keep the others out of it."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.services.queueing.shares import (
    CAPACITY,
    ENTRY_COST,
    LARGEST_MESSAGE,
    MOST_GROUPS,
    MOST_HUBS,
    Sender,
    Shares,
    Tally,
    may_hold,
)
from chalicelib.services.queueing.state import Head, QueueId

MEGABYTE = 1 << 20
QUARTER = CAPACITY // 4
LARGEST = LARGEST_MESSAGE + ENTRY_COST
EMPTY = Head(QueueId(b"q" * 16), 1, b"key", b"token", created_at=0, active_at=0, updated_at=0)


def sender(hub: int, group: int = 0) -> Sender:
    return Sender(b"hub %d" % hub, b"hub %d, group %d" % (hub, group))


@dataclasses.dataclass
class Queue:
    """A queue that knows each entry, beside what its head counts of it."""

    entries: list[tuple[Sender, int]] = dataclasses.field(default_factory=list)
    head: Head = EMPTY

    @property
    def shares(self) -> Shares:
        return self.head.shares

    @property
    def beginning(self) -> int:
        return self.head.beginning

    @property
    def end(self) -> int:
        return self.head.end

    def offer(self, by: Sender, cost: int) -> bool:
        """Put something in if it may be."""
        shares = self.head.shares_with(by, cost)
        if shares is None:
            return False
        total = self.head.total + cost - ENTRY_COST
        self.head = dataclasses.replace(self.head, seq=self.head.seq + 1, total=total, shares=shares)
        self.entries.append((by, cost))
        return True

    def fill(self, by: Sender, cost: int) -> int:
        """Put in as many as may be, and return what they cost together."""
        begun = self.end
        while self.offer(by, cost):
            pass
        return self.end - begun

    def let_go(self, count: int) -> None:
        gone, self.entries = self.entries[:count], self.entries[count:]
        freed = self.head.freed + sum(cost - ENTRY_COST for _, cost in gone)
        self.head = dataclasses.replace(self.head, acknowledged=self.head.acknowledged + len(gone), freed=freed)

    def of_hub(self, by: Sender) -> int:
        return sum(cost for one, cost in self.entries if one.hub == by.hub)

    def of_group(self, by: Sender) -> int:
        return sum(cost for one, cost in self.entries if one.group == by.group)

    def counted(self, by: Sender) -> tuple[int, int]:
        shares = self.shares.as_of(self.beginning, self.end)
        return shares.of_hub(by, self.beginning), shares.of_group(by, self.beginning)


costs = st.integers(ENTRY_COST, LARGEST)


def senders(hubs: int, groups: int) -> st.SearchStrategy[Sender]:
    return st.builds(sender, st.integers(1, hubs), st.integers(1, groups))


def steps(by: st.SearchStrategy[Sender]) -> st.SearchStrategy[list[tuple[Sender, int] | int]]:
    """Return what happens to a queue: somebody puts something in, or so many entries are let go of."""
    return st.lists(st.tuples(by, costs) | st.integers(1, 9), max_size=80)


def play(queue: Queue, happens: list[tuple[Sender, int] | int]) -> None:
    for one in happens:
        if isinstance(one, int):
            queue.let_go(one)
        else:
            queue.offer(*one)


# --- who holds how much


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 100)), max_size=60), st.integers(1, 8))
def test_a_tally_counts_nobody_for_less_and_for_little_more(added: list[tuple[int, int]], most: int) -> None:
    tally = Tally(most)
    for name, cost in added:
        tally = tally.plus(b"%d" % name, cost)
    total = sum(cost for _, cost in added)
    assert len(tally.counts) <= most
    assert sum(tally.counts.values()) == total
    for name in range(11):
        true = sum(cost for one, cost in added if one == name)
        assert true <= tally.of(b"%d" % name) <= true + total // most


@given(steps(senders(40, 3)))
def test_nobody_is_counted_for_less_than_it_holds_or_for_more_than_there_is(
    happens: list[tuple[Sender, int] | int],
) -> None:
    """Also where there are more hubs and groups than counters."""
    queue = Queue()
    for one in happens:
        play(queue, [one])
        for by in [sender(hub, group) for hub in range(1, 41) for group in range(1, 4)]:
            of_hub, of_group = queue.counted(by)
            assert queue.of_hub(by) <= of_hub <= queue.end - queue.beginning
            assert queue.of_group(by) <= of_group <= of_hub


@given(steps(senders(4, 8)))
def test_a_sender_is_counted_for_more_by_what_was_let_go_of_its_own_in_the_older_part(
    happens: list[tuple[Sender, int] | int],
) -> None:
    """Where there are counters for all."""
    queue, placed = Queue(), []
    borders = [0, 0]
    for one in happens:
        before = queue.end
        play(queue, [one])
        if queue.end > before and not isinstance(one, int):
            placed.append((one[0].hub, queue.end, one[1]))
        border = queue.shares.as_of(queue.beginning, queue.end).border
        borders = borders if border == borders[-1] else [borders[-1], border]
        for by in map(sender, range(1, 5)):
            gone = sum(cost for hub, at, cost in placed if hub == by.hub and borders[0] < at <= queue.beginning)
            assert queue.counted(by)[0] <= queue.of_hub(by) + gone


@given(steps(senders(3, 3)), senders(3, 3), costs)
def test_what_was_let_go_of_altogether_counts_for_nobody(
    happens: list[tuple[Sender, int] | int], by: Sender, cost: int
) -> None:
    queue = Queue()
    play(queue, happens)
    queue.let_go(len(queue.entries))
    assert queue.offer(by, cost)
    assert queue.counted(by) == (cost, cost)


# --- who may


@given(st.lists(st.tuples(senders(40, 40), st.integers(ENTRY_COST, QUARTER)), max_size=60))
def test_nobody_is_limited_while_a_quarter_is_in_use(offered: list[tuple[Sender, int]]) -> None:
    queue = Queue()
    for by, cost in offered:
        if queue.end + cost <= QUARTER:
            assert queue.offer(by, cost)
    assert Queue().offer(sender(1), LARGEST), "the largest message there is"


def test_one_large_step_does_not_lead_over_the_bounds() -> None:
    assert may_hold(left=10, of_hub=10, of_group=0)
    assert not may_hold(left=10, of_hub=11, of_group=0)
    assert not may_hold(left=10, of_hub=100, of_group=1), "for the square of what is missing is no room"
    assert not may_hold(left=-1, of_hub=0, of_group=0)
    queue = Queue()
    for group in range(10):
        queue.fill(sender(1, group), MEGABYTE)
    assert not queue.offer(sender(1, 99), LARGEST)


def attacks(groups: int) -> st.SearchStrategy[list[tuple[Sender, int] | int]]:
    """Return what one hub does, with as many groups as it likes, and what a client lets go of meanwhile."""
    return st.lists(st.tuples(senders(1, groups), costs) | st.integers(1, 3), max_size=120)


@given(attacks(200))
def test_whatever_a_hub_does_another_has_a_quarter(happens: list[tuple[Sender, int] | int]) -> None:
    queue = Queue()
    play(queue, happens)
    for group in range(200):  # And once more, with whatever still fits.
        queue.fill(sender(1, group), 4 * MEGABYTE)
    assert queue.end - queue.beginning <= CAPACITY // 2
    put_in = sum(queue.fill(sender(2, group), MEGABYTE) for group in range(200))
    assert put_in > QUARTER - 5 * MEGABYTE
    assert queue.end - queue.beginning <= CAPACITY


@given(attacks(200))
def test_whatever_a_hub_does_one_group_of_another_has_an_eighth(happens: list[tuple[Sender, int] | int]) -> None:
    """Also where the attacker's groups have every counter, so that the lowest one goes to the newcomer."""
    queue = Queue()
    play(queue, happens)
    for group in range(200):
        queue.fill(sender(1, group), 4 * MEGABYTE)
    assert queue.fill(sender(2), MEGABYTE) > CAPACITY // 8 - 2 * MEGABYTE


@pytest.mark.parametrize("hubs", range(1, 7))
def test_after_some_greedy_hubs_another_has_its_half_of_what_is_left(hubs: int) -> None:
    queue = Queue()
    for hub in range(1, hubs + 1):
        for group in range(40):
            queue.fill(sender(hub, group), 100_000)
    left = CAPACITY - queue.end
    assert left >= CAPACITY >> hubs
    assert queue.fill(sender(0, 0), ENTRY_COST) > left / 4.1, "one group"
    put_in = left - (CAPACITY - queue.end) + sum(queue.fill(sender(0, group), ENTRY_COST) for group in range(1, 9))
    assert left * 0.3 < put_in <= left / 2, "and some others"


def test_of_what_a_hub_can_come_to_one_over_2k_is_left_by_k_greedy_groups() -> None:
    """The share of a group that nobody heard of shrinks slowly, however greedy those before it are."""
    queue = Queue()
    for groups in range(1, MOST_GROUPS):
        queue.fill(sender(1, groups), ENTRY_COST)
        unused = CAPACITY // 2 - queue.end
        assert unused >= CAPACITY // 2 / (2 * groups)
    assert queue.fill(sender(1, 0), ENTRY_COST) >= 3 * ENTRY_COST, "the 32nd"
    assert queue.fill(sender(2), ENTRY_COST) > CAPACITY // 9, "another hub's"


def test_a_group_that_is_greedy_leaves_the_others_of_its_hub_their_room() -> None:
    queue = Queue()
    assert queue.fill(sender(1, 1), ENTRY_COST) == pytest.approx(QUARTER, abs=ENTRY_COST)
    assert not queue.offer(sender(1, 1), ENTRY_COST)
    assert queue.fill(sender(1, 2), ENTRY_COST) > CAPACITY // 12
    queue.let_go(1)
    assert queue.offer(sender(1, 1), ENTRY_COST) is False, "others came meanwhile"
    queue.let_go(len(queue.entries) - 1)
    assert queue.offer(sender(1, 1), ENTRY_COST)


def test_a_queue_keeps_so_many_counters_and_no_more() -> None:
    queue = Queue()
    for number in range(500):
        queue.offer(sender(number, number), ENTRY_COST)
        queue.let_go(number % 3)
    parts = (queue.shares.older, queue.shares.newer)
    assert max(len(part.hubs.counts) for part in parts) <= MOST_HUBS
    assert max(len(part.groups.counts) for part in parts) <= MOST_GROUPS
