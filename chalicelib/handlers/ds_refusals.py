"""How a delivery service says no: every refusal as a DSResponse with a DSError, and the HTTP status that goes with it.

One table, read from the top: the first class that a refusal is of says its code and status. A test walks the
subclasses to prove that none falls through.
"""

import hashlib
import math

from chalicelib import errors
from chalicelib.handlers.calls import Reply
from chalicelib.protocol.crypto import InvalidSignature, UnsupportedCipherSuite
from chalicelib.protocol.delivery.creation import CannotCreate
from chalicelib.protocol.delivery.errors import CannotOpen
from chalicelib.protocol.delivery.media import DS_RESPONSE
from chalicelib.protocol.delivery.refusals import GroupExists, MustCover, UnknownGroup
from chalicelib.protocol.delivery.responses import (
    Answer,
    CreateGroupRefused,
    CreateGroupResponse,
    DSError,
    DSErrorCode,
    DSResponse,
)
from chalicelib.protocol.mls.errors import GroupFrozen, InvalidHandshake, StaleEpoch, TooLarge
from chalicelib.protocol.mls.framing import decode_message
from chalicelib.protocol.timestamps import SECOND

Code = DSErrorCode

REFUSALS: tuple[tuple[type[errors.Refusal], Code, int], ...] = (
    (errors.DecodeError, Code.MALFORMED, 400),
    (errors.UnsupportedMediaType, Code.MALFORMED, 415),
    (errors.NotAcceptable, Code.MALFORMED, 406),
    (errors.MethodNotAllowed, Code.MALFORMED, 405),
    (InvalidSignature, Code.REFUSED, 422),
    (errors.NotAuthenticated, Code.NOT_AUTHENTICATED, 403),
    (UnknownGroup, Code.UNKNOWN_GROUP, 403),
    (CannotOpen, Code.UNKNOWN_GROUP, 403),
    (StaleEpoch, Code.STALE_EPOCH, 409),
    (MustCover, Code.MUST_COVER, 409),
    (GroupFrozen, Code.GROUP_FROZEN, 409),
    (errors.AlreadyExists, Code.ALREADY_EXISTS, 409),
    (GroupExists, Code.ALREADY_EXISTS, 409),
    (errors.Conflict, Code.REFUSED, 409),
    (TooLarge, Code.TOO_LARGE, 413),
    (errors.BodyTooLarge, Code.TOO_LARGE, 413),
    (InvalidHandshake, Code.REFUSED, 422),
    (UnsupportedCipherSuite, Code.REFUSED, 422),
    (CannotCreate, Code.REFUSED, 422),
    (errors.NotPermitted, Code.NOT_PERMITTED, 403),
    (errors.NotFound, Code.REFUSED, 404),
    (errors.Gone, Code.REFUSED, 410),
    (errors.TooManyRequests, Code.TOO_MANY_REQUESTS, 429),
    (errors.Unavailable, Code.UNAVAILABLE, 503),
)

_REFERENCE_SIZE = 40  # Of an UploadReference: no DSMessage is as short.


def refused(refusal: errors.Refusal, content: bytes) -> Reply:
    """Return a refusal of the DSMessage with these bytes, or of the one that they refer to."""
    digest = content[:32] if len(content) == _REFERENCE_SIZE else hashlib.sha256(content).digest()
    status, body = _told(refusal)
    return Reply(DSResponse(digest, body).encode(), status, {"Content-Type": DS_RESPONSE})


def _told(refusal: errors.Refusal) -> tuple[int, Answer]:
    code, status = next((code, status) for kind, code, status in REFUSALS if isinstance(refusal, kind))
    # Of a group that is not created the draft has words of its own, which stand in place of the code.
    if isinstance(refusal, CannotCreate):
        return status, CreateGroupRefused(refusal.result, refusal.check)
    if isinstance(refusal, GroupExists):
        return status, CreateGroupRefused(CreateGroupResponse.INVALID_GROUP_ID, refusal.check)
    required = refusal.required if isinstance(refusal, MustCover) else ()
    epoch = refusal.current_epoch if isinstance(refusal, StaleEpoch | MustCover) else 0
    return status, DSError(
        code,
        refusal.check,
        epoch,
        math.ceil(SECOND * (refusal.retry_after_seconds or 0)),
        tuple(decode_message(message) for message in required),
    )
