"""The port `TrustLists`: the authority's latest list in one row, compressed; 250 peers fit with room to spare.

The peers' certificates are claimed with it, in the namespace that they share with application providers.
"""

import threading
import zlib

import msgspec

from chalicelib.errors import AlreadyExists
from chalicelib.protocol.glados.timestamps import MINUTE
from chalicelib.protocol.glados.trust import TrustList
from chalicelib.services.provider.ports import Clock, Lost
from chalicelib.storage.dynamodb import MOST_IN_TRANSACTION, Cancelled, Database, Item, Operation, Put, blob
from chalicelib.storage.peer_heads import PEERS
from chalicelib.storage.thumbprints import claims, releases

RECENT = MINUTE
_KEY: Item = {"gp": "trust-list#"}
_list = msgspec.json.Decoder(TrustList)


class AwsTrustLists:
    """The trust list of one stage; `load` keeps what it read for a minute."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.clock = clock
        self._recent: tuple[int, TrustList] | None = None
        self._lock = threading.Lock()

    def load(self) -> TrustList:
        """Return the list as it was within the last minute; an empty one of version 0 before the first."""
        now = self.clock()
        with self._lock:
            recent = self._recent
        if recent is not None and now - recent[0] < RECENT:
            return recent[1]
        listed = self._load()
        with self._lock:
            self._recent = (now, listed)
        return listed

    def _load(self) -> TrustList:
        row = self.database.get(PEERS, _KEY)
        return TrustList(version=0, peers=[]) if row is None else _list.decode(zlib.decompress(blob(row, "list")))

    def replace(self, listed: TrustList) -> None:
        """Store a newer list.

        Claims that do not fit into one transaction with the list are made before it, so a crash in between leaves
        some certificates held for peers that are not listed yet; the same call again finishes the work.
        """
        known = self._load()
        if listed.version <= known.version:
            raise Lost("the stored trust list is as new or newer")
        held, wanted = _owners(known), _owners(listed)
        moves: list[Operation] = []
        for thumbprint, owner in held.items():
            if thumbprint not in wanted:
                moves += releases(owner, [thumbprint])
        for thumbprint, owner in wanted.items():
            if held.get(thumbprint, owner) == owner:
                moves += claims(owner, [thumbprint])
            else:
                moves.append(_moved(thumbprint, held[thumbprint], owner))
        row = Put(
            PEERS,
            {**_KEY, "version": listed.version, "list": zlib.compress(msgspec.json.encode(listed))},
            "attribute_not_exists(#gp) OR #version = :before",
            {"before": known.version},
        )
        room = MOST_IN_TRANSACTION - 1
        early = max(0, len(moves) - room)
        try:
            for start in range(0, early, MOST_IN_TRANSACTION):
                self.database.transact(moves[start : min(start + MOST_IN_TRANSACTION, early)])
            self.database.transact([row, *moves[early:]])
        except Cancelled as cancelled:
            if self._load().version != known.version:
                raise Lost("the trust list was replaced meanwhile") from cancelled
            raise AlreadyExists("a certificate in the trust list belongs to an enrolled provider") from cancelled
        finally:
            with self._lock:
                self._recent = None


def _owners(listed: TrustList) -> dict[str, str]:
    return {thumbprint: f"peer#{peer.gp}" for peer in listed.peers for thumbprint in peer.thumbprints}


def _moved(thumbprint: str, before: str, after: str) -> Operation:
    """Pass a certificate from one peer to another, as the list says."""
    (claim,) = claims(after, [thumbprint])
    if not isinstance(claim, Put):
        raise TypeError("a claim is a put")
    condition = "attribute_not_exists(#provider_id) OR #owner = :before OR #owner = :owner"
    return Put(claim.table, claim.item, condition, {"before": before, "owner": after})
