"""A delivery service over fakes: its use cases, and what was delivered by them."""

from collections.abc import Callable
from typing import Any

from chalicelib.protocol.delivery.group_state import GroupState, RemovalReason
from chalicelib.protocol.delivery.messages import DSMessage
from chalicelib.protocol.delivery.responses import DSResponse
from chalicelib.protocol.mls.framing import MLSMessage, decode_message
from chalicelib.protocol.timestamps import DAY
from chalicelib.protocol.tls import TREE_ELEMENTS, decode
from chalicelib.services.delivery.account_desk import AccountDesk
from chalicelib.services.delivery.admission import Admission
from chalicelib.services.delivery.breaker import Breaker
from chalicelib.services.delivery.commits import Commits
from chalicelib.services.delivery.creation import Creation
from chalicelib.services.delivery.desk import Desk
from chalicelib.services.delivery.directory import KeyPackageDirectory
from chalicelib.services.delivery.domains import QueueDomains
from chalicelib.services.delivery.enclosures import Enclosures
from chalicelib.services.delivery.ending import Ending
from chalicelib.services.delivery.fanout import Fanout
from chalicelib.services.delivery.information import Information
from chalicelib.services.delivery.memberships import MembershipLog
from chalicelib.services.delivery.posting import Posting
from chalicelib.services.delivery.proxy import Proxy
from chalicelib.services.delivery.recipients import Recipients
from chalicelib.services.delivery.registrations import Registrations
from chalicelib.services.delivery.removals import Removals
from chalicelib.services.delivery.scribe import Scribe
from chalicelib.services.delivery.senders import Senders
from chalicelib.services.delivery.sending import Sending
from chalicelib.services.delivery.state import GroupId, Head
from chalicelib.services.delivery.sweeping import Sweep
from chalicelib.services.delivery.upkeep import Upkeep
from chalicelib.services.delivery.uploading import Uploading
from chalicelib.services.delivery.vault import Vault
from chalicelib.services.delivery.vouching import Vouching
from chalicelib.services.fetching import Fetching
from chalicelib.services.limits import Limits
from tests.fakes.delivery import DeliveryWorld
from tests.services.delivery.messages import kind_of, refused
from tests.services.delivery.people import GROUP, SECOND, SUITE, Person, done, settled

__all__ = ["GROUP", "SECOND", "SUITE", "House", "Person", "done", "settled"]


INACTIVE, UNUSED = 90 * DAY, 365 * DAY


class House:
    """One delivery service: its use cases over a world of fakes, and what was delivered by them."""

    def __init__(self, world: DeliveryWorld | None = None, *, may_lack_sender: bool = False) -> None:
        self.world = world or DeliveryWorld(peers=("us.ds.example",))
        self.may_lack_sender = may_lack_sender
        self.noticed: list[tuple[bytes, GroupId]] = []
        self.restart()

    def restart(self) -> None:
        """Build everything anew, as another container would: only the world stays."""
        world = self.world
        self.vault = Vault(world.objects, world.keys, world.entropy, world.domain)
        scribe = Scribe(world.groups, world.hints)
        self.removals = Removals(world.groups, self.vault, scribe, world.alarms, world.clock, world.inboxes)
        senders = Senders(world.directory, world.users)
        limits = Limits(world.buckets, world.keys)
        registrations = Registrations(world.users, world.directory, world.clock, world.domain)
        self.key_packages = KeyPackageDirectory(
            world.directory,
            senders,
            world.account_events,
            world.ds_peers,
            world.peer_calls,
            limits,
            world.clock,
            world.domain,
        )
        fetching = Fetching(world.remote_bodies, world.pieces, world.clock)
        self.uploading = Uploading(world.uploads, fetching, senders, limits, world.clock)
        self.enclosures = Enclosures(world.peer_bodies, world.domain)
        self.proxy = Proxy(
            world.ds_peers, world.peer_calls, self.uploading, self.enclosures, limits, world.clock, world.domain
        )
        self.account_desk = AccountDesk(
            world.users,
            world.account_events,
            world.directory,
            world.memberships,
            self.removals,
            world.queue_remover,
            world.alarms,
            world.clock,
            registrations,
            world.domain,
        )
        self.vouching = vouching = Vouching(
            world.directory, world.ds_peers, world.peer_calls, registrations, limits, world.clock, world.domain
        )
        domains = QueueDomains(world.ds_peers, world.domain)
        self.admission = Admission(world.buckets, world.keys, world.alarms, world.clock)
        self.desk = Desk(
            Creation(world.groups, self.vault, world.hints, world.entropy, self.may_lack_sender, domains),
            Commits(world.groups, self.vault, scribe, senders, self.removals, vouching, domains),
            Sending(world.groups, self.vault, scribe, self.removals, world.hints, limits),
            Information(world.groups, self.vault, scribe, senders, vouching, world.uploads, world.keys, domains),
            Ending(world.groups, self.vault, scribe),
            self.key_packages,
            self.uploading,
            world.clock,
            world.domain,
        )
        self.fanout = Fanout(
            world.groups,
            world.shards,
            world.hints,
            Recipients(self.vault),
            Posting(
                world.queueing_services,
                self.enclosures,
                self.removals,
                Breaker(world.clock),
                world.alarms,
                world.domain,
            ),
            MembershipLog(world.memberships, self._notice),
            world.alarms,
            world.clock,
        )
        self.sweep = Sweep(
            world.groups,
            world.shards,
            world.wakes,
            self.fanout,
            self.vault,
            self.removals,
            world.alarms,
            world.clock,
        )
        self.upkeep = Upkeep(
            world.groups,
            self.vault,
            world.garbage,
            world.rounds,
            self.removals,
            scribe,
            world.alarms,
            world.clock,
            INACTIVE,
            UNUSED,
        )

    def _notice(self, user: bytes, group_id: GroupId) -> None:
        self.noticed.append((user, group_id))
        self.account_desk.noticed(user, group_id)

    def serve(self, message: DSMessage) -> Any:
        """Pass a message to the desk and return what it answers."""
        content = self.desk.serve(message.request.request_type.route, message.encode())
        response = decode(DSResponse.read, content, TREE_ELEMENTS)
        assert response.request_sha256 == message.request_sha256
        return response.body

    def refuses(self, message: DSMessage, check: str) -> None:
        """Expect that a message is refused for this check, and that nothing of the group changes by it."""
        before = self.world.tables.heads.copy()
        with refused(check):
            self.serve(message)
        assert self.world.tables.heads == before

    def meanwhile(self, port: str, method: str, act: Callable[[], object]) -> None:
        """Let something happen just before the next call of a port's method."""
        fake = getattr(self.world, port)
        call = getattr(fake, method)

        def overtaken(*args: Any, **kwargs: Any) -> Any:
            setattr(fake, method, call)
            act()
            return call(*args, **kwargs)

        setattr(fake, method, overtaken)

    def state(self, group_id: GroupId = GROUP) -> GroupState:
        """Return what is known of a group."""
        return self.vault.open(self.head(group_id))

    def want_removed(self, *people: Person, reason: RemovalReason = RemovalReason.CLIENT_REMOVED) -> bool:
        """Let this service propose to remove some members, as it does on its own account."""
        targets = [(person.member.leaf_index, reason) for person in people]
        return self.removals.remove(GROUP, lambda _: targets)

    def head(self, group_id: GroupId = GROUP) -> Head:
        """Return a group's head."""
        head, _ = self.world.groups.load(group_id, b"")
        assert head is not None
        return head

    def deliver(self) -> None:
        """Deliver everything that is due, now."""
        self.world.clock.advance(60 * SECOND)
        self.sweep.sweep()

    def queue(self, person: Person, group_id: GroupId = GROUP) -> list[MLSMessage]:
        """Return what a queue was given, in order; no row of the log comes twice."""
        delivered = self.world.queueing_services.delivered.get(person.queue.ds_domain, [])
        mine = [one for one in delivered if one.config == person.queue and one.group_id == group_id]
        seqs = [one.seq for one in mine]
        assert sorted(set(seqs)) == seqs
        return [decode_message(one.message) for one in mine]

    def kinds(self, person: Person) -> list[str]:
        """Return what kinds of messages a queue was given."""
        return [kind_of(message) for message in self.queue(person)]
