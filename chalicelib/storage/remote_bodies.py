"""The ports `RemoteBodies` and `Pieces`: peers are asked over mutual TLS, and what they hand over waits in the bucket.

A piece is an object under `peers/in/`, named by a keyed digest of whose it is and of what, and by where it begins. The
bucket forgets it after two days.
"""

import re
from collections.abc import Sequence

from chalicelib.protocol.delivery import paths
from chalicelib.protocol.delivery.media import BODY_LENGTH
from chalicelib.services.delivery.enclosures import PIECE
from chalicelib.services.delivery.ports import DsPeers, PeerCalls
from chalicelib.services.ports import Digests, Unreachable
from chalicelib.storage.objects import Objects

_LENGTH = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


class PeerRemoteBodies:
    """Messages at the peers that the operator admitted."""

    def __init__(self, peers: DsPeers, calls: PeerCalls) -> None:
        self.peers = peers
        self.calls = calls

    def fetch(self, domain: str, sha256: bytes, offset: int, within: int) -> tuple[bytes, int]:
        """Return bytes of a message from an offset, and the whole length."""
        peer = self.peers.of_domain(domain)
        if peer is None:
            raise Unreachable(f"no delivery service of the domain {domain} is admitted")
        path = f"{paths.BODIES}/{sha256.hex()}?offset={offset}"
        status, headers, body = self.calls.get(peer, path, PIECE, within / 1000)
        if status == 404:
            raise LookupError("the peer has no such message for us")
        length = headers.get(BODY_LENGTH.lower(), "")
        if status != 200 or not _LENGTH.fullmatch(length):
            raise Unreachable(f"the peer {domain} answered with status {status}, or without a length")
        return body, int(length)


class AwsPieces:
    """The pieces that one stage has fetched."""

    def __init__(self, objects: Objects, digests: Digests) -> None:
        self.objects = objects
        self.digests = digests

    def keep(self, domain: str, sha256: bytes, offset: int, piece: bytes) -> None:
        """Store a piece for a day at least."""
        self.objects.put(self._name(domain, sha256, offset), piece)

    def load(self, domain: str, sha256: bytes, offset: int) -> bytes | None:
        """Return the piece that begins there, or None."""
        try:
            return self.objects.get(self._name(domain, sha256, offset), at_most=PIECE)
        except LookupError:
            return None

    def forget(self, domain: str, sha256: bytes, offsets: Sequence[int]) -> None:
        """Remove pieces."""
        self.objects.delete(self._name(domain, sha256, offset) for offset in offsets)

    def _name(self, domain: str, sha256: bytes, offset: int) -> str:
        return f"peers/in/{self.digests.digest('hub body', domain, sha256).hex()}/{offset}"
