"""How much may come in, and from whom.

Four bounds, each where it costs least. A source may create some queues a minute (`creations`), and ask for some that
are not its own (`strangers`). A hub may send so many rows a second, by leased tokens. How fast one group may fill one
queue is bounded in the stream's own row, which is read and written for each row anyhow: a stream is one group's way to
a set of queues, and each row goes into each of them.
"""

from chalicelib.errors import TooManyRequests
from chalicelib.protocol.timestamps import MINUTE, SECOND
from chalicelib.services.limits import LeasedLimit, Limit
from chalicelib.services.ports import Alarms, Buckets
from chalicelib.services.queueing.state import Stream

CREATED_BY_SOURCE = Limit("queues-by-source", 10, MINUTE, 100)
"""A source is one address, behind which a company or a mobile network may be."""

FAILED_BY_SOURCE = Limit("queue-failures-by-source", 300, MINUTE, 300)
"""Of requests that no owner signed. A client whose queue is gone notices by one."""

HUB_RATE = 2_000.0
HUB_BURST = 4_000

STREAM_RATE = 20  # Rows of one group a second, into any one queue.
STREAM_BURST = 600
_WHOLE = 1_000


class HubLimits:
    """Admits other hubs' rows; one instance a container. It serves when the limiter is down."""

    def __init__(self, buckets: Buckets, alarms: Alarms) -> None:
        self._rows = LeasedLimit(buckets, alarms, "rows-by-hub", owners="hub", kind="enqueue", alarm="hub-limiter-down")

    def admit(self, hub: str, now: int) -> None:
        """Spend one token of a hub's, or raise `TooManyRequests`."""
        self._rows.spend(hub, HUB_RATE, HUB_BURST, now)


def tokens_left(stream: Stream | None, rows: int, now: int) -> int:
    """Return a stream's tokens after so many rows, in thousandths, or raise `TooManyRequests` if it has too few."""
    tokens = STREAM_BURST * _WHOLE
    if stream is not None:
        gained = max(0, now - stream.at) * STREAM_RATE * _WHOLE // SECOND
        tokens = min(tokens, stream.tokens + gained)
    left = tokens - rows * _WHOLE
    if left < 0:
        raise TooManyRequests("rows-by-group", -left / _WHOLE / STREAM_RATE)
    return left
