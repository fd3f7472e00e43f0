"""The port `FanoutHints`: messages that wake workers for the shards of a group, in one call however many.

A call takes ten messages. Where there are more shards, each message names its share of them, and whoever gets it
gives the others' hints in the same way before it begins with its own: ten times as many workers at each step.
"""

from collections.abc import Sequence

from chalicelib.protocol.base64url import encode_base64url
from chalicelib.services.delivery.state import GroupId
from chalicelib.storage.queues import MOST_IN_BATCH, Queues

QUEUE = "fanout"


class AwsFanoutHints:
    """Hints of one stage."""

    def __init__(self, queues: Queues) -> None:
        self.queues = queues

    def fan_out(self, group_id: GroupId, shards: Sequence[int]) -> None:
        """Wake a worker for each shard."""
        if not shards:
            return
        name = encode_base64url(group_id)
        shares = [list(shards[first::MOST_IN_BATCH]) for first in range(min(MOST_IN_BATCH, len(shards)))]
        self.queues.hint_many(QUEUE, [{"g": name, "shard": shard, "more": more} for shard, *more in shares])
