"""What other domains keep for us, and the pieces of it that are here, in memory."""

from collections.abc import Callable, Sequence

from chalicelib.protocol.timestamps import DAY, SECOND
from chalicelib.services.ports import Clock, Unreachable
from tests.fakes.clock import SettableClock
from tests.fakes.faults import Fake, Faults, fallible, require


class MemoryRemoteBodies(Fake):
    """Domains, each a function from digest and offset to what it hands over; asking takes `takes` milliseconds."""

    port = "remote_bodies"

    def __init__(self, faults: Faults, clock: SettableClock) -> None:
        super().__init__(faults)
        self.clock = clock
        self.domains: dict[str, Callable[[bytes, int], tuple[bytes, int]]] = {}
        self.asked: list[tuple[str, bytes, int]] = []
        self.takes = 0

    @fallible
    def fetch(self, domain: str, sha256: bytes, offset: int, within: int) -> tuple[bytes, int]:
        require(0 < within <= 20 * SECOND and offset >= 0, "nobody waits so long")
        self.asked.append((domain, sha256, offset))
        self.clock.advance(min(self.takes, within))
        if self.takes > within or domain not in self.domains:
            raise Unreachable
        return self.domains[domain](sha256, offset)


class MemoryPieces(Fake):
    port = "pieces"

    def __init__(self, faults: Faults, clock: Clock) -> None:
        super().__init__(faults)
        self.clock = clock
        self.kept: dict[tuple[str, bytes, int], tuple[bytes, int]] = {}

    @fallible
    def keep(self, domain: str, sha256: bytes, offset: int, piece: bytes) -> None:
        require(bool(piece), "a piece of nothing")
        self.kept[domain, sha256, offset] = (piece, self.clock() + DAY)

    @fallible
    def load(self, domain: str, sha256: bytes, offset: int) -> bytes | None:
        piece, until = self.kept.get((domain, sha256, offset), (None, 0))
        return piece if until > self.clock() else None

    @fallible
    def forget(self, domain: str, sha256: bytes, offsets: Sequence[int]) -> None:
        require(bool(offsets), "nothing is forgotten")
        for offset in offsets:
            self.kept.pop((domain, sha256, offset), None)
