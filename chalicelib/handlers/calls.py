"""What a route is as data, the `Call` that reaches its view, and the `Reply` that leaves it."""

import dataclasses
from collections.abc import Callable
from typing import Any, Generic, Literal, TypeVar

from chalicelib.errors import Refusal
from chalicelib.protocol.bodies import Body
from chalicelib.services.accounts.state import Account, Presented
from chalicelib.services.limits import Allowance

CallBody = TypeVar("CallBody", bound=Body)
Wanted = TypeVar("Wanted")
Caller = Literal["anyone", "certificate", "token", "account", "peer", "ds_peer"]


@dataclasses.dataclass(frozen=True, slots=True)
class Call(Generic[CallBody]):
    """A request that is decoded and authenticated as its route asks.

    `caller` is of the route's kind; asking for it as another kind is a bug.
    `media_type` is that of `raw_body`, without parameters. `source` is the address that the request came from.
    """

    request_id: str
    parameters: dict[str, str]
    query: dict[str, str]
    headers: Any
    media_type: str
    raw_body: bytes
    source: str
    thumbprint: str | None
    idempotency_key: str | None
    caller: object
    decoded: CallBody | None

    @property
    def body(self) -> CallBody:
        """The decoded body of a route that takes one."""
        if self.decoded is None:
            raise AssertionError("the route takes no body")
        return self.decoded

    @property
    def account(self) -> Account:
        """The application provider that calls."""
        return self.caller_as(Account)

    @property
    def presented(self) -> Presented:
        """The verified token, where the service checks the account itself."""
        return self.caller_as(Presented)

    def caller_as(self, kind: type[Wanted]) -> Wanted:
        """Return the caller, which the route's kind says is one of these: a `Peer`, a `DsPeer`."""
        if not isinstance(self.caller, kind):
            raise TypeError(f"the route was not called by a {kind.__name__}")
        return self.caller


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """An answer that is more than a body: a status of its own, headers, bytes."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    allowance: Allowance | None = None


Refused = Callable[[Refusal, bytes], Reply]
"""How a route that speaks a protocol of its own tells a refusal of a request with these bytes as its body."""


@dataclasses.dataclass(frozen=True, slots=True)
class Route:
    """What a route is, as data.

    `takes` is the type of a JSON body; `takes_bytes` are the media types of a body that its view decodes, because it
    is signed as it is. `gives` is the type of a JSON answer, or a media type. Without `refused` a refusal is a
    problem document.
    """

    method: str
    path: str
    caller: Caller
    scope: str | None
    takes: type[Body] | None
    takes_bytes: tuple[str, ...]
    gives: Any
    status: int
    repeatable: bool
    refused: Refused | None
    summary: str

    @property
    def public(self) -> bool:
        """Whether the route is served without a client certificate."""
        return self.caller == "anyone"
