"""The rows that several ports look at, under one lock."""

import dataclasses
import threading
from collections import Counter
from typing import Generic, TypeVar

from chalicelib.protocol.glados.identifiers import Sii
from chalicelib.protocol.glados.mappings import Records
from chalicelib.protocol.glados.trust import TrustList
from chalicelib.services.accounts.state import Account, ProviderId
from chalicelib.services.delivery.state import DsPeer
from chalicelib.services.provider.state import (
    Count,
    Event,
    EventId,
    Heads,
    LimitKey,
    OutboxEntry,
    OutboxId,
    Pair,
    PairKey,
    PendingEntry,
    Verification,
    VerificationId,
)

Value = TypeVar("Value")


@dataclasses.dataclass(frozen=True)
class Row(Generic[Value]):
    """A value and the number of times it was written; 0 stands for "no row yet"."""

    value: Value
    version: int = 0

    def next(self, value: Value) -> "Row[Value]":
        return Row(value, self.version + 1)


@dataclasses.dataclass(frozen=True)
class Token:
    """What a fake hands out for a compare-and-swap: good for one row, and for nothing else."""

    row: str
    version: int


@dataclasses.dataclass
class Tables:
    """Everything that one GP has stored, and of a DS who its peers are."""

    lock: threading.RLock = dataclasses.field(default_factory=threading.RLock)
    records: dict[Sii, Row[Records]] = dataclasses.field(default_factory=dict)
    verifications: dict[VerificationId, Verification] = dataclasses.field(default_factory=dict)
    pairs: dict[PairKey, Pair] = dataclasses.field(default_factory=dict)
    counts: dict[LimitKey, Count] = dataclasses.field(default_factory=dict)
    events: dict[EventId, Event] = dataclasses.field(default_factory=dict)
    sequences: dict[tuple[str, str], int] = dataclasses.field(default_factory=dict)
    outbox: dict[OutboxId, OutboxEntry] = dataclasses.field(default_factory=dict)
    outbox_touched: dict[OutboxId, int] = dataclasses.field(default_factory=dict)
    outbox_ever: set[OutboxId] = dataclasses.field(default_factory=set)
    pending: dict[str, PendingEntry] = dataclasses.field(default_factory=dict)
    pending_ever: int = 0
    accounts: dict[ProviderId, Row[Account]] = dataclasses.field(default_factory=dict)
    users: Counter[str] = dataclasses.field(default_factory=Counter)
    trust_list: TrustList = dataclasses.field(default_factory=lambda: TrustList(version=0, peers=[]))
    ds_peers: dict[str, DsPeer] = dataclasses.field(default_factory=dict)
    heads: Row[Heads] = dataclasses.field(default_factory=lambda: Row(Heads()))
    objects: dict[str, bytes] = dataclasses.field(default_factory=dict)

    def account(self, provider_id: ProviderId) -> Account | None:
        """Return an account with the users that were counted since."""
        row = self.accounts.get(provider_id)
        return None if row is None else dataclasses.replace(row.value, users=self.users[provider_id])
