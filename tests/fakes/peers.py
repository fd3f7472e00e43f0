"""Other GPs, in this process or scripted, behind the same port as real ones.

Whatever travels is written as JSON and read again as strictly as from the wire, so that a test cannot pass on a
field that no peer could have seen.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from chalicelib.errors import (
    BodyTooLarge,
    Conflict,
    DecodeError,
    Gone,
    NotAuthenticated,
    NotFound,
    NotPermitted,
    Refusal,
    TooManyRequests,
    Unavailable,
)
from chalicelib.protocol.glados.federation_api import (
    ClaimAnswer,
    FilterAnswer,
    Notification,
    PeerMapping,
    PeerMappings,
    SubscriptionAnswer,
    SubscriptionRequest,
)
from chalicelib.protocol.glados.identifiers import Sii
from chalicelib.protocol.glados.mappings import Mapping
from chalicelib.protocol.glados.trust import Peer
from chalicelib.services.ports import Refused, Unreachable
from chalicelib.services.provider.ports import Outcome
from tests.fakes.faults import Fake, Faults, fallible, require

Answer = TypeVar("Answer")

STATUSES: dict[type[Refusal], int] = {
    DecodeError: 422,
    BodyTooLarge: 413,
    NotAuthenticated: 401,
    NotPermitted: 403,
    NotFound: 404,
    Conflict: 409,
    Gone: 410,
    TooManyRequests: 429,
    Unavailable: 503,
}


def silent(*_: object) -> None:
    """Be a peer that does not answer."""
    raise Unreachable


@dataclasses.dataclass
class InProcessGp:
    """What another GP does for a peer, whose id comes first; a door that is not given does not answer.

    Tests put a service's methods here, or a function that answers as they please.
    """

    query: Callable[[str, Sii, str], Sequence[Mapping] | None] = silent
    filter: Callable[[str], FilterAnswer | None] = silent
    download: Callable[[str, str], bytes | None] = silent
    subscribe: Callable[[str, SubscriptionRequest], SubscriptionAnswer | None] = silent
    notify: Callable[[str, Notification], None] = silent
    claim: Callable[[str, str], ClaimAnswer | None] = silent


class MemoryPeers(Fake):
    """Reaches the GPs of `gps` by their ids. Those in `down` do not answer; those in `skipped` are not asked."""

    port = "peer_client"

    def __init__(self, faults: Faults, gp: str) -> None:
        super().__init__(faults)
        self.gp = gp
        self.gps: dict[str, InProcessGp] = {}
        self.down: set[str] = set()
        self.skipped: set[str] = set()
        self.asked: list[tuple[str, Sii]] = []
        self.askers: list[str] = []

    @fallible
    def ask(
        self, peers: Sequence[Peer], sii: Sii, asker: str, now: int
    ) -> dict[str, tuple[Outcome, tuple[Mapping, ...]]]:
        require(len({peer.gp for peer in peers}) == len(peers), "a peer is asked twice")
        require(all(peer.asked for peer in peers), "an inbound peer is asked")
        require(not sii.is_test_number, "no peer is told of a test number")
        require(1 <= len(asker) <= 64, "the asker's pseudonym has 1 to 64 characters")
        return {peer.gp: self._ask(peer, sii, asker) for peer in peers}

    def _ask(self, peer: Peer, sii: Sii, asker: str) -> tuple[Outcome, tuple[Mapping, ...]]:
        if peer.gp in self.skipped:
            return "skipped", ()
        self.asked.append((peer.gp, sii))
        self.askers.append(asker)
        try:
            found = self._reach(peer, lambda gp: gp.query(self.gp, sii, asker))
            sent = PeerMappings(mappings=[PeerMapping.of(mapping) for mapping in found])
            return "answered", tuple(mapping.read(peer.gp) for mapping in carried(sent).mappings)
        except (Unreachable, Refused, DecodeError):
            return "unreachable", ()

    @fallible
    def filter(self, peer: Peer) -> FilterAnswer:
        return carried(self._reach(peer, lambda gp: gp.filter(self.gp)))

    @fallible
    def download(self, peer: Peer, path: str, size: int, sha256: str) -> bytes:
        require(path.startswith("/"), "a download outside the peer's origin")
        data = self._reach(peer, lambda gp: gp.download(self.gp, path))
        if len(data) != size or hashlib.sha256(data).hexdigest() != sha256:
            raise Unreachable
        return data

    @fallible
    def subscribe(self, peer: Peer, request: SubscriptionRequest) -> SubscriptionAnswer:
        return carried(self._reach(peer, lambda gp: gp.subscribe(self.gp, carried(request))))

    @fallible
    def notify(self, peer: Peer, callback: str, notification: Notification) -> None:
        peer.check_origin(callback)
        sent = carried(notification)

        def notify(gp: InProcessGp) -> bool:
            gp.notify(self.gp, sent)
            return True

        self._reach(peer, notify)

    @fallible
    def claim(self, peer: Peer, claim: str) -> ClaimAnswer:
        require(len(claim) <= 16_384, "a claim longer than a peer takes")
        return carried(self._reach(peer, lambda gp: gp.claim(self.gp, claim)))

    def _reach(self, peer: Peer, door: Callable[[InProcessGp], Answer | None]) -> Answer:
        if peer.gp in self.down or peer.gp not in self.gps:
            raise Unreachable
        try:
            answer = door(self.gps[peer.gp])
        except Refusal as refusal:
            raise Refused(status_of(refusal), str(refusal)) from refusal
        except ConnectionError as error:
            raise Unreachable from error
        if answer is None:
            raise Unreachable
        return answer


def status_of(refusal: Refusal) -> int:
    """Return the status that a refusal travels as."""
    return next((status for kind, status in STATUSES.items() if isinstance(refusal, kind)), 400)


def carried(body: Answer) -> Answer:
    """Return a body as it arrives: written as JSON and read as strictly as any other."""
    return msgspec.json.decode(msgspec.json.encode(body), type=type(body))
