"""The port `DsPeers`: one row for each delivery service that the operator admitted.

    ds-peers   domain                  v, origin, thumbprints
    aps        thumbprint#THUMBPRINT   owner: `ds#DOMAIN` (see `thumbprints`)

A peer and its certificates change in one transaction, in the namespace that they share with application providers.
"""

from chalicelib.errors import AlreadyExists
from chalicelib.services.delivery.state import DsPeer
from chalicelib.services.ports import Clock
from chalicelib.storage.dynamodb import Cancelled, Database, Delete, Item, Operation, Put, number, text
from chalicelib.storage.recent import Recent
from chalicelib.storage.thumbprints import TABLE as CERTIFICATES
from chalicelib.storage.thumbprints import claims, key, releases

TABLE = "ds-peers"
OWNER = "ds#"


class AwsDsPeers:
    """The peers of one stage; what was found is kept for a minute, that there was nothing is not."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.clock = clock
        self._recent: Recent[DsPeer] = Recent(clock)

    def of_domain(self, domain: str) -> DsPeer | None:
        """Return the peer of a domain, as it was within the last minute."""
        if (known := self._recent.get(domain)) is not None:
            return known
        now = self.clock()
        if (row := self._row(domain)) is None:
            return None
        peer = _read(row)
        self._recent.keep(now, peer, peer.domain, *peer.thumbprints)
        return peer

    def of_thumbprint(self, thumbprint: str) -> DsPeer | None:
        """Return the peer of a certificate, as it was within the last minute."""
        if (known := self._recent.get(thumbprint)) is not None:
            return known
        row = self.database.get(CERTIFICATES, key(thumbprint))
        if row is None or not text(row, "owner").startswith(OWNER):
            return None
        return self.of_domain(text(row, "owner").removeprefix(OWNER))  # Its claim stands and falls with its peer.

    def put(self, peer: DsPeer) -> None:
        """Add a peer or replace it, with the certificates that it has."""
        while not self._changed(peer.domain, peer):
            pass  # Somebody else changed it in between; ends, because one of them did.

    def remove(self, domain: str) -> None:
        """Remove a peer, if it is there, and free its certificates."""
        while not self._changed(domain, None):
            pass

    def _changed(self, domain: str, after: DsPeer | None) -> bool:
        """Try once; return whether it was done, or was not because the row changed meanwhile."""
        row = self._row(domain)
        held = _read(row).thumbprints if row is not None else frozenset()
        wanted = frozenset() if after is None else after.thumbprints
        version = 0 if row is None else number(row, "v")
        still = "attribute_not_exists(#domain)" if row is None else "#v = :before"
        values: Item = {} if row is None else {"before": version}
        if after is not None:
            said: Item = {"domain": domain, "v": version + 1, "origin": after.origin, "thumbprints": after.thumbprints}
            change: Operation = Put(TABLE, said, still, values)
        elif row is not None:
            change = Delete(TABLE, {"domain": domain}, still, values)
        else:
            return True
        owner = OWNER + domain
        try:
            self.database.transact([change, *claims(owner, wanted), *releases(owner, held - wanted)])
        except Cancelled as cancelled:
            if 0 in cancelled.failed:
                return False
            raise AlreadyExists("a certificate belongs to another peer or to an enrolled provider") from cancelled
        finally:
            self._recent.forget()
        return True

    def _row(self, domain: str) -> Item | None:
        return self.database.get(TABLE, {"domain": domain})


def _read(row: Item) -> DsPeer:
    thumbprints = row["thumbprints"]
    if not isinstance(thumbprints, frozenset):
        raise TypeError("a peer's thumbprints are a set")
    return DsPeer(text(row, "domain"), text(row, "origin"), thumbprints)
