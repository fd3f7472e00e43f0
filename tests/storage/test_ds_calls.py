"""What requests to a delivery service, their fan-out and the reading of queues cost in calls to AWS.

The figures are upper bounds: what is saved may be written down here, what is added must be meant.
"""

import dataclasses
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib.protocol.delivery.messages import DSMessage
from chalicelib.protocol.delivery.queueing import ClientQueueConfig
from chalicelib.protocol.timestamps import DAY
from chalicelib.services.delivery.asking import Asked
from chalicelib.services.delivery.breaker import Breaker
from chalicelib.services.delivery.commits import Commits
from chalicelib.services.delivery.domains import QueueDomains
from chalicelib.services.delivery.enclosures import Enclosures
from chalicelib.services.delivery.fanout import Fanout
from chalicelib.services.delivery.information import Information
from chalicelib.services.delivery.memberships import MembershipLog
from chalicelib.services.delivery.posting import Posting
from chalicelib.services.delivery.recipients import Recipients
from chalicelib.services.delivery.registrations import Registrations
from chalicelib.services.delivery.removals import Removals
from chalicelib.services.delivery.scribe import Scribe
from chalicelib.services.delivery.senders import Senders
from chalicelib.services.delivery.sending import Sending
from chalicelib.services.delivery.sweeping import WORK, Sweep
from chalicelib.services.delivery.vault import Vault
from chalicelib.services.delivery.vouching import Vouching
from chalicelib.services.limits import Limits
from chalicelib.services.queueing.shares import ENTRY_COST, Sender
from chalicelib.services.queueing.state import Append, Entry, StreamKey
from chalicelib.storage import clients
from chalicelib.storage.delivery_memory import RememberedObjects
from chalicelib.storage.delivery_queueing import PeerQueueingServices
from infra.bench._delivery import CrowdGroup
from tests.contracts import aws, delivery, queueing
from tests.fakes.clock import SettableClock
from tests.fakes.ds_peers import MemoryDsPeers, MemoryPeerCalls
from tests.fakes.faults import Faults
from tests.fakes.limits import MemoryBuckets
from tests.fakes.outside import MemoryAlarms
from tests.fakes.tables import Tables
from tests.protocol.delivery.requests import QUEUE
from tests.services.queueing.queues import EU, Owner
from tests.storage.test_calls import counted

COMMIT = Counter(BatchGetItem=3, BatchWriteItem=1, TransactWriteItems=1, SendMessageBatch=1)
SEND = Counter(BatchGetItem=3, TransactWriteItems=1, SendMessageBatch=1)
UPDATE_QUEUE = Counter(BatchGetItem=3, BatchWriteItem=1, TransactWriteItems=1)


class Container:
    """A delivery service's use cases over the adapters of a stage, as a Lambda container has them."""

    def __init__(self, stage: str, clock: SettableClock) -> None:
        self.clock = clock
        self.ds, self.qs = delivery.on_aws(stage, clock), queueing.on_aws(stage, clock)
        ds, faults = self.ds, Faults()
        self.objects = RememberedObjects(ds.objects)
        self.vault = Vault(self.objects, ds.keys, os.urandom, EU)
        scribe, alarms = Scribe(ds.groups, ds.hints), MemoryAlarms(faults)
        removals = Removals(ds.groups, self.vault, scribe, alarms, clock, ds.inboxes)
        senders = Senders(ds.directory, ds.users)
        peers, calls = MemoryDsPeers(faults, Tables(), clock), MemoryPeerCalls(faults)
        limits = Limits(MemoryBuckets(faults, Tables()), ds.keys)
        registrations = Registrations(ds.users, ds.directory, clock, EU)
        vouching = Vouching(ds.directory, peers, calls, registrations, limits, clock, EU)
        domains = QueueDomains(peers, EU)
        self.commits = Commits(ds.groups, self.vault, scribe, senders, removals, vouching, domains)
        self.sending = Sending(ds.groups, self.vault, scribe, removals, ds.hints, limits)
        self.information = Information(ds.groups, self.vault, scribe, senders, vouching, ds.uploads, ds.keys, domains)
        enqueueing = self.qs.qs().enqueueing
        posting = Posting(
            PeerQueueingServices(
                EU,
                lambda request: enqueueing.enqueue(request, EU),
                peers,
                calls,
            ),
            Enclosures(ds.peer_bodies, EU),
            removals,
            Breaker(clock),
            alarms,
            EU,
        )
        self.fanout = Fanout(
            ds.groups,
            ds.shards,
            ds.hints,
            Recipients(self.vault),
            posting,
            MembershipLog(ds.memberships, lambda _user, _group_id: None),
            alarms,
            clock,
        )
        self.sweep = Sweep(ds.groups, ds.shards, ds.wakes, self.fanout, self.vault, removals, alarms, clock)

    def group(self, members: int, *configs: ClientQueueConfig) -> CrowdGroup:
        group = CrowdGroup(members, self.vault)
        group.settle(self.ds.groups, configs or [QUEUE], self.clock())
        return group

    def serve(self, use_case: Any, message: DSMessage, *, cold: bool = False) -> Counter[str]:
        """Pass a request on and return the calls that it took; `cold` is with nothing of the group in memory."""
        if cold:
            self.objects.forget()
        with counted() as calls:
            use_case(Asked(message, message.request_sha256, self.clock()), message.request.body)
        return calls


@pytest.fixture(scope="module")
def service() -> Container:
    container = Container(aws.new_stage("delivery"), SettableClock())
    small = container.group(2)
    container.serve(container.commits.accept, small.committing(container.clock()))  # Keys are made, queues found.
    return container


@pytest.fixture(scope="module")
def group(service: Container) -> CrowdGroup:
    return service.group(1_000)


def test_a_commit_is_three_reads_two_writes_and_a_hint(service: Container, group: CrowdGroup) -> None:
    for _ in range(3):
        message = group.committing(service.clock())
        assert service.serve(service.commits.accept, message, cold=True) <= COMMIT


def test_the_next_commit_to_a_small_group_reads_its_head_alone(service: Container) -> None:
    small = service.group(60)
    service.serve(service.commits.accept, small.committing(service.clock()))
    calls = service.serve(service.commits.accept, small.committing(service.clock()))
    assert calls <= COMMIT - Counter(BatchGetItem=2)


def test_a_tree_of_two_tiers_takes_one_read_more(service: Container) -> None:
    large = service.group(4_100)
    assert service.serve(service.commits.accept, large.committing(service.clock()), cold=True) <= COMMIT + Counter(
        BatchGetItem=1
    )


def test_a_message_is_three_reads_a_write_and_a_hint(service: Container, group: CrowdGroup) -> None:
    message = group.sending(service.clock())
    assert service.serve(service.sending.send, message, cold=True) <= SEND


def test_the_next_message_to_a_small_group_reads_its_head_alone(service: Container) -> None:
    small = service.group(60)
    service.serve(service.sending.send, small.sending(service.clock()))
    calls = service.serve(service.sending.send, small.sending(service.clock()))
    assert calls <= SEND - Counter(BatchGetItem=2)


def test_a_new_queue_is_three_reads_and_two_writes(service: Container, group: CrowdGroup) -> None:
    message = group.moving(service.clock(), QUEUE)
    assert service.serve(service.information.update_queue, message, cold=True) <= UPDATE_QUEUE


# --- fan-out


@pytest.fixture(scope="module")
def queues(service: Container) -> list[ClientQueueConfig]:
    """Five hundred clients' queues: those of one shard."""
    qs = service.qs.qs()
    owners = [Owner(qs, f"client {number}") for number in range(500)]
    for number, owner in enumerate(owners):
        owner.create(f"192.0.2.{number % 250}")
    return [owner.config for owner in owners]


def test_a_message_to_a_whole_shard_is_a_twentieth_of_a_call_for_each(
    service: Container, queues: list[ClientQueueConfig]
) -> None:
    group = service.group(500, *queues)
    for number in range(2):
        service.serve(service.sending.send, group.sending(service.clock()))
        with counted() as calls:
            service.fanout.deliver(group.group_id, 0)
        if number:  # At first the shard is new.
            assert calls <= Counter(UpdateItem=1, Query=2, BatchGetItem=8, PutItem=3, TransactWriteItems=10)
            assert calls.total() <= 0.05 * 500
    service.sweep.wake(group.group_id, service.clock() + WORK)
    seq = service.ds.head(group.group_id).seq
    assert {shard.cursor for shard in service.ds.shards.of(group.group_id)} == {seq}
    assert group.group_id not in service.ds.wakes.due(service.clock() + DAY, 100)


def test_a_group_that_is_delivered_is_looked_at_and_not_worked_on(service: Container) -> None:
    group = service.group(40)
    service.sweep.wake(group.group_id, service.clock() + WORK)
    with counted() as calls:
        service.sweep.wake(group.group_id, service.clock() + WORK)
    assert calls <= Counter(BatchGetItem=1, Query=1, DeleteItem=1)


# --- queues


@pytest.fixture
def owner(service: Container) -> Owner:
    owner = Owner(service.qs.qs(), os.urandom(8).hex())
    owner.create("198.51.100.7")
    return owner


def fill(service: Container, owner: Owner, count: int, *, gone_at: int) -> None:
    """Put messages into a queue that expire at some time."""
    qs, message = service.qs, b"a message"
    for start in range(0, count, 99):
        (head,) = qs.heads.load([owner.queue_id])
        assert head is not None
        entries = []
        for number in range(head.seq + 1, head.seq + 1 + min(99, count - start)):
            sha256 = number.to_bytes(32, "big")
            qs.bodies.put(sha256, message, service.clock() + DAY)
            total = number * len(message)
            entries.append(Entry(number, EU, b"group", number, service.clock(), sha256, len(message), total, gone_at))
        shares = head.shares_with(Sender(b"the hub.", b"a group."), sum(one.size + ENTRY_COST for one in entries))
        assert shares is not None
        assert not qs.entries.append([Append(head, StreamKey(b"stream"), entries[-1].seq, tuple(entries), shares)])


@dataclasses.dataclass
class RowsRead:
    """How many rows queries have found."""

    count: int = 0

    def add(self, parsed: dict[str, Any], **_: Any) -> None:
        self.count += parsed["Count"]


@pytest.fixture
def rows_read() -> Iterator[RowsRead]:
    rows, events = RowsRead(), clients.client("dynamodb").meta.events
    events.register("after-call.dynamodb.Query", rows.add)
    yield rows
    events.unregister("after-call.dynamodb.Query", rows.add)


def test_five_hundred_entries_are_fetched_in_seven_calls(service: Container, owner: Owner) -> None:
    fill(service, owner, 500, gone_at=service.clock() + DAY)
    with counted() as calls:
        assert len(owner.fetch().entries) == 500
    assert calls <= Counter(BatchGetItem=6, Query=1)


def test_a_few_entries_are_fetched_without_reading_the_rest(
    service: Container, owner: Owner, rows_read: RowsRead
) -> None:
    fill(service, owner, 300, gone_at=service.clock() + DAY)
    with counted() as calls:
        assert [entry.number for entry in owner.fetch(after=7, most=10).entries] == list(range(8, 18))
    assert calls <= Counter(BatchGetItem=2, Query=1)
    assert rows_read.count == 10


def test_what_comes_after_many_entries_that_expired_is_found(
    service: Container, owner: Owner, rows_read: RowsRead
) -> None:
    fill(service, owner, 200, gone_at=service.clock() - DAY)
    fill(service, owner, 2, gone_at=service.clock() + DAY)
    (head,) = service.qs.heads.load([owner.queue_id])
    assert head is not None
    found = service.qs.entries.read(owner.queue_id, 0, head.seq, 1, service.clock())
    assert [entry.number for entry in found] == [201]
    assert rows_read.count <= 300
    assert service.qs.entries.read(owner.queue_id, 0, 200, 1, service.clock()) == []
