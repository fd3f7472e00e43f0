"""Who is who in the groups of a delivery service: its part of RFC 9420's rules.

A credential whose identity is a `mimi:` URI of a client, `mimi://DOMAIN/d/USER/CLIENT`, names its user too:
`mimi://DOMAIN/u/USER`. Any other credential names a user by itself, and a client is then its signature key, so that
two clients of one user may have the same credential. A credential may be followed by one that names the same user
and, where it names a client, the same client.
"""

import re
from collections.abc import Sequence

from chalicelib.protocol.mls.errors import InvalidLeafNode
from chalicelib.protocol.mls.extensions import BASIC, Credential, ExternalSender
from chalicelib.protocol.mls.nodes import LeafNode
from chalicelib.protocol.mls.policy import Policy

_CLIENT = re.compile(rb"mimi://([A-Za-z0-9.-]{1,253})/d/([^/\x00-\x20\x7f]+)/([^/\x00-\x20\x7f]+)")
_USER = re.compile(rb"mimi://([a-z0-9.-]{1,253})/u/[^/\x00-\x20\x7f]+")


def user_of(credential: Credential) -> bytes:
    """Return the user that a credential belongs to."""
    named = _CLIENT.fullmatch(credential.content) if credential.credential_type == BASIC else None
    if named is not None:
        return b"mimi://" + named[1].lower() + b"/u/" + named[2]
    return credential.content if credential.credential_type == BASIC else credential.encode()


def client_of(credential: Credential) -> bytes | None:
    """Return the client that a credential names, or None where only the key tells clients apart."""
    named = _CLIENT.fullmatch(credential.content) if credential.credential_type == BASIC else None
    return None if named is None else b"mimi://" + named[1].lower() + b"/d/" + named[2] + b"/" + named[3]


def user_of_client(client: bytes) -> bytes | None:
    """Return the user of a client that is named by its identity, or None for one that is named by its key."""
    named = _CLIENT.fullmatch(client)
    return None if named is None else b"mimi://" + named[1].lower() + b"/u/" + named[2]


def domain_of(user: bytes) -> str | None:
    """Return the domain that a user's URI names, or None for a user that is named otherwise."""
    named = _USER.fullmatch(user)
    return None if named is None else named[1].decode()


class DsPolicy(Policy):
    """The rules of one delivery service.

    `own` is this service as an external sender of the group. A group that lists external senders must list it, or
    the service could not remove anybody; so must one that changes them.
    """

    def __init__(self, own: ExternalSender | None = None) -> None:
        self.own = own

    def client(self, leaf: LeafNode) -> bytes:
        """Name the client at a leaf."""
        return client_of(leaf.credential) or leaf.signature_key

    def user(self, leaf: LeafNode) -> bytes:
        """Name the user whose client stands at a leaf."""
        return user_of(leaf.credential)

    def check_successor(self, old: LeafNode, new: LeafNode) -> None:
        """[mds-successor-1] Refuse a credential of another user, or of another client."""
        same_client = client_of(old.credential) == client_of(new.credential)
        if self.user(old) != self.user(new) or not same_client:
            raise InvalidLeafNode("mds-successor-1", "the new credential is not for the same client")

    def check_external_senders(self, senders: Sequence[ExternalSender]) -> None:
        """[mds-senders-1] Refuse external senders that leave this service out."""
        if self.own is not None and self.own not in senders:
            raise InvalidLeafNode("mds-senders-1", "the external senders do not list this delivery service")
