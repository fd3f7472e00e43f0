"""Why a delivery service refuses what RFC 9420 alone would allow, each with the ledger's id of the check.

`mds-N` are the checks of draft-robert-mimi-delivery-service-02 and of this service's contract on top of it, in the
ledger tests/conformance/requirements.toml.
"""

from collections.abc import Sequence

from chalicelib.errors import Conflict, InvalidValue, NotFound, NotPermitted
from chalicelib.protocol.mls.errors import InvalidHandshake


class InvalidRequest(InvalidHandshake):
    """The request is well formed, and its parts do not fit each other or its operation."""


class UnknownGroup(NotFound):
    """There is no such group here, or the sender is no member of it: the two are not told apart."""

    def __init__(self) -> None:
        super().__init__("there is no such group, or its sender is no member of it")


class AskDirectly(InvalidValue):
    """A request is to be passed on to the delivery service that it was given to."""

    check = "mds-proxy-1"

    def __init__(self) -> None:
        super().__init__("this is the delivery service of that domain; ask it directly", "domain")


class NotPassedOn(NotFound):
    """A request is not passed on: for its operation, or because nobody is known by the hub's name."""

    def __init__(self, check: str, reason: str) -> None:
        super().__init__(reason)
        self.check = check


class GroupExists(Conflict):
    """The group id is in use, or was."""

    check = "mds-create-1"

    def __init__(self) -> None:
        super().__init__("the group id is empty, or in use already")


class MustCover(Conflict):
    """Removals are pending that the next commit has to contain; nothing else is taken before (-02 §6)."""

    check = "mds-cover-1"

    def __init__(self, current_epoch: int, required: Sequence[bytes]) -> None:
        super().__init__("the group has removals pending that a commit must cover first")
        self.current_epoch = current_epoch
        self.required = tuple(required)

    def facts(self) -> dict[str, object]:
        """Return the id of the check, and the epoch that the commit must be for."""
        return {**super().facts(), "current_epoch": self.current_epoch}


class Removed(NotPermitted):
    """The client is to leave the group: its removal is pending, or it is quarantined."""

    check = "mds-remove-1"

    def __init__(self) -> None:
        super().__init__("the client is being removed from the group")
