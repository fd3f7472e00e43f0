"""Who uses a delivery service, in memory: memberships, users, and the KeyPackages that their clients offer."""

import dataclasses
import hashlib
import threading
from collections.abc import Collection, Sequence

from chalicelib.errors import AlreadyExists
from chalicelib.protocol.crypto import CIPHER_SUITES
from chalicelib.protocol.delivery.directory import AddPackage
from chalicelib.protocol.timestamps import SECOND
from chalicelib.services.delivery.state import GroupId, User
from chalicelib.services.ports import Clock
from tests.fakes.faults import Fake, Faults, fallible, require


class MemoryMemberships(Fake):
    port = "memberships"

    def __init__(self, faults: Faults) -> None:
        super().__init__(faults, threading.RLock())
        self._rows: dict[bytes, set[GroupId]] = {}

    @fallible
    def add(self, user: bytes, group_id: GroupId) -> None:
        require(bool(user) and bool(group_id), "a membership of nobody, or of nothing")
        self._rows.setdefault(user, set()).add(group_id)

    @fallible
    def remove(self, user: bytes, group_id: GroupId) -> None:
        self._rows.get(user, set()).discard(group_id)

    @fallible
    def of(self, user: bytes, after: GroupId | None = None, most: int = 1_000) -> list[GroupId]:
        """Answer backwards: which order it is, is not promised."""
        require(most > 0, "a page of nothing")
        groups = sorted(self._rows.get(user, set()), reverse=True)
        return [group_id for group_id in groups if after is None or group_id < after][:most]


class MemoryUsers(Fake):
    port = "users"

    def __init__(self, faults: Faults) -> None:
        super().__init__(faults, threading.RLock())
        self._rows: dict[bytes, User] = {}

    @fallible
    def register(self, user: User) -> None:
        require(user.cipher_suite in CIPHER_SUITES, "a user's key is of a suite that is not served")
        for known in self._rows.values():
            if known.user == user.user and known.provider_id != user.provider_id:
                raise AlreadyExists("another provider registered the user")
            if known.user != user.user and known.signature_key == user.signature_key:
                raise AlreadyExists("the key is another user's")
        self._rows[user.user] = user

    @fallible
    def of(self, user: bytes) -> User | None:
        return self._rows.get(user)

    @fallible
    def by_key_hash(self, key_hash: bytes) -> User | None:
        require(len(key_hash) == 32, "the hash of a key is a SHA-256")
        return next(
            (user for user in self._rows.values() if hashlib.sha256(user.signature_key).digest() == key_hash), None
        )

    @fallible
    def remove(self, user: bytes) -> None:
        self._rows.pop(user, None)


@dataclasses.dataclass
class Offer:
    """A KeyPackage that was ever offered; it stays known after it went, so that it never goes twice."""

    user: bytes
    client: bytes
    package: AddPackage
    offered: bool = True
    given: bool = False
    removed: bool = False

    @property
    def over_at(self) -> int:
        """When its lifetime is over."""
        lifetime = self.package.key_package.leaf_node.lifetime
        return 0 if lifetime is None else lifetime.not_after * SECOND


class MemoryDirectory(Fake):
    port = "directory"

    def __init__(self, faults: Faults, clock: Clock) -> None:
        super().__init__(faults, threading.RLock())
        self.clock = clock
        self._offers: dict[bytes, Offer] = {}
        self._keys: dict[tuple[bytes, str, bytes], int] = {}

    @fallible
    def publish(
        self, user: bytes, client: bytes, cipher_suite: int, packages: Sequence[tuple[bytes, AddPackage]]
    ) -> None:
        require(bool(user) and bool(client), "packages of nobody")
        published = dict(packages)
        require(len(published) == len(packages), "a package is published twice at once")
        for ref, package in packages:
            suite = CIPHER_SUITES[cipher_suite]
            require(package.key_package.cipher_suite == cipher_suite, "a package of another suite")
            require(package.key_package.reference(suite) == ref, "a package under another one's reference")
            require(package.key_package.leaf_node.lifetime is not None, "a package without a lifetime")
        for ref, offer in list(self._offers.items()):
            mine = (offer.user, offer.client, offer.package.key_package.cipher_suite) == (user, client, cipher_suite)
            if mine and offer.offered and ref not in published:
                offer.offered = False
        for ref, package in packages:
            known = self._offers.get(ref)
            if known is None or not (known.offered or known.given or known.removed):
                self._offers[ref] = Offer(user, client, package)

    @fallible
    def claim(self, user: bytes, cipher_suite: int, now: int) -> list[AddPackage]:
        """Give the newest of each client, and the last resort last."""
        best: dict[bytes, Offer] = {}
        for offer in self._offers.values():
            fits = offer.user == user and offer.package.key_package.cipher_suite == cipher_suite
            if fits and offer.offered and offer.over_at > now:
                known = best.get(offer.client)
                if known is None or known.package.last_resort or not offer.package.last_resort:
                    best[offer.client] = offer
        for offer in best.values():
            offer.given = True
            offer.offered = offer.package.last_resort
        return [offer.package for offer in best.values()]

    @fallible
    def find(self, reference: bytes) -> AddPackage | None:
        offer = self._offers.get(reference)
        if offer is None or offer.removed or not (offer.offered or offer.given) or offer.over_at <= self.clock():
            return None
        return offer.package

    @fallible
    def remove(self, user: bytes, client: bytes | None = None) -> None:
        for offer in self._offers.values():
            if offer.user == user and client in {None, offer.client}:
                offer.offered, offer.removed = False, True

    @fallible
    def others(self, user: bytes, clients: Collection[bytes]) -> int:
        offering = {offer.client for offer in self._offers.values() if offer.user == user and offer.offered}
        return len(offering - set(clients))

    @fallible
    def record_keys(self, user: bytes, provider_id: str, keys: Collection[bytes], until: int) -> None:
        require(bool(user) and bool(provider_id) and all(keys), "a key of nobody")
        self._keys.update({(user, provider_id, key): until for key in keys})

    @fallible
    def published_keys(self, user: bytes, provider_id: str, keys: Collection[bytes], now: int) -> frozenset[bytes]:
        return frozenset(key for key in keys if self._keys.get((user, provider_id, key), 0) > now)
