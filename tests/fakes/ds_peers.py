"""The other delivery services, in memory: who was admitted, and what they answer when they are called."""

from collections.abc import Callable, Mapping

from chalicelib.errors import AlreadyExists
from chalicelib.services.delivery.state import DsPeer
from chalicelib.services.ports import Clock, Unreachable
from tests.fakes.faults import Fake, Faults, fallible, require
from tests.fakes.registries import Recent
from tests.fakes.tables import Tables

PeerAnswer = tuple[int, str, bytes]
PeerBytes = tuple[int, Mapping[str, str], bytes]


class MemoryDsPeers(Fake):
    """The peers of one delivery service; answers are as old as they may be."""

    port = "ds_peers"

    def __init__(self, faults: Faults, tables: Tables, clock: Clock) -> None:
        super().__init__(faults, tables.lock)
        self.tables = tables
        self._recent: Recent[DsPeer | None] = Recent(clock)

    @fallible
    def of_domain(self, domain: str) -> DsPeer | None:
        return self._recent.read(f"domain {domain}", self.tables.ds_peers.get(domain))

    @fallible
    def of_thumbprint(self, thumbprint: str) -> DsPeer | None:
        holder = next((peer for peer in self.tables.ds_peers.values() if thumbprint in peer.thumbprints), None)
        return self._recent.read(f"thumbprint {thumbprint}", holder)

    @fallible
    def put(self, peer: DsPeer) -> None:
        require(bool(peer.thumbprints), "a peer is known by at least one certificate")
        others = [other for other in self.tables.ds_peers.values() if other.domain != peer.domain]
        taken = {one for other in others for one in other.thumbprints}
        taken |= {one for row in self.tables.accounts.values() for one in row.value.thumbprints}
        if taken & peer.thumbprints:
            raise AlreadyExists("a certificate belongs to somebody else")
        self.tables.ds_peers[peer.domain] = peer

    @fallible
    def remove(self, domain: str) -> None:
        self.tables.ds_peers.pop(domain, None)


class MemoryPeerCalls(Fake):
    """Calls to peers; `answers` and `gives` have functions for domains that answer, and the others are unreachable."""

    port = "peer_calls"

    def __init__(self, faults: Faults) -> None:
        super().__init__(faults)
        self.answers: dict[str, Callable[[str, str, bytes], PeerAnswer]] = {}
        self.gives: dict[str, Callable[[str], PeerBytes]] = {}

    @fallible
    def post(self, peer: DsPeer, path: str, media_type: str, body: bytes) -> PeerAnswer:
        require(path.startswith("/"), "a path begins with /")
        answer = self.answers.get(peer.domain)
        if answer is None:
            raise Unreachable(f"{peer.domain} does not answer")
        return answer(path, media_type, body)

    @fallible
    def get(self, peer: DsPeer, path: str, most: int, seconds: float) -> PeerBytes:
        require(path.startswith("/"), "a path begins with /")
        require(seconds > 0, "a call that has no time")
        if peer.domain not in self.gives:
            raise Unreachable(f"{peer.domain} does not answer")
        answer = self.gives[peer.domain](path)
        if len(answer[2]) > most:
            raise Unreachable(f"the answer of {peer.domain} is too long")
        return answer
