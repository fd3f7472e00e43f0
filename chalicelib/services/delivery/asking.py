"""One request on its way through the service, and the answer it gets."""

import dataclasses
import hashlib

from chalicelib.errors import NotAuthenticated
from chalicelib.protocol.delivery.messages import DSMessage
from chalicelib.protocol.delivery.responses import Answer, DSResponse, Ok
from chalicelib.protocol.timestamps import DAY
from chalicelib.protocol.tls import STORED_ELEMENTS, decode
from chalicelib.services.delivery.state import KeptAnswer

ANSWER_LIFE = DAY


class StaleRequest(NotAuthenticated):
    """[mds-fresh-1] The request is too old, from the future, or for another delivery service."""

    check = "mds-fresh-1"

    def __init__(self) -> None:
        super().__init__("the request is not of the present, or not for this delivery service")


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """A request as it was decoded; `now` is in milliseconds."""

    message: DSMessage
    request_sha256: bytes
    now: int

    def respond(self, answer: Answer) -> bytes:
        """Return the DSResponse to this request."""
        return DSResponse(self.request_sha256, answer).encode()

    def done(self) -> KeptAnswer:
        """Return the answer Ok, to be kept for repeats: it is written with what was done."""
        return KeptAnswer(self.key, self.respond(Ok()), self.now + ANSWER_LIFE)

    @property
    def key(self) -> bytes:
        """Return what a repeat is known by: the SHA-256 of what is signed.

        The signature is left out, because somebody who overhears an ECDSA signature can make another one of it.
        """
        return hashlib.sha256(self.message.signed).digest()

    def again(self, known: bytes) -> bytes:
        """Return what was answered before, as the answer to this request."""
        return self.respond(decode(DSResponse.read, known, STORED_ELEMENTS).body)

    def check_fresh(self, domain: str) -> None:
        """Refuse a request of another time or for another service, where its type says when and for whom it is."""
        fresh = self.message.request.freshness
        if fresh is not None and (fresh.ds_domain != domain or not fresh.is_timely(self.now)):
            raise StaleRequest
