"""One delivery service's whole surroundings, so that a test can say `world = DeliveryWorld("eu.ds.example")`."""

from collections.abc import Iterable

from chalicelib.services.delivery.state import DsPeer
from tests.fakes.account_events import MemoryAccountEvents, MemoryQueueRemover
from tests.fakes.clients import MemoryDirectory, MemoryMemberships, MemoryUsers
from tests.fakes.clock import FixedEntropy, SettableClock
from tests.fakes.delivery_keys import MemoryDsKeys, MemoryUploads
from tests.fakes.ds_peers import MemoryDsPeers, MemoryPeerCalls
from tests.fakes.fanout import MemoryFanoutHints, MemoryPeerBodies, MemoryQueueingServices, MemoryShards, MemoryWakes
from tests.fakes.faults import Fake, Faults, When
from tests.fakes.groups import GroupTables, MemoryGarbage, MemoryGroupObjects, MemoryGroups, MemoryInboxes, MemoryRounds
from tests.fakes.limits import MemoryBuckets
from tests.fakes.outside import MemoryAlarms
from tests.fakes.remote_bodies import MemoryPieces, MemoryRemoteBodies
from tests.fakes.tables import Tables

NEVER_RAISE = frozenset({"hints", "alarms"})


class DeliveryWorld:
    """The ports of one delivery service, by name, over one set of tables.

    `peers` are the domains whose queueing services are known beside its own. Worlds that share a clock live at the
    same time; hand the first one's to the second.
    """

    def __init__(
        self, domain: str = "eu.ds.example", clock: SettableClock | None = None, peers: Iterable[str] = ()
    ) -> None:
        self.domain = domain
        self.faults = Faults()
        self.tables = GroupTables()
        self.clock = clock or SettableClock()
        self.entropy = FixedEntropy(domain)
        self.groups = MemoryGroups(self.faults, self.tables, self.clock)
        self.objects = MemoryGroupObjects(self.faults, self.tables, self.clock)
        self.inboxes = MemoryInboxes(self.faults, self.tables)
        self.garbage = MemoryGarbage(self.faults, self.tables, self.clock)
        self.rounds = MemoryRounds(self.faults)
        self.shards = MemoryShards(self.faults, self.tables)
        self.wakes = MemoryWakes(self.faults, self.tables, self.clock)
        self.hints = MemoryFanoutHints(self.faults, self.tables)
        self.peer_bodies = MemoryPeerBodies(self.faults, self.clock)
        self.remote_bodies = MemoryRemoteBodies(self.faults, self.clock)
        self.pieces = MemoryPieces(self.faults, self.clock)
        self.queueing_services = MemoryQueueingServices(self.faults, domain, {domain, *peers}, self.peer_bodies)
        self.memberships = MemoryMemberships(self.faults)
        self.users = MemoryUsers(self.faults)
        self.directory = MemoryDirectory(self.faults, self.clock)
        self.account_events = MemoryAccountEvents(self.faults)
        self.queue_remover = MemoryQueueRemover(self.faults)
        self.keys = MemoryDsKeys(self.faults, domain)
        self.uploads = MemoryUploads(self.faults, domain, self.clock)
        self.ds_peers = MemoryDsPeers(self.faults, Tables(), self.clock)
        for peer in {*peers} - {domain}:
            self.ds_peers.tables.ds_peers[peer] = DsPeer(peer, f"https://{peer}", frozenset({peer}))
        self.peer_calls = MemoryPeerCalls(self.faults)
        self.buckets = MemoryBuckets(self.faults, Tables())
        self.alarms = MemoryAlarms(self.faults)

    def fail(self, port: str, method: str, when: When = "before", times: int = 1, skip: int = 0) -> None:
        """Make a port's method raise `ConnectionError`, before or after its effect.

        The next `skip` calls pass, the `times` after them fail. Hints and alarms promise never to raise; a hint
        that goes nowhere is `world.hints.lost`. What reads objects is the method `load` of the port `objects`.
        """
        if port in NEVER_RAISE:
            raise ValueError(f"{port} never raises")
        fake = getattr(self, port)
        if not isinstance(fake, Fake) or not hasattr(getattr(fake, method), "__wrapped__"):
            raise ValueError(f"{port} has no method {method} that can fail")
        self.faults.arm(port, method, when, times, skip)

    def calls(self, port: str | None = None) -> list[tuple[str, str]]:
        """Return every call so far as (port, method): of one port, or of all."""
        return [call for call in self.faults.calls if port in {None, call[0]}]
