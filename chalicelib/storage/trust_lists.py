"""The port `TrustLists`: the authority's latest list in one row, compressed; 250 peers fit with room to spare.

The peers' certificates are claimed with it, in the namespace that they share with application providers.
"""

import zlib
from collections.abc import Iterator

import msgspec

from chalicelib.errors import AlreadyExists
from chalicelib.protocol.glados.trust import TrustList
from chalicelib.services.ports import Clock, Lost
from chalicelib.storage.dynamodb import MOST_IN_TRANSACTION, Cancelled, Database, Item, Operation, Put, blob
from chalicelib.storage.peer_heads import PEERS
from chalicelib.storage.recent import Recent
from chalicelib.storage.thumbprints import claims, releases

_KEY: Item = {"gp": "trust-list#"}
_list = msgspec.json.Decoder(TrustList)


class AwsTrustLists:
    """The trust list of one stage; `load` keeps what it read for a minute."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.clock = clock
        self._recent: Recent[TrustList] = Recent(clock)

    def load(self) -> TrustList:
        """Return the list as it was within the last minute; an empty one of version 0 before the first."""
        known = self._recent.get("list")
        if known is not None:
            return known
        now = self.clock()
        listed = self._load()
        self._recent.keep(now, listed, "list")
        return listed

    def _load(self) -> TrustList:
        row = self.database.get(PEERS, _KEY)
        return TrustList(version=0, peers=[]) if row is None else _list.decode(zlib.decompress(blob(row, "list")))

    def replace(self, listed: TrustList) -> None:
        """Store a newer list.

        List and certificates change in one transaction where they fit into one. A longer list claims certificates
        first and gives others up last, so a listed peer always holds its own; a crash in between can leave one
        held for a peer that is not listed, which is no right to anything and only keeps it from a provider.
        """
        try:
            while not self._replaced(listed):
                pass  # A lower version came in between; ends, because versions only rise.
        finally:
            self._recent.forget()

    def _replaced(self, listed: TrustList) -> bool:
        """Try once; return whether it was done, or was not because another list was stored meanwhile."""
        known = self._load()
        if listed.version <= known.version:
            raise Lost("the stored trust list is as new or newer")
        held, wanted = _owners(known), _owners(listed)
        taken: list[Operation] = []
        for thumbprint, owner in wanted.items():
            if held.get(thumbprint, owner) == owner:
                taken += claims(owner, [thumbprint])
            else:
                taken.append(_moved(thumbprint, held[thumbprint], owner))
        given_up: list[Operation] = []
        for thumbprint, owner in held.items():
            if thumbprint not in wanted:
                given_up += releases(owner, [thumbprint])
        row = Put(
            PEERS,
            {**_KEY, "version": listed.version, "list": zlib.compress(msgspec.json.encode(listed))},
            "attribute_not_exists(#gp) OR #version = :before",
            {"before": known.version},
        )
        try:
            if 1 + len(taken) + len(given_up) <= MOST_IN_TRANSACTION:
                self.database.transact([row, *taken, *given_up])
            else:
                for chunk in _chunks(taken):
                    self.database.transact(chunk)
                self.database.transact([row])
                for chunk in _chunks(given_up):
                    self.database.transact(chunk)
        except Cancelled as cancelled:
            if self._load().version != known.version:
                return False
            raise AlreadyExists("a certificate in the trust list belongs to an enrolled provider") from cancelled
        return True


def _chunks(operations: list[Operation]) -> Iterator[list[Operation]]:
    for start in range(0, len(operations), MOST_IN_TRANSACTION):
        yield operations[start : start + MOST_IN_TRANSACTION]


def _owners(listed: TrustList) -> dict[str, str]:
    return {thumbprint: f"peer#{peer.gp}" for peer in listed.peers for thumbprint in peer.thumbprints}


def _moved(thumbprint: str, before: str, after: str) -> Operation:
    """Pass a certificate from one peer to another, as the list says."""
    (claim,) = claims(after, [thumbprint])
    if not isinstance(claim, Put):
        raise TypeError("a claim is a put")
    condition = "attribute_not_exists(#provider_id) OR #owner = :before OR #owner = :owner"
    return Put(claim.table, claim.item, condition, {"before": before, "owner": after})
