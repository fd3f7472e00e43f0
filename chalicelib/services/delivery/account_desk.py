"""What application providers say of their users: who they are, and whose clients are to leave all groups (-02 §2.2).

    event → one row, due at once → registration, KeyPackages, queues, groups → done, and a mark for 40 days

The row is the point of no return: from there on a crash delays the event, and a schedule works it off. Each step can
be repeated.

A user may be in more groups than one worker has time for. So the row says how far the round over them has come, and
the next worker goes on from there. It is told of each group before the work, as of one that failed: who dies over a
group leaves it to another round, and the others are not kept waiting. The event is done after a round in which nothing
failed. A group that comes to the index behind the round is not missed: the event was stored before the round began,
so whoever is noticed in that group meets it.

Groups whose hub is elsewhere know nothing of the account. They hear of it by the client's queue: once that is gone,
the hub's messages are rejected, and it removes the client itself. Our queueing service does not know whose a queue
is, by design, so the provider names the queues that go, by the ids that its clients told it; an id is 16 random bytes
that only client and queueing service ever see, so who names one may delete it.

The index of memberships may lag behind the groups, and a KeyPackage that was given out before can bring a client into
a group afterwards. So the marks stay, and whoever is noticed in a group is held against them (`noticed`). Nobody is
noticed in a group in privacy mode, and nobody removed from one: who is in it is known only while a member asks.
"""

import dataclasses
import hashlib

from chalicelib.errors import Conflict, InvalidValue, NotFound, NotPermitted
from chalicelib.protocol.base64url import encode_base64url
from chalicelib.protocol.crypto import CIPHER_SUITES
from chalicelib.protocol.delivery import account_api as api
from chalicelib.protocol.delivery.group_state import GroupState, RemovalReason
from chalicelib.protocol.delivery.policy import domain_of
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.tree import Kind
from chalicelib.protocol.timestamps import HOUR, MINUTE, SECOND
from chalicelib.services.delivery.ports import AccountEvents, Directory, Memberships, QueueRemover, Spoiled, Users
from chalicelib.services.delivery.registrations import Registrations
from chalicelib.services.delivery.removals import Removals, Unfinished
from chalicelib.services.delivery.state import AccountEvent, EventName, GroupId, User
from chalicelib.services.failures import Failures
from chalicelib.services.ports import Alarms, Clock

LEASE = 10 * MINUTE
"""Longer than a worker may run."""

WORK = MINUTE
"""How long one sweep begins further events."""

TURN = 10 * SECOND
"""How long a worker begins further groups of one event, before the others have their turn; a request waits for it."""

SWEEP = 200
PAGE = 200
LONGEST_BACKOFF = HOUR


@dataclasses.dataclass(frozen=True, slots=True)
class AccountDesk:
    """The users that providers registered here, and what happens to them; `domain` is this delivery service's."""

    users: Users
    events: AccountEvents
    directory: Directory
    memberships: Memberships
    removals: Removals
    queues: QueueRemover
    alarms: Alarms
    clock: Clock
    registrations: Registrations
    domain: str

    def register(self, provider_id: str, provider_domain: str, asked: api.UserRegistration) -> api.UserAnswer:
        """Take a user in, or give it another key; repeatable.

        Raises `AlreadyExists` where another provider has the user, or another user the key, and `Conflict` where the
        user was deleted: it can be registered again when the mark is gone, under another name at once.
        """
        user, key = api.read_user(asked.user), api.read_key(asked)
        self._check_domain(user, provider_domain)
        _check_key(asked.cipher_suite, key)
        self._check_not_deleted(user)
        self.users.register(User(user, provider_id, asked.cipher_suite, key))
        try:
            self._check_not_deleted(user)
        except Conflict:
            # The event came in between, and may have looked before there was anything to remove.
            self.users.remove(user)
            raise
        return api.UserAnswer(user_key_hash=encode_base64url(hashlib.sha256(key).digest()))

    def take_in(self, provider_id: str, asked: api.AccountEventBody) -> None:
        """Accept an event about one of the provider's users and do what follows from it, now or soon; repeatable.

        Raises `NotFound` for users that the provider has not registered.
        """
        user = api.read_user(asked.user)
        client, queues = api.read_client(asked, user), api.read_queues(asked)
        self._check_own(user, provider_id)
        now = self.clock()
        event = AccountEvent(user, client, queues, provider_id, created_at=now, next_at=now)
        # From here the event is accepted, and what fails below is done by the next sweep.
        name = self.events.add(event)
        try:
            self.work_off(name)
        except Exception:  # noqa: BLE001 (the provider has said what there is to say; the row stands)
            self.alarms.raise_("account-event-delayed", provider_id)

    def work_off(self, name: EventName) -> bool:
        """Do what follows from an event if it is due and nobody else is at it, and say whether it was begun.

        What fails is due again later, and what one turn is too short for, soon.
        """
        now = self.clock()
        try:
            event = self.events.take(name, now, now + LEASE)
        except Spoiled:
            # The lease puts it off, in case it can be opened then. If the provider says it again, that mends the row.
            self.alarms.raise_("account-event-unreadable", "")
            return True
        if event is None:
            return False
        with Failures() as failures:
            try:
                self._shut_out(event, failures)
                self._go_round(event, now + TURN, failures)
            except Exception:  # Whatever failed, the event is due again after a pause, and the failure goes on.
                self.events.postpone(event, self._later(event))
                raise
        return True

    def sweep(self) -> int:
        """Work off events that are due and return how many were begun; a schedule calls it each minute."""
        began, begun = self.clock(), 0
        with Failures() as failures:
            for name in self.events.due(began, SWEEP):
                if self.clock() >= began + WORK:
                    break
                with failures.kept():
                    begun += self.work_off(name)
        return begun

    def noticed(self, user: bytes, group_id: GroupId) -> None:
        """Hold a user of whom a client came to a group against what was said of its account."""
        now = self.clock()
        try:
            marks = self.events.removed(user, now)
        except Spoiled as spoiled:
            # It would hold up the index of all who are in the group.
            self.alarms.raise_("account-event-unreadable", "")
            marks = list(spoiled.others)
        if not marks:
            return
        try:
            self._remove_from(group_id, marks)
        except Unfinished:
            # The index of memberships goes on, and the events make another round for the rest.
            for mark in marks:
                self.events.add(dataclasses.replace(mark, next_at=now, version=0, after=None, again=None))
            self.alarms.raise_("removals-unfinished", "")

    def _shut_out(self, event: AccountEvent, failures: Failures) -> None:
        """Do what keeps the client from coming back; that comes first, and each time."""
        if event.client is None:
            self.users.remove(event.user)
        self.directory.remove(event.user, event.client)
        for queue_id in event.queues:
            with failures.kept():
                self.queues.remove(queue_id)

    def _go_round(self, event: AccountEvent, until: int, failures: Failures) -> None:
        """Take the client out of the user's groups, from where the round was left, for one turn."""
        # Whoever was here before may have died over the last group, or the event was said again since: who comes to the
        # end goes on with the next round. After a failure that comes later.
        goes_on = event.again == event.after
        while True:
            groups = self.memberships.of(event.user, event.after, PAGE)
            for group_id in groups:
                begun = dataclasses.replace(event, after=group_id, again=group_id)
                # Before the work: a worker that dies over a group would begin with it each time.
                if not self.events.advance(begun):
                    return  # It was said again, or this worker was so late that another has it.
                with failures.kept():  # One group that fails must not keep the client in the others.
                    self._remove_from(group_id, [event])
                    begun = dataclasses.replace(begun, again=event.again)
                event = begun
                now = self.clock()
                if now >= until:
                    self.events.advance(dataclasses.replace(event, next_at=now))
                    return
            if groups:
                continue
            if event.again is None and not failures.any:
                # A crash before this line makes another round, and finds nothing left to do.
                self.events.done(event, self.clock())
                return
            event = dataclasses.replace(event, after=None, again=None)
            if failures.any or not goes_on:
                self.events.advance(dataclasses.replace(event, next_at=self._later(event)))
                return

    def _later(self, event: AccountEvent) -> int:
        return self.clock() + min(MINUTE << min(event.version, 10), LONGEST_BACKOFF)

    def _remove_from(self, group_id: GroupId, events: list[AccountEvent]) -> None:
        def choose(state: GroupState) -> list[tuple[int, RemovalReason]]:
            # A name may be somebody else's here than in the group: not every leaf of it is this provider's to remove.
            found = dict[int, RemovalReason]()
            for event in events:
                believed = self.registrations.leaves(event.user, event.provider_id, state)
                for leaf_index, reason in leaves_of(state, event):
                    if leaf_index in believed:
                        found.setdefault(leaf_index, reason)
            return list(found.items())

        self.removals.remove(group_id, choose)

    def _check_domain(self, user: bytes, provider_domain: str) -> None:
        """[mds-account-1] Refuse a user whose name says that it is somebody else's: its provider could remove it."""
        if domain_of(user) not in {None, self.domain, provider_domain}:
            raise NotPermitted("the user's domain is neither this delivery service's nor the provider's")

    def _check_own(self, user: bytes, provider_id: str) -> None:
        """[mds-account-4] Check that the provider registered the user, or has deleted it before."""
        registered = self.users.of(user)
        if registered is not None and registered.provider_id == provider_id:
            return
        if registered is None and any(mark.provider_id == provider_id for mark in self._deletions(user)):
            return  # A repeat, or something that was on its way when the user was deleted.
        raise NotFound("the provider has registered no such user")

    def _check_not_deleted(self, user: bytes) -> None:
        """[mds-account-3] Refuse a user that was deleted: what is left of the former one would be taken for it."""
        if self._deletions(user):
            raise Conflict("a user of this name was deleted within the last 40 days")

    def _deletions(self, user: bytes) -> list[AccountEvent]:
        return [event for event in self.events.removed(user, self.clock()) if event.client is None]


def leaves_of(state: GroupState, event: AccountEvent) -> list[tuple[int, RemovalReason]]:
    """Return the leaves in a group that an event is about, and why they are to go."""
    draft = Draft(state.group.tree)
    reason = RemovalReason.USER_DELETED if event.client is None else RemovalReason.CLIENT_REMOVED
    kind, value = (Kind.USER, event.user) if event.client is None else (Kind.CLIENT, event.client)
    leaves = {position // 2: draft.leaf(position // 2) for position in sorted(draft.positions(kind, value))}
    # A client that is named by a key might be another user's, of whom this provider has nothing to say.
    return [(index, reason) for index, leaf in leaves.items() if leaf and draft.policy.user(leaf) == event.user]


def _check_key(suite_number: int, key: bytes) -> None:
    """[mds-account-2] Refuse a suite that is not served, and a key that nobody could sign with."""
    suite = CIPHER_SUITES.get(suite_number)
    if suite is None:
        raise InvalidValue("the cipher suite is not one that is served here", "cipher_suite")
    try:
        suite.check_signature_key(key)
    except ValueError as error:
        raise InvalidValue("the key is not one of the cipher suite", "signature_key") from error
