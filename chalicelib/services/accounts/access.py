"""Who is asking: access tokens bound to client certificates (draft §5, §7, §11.3; RFC 6749, RFC 8705, RFC 9068).

A stolen secret or token is worthless without the certificate's private key: the thumbprint is checked before the
secret when a token is made, is written into the token, and is compared on each call. Whether the account is
still active and still owns that certificate is read on each call as well (at most 60 s old), because a gateway
checks no revocation.
"""

import dataclasses
import hmac

from chalicelib.errors import (
    AccountSuspended,
    ClientCertificateRequired,
    DecodeError,
    InsufficientScope,
    InvalidToken,
    TokenRefused,
)
from chalicelib.protocol.signed import read_jwk, sign, verify
from chalicelib.services.accounts.ports import Accounts, SigningKeys
from chalicelib.services.accounts.state import SCOPES, Account, Presented, ProviderId
from chalicelib.services.ports import Clock, Entropy
from chalicelib.services.ulids import ulid

TOKEN_SECONDS = 900
MOST_REMEMBERED = 2_000


@dataclasses.dataclass(frozen=True, slots=True)
class Grant:
    """An access token as the token endpoint answers it."""

    access_token: str = dataclasses.field(repr=False)
    scope: str
    expires_in: int = TOKEN_SECONDS
    token_type: str = "Bearer"


class Access:
    """Grants tokens to application providers and recognises them."""

    def __init__(self, accounts: Accounts, keys: SigningKeys, clock: Clock, entropy: Entropy, issuer: str) -> None:
        self.accounts = accounts
        self.keys = keys
        self.clock = clock
        self.entropy = entropy
        self.issuer = issuer
        self._remembered: dict[str, Presented] = {}

    def grant(self, client_id: str, client_secret: str, thumbprint: str | None, scope: str | None) -> Grant:
        """Return an access token (RFC 6749 §4.4), or raise `TokenRefused`.

        Which of id, certificate or secret was wrong is not told. Without `scope` the token has all of the
        account's scopes.
        """
        provider_id = ProviderId(client_id.rpartition(".")[0])
        account = self.accounts.recent(provider_id) if provider_id else None
        if account is None or account.client_id != client_id or thumbprint not in account.thumbprints:
            raise TokenRefused("invalid_client", "the client, its certificate or its secret is not known here")
        tag = self.keys.digest("client-secret", client_id, client_secret)
        if not hmac.compare_digest(tag, account.secret_tag):
            raise TokenRefused("invalid_client", "the client, its certificate or its secret is not known here")
        if account.status == "suspended":
            raise TokenRefused("unauthorized_client", "the operator has suspended this client")
        wanted = account.scopes if scope is None else tuple(scope.split(" "))
        if not wanted or not set(wanted) <= set(account.scopes):
            raise TokenRefused("invalid_scope", f"the client may ask for: {' '.join(account.scopes)}")
        granted = " ".join(name for name in SCOPES if name in wanted)
        now = self.clock()
        claims = {
            "iss": self.issuer,
            "aud": self.issuer,
            "sub": provider_id,
            "client_id": client_id,
            "scope": granted,
            "iat": now // 1000,
            "exp": now // 1000 + TOKEN_SECONDS,
            "jti": ulid(now, self.entropy(10)),
            "cnf": {"x5t#S256": thumbprint},
        }
        return Grant(sign(self.keys.signing_key("at+jwt"), "at+jwt", claims), granted)

    def present(self, token: str, thumbprint: str | None) -> Presented:
        """Return what a token says, if it is ours, in force, and bound to this very certificate."""
        if thumbprint is None:
            raise ClientCertificateRequired("this route is served to client certificates only")
        known = self._remembered.get(token)
        if known is None:
            known = self._verify(token)
            if len(self._remembered) >= MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[token] = known
        if known.expires_at * 1000 <= self.clock():
            raise InvalidToken("the access token has expired")
        if not hmac.compare_digest(known.thumbprint, thumbprint):
            raise InvalidToken("the access token is bound to another certificate")
        return known

    def _verify(self, token: str) -> Presented:
        keys = dict(read_jwk(jwk) for jwk in self.keys.public_jwks("at+jwt"))
        try:
            claims = verify(token, "at+jwt", keys, issuer=self.issuer, audience=self.issuer, now=self.clock())
            return Presented(
                ProviderId(claims["sub"]),
                frozenset(claims["scope"].split(" ")),
                claims["cnf"]["x5t#S256"],
                claims["exp"],
            )
        except DecodeError as error:
            raise InvalidToken(str(error)) from error

    def admit(self, presented: Presented, account: Account | None, scope: str) -> Account:
        """Return the account behind a token if it may use `scope` now."""
        if account is None or presented.thumbprint not in account.thumbprints:
            raise InvalidToken("the access token's certificate is no longer registered")
        if account.status == "suspended":
            raise AccountSuspended("the operator has suspended this account")
        if scope not in presented.scopes or scope not in account.scopes:
            raise InsufficientScope(scope)
        return account

    def caller(self, token: str, thumbprint: str | None, scope: str) -> Account:
        """Return the account that calls a route with `scope`, or raise why it may not."""
        presented = self.present(token, thumbprint)
        return self.admit(presented, self.accounts.recent(presented.provider_id), scope)
