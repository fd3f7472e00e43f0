"""A queueing service over any ports, and those it serves: owners of queues, and hubs."""

import dataclasses
import hashlib
import itertools
from collections.abc import Sequence

from chalicelib.protocol.crypto import cipher_suite
from chalicelib.protocol.delivery.parts import Domain, Freshness, Reference
from chalicelib.protocol.delivery.queue_requests import (
    Acknowledge,
    CreateQueue,
    DeleteQueue,
    Fetch,
    QSBody,
    QSMessage,
    QSRequest,
    UpdateQueue,
    sign_queue_message,
)
from chalicelib.protocol.delivery.queueing import (
    BodyOption,
    ClientQueueConfig,
    Delivery,
    EnqueueRequest,
    Fetched,
    QueueConfig,
    QueueEntry,
)
from chalicelib.protocol.delivery.queueing import QueueingServiceResponse as Result
from chalicelib.services.fetching import Fetching
from chalicelib.services.limits import Limits
from chalicelib.services.ports import Alarms, Buckets, Clock, Digests, Pieces, RemoteBodies
from chalicelib.services.queueing.configs import Configs
from chalicelib.services.queueing.creations import Creations
from chalicelib.services.queueing.enqueueing import Enqueueing
from chalicelib.services.queueing.limits import HubLimits
from chalicelib.services.queueing.owners import Authentication, Owners
from chalicelib.services.queueing.ports import (
    Bodies,
    ConfigKeys,
    QueueEntries,
    QueueHeads,
    Streams,
    Wait,
)
from chalicelib.services.queueing.reading import Reading
from chalicelib.services.queueing.state import QueueId
from chalicelib.services.queueing.strangers import Strangers
from chalicelib.services.queueing.upkeep import Upkeep
from tests.fakes.queueing import QueueWorld

US = Domain("us.ds.example")
EU = Domain("eu.ds.example")
GROUP = b"group 1"
SUITE = 1
SOURCE = "192.0.2.1"

Addressed = tuple[BodyOption, Sequence[ClientQueueConfig]]


@dataclasses.dataclass(frozen=True)
class Qs:
    """Every use case of one queueing service."""

    owners: Owners
    reading: Reading
    enqueueing: Enqueueing
    upkeep: Upkeep
    configs: Configs
    clock: Clock

    @classmethod
    def over(
        cls,
        heads: QueueHeads,
        entries: QueueEntries,
        streams: Streams,
        bodies: Bodies,
        remote_bodies: RemoteBodies,
        pieces: Pieces,
        config_keys: ConfigKeys,
        digests: Digests,
        buckets: Buckets,
        alarms: Alarms,
        clock: Clock,
        wait: Wait,
        domain: Domain = EU,
    ) -> "Qs":
        authentication = Authentication(heads, Strangers(buckets, digests, alarms, clock), clock, domain)
        configs = Configs(config_keys, domain)
        fetching, limits = Fetching(remote_bodies, pieces, clock), HubLimits(buckets, alarms)
        return cls(
            Owners(heads, entries, authentication, Creations(Limits(buckets, digests)), digests, clock),
            Reading(heads, entries, bodies, authentication, alarms, clock, wait),
            Enqueueing(heads, entries, streams, bodies, fetching, configs, limits, digests, clock, wait, domain),
            Upkeep(heads, entries, clock),
            configs,
            clock,
        )

    @classmethod
    def in_memory(cls, world: QueueWorld) -> "Qs":
        return cls.over(
            world.heads,
            world.entries,
            world.streams,
            world.bodies,
            world.remote_bodies,
            world.pieces,
            world.config_keys,
            world.digests,
            world.buckets,
            world.alarms,
            world.clock,
            world.wait,
        )

    def owner(self, name: str = "alice") -> "Owner":
        """Return a client with a queue."""
        owner = Owner(self, name)
        owner.create()
        return owner


class Owner:
    """A client and its queue."""

    def __init__(self, qs: Qs, name: str) -> None:
        self.qs = qs
        self.key = hashlib.sha256(f"{name}'s key".encode()).digest()
        self.queue_id = QueueId(hashlib.sha256(name.encode()).digest()[:16])
        self.token = hashlib.sha256(f"{name}'s token".encode()).digest()[:16]
        self._turns = itertools.count()

    @property
    def public(self) -> bytes:
        return cipher_suite(SUITE).signatures.public_key(self.key)

    @property
    def config(self) -> ClientQueueConfig:
        """What the client gives to a hub."""
        epoch, public = self.qs.configs.public()
        return ClientQueueConfig.seal(EU, epoch, public, QueueConfig(self.queue_id, self.token))

    def fresh(self, domain: Domain = EU, late: int = 0) -> Freshness:
        return Freshness(self.qs.clock() - late, next(self._turns).to_bytes(16, "big"), domain)

    def sign(self, body: QSBody, key: bytes | None = None) -> QSMessage:
        suite = cipher_suite(SUITE)
        return sign_queue_message(
            self.queue_id,
            QSRequest(body),
            lambda label, content: suite.sign_with_label(key or self.key, label, content),
        )

    def creation(self, **freshness: int) -> QSMessage:
        return self.sign(CreateQueue(SUITE, self.public, self.token, self.fresh(late=freshness.get("late", 0))))

    def create(self, source: str = SOURCE) -> None:
        self.qs.owners.create(self.creation(), source)

    def fetch(self, after: int = 0, most: int = 500, wait_ms: int = 0) -> Fetched:
        return self.qs.reading.fetch(self.sign(Fetch(after, most, wait_ms, self.fresh())), SOURCE)

    def acknowledge(self, up_to: int) -> None:
        self.qs.reading.acknowledge(self.sign(Acknowledge(up_to, self.fresh())), SOURCE)

    def delete(self) -> None:
        self.qs.owners.delete(self.sign(DeleteQueue(self.fresh())), SOURCE)

    def rotation(self, name: str) -> tuple[QSMessage, "Owner"]:
        """Return the update to another key and token, and the owner as it then is."""
        after = Owner(self.qs, name)
        after.queue_id = self.queue_id
        return self.sign(UpdateQueue(SUITE, after.public, after.token, self.fresh())), after

    def messages(self, after: int = 0) -> list[bytes]:
        """Return everything after a number, by as many fetches as it takes."""
        return [content(entry) for entry in self.all(after)]

    def all(self, after: int = 0) -> list[QueueEntry]:
        """Return every entry after a number."""
        entries: list[QueueEntry] = []
        while found := self.fetch(after).entries:
            entries += found
            after = found[-1].number
        return entries


def content(entry: QueueEntry) -> bytes:
    assert not isinstance(entry.message, Reference)
    return entry.message


@dataclasses.dataclass
class Hub:
    """A hub's worker for one shard of one group; it counts its rows."""

    qs: Qs
    domain: Domain = US
    group_id: bytes = GROUP
    shard: int = 0
    last: int = 0

    def row(self, *deliveries: Addressed, seq: int | None = None) -> EnqueueRequest:
        """Return the next row."""
        written = tuple(Delivery(message, tuple(recipients)) for message, recipients in deliveries)
        return EnqueueRequest(
            self.domain, self.group_id, self.shard, self.last, seq or self.last + 1, self.qs.clock(), written
        )

    def give(self, request: EnqueueRequest) -> list[Result]:
        """Send a row, and count it if it was taken."""
        results = list(self.qs.enqueueing.enqueue(request, self.domain).results)
        self.last = max(self.last, request.seq)
        return results

    def send(self, message: bytes, *owners: Owner) -> list[Result]:
        """Send one message to some clients."""
        return self.give(self.row((message, [owner.config for owner in owners])))
