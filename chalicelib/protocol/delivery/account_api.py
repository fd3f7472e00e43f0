"""The bodies by which an application provider tells a delivery service of its users, as JSON.

A user is named as in its clients' credentials (`policy`): one whose name begins with `mimi://` by that URI, its domain
in lower case; any other by the unpadded base64url of its identity's bytes. So each user has one name. A client is
always named by base64url: of the `mimi://` URI in its credential, or else of its signature key.
"""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from chalicelib.errors import DecodeError, InvalidValue
from chalicelib.protocol.base64url import decode_base64url
from chalicelib.protocol.bodies import Answer, Body
from chalicelib.protocol.delivery.policy import client_of, domain_of, user_of_client
from chalicelib.protocol.delivery.queueing import QUEUE_ID_SIZE
from chalicelib.protocol.mls.extensions import BASIC, Credential

_SCHEME = b"mimi://"

UserName = Annotated[str, Meta(min_length=1, max_length=1400, description="a mimi:// URI, or base64url")]
Base64Url = Annotated[str, Meta(min_length=1, max_length=4000, description="unpadded base64url")]


class UserRegistration(Body, frozen=True, kw_only=True):
    """`POST /ds/v1/users`: this is a user of the provider, and this key signs for the account."""

    user: UserName
    cipher_suite: Annotated[int, Meta(ge=1, le=0xFFFF, description="whose signature scheme the key is of")]
    signature_key: Base64Url


class UserAnswer(Answer, frozen=True, kw_only=True):
    """The user is registered: `user_key_hash` (base64url of a SHA-256) names it as the sender of a request."""

    user_key_hash: str


class AccountEventBody(Body, frozen=True, kw_only=True):
    """`POST /ds/v1/account-events`: a user was deleted, or a client was removed from the user's account.

    `queues` are the ids of the queues of who goes, where the provider knows them. Deleting those tells hubs elsewhere.
    """

    event: Literal["client_removed", "user_deleted"]
    user: UserName
    client: Base64Url | UnsetType = UNSET
    queues: Annotated[tuple[Annotated[str, Meta(max_length=22)], ...], Meta(max_length=100)] = ()


def read_user(name: str) -> bytes:
    """Return the user's identity, or raise `InvalidValue`."""
    if name.encode().startswith(_SCHEME):
        identity = name.encode()
        if domain_of(identity) is None:
            raise InvalidValue("a user's URI is mimi://DOMAIN/u/USER, its domain in lower case", "user")
        return identity
    identity = _bytes(name, "user")
    if identity.startswith(_SCHEME):
        raise InvalidValue("a user whose name is a mimi:// URI is named by it", "user")
    return identity


def read_client(asked: AccountEventBody, user: bytes) -> bytes | None:
    """Return how the client of an event is named in groups, None for all clients; or raise `InvalidValue`."""
    if (asked.event == "client_removed") != (asked.client is not UNSET):
        raise InvalidValue("an event names a client if it is removed, and else none", "client")
    if isinstance(asked.client, UnsetType):
        return None
    given = _bytes(asked.client, "client")
    client = client_of(Credential(BASIC, given)) or given
    if user_of_client(client) not in {None, user}:
        raise InvalidValue("the client is another user's", "client")
    return client


def read_key(asked: UserRegistration) -> bytes:
    """Return the signature key of a registration, or raise `InvalidValue`."""
    return _bytes(asked.signature_key, "signature_key")


def read_queues(asked: AccountEventBody) -> tuple[bytes, ...]:
    """Return the ids of an event's queues, each once and in order, or raise `InvalidValue`."""
    queues = {_bytes(queue, "queues") for queue in asked.queues}
    if any(len(queue) != QUEUE_ID_SIZE for queue in queues):
        raise InvalidValue(f"a queue's id has {QUEUE_ID_SIZE} bytes", "queues")
    return tuple(sorted(queues))


def _bytes(text: str, field: str) -> bytes:
    try:
        return decode_base64url(text)
    except DecodeError as error:
        raise InvalidValue("this is not unpadded base64url", field) from error
