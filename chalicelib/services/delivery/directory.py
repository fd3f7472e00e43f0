"""The directory: clients offer KeyPackages here, and whoever adds them to a group takes one of each (-03, -04).

A one-time KeyPackage is given out once, so whoever asks without need leaves a user with its last resort, which is
used by many. That is why users alone may ask, each for so many others in an hour, and why no user's packages go
faster than so many an hour, whoever asks.

A package is published by the user whom it is for, signed by the client that will use it. Where a provider removed a
client from its account, its packages are not taken any more, and those here go (`account_desk`). Both sides write
before they look: a package that is published while its client is removed is seen by one of them.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence

from chalicelib.errors import DecodeError, InvalidValue, TooManyRequests, Unavailable
from chalicelib.protocol.crypto import CIPHER_SUITES, CipherSuite, cipher_suite
from chalicelib.protocol.delivery import media, paths
from chalicelib.protocol.delivery.directory import (
    AddPackage,
    KeyPackages,
    KeyPackagesQuery,
    PublishKeyPackages,
    UserID,
)
from chalicelib.protocol.delivery.policy import DsPolicy
from chalicelib.protocol.delivery.refusals import InvalidRequest
from chalicelib.protocol.delivery.responses import KeyPackagesAnswer, Ok
from chalicelib.protocol.mls.leaf_rules import GroupRules, check_key_package
from chalicelib.protocol.mls.support import Support
from chalicelib.protocol.timestamps import MINUTE, SECOND
from chalicelib.protocol.tls import TREE_ELEMENTS, decode, opaque
from chalicelib.services.delivery.asking import Asked
from chalicelib.services.delivery.limits import (
    ASKED_BY_PEER,
    ASKED_BY_USER,
    CLAIMED,
    CLAIMED_BY_PEER,
    CLAIMED_BY_USER,
    PUBLISHED,
)
from chalicelib.services.delivery.ports import AccountEvents, Directory, DsPeers, PeerCalls
from chalicelib.services.delivery.registrations import KEY_LIFE
from chalicelib.services.delivery.senders import Senders
from chalicelib.services.delivery.state import DsPeer
from chalicelib.services.limits import Limit, Limits
from chalicelib.services.ports import Clock, Unreachable

MOST_PACKAGES = 200
MOST_CLIENTS = 50
MOST_USERS = 100
LARGEST_PACKAGE = 16 << 10
LARGEST_ANSWER = 3 << 20
"""Where an answer ends, in bytes: users that are left out have lost nothing and can be asked for again."""


@dataclasses.dataclass(frozen=True, slots=True)
class KeyPackageDirectory:
    """Takes in KeyPackages and gives them out; `domain` is this delivery service's."""

    directory: Directory
    senders: Senders
    events: AccountEvents
    peers: DsPeers
    calls: PeerCalls
    limits: Limits
    clock: Clock
    domain: str

    def publish(self, asked: Asked, request: PublishKeyPackages) -> bytes:
        """Replace the packages of each client and suite that the request names; all are judged before any is taken."""
        registered = self.senders.user(asked.message)
        user, packages = registered.user, request.add_packages
        # [mds-directory-1] There are 1 to 200 packages in a request.
        if not 0 < len(packages) <= MOST_PACKAGES:
            raise InvalidRequest("mds-directory-1", f"a request publishes 1 to {MOST_PACKAGES} KeyPackages")
        offered: dict[tuple[bytes, int], dict[bytes, AddPackage]] = {}
        for package in packages:
            suite = cipher_suite(package.key_package.cipher_suite)
            self._check(package, suite, user, asked.now)
            client = DsPolicy().client(package.key_package.leaf_node)
            reference = package.key_package.reference(suite)
            of_client = offered.setdefault((client, suite.number), {})
            # [mds-directory-6] No KeyPackage stands in the request twice.
            if reference in of_client:
                raise InvalidRequest("mds-directory-6", "the request publishes a KeyPackage twice")
            of_client[reference] = package
        clients = {client for client, _ in offered}
        # [mds-directory-8] A user has KeyPackages of at most 50 clients, so that an answer can hold one of each.
        if len(clients) + self.directory.others(user, clients) > MOST_CLIENTS:
            raise InvalidRequest("mds-directory-8", f"a user publishes for at most {MOST_CLIENTS} clients")
        self._check_in_account(user, clients, asked.now)
        self.limits.spend(PUBLISHED, user, len(packages), asked.now)
        # From here on the registration is believed about these clients (`registrations`).
        keys = {package.key_package.leaf_node.signature_key for package in packages}
        self.directory.record_keys(user, registered.provider_id, keys, asked.now + KEY_LIFE)
        for (client, number), of_client in offered.items():
            # A crash between two of these leaves some clients with their former packages, and a repeat does the rest.
            self.directory.publish(user, client, number, list(of_client.items()))
        self._check_in_account(user, clients, asked.now)
        return asked.respond(Ok())

    def claim(self, asked: Asked, request: KeyPackages) -> bytes:
        """Take one package of every client of each user, here or at the delivery service whose users they are.

        Who has none is absent. A repeat takes others: what was given out once is never given out again.
        """
        asking = self.senders.user(asked.message).user
        _check_users(request.users)
        suite = cipher_suite(request.cipher_suite)
        peer = None if request.ds_domain == self.domain else self.peers.of_domain(request.ds_domain)
        # [mds-claim-3] The users' delivery service is this one or one that is admitted here.
        if peer is None and request.ds_domain != self.domain:
            raise InvalidRequest("mds-claim-3", "the users' delivery service is not one that is known here")
        # [mds-claim-4] Nobody takes so many of one user's packages that the others find none, here or at a peer.
        shares = [opaque(asking) + opaque(request.ds_domain.encode()) + user for user in request.users]
        with self._spent(ASKED_BY_USER, asking, CLAIMED_BY_USER, shares, asked.now):
            if peer is None:
                packages = self._take(request.users, suite, asked.now)
            else:
                query = KeyPackagesQuery(suite.number, request.users).encode()
                packages = fetch_key_packages(self.calls, peer, paths.KEY_PACKAGES, media.KEY_PACKAGES, query)
        return asked.respond(KeyPackagesAnswer(packages))

    def answer(self, peer: DsPeer, content: bytes) -> bytes:
        """Answer another delivery service, which asks for a user of its own, with a KeyPackagesAnswer."""
        query, now = decode(KeyPackagesQuery.read, content), self.clock()
        try:
            _check_users(query.users)
        except InvalidRequest as refusal:
            raise InvalidValue(str(refusal), "users") from refusal
        if query.cipher_suite not in CIPHER_SUITES:
            raise InvalidValue("the cipher suite is not one that is served here", "cipher_suite")
        # [mds-claim-4] The same of a peer, whose users we cannot tell apart.
        shares = [opaque(peer.domain.encode()) + user for user in query.users]
        with self._spent(ASKED_BY_PEER, peer.domain.encode(), CLAIMED_BY_PEER, shares, now):
            packages = self._take(query.users, cipher_suite(query.cipher_suite), now)
        return KeyPackagesAnswer(packages).encode()

    @contextlib.contextmanager
    def _spent(self, asking: Limit, owner: bytes, claiming: Limit, shares: Sequence[bytes], now: int) -> Iterator[None]:
        """Count in here what is asked for: so many users of who asks, and of each user what is its share.

        Where a limit is reached, in here too, nothing was given out, and what was spent is given back. Where a peer
        does not answer, something may have been, and it stays spent.
        """
        self.limits.spend(asking, owner, len(shares), now)
        spent: Sequence[bytes] = ()
        try:
            self.limits.spend_each(claiming, shares, now)
            spent = shares
            yield
        except TooManyRequests:
            self.limits.give_back(asking, owner, len(shares))
            for share in spent:
                self.limits.give_back(claiming, share, 1)
            raise

    def _check(self, package: AddPackage, suite: CipherSuite, user: bytes, now: int) -> None:
        """Refuse a package that nobody could add by, or that is not the user's."""
        key_package = package.key_package
        leaf, policy = key_package.leaf_node, DsPolicy()
        # [mds-directory-2] A package has at most 16 KiB, so that an answer can hold those of many clients.
        if len(package.signed) > LARGEST_PACKAGE:
            raise InvalidRequest("mds-directory-2", "a KeyPackage is larger than the directory takes")
        # [mds-directory-3] The KeyPackage is valid by itself (RFC 9420 §10.1), and the leaf's key signs the whole.
        check_key_package(key_package, GroupRules(suite, policy, b"", (), Support.of([leaf])), now // SECOND)
        package.verify(suite)
        # [mds-directory-4] The credential is the registered user's.
        if policy.user(leaf) != user:
            raise InvalidRequest("mds-directory-4", "a KeyPackage is another user's than who publishes it")
        # [mds-directory-5] The queue is here: where the user is registered.
        if package.client_queue_config.ds_domain != self.domain:
            raise InvalidRequest("mds-directory-5", "a client's queue is at another delivery service")

    def _check_in_account(self, user: bytes, clients: set[bytes], now: int) -> None:
        """Refuse packages of a client that its provider removed, and leave none of it behind."""
        marks = self.events.removed(user, now)
        gone = {client for client in clients if any(mark.concerns(client) for mark in marks)}
        for client in gone:
            self.directory.remove(user, client)
        # [mds-directory-7] The provider has not removed the client from the user's account.
        if gone:
            raise InvalidRequest("mds-directory-7", "a client was removed from the user's account")

    def _take(self, users: Sequence[UserID], suite: CipherSuite, now: int) -> tuple[AddPackage, ...]:
        self.limits.spend_each(CLAIMED, users, now)
        packages: list[AddPackage] = []
        size = 0
        for user in users:
            if size > LARGEST_ANSWER:
                break
            claimed = self.directory.claim(user, suite.number, now)
            packages += claimed
            size += sum(len(package.signed) for package in claimed)
        return tuple(packages)


def fetch_key_packages(
    calls: PeerCalls, peer: DsPeer, path: str, media_type: str, query: bytes
) -> tuple[AddPackage, ...]:
    """Ask another delivery service for KeyPackages by one of its routes; raise `Unavailable` where it gives none."""
    try:
        status, answered, body = calls.post(peer, path, media_type, query)
    except Unreachable as error:
        raise Unavailable("the users' delivery service does not answer", 5) from error
    if status == 429:
        raise TooManyRequests(ASKED_BY_PEER.name, MINUTE / SECOND)
    if status != 200 or answered != media.KEY_PACKAGES_RESPONSE:
        raise Unavailable("the users' delivery service does not give KeyPackages", 60)
    try:
        return decode(KeyPackagesAnswer.read, body, TREE_ELEMENTS).add_packages
    except DecodeError as error:
        raise Unavailable("the users' delivery service answered with something that is no answer", 60) from error


def _check_users(users: Sequence[UserID]) -> None:
    # [mds-claim-1] There are 1 to 100 users in a request.
    if not 0 < len(users) <= MOST_USERS:
        raise InvalidRequest("mds-claim-1", f"a request asks for 1 to {MOST_USERS} users")
    # [mds-claim-2] Each is a user, and none is named twice.
    if len(set(users)) != len(users) or not all(users):
        raise InvalidRequest("mds-claim-2", "the request names a user twice, or nobody")
