"""The port `QueueingServices`: our own queueing service is called, and those of other domains are asked over TLS."""

from collections.abc import Callable

import msgspec

from chalicelib import errors
from chalicelib.errors import DecodeError
from chalicelib.protocol.delivery import media, paths
from chalicelib.protocol.delivery.queueing import EnqueueRequest, EnqueueResponse
from chalicelib.protocol.tls import decode
from chalicelib.services.delivery.ports import DsPeers, PeerCalls, StreamGap
from chalicelib.services.ports import Refused, Unreachable


class _Gap(msgspec.Struct, frozen=True):
    """What a problem says of a gap."""

    expected: int


class PeerQueueingServices:
    """All queueing services that this one knows: `local` is the one of its own domain."""

    def __init__(
        self, domain: str, local: Callable[[EnqueueRequest], EnqueueResponse], peers: DsPeers, calls: PeerCalls
    ) -> None:
        self.domain = domain
        self.local = local
        self.peers = peers
        self.calls = calls

    def enqueue(self, domain: str, request: EnqueueRequest) -> EnqueueResponse:
        """Hand a row of a log to the queueing service of a domain, and return what became of it."""
        if domain == self.domain:
            return self._local(request)
        peer = self.peers.of_domain(domain)
        if peer is None:
            raise Unreachable(f"no delivery service of the domain {domain} is admitted")
        status, _, body = self.calls.post(peer, paths.ENQUEUE, media.DS_FANOUT, request.encode())
        if status == 200:
            return _answer(domain, request, body)
        if status == 409 and (gap := _gap(body)) is not None:
            raise StreamGap(gap)
        if 400 <= status < 500:
            raise Refused(status, f"the queueing service of {domain} refuses")
        raise Unreachable(f"the queueing service of {domain} answered with status {status}")

    def _local(self, request: EnqueueRequest) -> EnqueueResponse:
        """Ask our own, and say what it refuses as another domain's refusal would be said."""
        try:
            return self.local(request)
        except errors.StreamGap as gap:
            raise StreamGap(gap.expected) from gap
        except errors.Unavailable as busy:
            raise Unreachable("our own queueing service is too busy") from busy
        except errors.TooManyRequests as limited:
            raise Refused(429, "the group is faster than its queues may be filled") from limited
        except errors.Refusal as refusal:
            raise Refused(400, "our own queueing service refuses") from refusal


def _answer(domain: str, request: EnqueueRequest, body: bytes) -> EnqueueResponse:
    try:
        answer = decode(EnqueueResponse.read, body)
    except DecodeError as error:
        raise Unreachable(f"the queueing service of {domain} answered with something else") from error
    if len(answer.results) != sum(len(delivery.recipients) for delivery in request.deliveries):
        raise Unreachable(f"the queueing service of {domain} answered for other recipients")
    return answer


def _gap(body: bytes) -> int | None:
    try:
        expected = msgspec.json.decode(body, type=_Gap).expected
    except msgspec.MsgspecError:
        return None
    return expected if 0 <= expected < 1 << 64 else None
