"""What another domain only refers to: we come for it before we do what it asks.

    bounds → pieces of an earlier try → further pieces from the peer, each kept → length and digest → the message

A hub refers to messages in rows for our queues, and a guest's service to requests of its clients. There is a time for
this, because the peer waits for its answer. When it is up the peer is told to try again, and the next try begins where
this one ended. What a peer hands over is kept under its name, so that a peer cannot name what another one sent by its
digest alone. Until the whole is what was said nothing else knows of it; if it is not, the pieces go, lest one wrong
byte be there for ever.
"""

import dataclasses
import hashlib
from collections.abc import Mapping

from chalicelib.errors import InvalidValue, Unavailable, WrongBody
from chalicelib.protocol.timestamps import SECOND
from chalicelib.services.ports import Clock, Pieces, RemoteBodies, Unreachable

MOST_TOGETHER = 64 << 20
TIME = 10 * SECOND  # The peer gives up after 20, and what it asks is still to be done.
LEAST_PIECE = 64 << 10


@dataclasses.dataclass(frozen=True, slots=True)
class Fetching:
    """Fetches messages from peers."""

    bodies: RemoteBodies
    pieces: Pieces
    clock: Clock

    def fetch(self, domain: str, wanted: Mapping[bytes, int]) -> dict[bytes, bytes]:
        """Return the messages of a domain that have these SHA-256 and lengths.

        Raises `Unavailable` where they are not all here in time, `WrongBody` where they are not what was said.
        """
        if sum(wanted.values()) > MOST_TOGETHER:
            raise InvalidValue(f"a request refers to at most {MOST_TOGETHER} bytes")
        until = self.clock() + TIME
        return {sha256: self._message(domain, sha256, length, until) for sha256, length in wanted.items()}

    def _message(self, domain: str, sha256: bytes, length: int, until: int) -> bytes:
        content = bytearray()
        offsets: list[int] = []
        while len(content) < length:
            offsets.append(len(content))
            piece = self.pieces.load(domain, sha256, len(content))
            if piece is None:
                piece = self._piece(domain, sha256, len(content), length, until)
                # A crash on either side of this line loses one piece at most.
                self.pieces.keep(domain, sha256, len(content), piece)
            content += piece
        if len(content) != length or hashlib.sha256(content).digest() != sha256:
            self.pieces.forget(domain, sha256, offsets)
            raise WrongBody("what the peer handed over is not what it referred to")
        return bytes(content)

    def _piece(self, domain: str, sha256: bytes, offset: int, length: int, until: int) -> bytes:
        left = until - self.clock()
        if left <= 0:
            raise Unavailable("not everything is fetched yet that the request refers to")
        try:
            piece, total = self.bodies.fetch(domain, sha256, offset, left)
        except Unreachable as error:
            raise Unavailable("the peer does not hand over what its request refers to") from error
        except LookupError as error:
            raise WrongBody("the peer does not have what its request refers to") from error
        if total != length:
            raise WrongBody("what the request refers to has another length")
        rest = length - offset
        if not min(rest, LEAST_PIECE) <= len(piece) <= rest:
            raise WrongBody("a piece is smaller or larger than it may be")
        return piece
