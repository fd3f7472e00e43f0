"""The routing filter (draft §9): which identifiers a GP might hold, as a set of bit positions below 2^N.

The draft hashes an SII and takes the lowest N bits; hash, bit order and canonical form are left open. Here:
digest = SHA-256(salt ‖ canonical SII) read as a big-endian integer; index 1 is its low N bits and index j the
next N bits, so k·N ≤ 256. We publish k = 1 and an empty salt, which is the draft's filter, and read any. In the
raw form bit i is bit `i mod 8`, least significant first, of byte `i div 8`: 2^N / 8 bytes, where the draft's
text has lost the exponent.

What the filter gives away is said in the README: whoever holds it can test numbers.
"""

import dataclasses
import hashlib
from collections.abc import Iterable

from chalicelib.errors import DecodeError
from chalicelib.protocol.glados.identifiers import Sii

SMALLEST_N = 20
LARGEST_N = 36
HEADROOM = 7  # 2^7 positions an identifier: at most 1/128 of all strangers' numbers hit.


@dataclasses.dataclass(frozen=True, slots=True)
class Parameters:
    """How an identifier becomes positions: 2^n positions, k of them an identifier, after `salt`."""

    n: int
    k: int = 1
    salt: bytes = b""

    def __post_init__(self) -> None:
        if not 3 <= self.n <= LARGEST_N:
            raise DecodeError(f"a filter has 2^3 to 2^{LARGEST_N} bits")
        if not self.k >= 1 or self.k * self.n > hashlib.sha256().digest_size * 8:
            raise DecodeError("a filter takes at least one index and at most 256 bits of the digest")
        if len(self.salt) > 64:
            raise DecodeError("a filter's salt has at most 64 bytes")

    @property
    def raw_size(self) -> int:
        """The bytes of the raw form."""
        return 1 << (self.n - 3)


def indexes(parameters: Parameters, sii: Sii) -> tuple[int, ...]:
    """Return the positions that an identifier sets, as they come out of the digest."""
    digest = int.from_bytes(hashlib.sha256(parameters.salt + sii.uri.encode()).digest(), "big")
    mask = (1 << parameters.n) - 1
    return tuple(digest >> (parameters.n * turn) & mask for turn in range(parameters.k))


def choose_n(keys: int, planned: int = 0) -> int:
    """Return N for a number of identifiers held and planned: about 1/128 of strangers hit at K = 2^(N-7)."""
    return min(LARGEST_N, max(SMALLEST_N, (max(keys, planned, 1) - 1).bit_length() + HEADROOM))


def set_bits(raw: bytearray, positions: Iterable[int]) -> None:
    """Set positions in a raw filter, in place."""
    for position in positions:
        raw[position >> 3] |= 1 << (position & 7)


def has_bit(raw: bytes | bytearray | memoryview, position: int) -> bool:
    """Tell whether a raw filter has a position set."""
    return bool(raw[position >> 3] >> (position & 7) & 1)


def count_bits(raw: bytes | bytearray) -> int:
    """Return how many positions a raw filter has set."""
    return int.from_bytes(raw, "big").bit_count()
