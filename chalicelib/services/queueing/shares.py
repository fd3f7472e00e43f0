"""Who holds how much of a queue, and who may put in more: no sender can keep the others out.

A sender is a hub, and a group of a hub. What they hold is measured in *cost*: an entry costs its bytes and
`ENTRY_COST` more. A queue's end is where it was put in to, its beginning where it was let go of to; both are sums of
cost since the queue was made, and what lies between them is held.

**Who may.** A hub may hold as much as is left: alone it comes to half of the queue, and a hub that comes after k others
which took all they could still gets half of 2^-k. Hubs are few, each admitted by an operator; groups are made by
anybody. So of what a hub can come to, a group may hold the less the more of that is in use: alone half of it, and
after k greedy groups about 1/(2k) of it is left. Nobody is limited while a quarter of the queue is in use.

**Who holds.** A queue lets go of its oldest entries first, by numbers, without looking at them, and what has expired
is not there to be looked at. So the count is written by those alone who put something in, together with the entry, and
in two parts with a border between them. Once the queue was let go of beyond the border, the older part is dropped and
the newer one becomes the older. Of the older part nobody holds more than is left of it. Thus nothing is to be counted
when entries are let go of, whoever does it and however often.

Each part is a space-saving summary (Metwally, Agrawal, El Abbadi 2005): a few counters, of which the lowest goes to
whoever has none. So a sender is never counted for less than it holds. It is counted for more by no more than

    what it put in before the border and was let go of since, until the queue is let go of up to the border, and
    the lowest counter of each part, if all are taken: at most 1/16 of the part for a hub, 1/32 for a group.
"""

import dataclasses
from collections.abc import Mapping
from typing import Self

MOST_HUBS, MOST_GROUPS = 16, 32

LARGEST_MESSAGE = 64 << 20
ENTRY_COST = 6 << 10
"""What a queue of small messages is limited by, in bytes for each: a quarter of a queue has room for 10,000."""

CAPACITY = 4 * (LARGEST_MESSAGE + ENTRY_COST)
"""The cost that a queue takes. A quarter, which anybody may fill, takes the largest message there is."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sender:
    """A group of a hub, as a queue's counters name the two: by digests that mean nothing in another queue."""

    hub: bytes
    group: bytes


def may_hold(left: int, of_hub: int, of_group: int) -> bool:
    """Tell whether a hub and its group may hold so much where so much of the queue is then left."""
    if of_hub > left:
        return False
    # The hub can come to (left + of_hub) / 2, if nobody else puts anything in; (left - of_hub) / 2 of that is unused.
    # A group may hold twice the unused part's square divided by the whole.
    return of_group * (left + of_hub) <= (left - of_hub) ** 2


@dataclasses.dataclass(frozen=True, slots=True)
class Tally:
    """What the heaviest of many have put in, in `most` counters."""

    most: int
    counts: Mapping[bytes, int] = dataclasses.field(default_factory=dict)

    def of(self, name: bytes) -> int:
        """Return what somebody put in, or more, by the lowest counter at most."""
        lowest = min(self.counts.values()) if len(self.counts) >= self.most else 0
        return self.counts.get(name, lowest)

    def plus(self, name: bytes, cost: int) -> Self:
        """Return the tally with something more; who has no counter takes over the lowest one."""
        counts = {**self.counts, name: self.of(name) + cost}
        if len(counts) > self.most:
            del counts[min(self.counts, key=lambda known: self.counts[known])]
        return dataclasses.replace(self, counts=counts)


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """What was put in between two places of a queue, by hub and by group."""

    hubs: Tally = Tally(MOST_HUBS)
    groups: Tally = Tally(MOST_GROUPS)

    def plus(self, sender: Sender, cost: int) -> Self:
        """Return the part with something more."""
        return dataclasses.replace(
            self, hubs=self.hubs.plus(sender.hub, cost), groups=self.groups.plus(sender.group, cost)
        )


NOTHING = Part()


@dataclasses.dataclass(frozen=True, slots=True)
class Shares:
    """What was put in before the border, and after it; as much of it as may still be held."""

    border: int = 0
    older: Part = NOTHING
    newer: Part = NOTHING

    def as_of(self, beginning: int, end: int) -> Self:
        """Return the shares with the border where it now belongs, the queue lying between these two."""
        if beginning <= self.border:
            return self  # Of the older part there is something left, or just nothing.
        return dataclasses.replace(self, border=end, older=self.newer if beginning < end else NOTHING, newer=NOTHING)

    def plus(self, sender: Sender, cost: int) -> Self:
        """Return the shares with something more at the end."""
        return dataclasses.replace(self, newer=self.newer.plus(sender, cost))

    def of_hub(self, sender: Sender, beginning: int) -> int:
        """Return what a sender's hub holds, or more, of a queue with that beginning."""
        return self._held(self.older.hubs.of(sender.hub), beginning) + self.newer.hubs.of(sender.hub)

    def of_group(self, sender: Sender, beginning: int) -> int:
        """Return what a sender's group holds, or more, of a queue with that beginning."""
        of_group = self._held(self.older.groups.of(sender.group), beginning) + self.newer.groups.of(sender.group)
        return min(of_group, self.of_hub(sender, beginning))  # Lest other hubs' groups are a newcomer's burden.

    def _held(self, before_border: int, beginning: int) -> int:
        return min(before_border, max(0, self.border - beginning))


NOBODYS = Shares()
