"""Bodies that are too large to be posted: a link to upload one, and what is then posted in its place.

A guest has no account here and uploads to its own delivery service, which passes the reference on and hands the body
over to us when we come for it (`services.fetching`). What then lies there is served as if it had been uploaded here.
"""

import dataclasses

from chalicelib.errors import WrongBody
from chalicelib.protocol.delivery.directory import Upload, UploadReference
from chalicelib.protocol.delivery.refusals import InvalidRequest
from chalicelib.protocol.delivery.responses import UploadAnswer
from chalicelib.protocol.mls.errors import TooLarge
from chalicelib.protocol.tls import decode
from chalicelib.services.delivery.asking import Asked
from chalicelib.services.delivery.limits import FETCHED, FETCHED_FROM_PEER, UPLOADED
from chalicelib.services.delivery.ports import Uploads
from chalicelib.services.delivery.senders import Senders
from chalicelib.services.delivery.state import DsPeer
from chalicelib.services.fetching import Fetching
from chalicelib.services.limits import Limits
from chalicelib.services.ports import Clock

LARGEST_UPLOAD = 64 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class Uploading:
    """Hands out links, and fetches what came by them."""

    uploads: Uploads
    fetching: Fetching
    senders: Senders
    limits: Limits
    clock: Clock

    def link(self, asked: Asked, request: Upload) -> bytes:
        """Return a link that takes exactly the body that the request describes, from a user of ours."""
        user = self.senders.user(asked.message).user
        _check_length(request.length)
        self.limits.spend(UPLOADED, user, request.length, asked.now)
        return asked.respond(UploadAnswer(self.uploads.link_in(request.sha256, request.length)))

    def fetch_reference(self, content: bytes, peer: DsPeer | None = None) -> bytes:
        """Return the DSMessage that an UploadReference names; who it is from, its signature says.

        It lies here or, where a peer passes the reference on, at that peer; `Unavailable` says that it is not all
        here yet, and the next try goes on. Fetching one costs us far more than naming it, so each can be named a few
        times an hour only; how often a peer's clients do that is the peer's own affair.
        """
        reference = decode(UploadReference.read, content)
        _check_length(reference.length)
        try:
            return self._uploaded(reference) if peer is None else self._kept(reference, peer)
        except (LookupError, WrongBody) as error:
            # [mds-upload-2] It was uploaded before, with this digest and length.
            raise InvalidRequest("mds-upload-2", "nothing was uploaded that has this digest and length") from error

    def _uploaded(self, reference: UploadReference) -> bytes:
        self.limits.spend(FETCHED, reference.sha256, 1, self.clock())
        return self.uploads.fetch(reference.sha256, reference.length)

    def _kept(self, reference: UploadReference, peer: DsPeer) -> bytes:
        self.limits.spend(FETCHED_FROM_PEER, peer.domain.encode(), 1, self.clock())
        fetched = self.fetching.fetch(peer.domain, {reference.sha256: reference.length})
        return fetched[reference.sha256]


def _check_length(length: int) -> None:
    # [mds-upload-1] A body has 1 byte to 64 MiB.
    if length > LARGEST_UPLOAD:
        raise TooLarge("mds-upload-1", "the body is larger than is taken here")
    if length == 0:
        raise InvalidRequest("mds-upload-1", "an empty body needs no upload")
