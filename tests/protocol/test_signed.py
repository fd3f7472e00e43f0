"""Signed objects: what was signed for one use is good for no other, and nothing else passes for signed."""

import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.errors import DecodeError
from chalicelib.protocol.signed import SKEW_SECONDS, TYPS, SigningKey, Typ, read_jwk, sign, verify

NOW = 1_767_225_600_000
SECONDS = NOW // 1000

KEY = SigningKey("one", ec.derive_private_key(1234567, ec.SECP256R1()))
OTHER = SigningKey("two", ec.derive_private_key(7654321, ec.SECP256R1()))
KEYS = {"one": KEY.private.public_key()}

CLAIMS: dict[str, Any] = {"iss": "eu", "aud": "us", "iat": SECONDS, "exp": SECONDS + 60, "jti": "1"}


def check(token: str, typ: Typ = "glados-claim+jwt", now: int = NOW) -> dict[str, Any]:
    return verify(token, typ, KEYS, issuer="eu", audience="us", now=now)


def part(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def made(header: dict[str, Any], claims: dict[str, Any] = CLAIMS, key: SigningKey = KEY) -> str:
    """Sign any header and any claims, as an attacker who has a key would."""
    return jwt.api_jws.encode(json.dumps(claims).encode(), key.private, algorithm="ES256", headers=header)


def test_what_was_signed_is_read_as_it_was() -> None:
    assert check(sign(KEY, "glados-claim+jwt", CLAIMS)) == CLAIMS


@pytest.mark.parametrize("typ", TYPS)
def test_what_was_signed_for_one_purpose_is_good_for_no_other(typ: Typ) -> None:
    token = sign(KEY, typ, CLAIMS)
    for wanted in TYPS:
        if wanted == typ:
            assert check(token, wanted) == CLAIMS
        else:
            with pytest.raises(DecodeError, match="purpose"):
                check(token, wanted)


@pytest.mark.parametrize(
    "header", [{}, {"typ": "JWT"}, {"typ": None}, {"typ": "GLADOS-CLAIM+JWT"}, {"typ": "application/glados-claim+jwt"}]
)
def test_another_spelling_of_a_purpose_is_another_purpose(header: dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        check(made({"kid": "one", **header}))


def test_a_token_without_a_signature_is_refused() -> None:
    unsigned = f"{part({'alg': 'none', 'typ': 'glados-claim+jwt', 'kid': 'one'})}.{part(CLAIMS)}."
    with pytest.raises(DecodeError):
        check(unsigned)


def test_the_public_key_does_not_pass_for_a_shared_secret() -> None:
    public = KEY.private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    content = f"{part({'alg': 'HS256', 'typ': 'glados-claim+jwt', 'kid': 'one'})}.{part(CLAIMS)}"
    tag = base64.urlsafe_b64encode(hmac.digest(public, content.encode(), hashlib.sha256)).rstrip(b"=").decode()
    with pytest.raises(DecodeError):
        check(f"{content}.{tag}")


def test_a_signature_by_an_unknown_key_is_refused() -> None:
    with pytest.raises(DecodeError, match="not trusted"):
        check(sign(OTHER, "glados-claim+jwt", CLAIMS))


def test_a_key_that_uses_anothers_id_is_refused() -> None:
    with pytest.raises(DecodeError, match="signature"):
        check(sign(SigningKey("one", OTHER.private), "glados-claim+jwt", CLAIMS))


@pytest.mark.parametrize("kid", [None, "", "ONE"])
def test_a_token_names_its_key_exactly(kid: str | None) -> None:
    with pytest.raises(DecodeError):
        check(made({"typ": "glados-claim+jwt", **({} if kid is None else {"kid": kid})}))


@pytest.mark.parametrize("extra", [{"crit": ["exp"]}, {"crit": []}, {"crit": ["b64"], "b64": False}])
def test_an_extension_that_must_be_understood_is_not(extra: dict[str, Any]) -> None:
    header = part({"alg": "ES256", "typ": "glados-claim+jwt", "kid": "one", **extra})
    signature = jwt.get_algorithm_by_name("ES256").sign(f"{header}.{part(CLAIMS)}".encode(), KEY.private)
    token = f"{header}.{part(CLAIMS)}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
    with pytest.raises(DecodeError):
        check(token)


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "us"},
        {"iss": None},
        {"iss": ["eu"]},
        {"aud": "eu"},
        {"aud": None},
        {"aud": ["us"]},
        {"iat": None},
        {"iat": str(SECONDS)},
        {"iat": SECONDS + SKEW_SECONDS + 1},
        {"iat": float("nan")},
        {"iat": float("inf")},
        {"exp": None},
        {"exp": SECONDS},
        {"exp": SECONDS - 1},
        {"exp": str(SECONDS + 60)},
        {"exp": float("nan")},
    ],
    ids=str,
)
def test_a_promise_that_does_not_hold_now_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        check(made({"typ": "glados-claim+jwt", "kid": "one"}, CLAIMS | change))


@pytest.mark.parametrize("name", ["iss", "aud", "iat", "exp"])
def test_a_promise_that_is_missing_is_refused(name: str) -> None:
    with pytest.raises(DecodeError):
        check(sign(KEY, "glados-claim+jwt", {claim: CLAIMS[claim] for claim in CLAIMS if claim != name}))


def test_clocks_may_differ_by_the_skew_and_no_more() -> None:
    token = sign(KEY, "glados-claim+jwt", CLAIMS | {"iat": SECONDS + SKEW_SECONDS})
    assert check(token)
    with pytest.raises(DecodeError):
        check(token, now=NOW - 1)


def test_a_head_is_for_everybody_and_does_not_expire() -> None:
    token = sign(KEY, "glados-head+jwt", {"iss": "eu", "iat": SECONDS})
    assert verify(token, "glados-head+jwt", KEYS, issuer="eu", audience=None, now=NOW)
    with pytest.raises(DecodeError):
        verify(token, "glados-head+jwt", KEYS, issuer="eu", audience="us", now=NOW)


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "...", "a.b.c", "é.é.é", "\ud800.a.b", part([]) + ".a.b", part({"kid": {"a": 1}}) + ".a.b"],
)
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(DecodeError):
        check(token)


def test_a_header_nested_without_end_is_refused() -> None:
    deep = base64.urlsafe_b64encode(b'{"kid":' + b"[" * 100_000).decode()
    with pytest.raises(DecodeError):
        check(f"{deep}.a.b")


def test_a_token_too_long_to_be_one_is_refused_unread() -> None:
    with pytest.raises(DecodeError, match="too long"):
        check(sign(KEY, "glados-claim+jwt", CLAIMS | {"more": "a" * 200_000}))


@given(st.data())
def test_every_change_to_a_token_is_noticed(data: st.DataObject) -> None:
    token = sign(KEY, "glados-claim+jwt", CLAIMS)
    place = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.characters(codec="ascii").filter(lambda letter: letter != token[place]))
    changed = token[:place] + letter + token[place + 1 :]
    if decoded(changed) == decoded(token):
        return  # Other spare bits at the end of a part: the same bytes, and so the same object.
    with pytest.raises(DecodeError):
        check(changed)


def decoded(token: str) -> list[bytes] | None:
    try:
        return [base64.urlsafe_b64decode(piece + "==") for piece in token.split(".")]
    except ValueError:
        return None


# --- keys as JSON


def test_a_public_key_is_read_as_it_was_written() -> None:
    kid, key = read_jwk(KEY.public_jwk())
    assert kid == "one"
    assert key.public_numbers() == KEY.private.public_key().public_numbers()


def test_a_public_jwk_tells_nothing_of_the_private_key() -> None:
    assert set(KEY.public_jwk()) == {"kty", "crv", "x", "y", "kid", "alg", "use"}


PRIVATE = {**KEY.public_jwk(), "d": base64.urlsafe_b64encode(bytes(31) + b"\x01").rstrip(b"=").decode()}
P384 = {**SigningKey("one", ec.derive_private_key(1, ec.SECP384R1())).public_jwk()}


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        {"kty": "EC"},
        {"kty": "oct", "k": "AAAA", "kid": "one"},
        {name: value for name, value in KEY.public_jwk().items() if name != "kid"},
        {name: value for name, value in KEY.public_jwk().items() if name != "y"},
        {**KEY.public_jwk(), "kid": ""},
        {**KEY.public_jwk(), "x": KEY.public_jwk()["y"]},
        {**KEY.public_jwk(), "x": "é"},
        {**KEY.public_jwk(), "x": "A"},
        {**KEY.public_jwk(), "crv": "secp256k1"},
        {**KEY.public_jwk(), "kty": "RSA"},
        PRIVATE,
        P384,
    ],
    ids=["empty", "no curve", "secret", "no kid", "no y", "empty kid", "off the curve", "not ASCII", "short", "koblitz",
         "RSA", "private", "P-384"],
)  # fmt: skip
def test_a_pinned_key_is_a_named_public_key_on_p_256(jwk: dict[str, str]) -> None:
    with pytest.raises(DecodeError):
        read_jwk(jwk)
