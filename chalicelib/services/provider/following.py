"""Following peers' filters (draft §9): what lets a query leave most peers unasked.

    poll or notification → verify manifest and head by pinned keys → fetch what is missing → check that it is
    complete → swap the heads row

A version never goes back, and a reader moves to a new version only when base and deltas are complete: the signed
head says how many positions base ∪ deltas has, so a delta that was missed shows. A peer whose filter cannot be
verified is quarantined, which only means that it is always asked.
"""

import dataclasses
import hashlib
from collections.abc import Iterable
from typing import TypeVar

from msgspec import UNSET

from chalicelib.errors import DecodeError, NotPermitted, Unavailable
from chalicelib.protocol.glados import gapcoded
from chalicelib.protocol.glados.federation_api import (
    DeltaRef,
    Head,
    Manifest,
    Notification,
    SubscriptionRequest,
    read_signed,
)
from chalicelib.protocol.glados.filters import count_bits, has_bit
from chalicelib.protocol.glados.trust import Peer
from chalicelib.protocol.signed import Typ, verify
from chalicelib.protocol.timestamps import parse_time
from chalicelib.services.ports import Alarms, Clock, Lost, Refused, Unreachable
from chalicelib.services.provider.ports import FilterObjects, PeerClient, PeerHeads, TrustLists
from chalicelib.services.provider.state import PeerHead, StoredObject

MOST_TRIES = 5
MOST_DELTAS = 32  # A peer's deltas are merged into one when we hold more objects of it.
NOTIFICATIONS = "/federation/v1/notifications"

Signed = TypeVar("Signed", Manifest, Head)


@dataclasses.dataclass(frozen=True, slots=True)
class Following:
    """Keeps the row of peers' heads, and the objects it names, up to date."""

    peers: PeerClient
    heads: PeerHeads
    objects: FilterObjects
    trust_lists: TrustLists
    alarms: Alarms
    clock: Clock
    gp: str
    origin: str

    def follow_all(self) -> None:
        """Poll every peer that we ask; one that fails does not keep us from the others."""
        for peer in self.trust_lists.load().peers:
            if peer.asked:
                self.follow(peer.gp)

    def follow(self, gp: str) -> None:
        """Bring what we hold of a peer's filter up to its signed head, and be told of additions from there."""
        peer = next((known for known in self.trust_lists.load().peers if known.gp == gp and known.asked), None)
        if peer is None:
            return
        try:
            self._catch_up(peer)
        except (Unavailable, DecodeError):
            return  # The alarm is raised, and the next poll tries again.

    def notified(self, peer: Peer, notification: Notification) -> None:
        """Take a peer's additions in; answering means they are durable here.

        Only the newest head confirms what we hold: one that comes late says nothing of the present, and none of
        them lifts a quarantine.
        """
        if notification.gp != peer.gp:
            raise DecodeError("the notification is another provider's")
        if not peer.asked:
            raise NotPermitted("the filter of a peer that is never asked is not followed")
        head = self._verified(peer, "glados-head+jwt", notification.head, Head)
        if (head.version, head.seq) != (notification.version, notification.seq):
            raise DecodeError("the notification is not the one its head belongs to")
        for _ in range(MOST_TRIES):
            stored = self.heads.load()
            known = stored.value.of(peer.gp)
            if known is not None and (head.version, head.seq) < (known.version, known.seq):
                return None
            if known is None or known.version != head.version or known.quarantine is not None:
                return self._catch_up(peer)
            if head.seq > known.seq:
                if not isinstance(notification.bits, list):
                    return self._catch_up(peer)
                extended = self._extended(known, head, notification.bits)
                if extended is None:
                    return self._catch_up(peer)  # Something before it is missing: fetch it.
                known = extended
            try:
                self.heads.replace(stored, stored.value.with_(self._confirmed(known)))
            except Lost:
                continue
            return None
        raise Unavailable("the heads row is being changed by others")

    def _catch_up(self, peer: Peer) -> None:
        """Fetch what is missing, or raise: whoever told us of it must tell us again."""
        try:
            self._follow(peer)
        except (Unreachable, Refused) as error:
            self.alarms.raise_("peer-filter-unreachable", peer.gp)
            raise Unavailable("the peer's filter cannot be fetched just now") from error
        except DecodeError as error:
            self.alarms.raise_("peer-filter-quarantined", peer.gp)
            self._quarantine(peer.gp, str(error))
            raise

    def _follow(self, peer: Peer) -> None:
        answer = self.peers.filter(peer)
        manifest = self._verified(peer, "glados-filter+jwt", answer.manifest, Manifest)
        head = self._verified(peer, "glados-head+jwt", answer.head, Head)
        if head.version != manifest.version:
            raise DecodeError("the peer's head belongs to another version than its manifest")
        for _ in range(MOST_TRIES):
            stored = self.heads.load()
            known = stored.value.of(peer.gp)
            if known is not None and known.version > head.version:
                raise DecodeError("the peer's filter version went back")
            if known is None or known.version < head.version or known.quarantine is not None:
                known = self._fetch_base(peer, manifest)
            missing = [ref for ref in answer.deltas if ref.to_seq > known.seq]
            if head.seq > known.seq or missing:
                extended = self._extended(known, head, self._download(peer, known, missing))
                if extended is None:
                    raise DecodeError("the peer's base and deltas are not what its head counts")
                known = extended
            if known.bits_set != head.bits_set and known.seq == head.seq:
                raise DecodeError("the peer's base is not what its head counts")
            known, seq = self._subscribed(peer, known)
            try:
                self.heads.replace(stored, stored.value.with_(self._confirmed(known)))
            except Lost:
                continue
            if seq > known.seq:
                self._follow(peer)  # Additions came while we subscribed; from here on we are told of them.
            return

    def _fetch_base(self, peer: Peer, manifest: Manifest) -> PeerHead:
        parameters = manifest.parameters
        if manifest.raw.bytes != parameters.raw_size:
            raise DecodeError("the peer's raw filter has not the size that its n gives")
        path = f"/federation/v1/filter/{manifest.version}/raw"
        raw = self.peers.download(peer, path, manifest.raw.bytes, manifest.raw.sha256)
        base_bits = count_bits(raw)
        if base_bits != manifest.bits_set:
            raise DecodeError("the peer's raw filter has not the number of bits its manifest says")
        base = self.objects.put(f"peers/{peer.gp}/{manifest.version}/raw-{manifest.raw.sha256}", raw)
        return PeerHead(
            gp=peer.gp,
            version=manifest.version,
            seq=0,
            at=parse_time(manifest.created_at),
            parameters=parameters,
            base=base,
            deltas=(),
            bits_set=base_bits,
            base_bits=base_bits,
            checked_at=0,
        )

    def _download(self, peer: Peer, known: PeerHead, missing: Iterable[DeltaRef]) -> list[int]:
        positions: list[int] = []
        for ref in missing:
            path = f"/federation/v1/filter/{known.version}/deltas/{ref.from_seq}-{ref.to_seq}"
            n, found = gapcoded.decode(self.peers.download(peer, path, ref.bytes, ref.sha256))
            if n != known.parameters.n:
                raise DecodeError("the peer's delta belongs to a filter of another size")
            positions += found
        return positions

    def _extended(self, known: PeerHead, head: Head, positions: Iterable[int]) -> PeerHead | None:
        """Return what we hold with more positions, or None if that is not what the head counts."""
        added = set(positions)
        if any(position >> known.parameters.n for position in added):
            raise DecodeError("the peer's delta has a position outside its filter")
        base = self.objects.get(known.base.name)
        held = {position for delta in known.deltas for position in gapcoded.decode(self.objects.get(delta.name))[1]}
        whole = known.base_bits + sum(not has_bit(base, position) for position in held | added)
        if whole != head.bits_set:
            return None
        merged = len(known.deltas) >= MOST_DELTAS
        data = gapcoded.encode(known.parameters.n, held | added if merged else added)
        name = f"peers/{known.gp}/{known.version}/delta-{hashlib.sha256(data).hexdigest()}"
        stored = self.objects.put(name, data)
        deltas: tuple[StoredObject, ...] = (stored,) if merged else (*known.deltas, stored)
        at = parse_time(head.at)
        return dataclasses.replace(known, seq=head.seq, at=at, deltas=deltas, bits_set=whole, quarantine=None)

    def _subscribed(self, peer: Peer, known: PeerHead) -> tuple[PeerHead, int]:
        """Subscribe to the version we hold, once, and return the seq that the peer is at."""
        if known.subscription_id is not None:
            return known, known.seq
        request = SubscriptionRequest(
            version=known.version, callback=self.origin + NOTIFICATIONS, after=known.seq, since=UNSET
        )
        answer = self.peers.subscribe(peer, request)
        return dataclasses.replace(known, subscription_id=answer.subscription_id), answer.seq

    def _confirmed(self, known: PeerHead) -> PeerHead:
        return dataclasses.replace(known, checked_at=self.clock(), quarantine=None)

    def _quarantine(self, gp: str, reason: str) -> None:
        for _ in range(MOST_TRIES):
            stored = self.heads.load()
            known = stored.value.of(gp)
            if known is None or known.quarantine == reason:
                return
            try:
                self.heads.replace(stored, stored.value.with_(dataclasses.replace(known, quarantine=reason)))
            except Lost:
                continue
            return

    def _verified(self, peer: Peer, typ: Typ, token: str, as_type: type[Signed]) -> Signed:
        claims = verify(token, typ, peer.verifying_keys(typ), issuer=peer.gp, audience=None, now=self.clock())
        read: Signed = read_signed(claims, as_type)
        if read.gp != peer.gp:
            raise DecodeError("the signed object is another provider's")
        return read
