"""Is a client that wants in whose it says? (-02 §7 leaves it to an authentication service.)

A credential is only a name: anybody can make a KeyPackage with somebody else's. A member that adds a client answers
for it. A client that comes by itself is believed if its key already stands at one of the user's leaves, or if the
delivery service that keeps the user's queues has published the very KeyPackage that it signs with: that service knows
the user's key, which the user's company registered (`accounts`).

In a sealed group it is the same, with pseudonyms: that a client knows the key of its state says little, because who was
removed still knows it.
"""

import dataclasses

from chalicelib.protocol.delivery import media, paths
from chalicelib.protocol.delivery.directory import AddPackage, KeyPackageRefQuery
from chalicelib.protocol.delivery.group_state import GroupState
from chalicelib.protocol.delivery.responses import KeyPackagesAnswer
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.nodes import LeafNode
from chalicelib.protocol.mls.tree import Kind
from chalicelib.protocol.tls import decode
from chalicelib.services.delivery.directory import fetch_key_packages
from chalicelib.services.delivery.ports import Directory, DsPeers, PeerCalls
from chalicelib.services.delivery.senders import WrongSender


class NotVouchedFor(WrongSender):
    """[mds-vouch-1] Nobody vouches that the client belongs to the user it names."""

    check = "mds-vouch-1"


@dataclasses.dataclass(frozen=True, slots=True)
class Vouching:
    """Asks who knows; `domain` is this delivery service's."""

    directory: Directory
    peers: DsPeers
    calls: PeerCalls
    domain: str

    def check(self, state: GroupState, leaf: LeafNode, reference: bytes) -> None:
        """Refuse a client that comes by itself, with the KeyPackage of this reference, if nobody vouches for it.

        Who is of no user in the group at all is not judged here; nobody lets it in either.
        """
        draft, policy = Draft(state.group.tree), state.group.policy
        user = policy.user(leaf)
        leaves = {node // 2 for node in draft.positions(Kind.USER, user)}
        if not leaves or leaves & {node // 2 for node in draft.positions(Kind.SIGNATURE_KEY, leaf.signature_key)}:
            return
        records = [state.records.get(leaf_index) for leaf_index in leaves]
        for home in sorted({record.config.ds_domain for record in records if record is not None}):
            published = self._published(home, reference)
            if published is not None and _same(published.key_package.leaf_node, leaf):
                return
        raise NotVouchedFor

    def answer(self, content: bytes) -> bytes:
        """Tell a peer whether a KeyPackage was published here: a KeyPackagesAnswer with it, or with none."""
        published = self.directory.find(decode(KeyPackageRefQuery.read, content).key_package_ref)
        return KeyPackagesAnswer(() if published is None else (published,)).encode()

    def _published(self, home: str, reference: bytes) -> AddPackage | None:
        if home == self.domain:
            return self.directory.find(reference)
        peer = self.peers.of_domain(home)
        if peer is None:
            return None
        query = KeyPackageRefQuery(reference).encode()
        packages = fetch_key_packages(self.calls, peer, paths.PUBLISHED_KEY_PACKAGES, media.KEY_PACKAGE_REF, query)
        return packages[0] if packages else None


def _same(published: LeafNode, leaf: LeafNode) -> bool:
    return (published.signature_key, published.credential) == (leaf.signature_key, leaf.credential)
