"""What can be refused, one class per thing a caller can do something about.

Errors are part of the protocol: they are raised where the rule lives and carry the facts a caller can act
on, never an HTTP status. `handlers/problems.py` maps each class to its status and problem type, and a test
walks the subclasses to prove that map complete. Bugs and outages stay ordinary exceptions.

Messages are lower-case clauses that say what was wrong. They hold no secret and nothing by which a person
could be found: no identifier, code, token or key.
"""


class Refusal(Exception):
    """A request is refused for a reason its sender can act on; raise a subclass.

    `check` is the ledger's id of the rule that was broken, where the rule has one.
    """

    check: str = ""
    retry_after_seconds: float | None = None

    def facts(self) -> dict[str, object]:
        """Return what the caller may be told beside the message, as JSON-ready members."""
        return {"check": self.check} if self.check else {}


class DecodeError(Refusal):
    """Bytes or values from outside are not what their format says."""


class MalformedBody(DecodeError):
    """The body is not the JSON object (or form) that the route takes."""


class InvalidValue(DecodeError):
    """The body has the right form but a field has a wrong type or an impossible value."""

    def __init__(self, reason: str, field: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.field = field

    def facts(self) -> dict[str, object]:
        """Return the reason, and the field where one is to blame."""
        named = {} if self.field is None else {"field": self.field}
        return {"reason": self.reason, **named}


class InvalidIdentifier(InvalidValue):
    """A service independent identifier is malformed, impossible, or cannot be reached."""


class WrongBody(DecodeError):
    """A message that a request only refers to is not there, or not what the request says of it."""


class BodyTooLarge(Refusal):
    """The body is longer than the route takes."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"the body has {size} bytes, and at most {limit} are taken")
        self.size = size
        self.limit = limit

    def facts(self) -> dict[str, object]:
        """Return the limit in bytes."""
        return {"limit": self.limit}


class NotAuthenticated(Refusal):
    """The caller has not shown who it is."""


class ClientCertificateRequired(NotAuthenticated):
    """The route is served over mutual TLS only."""


class UnknownCertificate(NotAuthenticated):
    """The client certificate is not registered for any caller that may use the route."""


class TokenRequired(NotAuthenticated):
    """The route takes an access token and none was sent."""


class InvalidToken(NotAuthenticated):
    """The access token is malformed, expired, revoked, or bound to another certificate."""


class NotPermitted(Refusal):
    """The caller is known but may not do this."""


class InsufficientScope(NotPermitted):
    """The access token lacks the scope that the route takes."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"the access token lacks the scope {scope}")
        self.scope = scope

    def facts(self) -> dict[str, object]:
        """Return the scope that is missing."""
        return {"scope": self.scope}


class AccountSuspended(NotPermitted):
    """The operator has suspended the caller."""


class NotFresh(NotPermitted):
    """A signed request was made too long ago, or in the future, or for another service."""

    def __init__(self, reason: str, now: int) -> None:
        super().__init__(reason)
        self.now = now

    def facts(self) -> dict[str, object]:
        """Return our time, by which a caller can set its clock."""
        return {"time_ms": self.now}


class SendingPaused(NotPermitted):
    """Too few of the caller's codes come back; the operator decides when it may send again."""


class NotFound(Refusal):
    """There is no such thing, or it is somebody else's: the two are not told apart."""


class MethodNotAllowed(Refusal):
    """The path exists, but not with this method."""


class UnsupportedMediaType(Refusal):
    """The body's media type is not one the route takes."""


class NotAcceptable(Refusal):
    """The answer's media type is none of those the caller accepts."""


class Conflict(Refusal):
    """The request contradicts what already stands."""


class IdempotencyKeyReused(Conflict):
    """The Idempotency-Key was used before with another body."""


class RequestInFlight(Conflict):
    """The same request is being worked on; its answer can be had a little later."""

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__("a request with this idempotency key is still being worked on")
        self.retry_after_seconds = retry_after_seconds


class VerificationRequired(Conflict):
    """The choice needs a code checked for this identifier and user within the last day."""


class TooManyMappings(Conflict):
    """The identifier already has as many mappings as one may have."""


class AlreadyExists(Conflict):
    """What is to be created stands already, with other contents."""


class StreamGap(Conflict):
    """Rows are missing between the last one of a hub's stream and this one."""

    def __init__(self, expected: int) -> None:
        super().__init__("the row before this one is not the last that arrived")
        self.expected = expected

    def facts(self) -> dict[str, object]:
        """Return what `prev_seq` must be: the last row that arrived."""
        return {"expected": self.expected}


class NoSuchEntry(Conflict):
    """A queue has not had the entry that is named yet."""

    def __init__(self, last: int) -> None:
        super().__init__("the queue has had no entry of that number")
        self.last = last

    def facts(self) -> dict[str, object]:
        """Return the number of the queue's last entry."""
        return {"last": self.last}


class Gone(Refusal):
    """The thing existed and will not be available again."""


class VerificationEnded(Gone):
    """The verification takes no more codes: expired, locked, cancelled, or finished."""

    def __init__(self, state: str) -> None:
        super().__init__(f"the verification is {state}")
        self.state = state

    def facts(self) -> dict[str, object]:
        """Return the state the verification ended in."""
        return {"state": self.state}


class FilterVersionGone(Gone):
    """The filter version is unknown or retired; fetch the current one."""


class WrongCode(Refusal):
    """The code is not the one that was sent."""

    def __init__(self, attempts_left: int) -> None:
        super().__init__("the code is not the one that was sent")
        self.attempts_left = attempts_left

    def facts(self) -> dict[str, object]:
        """Return how many more codes the verification takes."""
        return {"attempts_left": self.attempts_left}


class TooManyRequests(Refusal):
    """A limit is reached; `limit` names it and `retry_after_seconds` says when to try again."""

    def __init__(self, limit: str, retry_after_seconds: float) -> None:
        super().__init__(f"the limit {limit} is reached")
        self.limit = limit
        self.retry_after_seconds = retry_after_seconds

    def facts(self) -> dict[str, object]:
        """Return the name of the limit."""
        return {"limit": self.limit}


class Unavailable(Refusal):
    """The service cannot do this just now, and nothing was changed."""

    def __init__(self, reason: str, retry_after_seconds: float = 1.0) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


class TokenRefused(Refusal):
    """The token endpoint refuses, in the words of RFC 6749 §5.2."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error
