"""What the RFC leaves to the application: who is who, whose credential is good, what a group allows.

A policy raises a refusal or returns nothing. The base class is the RFC with nothing added: a client is its
signature key, every credential is taken, a credential may be followed by any other.
"""

from collections.abc import Sequence

from chalicelib.protocol.mls.errors import InvalidProposal
from chalicelib.protocol.mls.extensions import ExternalSender
from chalicelib.protocol.mls.nodes import LeafNode


class Policy:
    """The application's part of the rules; subclass it to be stricter."""

    maximum_lifetime: int = 400 * 86_400
    """The longest total lifetime in seconds that a leaf may claim (§7.2 asks the application for one)."""

    clock_skew: int = 3_600
    """How far a client's clock may differ from ours, in seconds."""

    allow_resync: bool = True
    """Whether an external commit may remove its sender's old leaf (§12.4.3.2)."""

    maximum_unmerged: int = 1_024
    """How many unmerged leaves a commit without a path may leave at the root."""

    def client(self, leaf: LeafNode) -> bytes:
        """Name the client at a leaf: no two leaves of a group have the same (§12.2)."""
        return leaf.signature_key

    def user(self, leaf: LeafNode) -> bytes:
        """Name the user whose client stands at a leaf."""
        return leaf.credential.encode()

    def check_credential(self, leaf: LeafNode) -> None:
        """Refuse a credential that the authentication service does not vouch for (§5.3.1)."""

    def check_successor(self, old: LeafNode, new: LeafNode) -> None:
        """Refuse a credential that may not take the place of the old one (§5.3.1)."""

    def check_external_senders(self, senders: Sequence[ExternalSender]) -> None:
        """Refuse external senders that the authentication service does not vouch for (§5.3.1)."""

    def check_new_member_proposal(self, leaf: LeafNode) -> None:
        """Refuse an Add that a client proposes for itself without leave (§12.1.8)."""

    def update_app_data(self, component_id: int, data: bytes | None, updates: Sequence[bytes]) -> bytes:
        """Return a component's data after updates; without a component that knows how, they are invalid."""
        raise InvalidProposal("ext-4.6-1", "the application component is not known here")

    def check_app_ephemeral(self, component_id: int, data: bytes) -> None:
        """Refuse ephemeral data of a component that is not known or finds it invalid."""
        raise InvalidProposal("ext-4.7-1", "the application component is not known here")
