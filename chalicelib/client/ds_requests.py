"""Requests to a delivery service: signed, sent in the way their size takes, and matched with their answers."""

import dataclasses
from collections.abc import Callable
from typing import Final, TypeVar
from urllib.parse import quote

from chalicelib.client.ds_https import PROBLEM, DeliveryError, Https, InvalidAnswer, NoAnswer, Reply, describe
from chalicelib.client.signer import Signer
from chalicelib.errors import DecodeError
from chalicelib.protocol.delivery import media
from chalicelib.protocol.delivery.directory import Upload, UploadReference
from chalicelib.protocol.delivery.messages import Body, DSMessage, DSRequest, DSSenderID, DSSenderType, sign_message
from chalicelib.protocol.delivery.parts import NONCE_SIZE, Domain, Freshness
from chalicelib.protocol.delivery.responses import (
    Answer,
    CreateGroupRefused,
    CreateGroupResponse,
    DSError,
    DSErrorCode,
    DSResponse,
    UploadAnswer,
)
from chalicelib.protocol.mls.framing import MLSMessage
from chalicelib.protocol.tls import decode

LARGEST_POST: Final = 3_000_000
"""Bytes of a message that is posted as it is; a larger one is uploaded first."""

FETCHING_TRIES: Final = 8
"""How often a hub is asked that has not fetched all of a large message yet; each try goes on where the last ended."""

LONGEST_WAIT: Final = 10.0
"""Seconds between two of these tries, however many the hub says."""

_HELD_BACK = {429: DSErrorCode.TOO_MANY_REQUESTS, 503: DSErrorCode.UNAVAILABLE}

Given = TypeVar("Given", bound=Answer)


class DeliveryRefused(DeliveryError):
    """The delivery service refused; `error` says why, and `status` is the HTTP status.

    `check` is the id of the rule that was broken, which tests/conformance/requirements.toml spells out.
    `required_proposals` are those that the next commit must cover; `reason` is create-group's own. Where the code is
    UNAVAILABLE and the request was forwarded, it may have taken effect: `message` can be sent again as it is.
    """

    message: DSMessage | None = None

    def __init__(self, status: int, error: DSError, reason: CreateGroupResponse | None = None) -> None:
        said = (error.code.name.lower(), "" if reason is None else reason.name.lower(), error.check_id)
        super().__init__(" ".join(filter(None, said)))
        self.status = status
        self.error = error
        self.reason = reason

    @property
    def code(self) -> DSErrorCode:
        """Return what kind of refusal it is."""
        return self.error.code

    @property
    def check(self) -> str:
        """Return the id of the check that failed, or nothing."""
        return self.error.check_id

    @property
    def current_epoch(self) -> int:
        """Return the epoch that the group is in, where the code is about that."""
        return self.error.current_epoch

    @property
    def required_proposals(self) -> tuple[MLSMessage, ...]:
        """Return the proposals that the next commit must cover."""
        return self.error.required_proposals

    @property
    def retry_after(self) -> float:
        """Return the seconds after which it may be tried again."""
        return self.error.retry_after_ms / 1000


@dataclasses.dataclass(frozen=True)
class Requests:
    """Asks one hub as one signer."""

    https: Https
    hub: Domain
    signer: Signer
    uploader: tuple[Signer, DSSenderID] | None
    forwarded: bool
    clock: Callable[[], float]
    entropy: Callable[[int], bytes]
    sleep: Callable[[float], None]

    def fresh(self, domain: Domain | None = None) -> Freshness:
        """Return what makes a request good once, from now on and at the hub, or at another service."""
        return Freshness(int(self.clock() * 1000), self.entropy(NONCE_SIZE), domain or self.hub)

    def ask(self, sender: DSSenderID, body: Body, kind: type[Given]) -> Given:
        """Sign and send a request, and return its answer, which is of this kind."""
        answer = self.send(sign_message(sender, DSRequest(body), self.signer.sign))
        if not isinstance(answer, kind):
            raise InvalidAnswer("the answer is one to another kind of request")
        return answer

    def send(self, message: DSMessage) -> Answer:
        """Send a signed message, the first time or again, and return the answer to it."""
        encoded, digest = message.encode(), message.request_sha256
        hub = f"hubs/{quote(self.hub, safe='')}/" if self.forwarded else ""
        path = f"/ds/v1/{hub}{message.request.request_type.route}"
        try:
            if len(encoded) <= LARGEST_POST:
                reply = self.https.post(path, media.DS_MESSAGE, encoded, media.DS_RESPONSE)
            else:
                self._upload(message.sender_id, encoded, digest)
                return self._refer(path, UploadReference(digest, len(encoded)))
            return _answer(reply, digest)
        except (NoAnswer, DeliveryRefused) as failure:
            failure.message = message
            raise

    def _upload(self, sender: DSSenderID, encoded: bytes, digest: bytes) -> None:
        """Upload a message to the service at hand: to the hub, or to one's own for the hub to fetch it there."""
        signer, uploader = self.uploader or (self.signer, sender)
        if uploader.sender_type is not DSSenderType.USER_KEY_HASH:
            raise ValueError(f"a message of {len(encoded)} bytes is uploaded, by a user: give the client an `uploader`")
        taken_by = Domain(describe(self.https).domain) if self.forwarded else self.hub
        request = sign_message(uploader, DSRequest(Upload(digest, len(encoded), self.fresh(taken_by))), signer.sign)
        path = f"/ds/v1/{request.request.request_type.route}"
        reply = self.https.post(path, media.DS_MESSAGE, request.encode(), media.DS_RESPONSE)
        answer = _answer(reply, request.request_sha256)
        if not isinstance(answer, UploadAnswer):
            raise InvalidAnswer("an upload was answered with something else")
        self.https.put(answer.url, encoded)

    def _refer(self, path: str, reference: UploadReference) -> Answer:
        """Ask for what was uploaded; where a hub has to fetch it, some times over."""
        tries = FETCHING_TRIES if self.forwarded else 1
        while True:
            tries -= 1
            reply = self.https.post(path, media.DS_REFERENCE, reference.encode(), media.DS_RESPONSE)
            try:
                return _answer(reply, reference.sha256)
            except DeliveryRefused as refused:
                if refused.code is not DSErrorCode.UNAVAILABLE or not tries:
                    raise
                self.sleep(min(refused.retry_after, LONGEST_WAIT))


def _answer(reply: Reply, digest: bytes) -> Answer:
    """Return the answer to the request of this digest, or raise what it says instead."""
    if reply.media_type == PROBLEM and reply.status in _HELD_BACK:
        # A gateway's, or one's own service's that could not forward it.
        retry_after_ms = int((reply.retry_after or 1.0) * 1000)
        raise DeliveryRefused(reply.status, DSError(_HELD_BACK[reply.status], retry_after_ms=retry_after_ms))
    if reply.media_type != media.DS_RESPONSE:
        detail = reply.problem().get("detail", "this is not the answer of a delivery service")
        raise InvalidAnswer(str(detail), reply.status)
    try:
        response = decode(DSResponse.read, reply.body)
    except DecodeError as error:
        raise InvalidAnswer(str(error), reply.status) from error
    if response.request_sha256 != digest:
        raise InvalidAnswer("the answer is to another request", reply.status)
    match response.body:
        case DSError() as refusal:
            raise DeliveryRefused(reply.status, refusal)
        case CreateGroupRefused(reason, check_id):
            raise DeliveryRefused(reply.status, DSError(DSErrorCode.REFUSED, check_id), reason)
        case answer:
            return answer
