"""How a queue's shares are written into its head: at most two kilobytes, and a few bytes for most queues."""

import msgspec

from chalicelib.services.queueing.shares import MOST_GROUPS, MOST_HUBS, Part, Shares, Tally

_Counts = dict[bytes, int]


class _Shares(msgspec.Struct, frozen=True, array_like=True):
    border: int
    older: tuple[_Counts, _Counts]
    newer: tuple[_Counts, _Counts]


_shares = msgspec.msgpack.Decoder(_Shares)


def encode_shares(shares: Shares) -> bytes:
    """Return the stored form."""
    return msgspec.msgpack.encode(_Shares(shares.border, _counts(shares.older), _counts(shares.newer)))


def decode_shares(written: bytes) -> Shares:
    """Return the shares of a stored form."""
    stored = _shares.decode(written)
    return Shares(stored.border, _part(*stored.older), _part(*stored.newer))


def _counts(part: Part) -> tuple[_Counts, _Counts]:
    return dict(part.hubs.counts), dict(part.groups.counts)


def _part(hubs: _Counts, groups: _Counts) -> Part:
    return Part(Tally(MOST_HUBS, hubs), Tally(MOST_GROUPS, groups))
