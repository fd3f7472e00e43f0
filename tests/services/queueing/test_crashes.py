"""A worker dies at any of its calls, before or after the call took effect, and the hub sends the row again.

Each queue then has each row, in order, without a gap; whatever came twice is known by (hub, group_id, seq).
"""

import itertools
from collections.abc import Iterator

import pytest

from chalicelib.protocol.delivery.queueing import QueueingServiceResponse as Result
from tests.fakes.faults import When
from tests.fakes.queueing import QueueWorld
from tests.services.queueing.queues import Hub, Owner, Qs, content

CLIENTS = 70  # Two lots, so that there is a crash between them.
LARGE = bytes(400_000)


class Story:
    """Two groups with common members; the second row of the first is the one that is disturbed."""

    def __init__(self) -> None:
        self.world = QueueWorld()
        self.qs = Qs.in_memory(self.world)
        self.owners = [self.qs.owner(f"client {number}") for number in range(CLIENTS)]
        self.gone = Owner(self.qs, "gone")
        self.hub, self.other = Hub(self.qs), Hub(self.qs, group_id=b"other group")
        self.configs = [owner.config for owner in [*self.owners, self.gone]]
        self.hub.give(self.hub.row((b"1", self.configs)))
        self.row = self.hub.row((b"2", self.configs), (LARGE, self.configs[:2]))
        self.world.faults.calls.clear()

    def restart(self) -> None:
        """Begin anew, with nothing remembered, as another container does."""
        self.hub.qs = self.other.qs = Qs.in_memory(self.world)

    def check(self, *, interrupted: bool) -> None:
        """Whatever happened, each queue has each row in order, and repeats are known as such."""
        for place, owner in enumerate(self.owners):
            mine = [entry for entry in owner.all() if entry.group_id == self.hub.group_id]
            seqs = [entry.seq for entry in mine]
            assert seqs == sorted(seqs) or interrupted
            seen: dict[tuple[int, bytes], None] = {(entry.seq, content(entry)): None for entry in mine}
            expected = [(1, b"1"), (2, b"2"), *([(2, LARGE)] if place < 2 else []), (3, b"3")]
            assert list(seen) == expected
            if not interrupted:
                assert len(mine) == len(expected), "nothing comes twice unless another group came in between"


def undisturbed() -> list[tuple[str, str]]:
    story = Story()
    story.hub.give(story.row)
    return list(story.world.faults.calls)


def deaths() -> Iterator[tuple[str, str, int, When]]:
    """Yield each call of the undisturbed row, as (port, method, how often it passes first, when it fails)."""
    seen: dict[tuple[str, str], int] = {}
    for call in undisturbed():
        if call[0] in {"heads", "entries", "streams", "bodies", "buckets"}:
            skip = seen.get(call, 0)
            seen[call] = skip + 1
            yield (*call, skip, "before")
            yield (*call, skip, "after")


DEATHS = list(deaths())


def test_there_are_deaths_between_all_writes() -> None:
    writes = [call for call in undisturbed() if call[1] in {"put", "append", "advance"}]
    assert writes == [
        ("bodies", "put"),
        ("bodies", "put"),
        ("entries", "append"),
        ("entries", "append"),
        ("streams", "advance"),
    ]


@pytest.mark.parametrize("between", [False, True], ids=["alone", "with another group between"])
@pytest.mark.parametrize(("port", "method", "skip", "when"), DEATHS)
def test_a_row_that_broke_off_is_delivered_by_its_repeat(
    port: str, method: str, skip: int, when: When, between: bool
) -> None:
    story = Story()
    story.world.fail(port, method, when=when, skip=skip)
    with pytest.raises(ConnectionError):
        story.hub.give(story.row)
    assert story.world.faults.armed == []
    story.restart()
    if between:
        story.other.give(story.other.row((b"between", story.configs)))
    results = story.hub.give(story.row)
    repeated = story.hub.give(story.row)
    ok = [Result.OK] * CLIENTS
    assert results == repeated == [*ok, Result.INVALID_CLIENT_QUEUE_INFORMATION, Result.OK, Result.OK]
    story.hub.give(story.hub.row((b"3", story.configs)))
    story.check(interrupted=between)


@pytest.mark.parametrize("between", [False, True], ids=["alone", "with another group between"])
@pytest.mark.parametrize("stopped_at", [0, 1])
def test_a_worker_that_was_overtaken_changes_no_order_that_a_client_could_not_mend(
    stopped_at: int, between: bool
) -> None:
    """One worker stops before an append; another sends the row and the next one; then the first goes on."""
    story = Story()
    append, turns = story.world.entries.append, itertools.count()

    def overtaken(appends: object) -> object:
        if next(turns) == stopped_at:
            story.world.entries.append = append  # type: ignore[method-assign]
            quick = Hub(Qs.in_memory(story.world), last=story.hub.last)
            quick.give(story.row)
            quick.give(quick.row((b"3", story.configs)))
            if between:
                story.other.give(story.other.row((b"between", story.configs)))
        return append(appends)  # type: ignore[arg-type]

    story.world.entries.append = overtaken  # type: ignore[method-assign,assignment]
    story.hub.give(story.row)
    assert len(story.world.tables.streams) == 1 + between
    story.check(interrupted=between)
    twice = sum(len(entries) for entries in story.world.tables.entries.values())
    assert (twice > 3 * CLIENTS + 2 + between * CLIENTS) == between, "the story is about what the docstring says"
