"""JWS with one key and one `typ` per purpose, so that nothing signed for one use is ever good for another.

ES256 throughout (RFC 7518 §3.4). The clock is an argument: `verify` compares `iat` and `exp` itself, after the
library has checked the signature. Peers' keys are pinned in the trust list; a key id in a header only picks
among the keys that the caller already trusts.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, get_args

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from chalicelib.errors import DecodeError

Typ = Literal["at+jwt", "glados-filter+jwt", "glados-head+jwt", "glados-claim+jwt", "glados-trust-list+jwt"]
TYPS: tuple[Typ, ...] = get_args(Typ)

SKEW_SECONDS = 60
_LONGEST = 256 * 1024
_CHECKED_HERE = {
    "verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_aud": False, "verify_iss": False,
    "verify_sub": False, "verify_jti": False,
}  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key with the id that its public half is known by."""

    kid: str
    private: ec.EllipticCurvePrivateKey = dataclasses.field(repr=False)

    def public_jwk(self) -> dict[str, str]:
        """Return the public half as a JWK (RFC 7517) that names its id and algorithm."""
        jwk = ECAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        return {
            **{name: str(value) for name, value in jwk.items()},
            "kid": self.kid,
            "alg": "ES256",
            "use": "sig",
        }


VerifyingKeys = Mapping[str, ec.EllipticCurvePublicKey]


def read_jwk(jwk: Mapping[str, str]) -> tuple[str, ec.EllipticCurvePublicKey]:
    """Return the id and the P-256 public key of a JWK, or raise `DecodeError`."""
    try:
        key = ECAlgorithm(ECAlgorithm.SHA256).from_jwk(dict(jwk))
    except (jwt.InvalidKeyError, ValueError, KeyError) as error:
        raise DecodeError("this is not a public key in JWK form") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise DecodeError("a signing key is a P-256 public key")
    if not jwk.get("kid"):
        raise DecodeError("a signing key has an id")
    return jwk["kid"], key


def sign(key: SigningKey, typ: Typ, claims: dict[str, Any]) -> str:
    """Return the compact JWS of `claims` under the purpose `typ`."""
    return jwt.encode(claims, key.private, algorithm="ES256", headers={"typ": typ, "kid": key.kid})


def verify(token: str, typ: Typ, keys: VerifyingKeys, *, issuer: str, audience: str | None, now: int) -> dict[str, Any]:
    """Return the claims of a JWS whose every promise holds at `now` (ms), or raise `DecodeError`.

    Signature by one of `keys`, `typ`, `iss`, `aud` (where one is expected), `iat` not in the future beyond the
    skew, and `exp` not past where there is one; `at+jwt` and claims must have one.
    """
    if len(token) > _LONGEST:
        raise DecodeError("the signed object is too long")
    try:
        header = jwt.get_unverified_header(token)
        key = keys.get(str(header.get("kid")))
        if key is None:
            raise DecodeError("the signed object names a key that is not trusted")
        if header.get("typ") != typ or "crit" in header:
            raise DecodeError("the signed object was made for another purpose")
        claims: dict[str, Any] = jwt.decode(token, key, algorithms=["ES256"], options=_CHECKED_HERE)  # type: ignore[arg-type]
    except (jwt.InvalidTokenError, UnicodeError) as error:
        raise DecodeError("the signature or form of the signed object is wrong") from error
    if claims.get("iss") != issuer:
        raise DecodeError("the signed object has another issuer")
    if audience is not None and claims.get("aud") != audience:
        raise DecodeError("the signed object is meant for another audience")
    issued_at, expires_at = claims.get("iat"), claims.get("exp")
    # Both comparisons are put so that NaN, which compares with nothing, fails them.
    if not isinstance(issued_at, int | float) or not issued_at <= now / 1000 + SKEW_SECONDS:
        raise DecodeError("the signed object is not dated, or dated in the future")
    if expires_at is None and typ in ("at+jwt", "glados-claim+jwt"):
        raise DecodeError("the signed object never expires")
    if expires_at is not None and (not isinstance(expires_at, int | float) or not expires_at > now / 1000):
        raise DecodeError("the signed object has expired")
    return claims
