"""What rows of every table have in common: when they go, and in how many shards those are found that fall due."""

from chalicelib.protocol.timestamps import SECOND

DUE_SHARDS = 8


def gone_at(moment: int) -> int:
    """Return a time to live (seconds, which DynamoDB reads) from a time in milliseconds."""
    return moment // SECOND + 1
