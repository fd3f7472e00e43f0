"""Is a client that wants in whose it says? (-02 §7 leaves it to an authentication service.)

A credential is only a name: anybody can make a KeyPackage with somebody else's. A member that adds a client answers
for it. A client that comes by itself is believed if its key already stands at one of the user's leaves, or if the
delivery service that keeps the user's queues has published the very KeyPackage that it signs with: that service knows
the user's key, which the user's company registered (`account_desk`). That the user there is the one in the group, and
not somebody who took the name, is seen by the keys at the user's leaves (`registrations`).

In a sealed group it is the same, with pseudonyms: that a client knows the key of its state says little, because who was
removed still knows it.
"""

import dataclasses

from chalicelib.errors import TooManyRequests, Unavailable
from chalicelib.protocol.delivery import media, paths
from chalicelib.protocol.delivery.directory import AddPackage, KeyPackageRefQuery
from chalicelib.protocol.delivery.group_state import GroupState
from chalicelib.protocol.delivery.policy import DsPolicy
from chalicelib.protocol.delivery.responses import KeyPackagesAnswer
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.nodes import LeafNode
from chalicelib.protocol.mls.tree import Kind
from chalicelib.protocol.tls import decode
from chalicelib.services.delivery.directory import fetch_key_packages
from chalicelib.services.delivery.limits import VOUCHING_IN_GROUP, VOUCHING_OF_PEER
from chalicelib.services.delivery.ports import Directory, DsPeers, PeerCalls
from chalicelib.services.delivery.registrations import Registrations
from chalicelib.services.delivery.senders import WrongSender
from chalicelib.services.limits import Limits
from chalicelib.services.ports import Clock

MOST_KEYS = 100
"""How many of a user's clients are named to the service that is asked."""


class NotVouchedFor(WrongSender):
    """[mds-vouch-1] Nobody vouches that the client belongs to the user it names."""

    check = "mds-vouch-1"


@dataclasses.dataclass(frozen=True, slots=True)
class Vouching:
    """Asks who knows; `domain` is this delivery service's."""

    directory: Directory
    peers: DsPeers
    calls: PeerCalls
    registrations: Registrations
    limits: Limits
    clock: Clock
    domain: str

    def knows_key(self, state: GroupState, leaf: LeafNode) -> bool:
        """Say whether a client's key stands at a leaf of its user already."""
        own = Draft(state.group.tree).positions(Kind.SIGNATURE_KEY, leaf.signature_key)
        return bool(_leaves(state, leaf) & {node // 2 for node in own})

    def check(self, state: GroupState, leaf: LeafNode, reference: bytes) -> None:
        """Refuse a client that comes by itself, with the KeyPackage of this reference, if nobody vouches for it.

        Who is of no user in the group at all is not judged here; nobody lets it in either.
        """
        if not _leaves(state, leaf) or self.knows_key(state, leaf):
            return
        keys: dict[str, set[bytes]] = {}
        for leaf_index in _leaves(state, leaf):
            record, there = state.records.get(leaf_index), state.leaf(leaf_index)
            if record is not None and there is not None:
                keys.setdefault(record.config.ds_domain, set()).add(there.signature_key)
        for home in sorted(keys):
            query = KeyPackageRefQuery(reference, tuple(sorted(keys[home])[:MOST_KEYS]))
            published = self._published(home, state, query)
            if published is not None and _same(published.key_package.leaf_node, leaf):
                return
        raise NotVouchedFor

    def answer(self, content: bytes) -> bytes:
        """Tell a peer whether a KeyPackage was published here: a KeyPackagesAnswer with it, or with none."""
        published = self._published_here(decode(KeyPackageRefQuery.read, content))
        return KeyPackagesAnswer(() if published is None else (published,)).encode()

    def _published(self, home: str, state: GroupState, query: KeyPackageRefQuery) -> AddPackage | None:
        if home == self.domain:
            return self._published_here(query)
        peer = self.peers.of_domain(home)
        if peer is None:
            return None
        # [mds-vouch-3] Whoever says to be a member makes us ask, so that is bounded, in each group and of each peer.
        now = self.clock()
        try:
            self.limits.spend(VOUCHING_IN_GROUP, state.group.context.group_id, 1, now)
            self.limits.spend(VOUCHING_OF_PEER, home.encode(), 1, now)
        except TooManyRequests as error:
            raise Unavailable("the users' delivery service is asked too often", 60) from error
        path, media_type = paths.PUBLISHED_KEY_PACKAGES, media.KEY_PACKAGE_REF
        packages = fetch_key_packages(self.calls, peer, path, media_type, query.encode())
        return packages[0] if packages else None

    def _published_here(self, query: KeyPackageRefQuery) -> AddPackage | None:
        published = self.directory.find(query.key_package_ref)
        if published is None:
            return None
        # [mds-vouch-2] The user who published it is the one in the group, not another of that name.
        user = DsPolicy().user(published.key_package.leaf_node)
        return published if self.registrations.covers(user, query.signature_keys[:MOST_KEYS]) else None


def _leaves(state: GroupState, leaf: LeafNode) -> set[int]:
    """Return the leaves of the user whose client a leaf says to be."""
    return {node // 2 for node in Draft(state.group.tree).positions(Kind.USER, state.group.policy.user(leaf))}


def _same(published: LeafNode, leaf: LeafNode) -> bool:
    return (published.signature_key, published.credential) == (leaf.signature_key, leaf.credential)
