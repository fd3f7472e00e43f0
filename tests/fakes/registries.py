"""Which peers there are: the trust list, the peers' heads, subscriptions.

Where a port may answer with what it knew a minute ago, the fake always does, so that no service comes to rely on
fresher answers than it was promised.
"""

import dataclasses
from typing import Generic, TypeVar

from chalicelib.errors import AlreadyExists
from chalicelib.protocol.glados.trust import TrustList
from chalicelib.protocol.timestamps import SECOND
from chalicelib.services.ports import Clock, Lost, Versioned
from chalicelib.services.provider.state import Heads, PeerHead, Subscription
from tests.fakes.faults import Fake, Faults, fallible, require
from tests.fakes.tables import Tables, Token

OLDEST_READ = 60 * SECOND

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """Reads as old as they may be."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._kept: dict[str, tuple[int, Value]] = {}

    def read(self, name: str, fresh: Value) -> Value:
        now = self.clock()
        read_at, kept = self._kept.get(name, (now, fresh))
        if now - read_at >= OLDEST_READ:
            read_at, kept = now, fresh
        self._kept[name] = (read_at, kept)
        return kept


class MemoryTrustLists(Fake):
    port = "trust_lists"

    def __init__(self, faults: Faults, tables: Tables, clock: Clock) -> None:
        super().__init__(faults, tables.lock)
        self.tables = tables
        self._recent: Recent[TrustList] = Recent(clock)

    @fallible
    def load(self) -> TrustList:
        return self._recent.read("list", self.tables.trust_list)

    @fallible
    def replace(self, listed: TrustList) -> None:
        if listed.version <= self.tables.trust_list.version:
            raise Lost
        enrolled = {thumbprint for row in self.tables.accounts.values() for thumbprint in row.value.thumbprints}
        if any(enrolled & set(peer.thumbprints) for peer in listed.peers):
            raise AlreadyExists("a peer's certificate belongs to an application provider")
        self.tables.trust_list = listed


class MemoryPeerHeads(Fake):
    port = "peer_heads"

    def __init__(self, faults: Faults, tables: Tables) -> None:
        super().__init__(faults, tables.lock)
        self.tables = tables

    @fallible
    def load(self) -> Versioned[Heads]:
        return Versioned(self.tables.heads.value, Token("heads", self.tables.heads.version))

    @fallible
    def replace(self, before: Versioned[Heads], after: Heads) -> None:
        require(isinstance(before.token, Token), "a token that no read gave out")
        if before.token != Token("heads", self.tables.heads.version):
            raise Lost
        for head in after.by_gp:
            check_head(self.tables.heads.value.of(head.gp), head)
        require(len({head.gp for head in after.by_gp}) == len(after.by_gp), "a peer has two heads")
        self.tables.heads = self.tables.heads.next(after)


def check_head(before: PeerHead | None, after: PeerHead) -> None:
    """Require that what we hold of a peer's filter never goes back."""
    if before is not None:
        steps = (before.version, before.seq), (after.version, after.seq)
        require(steps[0] <= steps[1], "a peer's head goes back")
        if before.version == after.version:
            require(before.parameters == after.parameters, "a filter version changed its parameters")


class MemorySubscriptions(Fake):
    port = "subscriptions"

    def __init__(self, faults: Faults, tables: Tables) -> None:
        super().__init__(faults, tables.lock)
        self._rows: dict[tuple[str, str], Subscription] = {}

    @fallible
    def put(self, subscription: Subscription) -> None:
        self._rows[subscription.gp, subscription.subscription_id] = subscription

    @fallible
    def get(self, gp: str, subscription_id: str) -> Subscription | None:
        return self._rows.get((gp, subscription_id))

    @fallible
    def of_version(self, version: int) -> list[Subscription]:
        return [row for row in self._rows.values() if row.version == version]

    @fallible
    def acknowledge(self, subscription: Subscription, seq: int) -> None:
        known = self._rows.get((subscription.gp, subscription.subscription_id))
        if known is not None and seq > known.acked_seq:
            acked = dataclasses.replace(known, acked_seq=seq, failures=0, next_at=0)
            self._rows[known.gp, known.subscription_id] = acked

    @fallible
    def failed(self, subscription: Subscription, next_at: int) -> None:
        known = self._rows.get((subscription.gp, subscription.subscription_id))
        if known is not None:
            later = dataclasses.replace(known, failures=subscription.failures + 1, next_at=next_at)
            self._rows[known.gp, known.subscription_id] = later

    @fallible
    def delete(self, gp: str, subscription_id: str) -> None:
        self._rows.pop((gp, subscription_id), None)
