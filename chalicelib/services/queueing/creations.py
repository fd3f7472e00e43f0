"""How many queues a source makes; whoever makes too many is turned away, before long without a look at anything.

Whether a queue may be made is asked of the limiter once it was read that there is none: to make one's own again costs
nothing, since the reply may have been lost. So beyond its limit a source would still cost a read and a write for each
try. A process therefore keeps in mind whom the limiter refused, until the time that it said. Meanwhile it does not ask
again, and looks a few times whether the queue is there already.
"""

from chalicelib.errors import TooManyRequests
from chalicelib.protocol.timestamps import SECOND
from chalicelib.services.limits import Limits, network
from chalicelib.services.queueing.limits import CREATED_BY_SOURCE
from chalicelib.services.queueing.strangers import TurnedAway

LOOKS = 10
"""How often a process looks for a source's queue while the source may make none: a few clients lose their replies."""


class Creations:
    """Admits those who make queues; one instance a container."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._turned_away = TurnedAway()

    def admit(self, source: str, now: int) -> None:
        """Raise `TooManyRequests` if it is not even to be looked whether the queue is there, which costs a read."""
        owner = network(source)
        if (pause := self._turned_away.pause(owner, now)) and not self._turned_away.look(owner):
            raise TooManyRequests(CREATED_BY_SOURCE.name, pause / SECOND)

    def spend(self, source: str, now: int) -> None:
        """Spend one of a source's queues, or raise `TooManyRequests`."""
        owner = network(source)
        if pause := self._turned_away.pause(owner, now):
            raise TooManyRequests(CREATED_BY_SOURCE.name, pause / SECOND)
        try:
            self._limits.spend(CREATED_BY_SOURCE, owner, 1, now)
        except TooManyRequests as refused:
            self._turned_away.note(owner, now + int((refused.retry_after_seconds or 0) * SECOND), LOOKS)
            raise
