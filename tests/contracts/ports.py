"""The ports under test, and the two things that a test needs beside them: a clock and a lost reply."""

import dataclasses
from collections.abc import Callable

from chalicelib.services import ports as shared_ports
from chalicelib.services.accounts import ports as accounts_ports
from chalicelib.services.provider import ports
from tests.fakes.clock import SettableClock
from tests.fakes.world import World


@dataclasses.dataclass(frozen=True)
class Ports:
    """One GP's stored state, empty at first, behind fakes or real adapters.

    Adapters tell the time by `clock` alone. `lose_reply(port, method)` makes the next call of that method take
    effect and its reply get lost on the way: the call then raises what it likes, or finds out that it succeeded,
    but it never reports a condition that only its own write made false.
    """

    clock: SettableClock
    lose_reply: Callable[[str, str], None]
    store: ports.Store
    snapshots: ports.Snapshots
    accounts: accounts_ports.Accounts
    outbox: ports.Outbox
    events: ports.Events
    idempotency: accounts_ports.Idempotency
    buckets: shared_ports.Buckets
    keyring: ports.Keyring
    trust_lists: ports.TrustLists
    peer_heads: ports.PeerHeads
    filter_objects: ports.FilterObjects
    peer_filters: ports.PeerFilters
    filter_pointer: ports.FilterPointer
    pending_log: ports.PendingLog
    scans: ports.Scans
    subscriptions: ports.Subscriptions
    rebuild_jobs: ports.RebuildJobs


def memory() -> Ports:
    """Return the ports of a new world in memory."""
    world = World(gp="eu")
    return Ports(
        clock=world.clock,
        lose_reply=lambda port, method: world.fail(port, method, when="after"),
        store=world.store,
        snapshots=world.snapshots,
        accounts=world.accounts,
        outbox=world.outbox,
        events=world.events,
        idempotency=world.idempotency,
        buckets=world.buckets,
        keyring=world.keyring,
        trust_lists=world.trust_lists,
        peer_heads=world.peer_heads,
        filter_objects=world.filter_objects,
        peer_filters=world.peer_filters,
        filter_pointer=world.filter_pointer,
        pending_log=world.pending_log,
        scans=world.scans,
        subscriptions=world.subscriptions,
        rebuild_jobs=world.rebuild_jobs,
    )
