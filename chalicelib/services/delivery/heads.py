"""What is decided by a group's head alone: whether it takes messages, and how it ends."""

import dataclasses

from chalicelib.protocol.mls.chunks import Ref
from chalicelib.protocol.mls.errors import GroupFrozen
from chalicelib.services.delivery.state import Head

RESTAGES = 5
"""How often a request is judged again because something else changed the state within its epoch."""


def check_not_frozen(head: Head) -> None:
    """Refuse what a reinitialised group takes no more. Ask it of senders who are known: strangers are not told."""
    if head.frozen:
        raise GroupFrozen


def closed(head: Head) -> Head:
    """Return the head of a group that is no more; only its id stays taken."""
    return dataclasses.replace(head, root=Ref(b""), blocked_since=0, deleted=True)
