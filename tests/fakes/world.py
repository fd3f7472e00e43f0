"""One GP's whole surroundings, so that a test can say `world = World(gp="eu")` and hand out its ports."""

from chalicelib.services.accounts.state import Account, ProviderId
from tests.fakes.accounts import MemoryAccounts, MemoryIdempotency
from tests.fakes.clock import FixedEntropy, SettableClock
from tests.fakes.faults import Fake, Faults, When
from tests.fakes.filters import (
    MemoryFilterObjects,
    MemoryFilterPointer,
    MemoryPeerFilters,
    MemoryRebuildJobs,
    MemoryScans,
)
from tests.fakes.keys import MemoryKeyring
from tests.fakes.limits import MemoryBuckets
from tests.fakes.outside import MemoryAlarms, MemoryMessenger, MemoryWebhooks
from tests.fakes.peers import MemoryPeers
from tests.fakes.queues import MemoryEvents, MemoryHints, MemoryOutbox, MemoryPendingLog
from tests.fakes.registries import MemoryPeerHeads, MemorySubscriptions, MemoryTrustLists
from tests.fakes.store import MemorySnapshots, MemoryStore
from tests.fakes.tables import Tables


class World:
    """The ports of one GP, by name, over one set of tables.

    Worlds that share a clock live at the same time; hand the first one's to the second.
    """

    def __init__(self, gp: str = "eu", clock: SettableClock | None = None) -> None:
        self.gp = gp
        self.faults = Faults()
        self.tables = Tables()
        self.clock = clock or SettableClock()
        self.entropy = FixedEntropy(gp)
        self.store = MemoryStore(self.faults, self.tables, self.clock)
        self.snapshots = MemorySnapshots(self.faults, self.tables)
        self.accounts = MemoryAccounts(self.faults, self.tables, self.clock)
        self.outbox = MemoryOutbox(self.faults, self.tables, self.clock)
        self.events = MemoryEvents(self.faults, self.tables, self.clock)
        self.idempotency = MemoryIdempotency(self.faults, self.tables)
        self.buckets = MemoryBuckets(self.faults, self.tables)
        self.keyring = MemoryKeyring(self.faults, gp)
        self.hints = MemoryHints(self.faults, self.tables)
        self.messenger = MemoryMessenger(self.faults)
        self.webhook_sender = MemoryWebhooks(self.faults)
        self.trust_lists = MemoryTrustLists(self.faults, self.tables, self.clock)
        self.peer_heads = MemoryPeerHeads(self.faults, self.tables)
        self.peer_client = MemoryPeers(self.faults, gp)
        self.filter_objects = MemoryFilterObjects(self.faults, self.tables, gp)
        self.peer_filters = MemoryPeerFilters(self.faults, self.tables)
        self.filter_pointer = MemoryFilterPointer(self.faults, self.tables)
        self.pending_log = MemoryPendingLog(self.faults, self.tables)
        self.scans = MemoryScans(self.faults, self.tables)
        self.subscriptions = MemorySubscriptions(self.faults, self.tables)
        self.rebuild_jobs = MemoryRebuildJobs(self.faults, self.tables)
        self.alarms = MemoryAlarms(self.faults)

    def fail(self, port: str, method: str, when: When = "before", times: int = 1, skip: int = 0) -> None:
        """Make a port's method raise `ConnectionError`, before or after its effect.

        The next `skip` calls pass, the `times` after them fail. Hints and alarms promise never to raise; a hint
        that goes nowhere is `world.hints.lost`.
        """
        if port in {"hints", "alarms"}:
            raise ValueError(f"{port} never raises")
        fake = getattr(self, port)
        if not isinstance(fake, Fake) or not hasattr(getattr(fake, method), "__wrapped__"):
            raise ValueError(f"{port} has no method {method} that can fail")
        self.faults.arm(port, method, when, times, skip)

    def calls(self, port: str | None = None) -> list[tuple[str, str]]:
        """Return every call so far as (port, method): of one port, or of all."""
        return [call for call in self.faults.calls if port in {None, call[0]}]

    def account(self, provider_id: str) -> Account:
        """Return an account as it stands, without a call that counts."""
        found = self.tables.account(ProviderId(provider_id))
        if found is None:
            raise LookupError(provider_id)
        return found
