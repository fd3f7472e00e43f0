"""The ports of accounts. Reads are strongly consistent unless a docstring says otherwise, and writes durable.

A write may also have happened although the method raised, when the reply was lost; every caller can be repeated.
"""

from collections.abc import Sequence
from typing import Protocol

from chalicelib.protocol.signed import SigningKey, Typ
from chalicelib.services.accounts.state import Account, ProviderId, StoredAnswer
from chalicelib.services.ports import Digests, Versioned


class Accounts(Protocol):
    """Enrolled application providers.

    `recent` may be up to 60 s old; `load` is not. `create` and `replace` also hold each client certificate's
    thumbprint for this account alone: a thumbprint belongs to one AP or to one peer, never to both, and taking
    another's raises `AlreadyExists`. `replace` raises `Lost` when the account changed since it was loaded; it
    leaves the count of users alone.
    """

    def recent(self, provider_id: ProviderId) -> Account | None: ...
    def load(self, provider_id: ProviderId) -> Versioned[Account] | None: ...
    def create(self, account: Account) -> None: ...
    def replace(self, before: Versioned[Account], after: Account) -> None: ...


class Idempotency(Protocol):
    """Answers by Idempotency-Key for 24 h, each scoped to one caller and route by `key`.

    `begin` returns the stored answer (status, headers, body), or None after it has marked the key as in flight until
    `until`. It raises `IdempotencyKeyReused` for another body and `RequestInFlight` while another works on it.
    """

    def begin(self, key: Sequence[str], body: bytes, now: int, until: int) -> StoredAnswer | None: ...
    def finish(self, key: Sequence[str], answer: StoredAnswer) -> None: ...
    def abandon(self, key: Sequence[str]) -> None: ...


class SigningKeys(Digests, Protocol):
    """Keys wrapped by KMS, unwrapped once per container: one that signs for each purpose, and one for digests.

    Digests are for ids that must come out the same on a repeat, for pseudonyms, for comparing secrets and bodies.
    `public_jwks` has the public halves of all keys of a purpose whose signatures may be met.
    """

    def signing_key(self, typ: Typ) -> SigningKey: ...
    def public_jwks(self, typ: Typ) -> list[dict[str, str]]: ...
