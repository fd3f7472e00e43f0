"""Who is reached at this identifier? (draft §8.1)

One question, one identifier: there is no batch and no listing. Our own records and the answers of every peer
that may know are judged by one order (`mappings.rank`); which regions hold other mappings is not told.
"""

import dataclasses

from chalicelib.protocol.glados import mappings
from chalicelib.protocol.glados.client_api import Consulted as ConsultedAnswer
from chalicelib.protocol.glados.client_api import MappingAnswer, QueryAnswer
from chalicelib.protocol.glados.federation_api import PeerMapping, PeerMappings, PeerQuery
from chalicelib.protocol.glados.identifiers import parse_sii
from chalicelib.protocol.glados.trust import Peer
from chalicelib.services.accounts.access import Access
from chalicelib.services.accounts.state import Presented
from chalicelib.services.limits import Allowance
from chalicelib.services.ports import Clock
from chalicelib.services.provider.consultation import Consultation
from chalicelib.services.provider.limits import PeerQueryLimits, QueryLimits
from chalicelib.services.provider.ports import Snapshots, Store


@dataclasses.dataclass(frozen=True, slots=True)
class Queries:
    """Answers application providers, and peers from local records alone."""

    snapshots: Snapshots
    store: Store
    access: Access
    consultation: Consultation
    limits: QueryLimits
    peer_limits: PeerQueryLimits
    clock: Clock

    def find(self, presented: Presented, sii_text: str) -> tuple[QueryAnswer, Allowance]:
        """Return the preferred mapping for an identifier, from here or from a peer."""
        sii = parse_sii(sii_text)
        now = self.clock()
        stored, account, heads = self.snapshots.read(sii, presented.provider_id)
        account = self.access.admit(presented, account, "query")
        allowance = self.limits.admit(account, sii, now)
        consulted = self.consultation.ask(sii, heads, account.provider_id, now)
        local = [mapping for mapping in stored.records.active if not mapping.test or account.test_numbers]
        found = mappings.best((*local, *consulted.mappings), now)
        mine = found is not None and found in local and found.provider.provider_id == account.provider_id
        return (
            QueryAnswer(
                found=found is not None,
                mapping=None if found is None else MappingAnswer.of(found, own=mine),
                consulted=[ConsultedAnswer(gp=gp, outcome=outcome) for gp, outcome in consulted.outcomes],
                complete=consulted.complete,
            ),
            allowance,
        )

    def find_for_peer(self, peer: Peer, query: PeerQuery) -> PeerMappings:
        """Return the local records for an identifier. Never asks further, so questions cannot go round."""
        sii = parse_sii(query.sii)
        self.peer_limits.admit(peer, self.clock())
        records = self.store.records(sii).records
        return PeerMappings(mappings=[PeerMapping.of(mapping) for mapping in records.active if not mapping.test])
