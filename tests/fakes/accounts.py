"""Application providers, and the answers to what they asked already."""

import dataclasses
import hashlib
from collections.abc import Sequence

from chalicelib.errors import AlreadyExists, IdempotencyKeyReused, RequestInFlight
from chalicelib.protocol.timestamps import DAY
from chalicelib.services.accounts.state import Account, ProviderId, StoredAnswer
from chalicelib.services.ports import Clock, Lost, Versioned
from tests.fakes.faults import Fake, Faults, fallible, require
from tests.fakes.registries import Recent
from tests.fakes.tables import Row, Tables, Token

ANSWER_LIFE = DAY


class MemoryAccounts(Fake):
    port = "accounts"

    def __init__(self, faults: Faults, tables: Tables, clock: Clock) -> None:
        super().__init__(faults, tables.lock)
        self.tables = tables
        self._recent: Recent[Account | None] = Recent(clock)

    @fallible
    def recent(self, provider_id: ProviderId) -> Account | None:
        return self._recent.read(provider_id, self.tables.account(provider_id))

    @fallible
    def load(self, provider_id: ProviderId) -> Versioned[Account] | None:
        account = self.tables.account(provider_id)
        if account is None:
            return None
        return Versioned(account, Token(f"account {provider_id}", self.tables.accounts[provider_id].version))

    @fallible
    def create(self, account: Account) -> None:
        require(account.users == 0, "a new account has no users yet")
        row = self.tables.accounts.get(account.provider_id)
        if row is not None and row.value != account:
            raise AlreadyExists("the provider is enrolled already")
        self._hold_thumbprints(account)
        self.tables.accounts[account.provider_id] = row or Row(account, 1)

    @fallible
    def replace(self, before: Versioned[Account], after: Account) -> None:
        provider_id = before.value.provider_id
        require(after.provider_id == provider_id, "an account keeps its id")
        require(isinstance(before.token, Token), "a token that no read gave out")
        row = self.tables.accounts.get(provider_id)
        if row is None or before.token != Token(f"account {provider_id}", row.version):
            raise Lost
        self._hold_thumbprints(after)
        self.tables.accounts[provider_id] = row.next(dataclasses.replace(after, users=0))

    def _hold_thumbprints(self, account: Account) -> None:
        taken = {
            thumbprint
            for row in self.tables.accounts.values()
            if row.value.provider_id != account.provider_id
            for thumbprint in row.value.thumbprints
        }
        taken |= {thumbprint for peer in self.tables.trust_list.peers for thumbprint in peer.thumbprints}
        taken |= {thumbprint for ds in self.tables.ds_peers.values() for thumbprint in ds.thumbprints}
        if taken & set(account.thumbprints):
            raise AlreadyExists("the certificate belongs to somebody else")


@dataclasses.dataclass(frozen=True)
class Begun:
    """A request that was begun, and its answer once there is one."""

    body: bytes
    began_at: int
    until: int
    answer: StoredAnswer | None = None


class MemoryIdempotency(Fake):
    port = "idempotency"

    def __init__(self, faults: Faults, tables: Tables) -> None:
        super().__init__(faults, tables.lock)
        self._rows: dict[tuple[str, ...], Begun] = {}

    @fallible
    def begin(self, key: Sequence[str], body: bytes, now: int, until: int) -> StoredAnswer | None:
        require(until > now, "a request that is given up before it begins")
        known = self._rows.get(tuple(key))
        digest = hashlib.sha256(body).digest()
        if known is not None and now - known.began_at < ANSWER_LIFE:
            if known.body != digest:
                raise IdempotencyKeyReused("the key was used with another body")
            if known.answer is not None:
                return known.answer
            if known.until > now:
                raise RequestInFlight((known.until - now) / 1000)
        self._rows[tuple(key)] = Begun(digest, now, until)
        return None

    @fallible
    def finish(self, key: Sequence[str], answer: StoredAnswer) -> None:
        status, _, _ = answer
        require(status != 429 and status < 500, "an answer that invites a repeat is not kept")
        known = self._rows.get(tuple(key))
        require(known is not None, "a request is finished that never began")
        if known is not None:
            self._rows[tuple(key)] = dataclasses.replace(known, answer=answer)

    @fallible
    def abandon(self, key: Sequence[str]) -> None:
        known = self._rows.get(tuple(key))
        if known is not None and known.answer is None:
            del self._rows[tuple(key)]
