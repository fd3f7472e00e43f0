"""Whose word counts about a member of a group (decision 29).

A provider registers users by name, and a credential is only a name too. A name that is a `mimi:` URI belongs to the
provider of its domain, and what that says of the user counts for every client of the name. Any other name is anybody's
who takes it first. So of such a user this service believes a registration only about members whose signature key was
published under it: who publishes a KeyPackage signs with the user's key and with the client's.
"""

import dataclasses
from collections.abc import Collection

from chalicelib.protocol.delivery.group_state import GroupState
from chalicelib.protocol.delivery.policy import domain_of
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.tree import Kind
from chalicelib.protocol.timestamps import DAY
from chalicelib.services.delivery.ports import Directory, Users
from chalicelib.services.ports import Clock

KEY_LIFE = 400 * DAY
"""How long a key counts as published; clients publish again long before."""


@dataclasses.dataclass(frozen=True, slots=True)
class Registrations:
    """Says about whom a registration is believed; `domain` is this delivery service's."""

    users: Users
    directory: Directory
    clock: Clock
    domain: str

    def covers(self, user: bytes, keys: Collection[bytes]) -> bool:
        """Say whether whoever has the user here now may speak for a client with one of these keys."""
        if self._is_owned(user):
            return True
        registered = self.users.of(user)
        return registered is not None and bool(self.keys(user, registered.provider_id, keys))

    def leaves(self, user: bytes, provider_id: str, state: GroupState) -> frozenset[int]:
        """[mds-account-5] Return the user's leaves in a group about which the provider's word counts."""
        draft = Draft(state.group.tree)
        keys = {
            position // 2: leaf.signature_key
            for position in draft.positions(Kind.USER, user)
            if (leaf := draft.leaf(position // 2)) is not None
        }
        believed = self.keys(user, provider_id, keys.values())
        return frozenset(index for index, key in keys.items() if key in believed)

    def keys(self, user: bytes, provider_id: str, keys: Collection[bytes]) -> frozenset[bytes]:
        """Return the keys of the user's clients for which the provider may speak."""
        if self._is_owned(user):
            return frozenset(keys)
        return self.directory.published_keys(user, provider_id, frozenset(keys), self.clock())

    def _is_owned(self, user: bytes) -> bool:
        """Say whether only one provider can ever register the name: that whose domain it says (mds-account-1)."""
        return domain_of(user) not in {None, self.domain}
