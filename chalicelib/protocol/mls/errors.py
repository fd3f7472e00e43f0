"""Why a handshake is refused. Each refusal carries the ledger's id of the check that failed.

The ids are those of tests/conformance/requirements.toml: `mls-SECTION-NUMBER` for RFC 9420 in the order of
its text, `ext-NUMBER` for draft-ietf-mls-extensions, `ds-NUMBER` for rules of this delivery service.
Signatures are refused with `crypto.InvalidSignature`, which carries an id too.
"""

from chalicelib.errors import Conflict, Refusal


class InvalidHandshake(Refusal):
    """Members would refuse this message, and public data shows it; raise a subclass."""

    def __init__(self, check: str, reason: str) -> None:
        super().__init__(reason)
        self.check = check


class InvalidFraming(InvalidHandshake):
    """The message's frame does not fit the group, its sender or its content (§6)."""


class InvalidLeafNode(InvalidHandshake):
    """A leaf node breaks a rule of §7.2 or §7.3, or does not fit the group."""


class InvalidKeyPackage(InvalidHandshake):
    """A KeyPackage breaks a rule of §10."""


class InvalidTree(InvalidHandshake):
    """A ratchet tree is not one that members could have built (§7.8, §7.9, §12.4.3)."""


class InvalidProposal(InvalidHandshake):
    """A single proposal is invalid (§12.1)."""


class InvalidProposalList(InvalidHandshake):
    """Proposals that may each stand alone may not be committed together (§12.2)."""


class InvalidPath(InvalidHandshake):
    """A commit's UpdatePath is missing or does not fit the tree (§7.5, §12.4.2)."""


class InvalidGroupInfo(InvalidHandshake):
    """A GroupInfo does not describe the group (§12.4.3)."""


class InvalidWelcome(InvalidHandshake):
    """Welcomes do not cover exactly the members that the commit adds (§12.4.3.1)."""


class UnknownProposal(InvalidHandshake):
    """A commit refers to a proposal that is not stored here."""


class TooLarge(InvalidHandshake):
    """The message is well formed but larger than this service takes."""


class StaleEpoch(Conflict):
    """The message belongs to another epoch than the group's current one."""

    check = "mls-12.4.2-1"

    def __init__(self, current_epoch: int) -> None:
        super().__init__("the message is not for the group's current epoch")
        self.current_epoch = current_epoch

    def facts(self) -> dict[str, object]:
        """Return the current epoch and the id of the check."""
        return {**super().facts(), "current_epoch": self.current_epoch}


class GroupFrozen(Conflict):
    """The group was reinitialised and takes no more messages (§11.2)."""

    check = "mls-12.4.2-14"

    def __init__(self) -> None:
        super().__init__("the group was reinitialised and takes no more messages")
