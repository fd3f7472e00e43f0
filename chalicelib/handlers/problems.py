"""The one table from what can be refused to how HTTP says it (RFC 9457).

`type` is a URN from a closed list, so that a caller can act on it; the same list is an enum in `/openapi.json`.
The local gateway's own errors use the same slugs; those of API Gateway itself are not shaped so yet.
"""

import dataclasses
import math
from typing import Any

from chalicelib import errors

PREFIX = "urn:glados:problem:"
MEDIA_TYPE = "application/problem+json"


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """A kind of refusal as HTTP knows it."""

    status: int
    slug: str
    title: str


INTERNAL = Problem(500, "internal-error", "Something went wrong here")

PROBLEMS: dict[type[errors.Refusal], Problem] = {
    errors.DecodeError: Problem(422, "invalid-value", "A value is not what its format says"),
    errors.MalformedBody: Problem(400, "malformed-body", "The body is not what this route takes"),
    errors.InvalidValue: Problem(422, "invalid-value", "A value is not what its format says"),
    errors.InvalidIdentifier: Problem(422, "invalid-identifier", "The identifier is not one that can be used"),
    errors.WrongBody: Problem(422, "wrong-body", "What the request refers to is not there, or something else"),
    errors.BodyTooLarge: Problem(413, "body-too-large", "The body is too large"),
    errors.ClientCertificateRequired: Problem(401, "client-certificate-required", "A client certificate is needed"),
    errors.UnknownCertificate: Problem(401, "unknown-certificate", "The client certificate is not registered"),
    errors.TokenRequired: Problem(401, "token-required", "An access token is needed"),
    errors.InvalidToken: Problem(401, "invalid-token", "The access token is not good"),
    errors.NotAuthenticated: Problem(401, "not-authenticated", "The caller is not known"),
    errors.NotPermitted: Problem(403, "not-permitted", "The caller may not do this"),
    errors.InsufficientScope: Problem(403, "insufficient-scope", "The access token lacks a scope"),
    errors.AccountSuspended: Problem(403, "account-suspended", "The account is suspended"),
    errors.NotFresh: Problem(403, "not-fresh", "The request was not made just now, or not for this service"),
    errors.SendingPaused: Problem(403, "sending-paused", "Too few codes come back"),
    errors.NotFound: Problem(404, "not-found", "There is no such thing"),
    errors.MethodNotAllowed: Problem(405, "method-not-allowed", "The path does not take this method"),
    errors.NotAcceptable: Problem(406, "not-acceptable", "The answer's form is not one the caller accepts"),
    errors.UnsupportedMediaType: Problem(415, "unsupported-media-type", "The body's media type is not taken"),
    errors.Conflict: Problem(409, "conflict", "The request contradicts what stands"),
    errors.AlreadyExists: Problem(409, "already-exists", "It exists already"),
    errors.IdempotencyKeyReused: Problem(409, "idempotency-key-reused", "The idempotency key had another body"),
    errors.RequestInFlight: Problem(409, "request-in-flight", "The same request is being worked on"),
    errors.VerificationRequired: Problem(409, "verification-required", "A code must be checked first"),
    errors.TooManyMappings: Problem(409, "too-many-mappings", "The identifier has as many mappings as it may"),
    errors.StreamGap: Problem(409, "stream-gap", "Rows are missing before this one"),
    errors.NoSuchEntry: Problem(409, "no-such-entry", "The queue has not had this entry yet"),
    errors.Gone: Problem(410, "gone", "It will not be available again"),
    errors.VerificationEnded: Problem(410, "verification-ended", "The verification takes no more codes"),
    errors.FilterVersionGone: Problem(410, "filter-version-gone", "The filter version is not live"),
    errors.WrongCode: Problem(422, "wrong-code", "The code is wrong"),
    errors.TooManyRequests: Problem(429, "too-many-requests", "A limit is reached"),
    errors.Unavailable: Problem(503, "unavailable", "Not just now"),
    errors.TokenRefused: Problem(400, "token-refused", "The token request is refused"),
}

# What only a gateway says: API Gateway in AWS, the local gateway on one machine.
GATEWAY_PROBLEMS = (
    Problem(400, "malformed-request", "The request is not HTTP as it should be"),
    Problem(504, "timeout", "The answer took too long"),
)

TYPES = sorted({PREFIX + problem.slug for problem in (*PROBLEMS.values(), *GATEWAY_PROBLEMS, INTERNAL)})


def problem_of(refusal: errors.Refusal) -> Problem:
    """Return the row of the refusal's class."""
    return PROBLEMS[type(refusal)]


def body_of(problem: Problem, detail: str, request_id: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Return the problem document; facts never overrule its own members."""
    return {
        **facts,
        "type": PREFIX + problem.slug,
        "title": problem.title,
        "status": problem.status,
        "detail": detail,
        "request_id": request_id,
    }


def headers_of(refusal: errors.Refusal) -> dict[str, str]:
    """Return the headers that go with a refusal: when to retry, and how to authenticate."""
    headers: dict[str, str] = {}
    if refusal.retry_after_seconds is not None:
        headers["Retry-After"] = str(max(1, math.ceil(refusal.retry_after_seconds)))
    match refusal:
        case errors.InsufficientScope():
            headers["WWW-Authenticate"] = f'Bearer error="insufficient_scope", scope="{refusal.scope}"'
        case errors.InvalidToken():
            headers["WWW-Authenticate"] = 'Bearer error="invalid_token"'
        case errors.NotAuthenticated():
            headers["WWW-Authenticate"] = "Bearer"
    return headers
