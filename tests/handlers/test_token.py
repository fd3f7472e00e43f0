"""The token endpoint: OAuth's form and nothing else (RFC 6749 §4.4, §5; RFC 8705)."""

import base64
from urllib.parse import quote

import jwt
import pytest

from infra.local.authority import Identity
from tests.handlers.conftest import Enrol, operate
from tests.handlers.edge import Answer, Ap, Edge

GOOD = {"grant_type": "client_credentials"}
FORM = "application/x-www-form-urlencoded"


def refused(answer: Answer, status: int, error: str) -> str:
    """Check that an answer is this refusal in OAuth's form, and return its description."""
    assert (answer.status, answer.json["error"]) == (status, error), answer
    assert set(answer.json) == {"error", "error_description"}
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-request-id"]
    assert ("www-authenticate" in answer.headers) == (status == 401)
    description: str = answer.json["error_description"]
    return description


def test_a_grant_is_a_token_bound_to_the_certificate_for_a_quarter_of_an_hour(alpha: Ap) -> None:
    answer = alpha.grant()
    assert (answer.status, answer.headers["cache-control"], answer.headers["pragma"]) == (200, "no-store", "no-cache")
    grant = answer.json
    assert (grant["token_type"], grant["expires_in"]) == ("Bearer", 900)
    assert grant["scope"] == "query register webhooks reports account"
    published = alpha.edge.call("GET", "/.well-known/jwks.json").json["keys"]
    header = jwt.get_unverified_header(grant["access_token"])
    assert (header["typ"], header["alg"]) == ("at+jwt", "ES256")
    key = next(jwk for jwk in published if jwk["kid"] == header["kid"])
    origin = "https://eu.gp.example"
    claims = jwt.decode(
        grant["access_token"], jwt.PyJWK(key).key, algorithms=["ES256"], audience=origin, issuer=origin,
        options={"verify_exp": False, "verify_iat": False},
    )  # fmt: skip
    assert claims["cnf"] == {"x5t#S256": alpha.identity.thumbprint()}
    assert claims["exp"] - claims["iat"] == 900
    assert claims["sub"] == "alpha"


def test_a_scope_narrows_the_token(alpha: Ap) -> None:
    assert alpha.grant({**GOOD, "scope": "register query"}).json["scope"] == "query register"
    for scope in ("bulk", "query bulk", "root", "query  register", " ", ""):
        refused(alpha.grant({**GOOD, "scope": scope}), 400, "invalid_scope")


def test_which_of_id_certificate_and_secret_was_wrong_is_not_told(alpha: Ap, beta: Ap, stranger: Identity) -> None:
    told = {
        refused(answer, 401, "invalid_client")
        for answer in (
            alpha.grant(client_id="alpha.000000000000"),
            alpha.grant(client_id=""),
            alpha.grant(client_id="nobody.000000000000"),
            alpha.grant(secret=beta.secret),
            alpha.grant(identity=stranger),
            alpha.grant(identity=beta.identity),
        )
    }
    assert len(told) == 1


def test_who_comes_without_a_certificate_is_told_so(alpha: Ap) -> None:
    basic = base64.b64encode(f"{alpha.client_id}:{alpha.secret}".encode()).decode()
    headers = {"Authorization": f"Basic {basic}", "content-type": FORM}
    answer = alpha.edge.call("POST", "/oauth2/token", b"grant_type=client_credentials", headers)
    assert refused(answer, 401, "invalid_client") == "no client certificate came with the request"


def test_a_rotated_secret_ends_at_once(enrol: Enrol) -> None:
    ap = enrol("zeta")
    fresh = operate("rotate-secret", "zeta")["client_secret"]
    refused(ap.grant(), 401, "invalid_client")
    assert ap.grant(secret=fresh).status == 200


def test_a_suspended_client_gets_no_token_until_it_is_resumed(enrol: Enrol) -> None:
    ap = enrol("eta")
    operate("suspend", "eta")
    refused(ap.grant(), 400, "unauthorized_client")
    operate("resume", "eta")
    assert ap.grant().status == 200


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({}, "invalid_request"),
        ({"scope": "query"}, "invalid_request"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": ""}, "unsupported_grant_type"),
    ],
)
def test_only_client_credentials_are_granted(alpha: Ap, form: dict[str, str], error: str) -> None:
    refused(alpha.grant(form), 400, error)


@pytest.mark.parametrize(
    ("body", "media", "status"),
    [
        (b'{"grant_type": "client_credentials"}', "application/json", 400),
        (b"grant_type=client_credentials&grant_type=client_credentials", FORM, 400),
        (b"grant_type=client_credentials&x", FORM, 400),
        (b"\xff", FORM, 400),
        (b"&".join(b"a%d=1" % i for i in range(20)), FORM, 400),
        (b"grant_type=client_credentials&x=" + b"a" * 70_000, FORM, 413),
    ],
)
def test_a_body_that_is_no_form_is_refused(alpha: Ap, body: bytes, media: str, status: int) -> None:
    basic = base64.b64encode(f"{alpha.client_id}:{alpha.secret}".encode()).decode()
    headers = {"Authorization": f"Basic {basic}", "content-type": media}
    answer = alpha.edge.call("POST", "/oauth2/token", body, headers, identity=alpha.identity)
    refused(answer, status, "invalid_request")


@pytest.mark.parametrize(
    "header", [None, "", "Basic", "Basic !", "Basic YQ==", "Basic //8=", "Bearer YTpi", "Digest a", "Basic \u00e9"]
)
def test_a_client_that_does_not_identify_itself_is_refused(edge: Edge, alpha: Ap, header: str | None) -> None:
    headers = {"content-type": FORM} | ({} if header is None else {"Authorization": header})
    body = b"grant_type=client_credentials"
    refused(edge.call("POST", "/oauth2/token", body, headers, identity=alpha.identity), 401, "invalid_client")


def test_both_halves_of_basic_are_form_encoded(alpha: Ap) -> None:
    everything = "".join(f"%{ord(letter):02X}" for letter in alpha.secret)
    assert alpha.grant(client_id=quote(alpha.client_id, safe=""), secret=everything).status == 200
