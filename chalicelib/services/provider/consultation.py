"""Asking the peers that may know an identifier (draft §8.1, Figure 2).

A peer is asked when its routing filter has the identifier's positions set, and also when we cannot rely on its
filter: none yet, quarantined, or not confirmed for three minutes. Peers that the filters rule out are never told
of the question. All are asked in parallel, once, under one deadline; what did not answer is reported.
"""

import dataclasses
from typing import TypeGuard

from chalicelib.protocol.glados.filters import indexes
from chalicelib.protocol.glados.identifiers import Sii
from chalicelib.protocol.glados.mappings import AHEAD, Mapping
from chalicelib.protocol.glados.trust import Peer
from chalicelib.protocol.timestamps import DAY, SECOND
from chalicelib.services.ports import Alarms, Digests
from chalicelib.services.provider.ports import Outcome, PeerClient, PeerFilters, TrustLists
from chalicelib.services.provider.state import Heads, PeerHead

UNCONFIRMED_AFTER = 180 * SECOND


@dataclasses.dataclass(frozen=True, slots=True)
class Consulted:
    """What the peers said. `complete` is false where one that had to be asked did not answer."""

    mappings: tuple[Mapping, ...]
    outcomes: tuple[tuple[str, Outcome], ...]
    answered_with: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every peer that had to be asked has answered."""
        return all(outcome == "answered" for _, outcome in self.outcomes)

    @property
    def unanswered(self) -> tuple[str, ...]:
        """The peers that had to be asked and did not answer."""
        return tuple(gp for gp, outcome in self.outcomes if outcome != "answered")

    @property
    def stamps(self) -> tuple[int, ...]:
        """Every stamp the peers vouched for, which a new choice must exceed."""
        return tuple(mapping.stamp for mapping in self.mappings)


@dataclasses.dataclass(frozen=True, slots=True)
class Consultation:
    """Decides whom to ask, and asks."""

    peers: PeerClient
    peer_filters: PeerFilters
    trust_lists: TrustLists
    digests: Digests
    alarms: Alarms

    def ask(self, sii: Sii, heads: Heads, provider_id: str, now: int) -> Consulted:
        """Ask every peer that may hold `sii` on behalf of a provider, whom peers know by a daily pseudonym."""
        if sii.is_test_number:
            return Consulted((), (), ())
        peers = [peer for peer in self.trust_lists.load().peers if peer.asked and self._may_hold(peer, heads, sii, now)]
        if not peers:
            return Consulted((), (), ())
        asker = self.digests.digest("asker", provider_id, str(now // DAY))[:16].hex()
        answers = self.peers.ask(peers, sii, asker, now)
        mappings = tuple(mapping for _, found in answers.values() for mapping in found)
        for mapping in mappings:
            if mapping.stamp > now + AHEAD:
                self.alarms.raise_("peer-clock-ahead", mapping.provider.gp)
        return Consulted(
            mappings,
            tuple((peer.gp, answers[peer.gp][0]) for peer in peers),
            tuple(peer.gp for peer in peers if answers[peer.gp][1]),
        )

    def _may_hold(self, peer: Peer, heads: Heads, sii: Sii, now: int) -> bool:
        head = heads.of(peer.gp)
        if not is_reliable(head, now):
            return True
        return self.peer_filters.may_hold(head, indexes(head.parameters, sii))


def is_reliable(head: PeerHead | None, now: int) -> TypeGuard[PeerHead]:
    """Tell whether a peer's filter may rule the peer out."""
    return head is not None and head.quarantine is None and now - head.checked_at <= UNCONFIRMED_AFTER
