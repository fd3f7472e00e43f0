"""Serving our filter to peers, and telling subscribers of additions (draft §9).

A notification is level-triggered: it carries everything from the seq that the subscriber acknowledged last, so
one that is lost, late or doubled costs nothing. Subscribers poll the signed head as well.
"""

import dataclasses
from typing import Literal

from msgspec import UNSET

from chalicelib.errors import Conflict, FilterVersionGone, InvalidValue, NotFound, Unavailable
from chalicelib.protocol.glados import gapcoded
from chalicelib.protocol.glados.federation_api import (
    MOST_BITS,
    MOST_REFS,
    DeltaRef,
    FilterAnswer,
    Notification,
    SubscriptionAnswer,
    SubscriptionRequest,
)
from chalicelib.protocol.glados.trust import Peer
from chalicelib.protocol.timestamps import HOUR, MINUTE, SECOND, format_time, parse_time
from chalicelib.services.ports import Alarms, Clock, Digests, Refused, Unreachable
from chalicelib.services.provider.ports import (
    FilterObjects,
    FilterPointer,
    PeerClient,
    Subscriptions,
    TrustLists,
)
from chalicelib.services.provider.state import FilterVersion, StoredDelta, StoredObject, Subscription

MOST_SUBSCRIPTIONS = 8  # Of one peer to one version.
LARGEST_ANSWER = 4_000_000  # Bytes that an answer carries itself; larger objects are fetched by link.
RETRY_DELAYS = (5 * SECOND, 30 * SECOND, 2 * MINUTE, 10 * MINUTE, HOUR)


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """An object too large to answer with: fetch it here within five minutes."""

    url: str


@dataclasses.dataclass(frozen=True, slots=True)
class Publication:
    """What peers see of our filter."""

    pointer: FilterPointer
    objects: FilterObjects
    subscriptions: Subscriptions
    peers: PeerClient
    trust_lists: TrustLists
    digests: Digests
    alarms: Alarms
    clock: Clock
    gp: str

    def filter(self) -> FilterAnswer:
        """Return the current version's manifest and head with its newest deltas."""
        current = self.pointer.load().value.in_state("current")
        if current is None:
            raise Unavailable("the first filter is being built", retry_after_seconds=60)
        refs = [_ref(delta) for delta in current.deltas[-MOST_REFS:]]
        return FilterAnswer(manifest=current.manifest, head=current.head, deltas=refs)

    def base(self, version: int, form: Literal["raw", "rice"]) -> bytes | Link:
        """Return the base of a live version in one of its forms."""
        known = self._live(version)
        stored = known.raw if form == "raw" else known.rice
        if stored is None:
            raise FilterVersionGone("the filter version is not published")
        return self._fetch(stored)

    def delta(self, version: int, first: int, last: int) -> bytes | Link:
        """Return one delta of a live version."""
        for delta in self._live(version).deltas:
            if (delta.from_seq, delta.to_seq) == (first, last):
                return self._fetch(delta.stored)
        raise NotFound("there is no such delta; it may have been merged into a wider one")

    def subscribe(self, peer: Peer, request: SubscriptionRequest) -> SubscriptionAnswer:
        """Tell a peer of additions to a version from now on, and of those it missed in the answer.

        The row is written first and the pointer read after, so no addition falls between the two.
        """
        peer.check_origin(request.callback)
        if isinstance(request.since, str) == isinstance(request.after, int):
            raise InvalidValue("a subscription names either since or after", "since")
        since = parse_time(request.since, "since") if isinstance(request.since, str) else None
        after = request.after if isinstance(request.after, int) else 0
        identity = self.digests.digest("subscription", peer.gp, str(request.version), request.callback)[:16].hex()
        subscription = Subscription(peer.gp, identity, request.version, request.callback, acked_seq=after)
        self._live(request.version)
        known = {one.subscription_id for one in self.subscriptions.of_version(request.version) if one.gp == peer.gp}
        if identity not in known and len(known) >= MOST_SUBSCRIPTIONS:
            raise Conflict(f"a peer has at most {MOST_SUBSCRIPTIONS} subscriptions to a version")
        self.subscriptions.put(subscription)
        version = self._live(request.version)
        missed = [delta for delta in version.deltas if (delta.to_seq > after if since is None else delta.at >= since)]
        bits, refs = self._carried(missed)
        # A subscriber that loses this answer asks again; one that has it is told of what comes after.
        self.subscriptions.acknowledge(subscription, version.seq)
        return SubscriptionAnswer(
            subscription_id=identity,
            version=version.version,
            seq=version.seq,
            bits=UNSET if bits is None else bits,
            deltas=UNSET if refs is None else refs,
        )

    def unsubscribe(self, peer: Peer, subscription_id: str) -> None:
        """End one of the peer's subscriptions; ending it again is no error."""
        self.subscriptions.delete(peer.gp, subscription_id)

    def notify_all(self) -> int:
        """Tell every subscriber that is behind what it has not acknowledged; return how many were told."""
        told = 0
        peers = {peer.gp: peer for peer in self.trust_lists.load().peers}
        for version in self.pointer.load().value.versions:
            if version.state == "building":
                continue
            for subscription in self.subscriptions.of_version(version.version):
                peer = peers.get(subscription.gp)
                if peer is None:
                    self.subscriptions.delete(subscription.gp, subscription.subscription_id)
                elif subscription.acked_seq < version.seq and subscription.next_at <= self.clock():
                    told += self._notify(peer, subscription, version)
        return told

    def _notify(self, peer: Peer, subscription: Subscription, version: FilterVersion) -> bool:
        missed = [delta for delta in version.deltas if delta.to_seq > subscription.acked_seq]
        bits, refs = self._carried(missed)
        notification = Notification(
            gp=self.gp,
            version=version.version,
            seq=version.seq,
            at=format_time(version.at),
            head=version.head,
            bits=UNSET if bits is None else bits,
            deltas=UNSET if refs is None else refs,
        )
        try:
            self.peers.notify(peer, subscription.callback, notification)
        except (Unreachable, Refused):
            self.alarms.raise_("subscriber-unreachable", peer.gp)
            delay = RETRY_DELAYS[min(subscription.failures, len(RETRY_DELAYS) - 1)]
            self.subscriptions.failed(subscription, self.clock() + delay)
            return False
        self.subscriptions.acknowledge(subscription, version.seq)
        return True

    def _carried(self, missed: list[StoredDelta]) -> tuple[list[int] | None, list[DeltaRef] | None]:
        """Return what was missed as positions, or as references where the positions are too many."""
        if sum(delta.bits for delta in missed) > MOST_BITS:
            return None, [_ref(delta) for delta in missed[-MOST_REFS:]]
        positions = {
            position for delta in missed for position in gapcoded.decode(self.objects.get(delta.stored.name))[1]
        }
        return sorted(positions), None

    def _live(self, version: int) -> FilterVersion:
        known = self.pointer.load().value.find(version)
        if known is None or known.state == "building":
            raise FilterVersionGone("the filter version is unknown or retired; fetch the current one")
        return known

    def _fetch(self, stored: StoredObject) -> bytes | Link:
        if stored.size > LARGEST_ANSWER:
            return Link(self.objects.link(stored.name))
        return self.objects.get(stored.name)


def _ref(delta: StoredDelta) -> DeltaRef:
    return delta.ref(format_time(delta.at))
