"""The trust list: signed for one reader, consistent, and the bound of every peer's URLs."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from chalicelib.errors import DecodeError, InvalidValue
from chalicelib.protocol.glados.trust import Peer, TrustList, read_trust_list
from chalicelib.protocol.signed import SigningKey, sign

NOW = 1_767_225_600_000
AUTHORITY = SigningKey("authority", ec.derive_private_key(99, ec.SECP256R1()))
PINNED = SigningKey("us-head", ec.derive_private_key(98, ec.SECP256R1()))


def peer(gp: str = "us", **more: object) -> dict[str, object]:
    return {
        "gp": gp,
        "name": "The other one",
        "origins": [f"https://{gp}.example"],
        "thumbprints": [gp.ljust(43, "A")],
        "keys": {"head": [PINNED.public_jwk()]},
        **more,
    }


def signed(*peers: dict[str, object], claims: dict[str, object] | None = None) -> str:
    content: dict[str, Any] = {"iss": "trust-authority", "aud": "eu", "iat": NOW // 1000, "version": 1}
    return sign(AUTHORITY, "glados-trust-list+jwt", {**content, "peers": list(peers), **(claims or {})})


def read(token: str) -> TrustList:
    return read_trust_list(token, AUTHORITY.private.public_key(), "authority", gp="eu", now=NOW)


def test_a_list_that_the_authority_signed_for_us_is_read() -> None:
    listed = read(signed(peer("us"), peer("in", direction="inbound", limits={"burst": 5})))
    us, inbound = listed.peers
    assert us.asked
    assert not inbound.asked
    assert (inbound.limits.burst, us.limits.burst) == (5, 1_000)
    assert set(us.verifying_keys("glados-head+jwt")) == {"us-head"}
    assert us.verifying_keys("glados-claim+jwt") == {}


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "us"},
        {"iss": "eu"},
        {"iat": NOW},
        {"exp": 1},
        {"version": -1},
        {"version": "1"},
        {"more": 1},
        {"peers": {}},
    ],
    ids=str,
)
def test_a_list_for_another_reader_or_of_another_form_is_refused(claims: dict[str, object]) -> None:
    with pytest.raises(DecodeError):
        read(signed(peer(), claims=claims))


def test_a_list_that_somebody_else_signed_is_refused() -> None:
    token = sign(SigningKey("authority", PINNED.private), "glados-trust-list+jwt", {"iss": "trust-authority"})
    with pytest.raises(DecodeError):
        read(token)


@pytest.mark.parametrize(
    "peers",
    [
        [peer("us"), peer("us", thumbprints=["B" * 43])],
        [peer("eu")],
        [peer("us"), peer("in", thumbprints=["us".ljust(43, "A")])],
        [peer("US")],
        [peer("")],
        [peer("-us")],
        [peer("u" * 33)],
        [peer("us\n")],
        [peer(thumbprints=["A" * 43 + "\n"])],
        [peer(origins=[])],
        [peer(origins=["http://us.example"])],
        [peer(origins=["https://alice@us.example"])],
        [peer(origins=["us.example"])],
        [peer(origins=["https://[::1"])],
        [peer(thumbprints=[])],
        [peer(thumbprints=["A" * 42])],
        [peer(thumbprints=["=" * 43])],
        [peer(keys={"head": [{"kty": "EC"}]})],
        [peer(keys={"other": []})],
        [peer(keys={"head": [PINNED.public_jwk()] * 5})],
        [peer(direction="outbound")],
        [peer(limits={"burst": 0})],
        [peer(more=1)],
        [peer(f"p{number}") for number in range(251)],
    ],
    ids=["twice", "its reader", "one certificate", "upper case", "empty", "hyphen", "long", "two lines", "a line more",
         "no origin", "plain http",
         "credentials", "no scheme", "malformed", "no certificate", "short", "not base64url", "no key", "unknown use",
         "too many keys", "direction", "no burst", "unknown field", "too many peers"],
)  # fmt: skip
def test_a_list_that_contradicts_itself_is_refused_whole(peers: list[dict[str, object]]) -> None:
    with pytest.raises(DecodeError):
        read(signed(*peers))


def us() -> Peer:
    (found,) = read(signed(peer(origins=["https://us.example", "https://files.us.example:8443"]))).peers
    return found


@pytest.mark.parametrize(
    "url",
    [
        "https://us.example/federation/v1/notifications",
        "https://us.example:443/",
        "https://US.example/",
        "https://files.us.example:8443/a?b=c",
    ],
)
def test_a_url_under_a_listed_origin_is_the_peers(url: str) -> None:
    us().check_origin(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://us.example.evil.example/",
        "https://evil.example/https://us.example/",
        "https://us.example@evil.example/",
        "https://evil.example#https://us.example/",
        "https://us.example:8443/",
        "https://us.example:0/",
        "https://files.us.example/",
        "http://us.example:443/",
        "https://alice@us.example/",
        "https://alice:secret@us.example/",
        "https://us.example/#part",
        "https://us.example./",
        "https://us.example:x/",
        "https://[::1",
        "https://us.exa\tmple/",
        "https://us.example/\r\nhost: evil.example",
        " https://us.example/",
        "https://us.example/ä",
        "us.example",
        "",
    ],
)
def test_a_url_under_any_other_origin_is_not(url: str) -> None:
    with pytest.raises(InvalidValue):
        us().check_origin(url)
