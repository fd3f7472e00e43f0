"""Delivery in memory: shards, wake-ups, hints, and the queueing services of all domains."""

import dataclasses
import hashlib
from collections.abc import Sequence

from chalicelib.protocol.delivery.parts import BodyReference
from chalicelib.protocol.delivery.queueing import (
    ClientQueueConfig,
    Delivery,
    EnqueueRequest,
    EnqueueResponse,
    QueueingServiceResponse,
)
from chalicelib.protocol.timestamps import DAY, SECOND
from chalicelib.protocol.tls import decode
from chalicelib.services.delivery.ports import StreamGap
from chalicelib.services.delivery.state import MEMBERSHIPS, GroupId, Shard
from chalicelib.services.ports import Clock, Lost, Refused, Unreachable
from tests.fakes.faults import Fake, Faults, fallible, require
from tests.fakes.groups import GroupTables


class MemoryShards(Fake):
    port = "shards"

    def __init__(self, faults: Faults, tables: GroupTables) -> None:
        super().__init__(faults, tables.lock)
        self.tables = tables

    @fallible
    def take(self, group_id: GroupId, shard: int, now: int, until: int) -> Shard | None:
        require(until > now, "a lease that is over before it begins")
        known = self.tables.shards.get((group_id, shard))
        if known is None or known.leased_until > now:
            return None
        return self._keep(dataclasses.replace(known, version=known.version + 1, leased_until=until))

    @fallible
    def save(self, shard: Shard) -> Shard:
        known = self.tables.shards.get((shard.group_id, shard.shard))
        require(shard.version > 0, "a shard that was not taken is saved")
        if known is None or known.version != shard.version:
            raise Lost
        head = self.tables.heads[shard.group_id]
        require(known.cursor <= shard.cursor <= head.seq, "a cursor falls, or goes beyond the log")
        require(all(sent <= shard.cursor for sent in shard.sent.values()), "a domain was sent what is still to come")
        return self._keep(dataclasses.replace(shard, version=shard.version + 1))

    @fallible
    def of(self, group_id: GroupId) -> list[Shard]:
        numbers = sorted(number for group, number in self.tables.shards if group == group_id)
        return [self.tables.shards[group_id, number] for number in numbers]

    def _keep(self, shard: Shard) -> Shard:
        kept = dataclasses.replace(shard, sent=dict(shard.sent), behind=dict(shard.behind), unread=dict(shard.unread))
        self.tables.shards[shard.group_id, shard.shard] = kept
        return kept


class MemoryWakes(Fake):
    port = "wakes"

    def __init__(self, faults: Faults, tables: GroupTables, clock: Clock) -> None:
        super().__init__(faults, tables.lock)
        self.tables = tables
        self.clock = clock

    @fallible
    def due(self, now: int, most: int, *, waiting: bool = False) -> list[GroupId]:
        """Miss whatever was written in the last second, as the index may."""
        settled = self.clock() - SECOND
        found = sorted(
            (wake.next_at, group_id)
            for group_id, wake in self.tables.wakes.items()
            if wake.next_at <= now and wake.touched <= settled and wake.waiting == waiting
        )
        return [group_id for _, group_id in found[:most]]

    @fallible
    def postpone(self, group_id: GroupId, next_at: int, seq: int | None = None, *, waiting: bool = False) -> None:
        known = self.tables.wakes.get(group_id)
        if known is not None and (seq is None or known.seq <= seq):
            known.next_at, known.touched, known.waiting = next_at, self.clock(), waiting

    @fallible
    def settle(self, group_id: GroupId, seq: int) -> bool:
        known = self.tables.wakes.get(group_id)
        if known is not None and known.seq > seq:
            return False
        self.tables.wakes.pop(group_id, None)
        return True

    @fallible
    def retire(self, group_id: GroupId, seq: int | None) -> bool:
        head = self.tables.heads.get(group_id)
        if (None if head is None else head.seq) != seq:
            return False
        self.tables.wakes.pop(group_id, None)
        return True


class MemoryFanoutHints(Fake):
    """Every hint given, in order, as (group_id, shard); `lost` makes the next ones go nowhere."""

    port = "hints"

    def __init__(self, faults: Faults, tables: GroupTables) -> None:
        super().__init__(faults, tables.lock)
        self.tables = tables
        self.given: list[tuple[GroupId, int]] = []
        self.lost = False

    @fallible
    def fan_out(self, group_id: GroupId, shards: Sequence[int]) -> None:
        head = self.tables.heads.get(group_id)
        require(head is not None, "a hint at a group that is not durable yet")
        require(
            head is None or all(0 <= shard < head.shards or shard == MEMBERSHIPS for shard in shards),
            "a hint at a shard that is not there",
        )
        if not self.lost:
            self.given += [(group_id, shard) for shard in shards]

    def take(self) -> list[tuple[GroupId, int]]:
        """Return the hints given since last time, and forget them."""
        with self.lock:
            given, self.given = self.given, []
        return given


class MemoryPeerBodies(Fake):
    """What peers may come for, for as long as the port promises and no longer; `kept` is by domain and digest."""

    port = "peer_bodies"

    def __init__(self, faults: Faults, clock: Clock) -> None:
        super().__init__(faults)
        self.clock = clock
        self.kept: dict[tuple[str, bytes], tuple[bytes, int]] = {}

    @fallible
    def keep(self, domain: str, sha256: bytes, content: bytes) -> None:
        require(hashlib.sha256(content).digest() == sha256, "a message under another's digest")
        self.kept[domain, sha256] = (content, self.clock() + DAY)

    @fallible
    def read(self, domain: str, sha256: bytes, offset: int, most: int) -> tuple[bytes, int]:
        require(offset >= 0 and most > 0, "a read of nothing")
        content, until = self.kept.get((domain, sha256), (b"", 0))
        if until <= self.clock() or offset >= len(content):
            raise LookupError("nothing is kept there")
        return content[offset : offset + most], len(content)


@dataclasses.dataclass(frozen=True)
class Delivered:
    """A message as a queue got it."""

    group_id: GroupId
    seq: int
    config: ClientQueueConfig
    message: bytes


MOST_BYTES = 4_500_000
StreamKey = tuple[str, str, bytes, int]


class MemoryQueueingServices(Fake):
    """All queueing services there are; each keeps its streams without a gap and knows a repeat.

    What travels is encoded and decoded on the way. `down` are domains that do not answer, `refusing` those that
    refuse with a status, `results` what single queues say instead of OK. What a request refers to is fetched whole,
    and a request that a gateway would not let through is refused.
    """

    port = "queueing_services"

    def __init__(self, faults: Faults, domain: str, known: set[str], bodies: MemoryPeerBodies) -> None:
        super().__init__(faults)
        self.domain = domain
        self.bodies = bodies
        self.known = known
        self.down: set[str] = set()
        self.refusing: dict[str, int] = {}
        self.results: dict[ClientQueueConfig, QueueingServiceResponse] = {}
        self.delivered: dict[str, list[Delivered]] = {}
        self.streams: dict[StreamKey, tuple[int, EnqueueResponse]] = {}

    @fallible
    def enqueue(self, domain: str, request: EnqueueRequest) -> EnqueueResponse:
        require(request.hub == self.domain, "a hub enqueues under another's name")
        require(decode(EnqueueRequest.read, request.encode()) == request, "a request that does not travel")
        recipients = [config for delivery in request.deliveries for config in delivery.recipients]
        require(all(config.ds_domain == domain for config in recipients), "a queue of another domain")
        if domain not in self.known or domain in self.down:
            raise Unreachable
        if domain in self.refusing:
            raise Refused(self.refusing[domain], "asked to")
        if domain != self.domain and len(request.encode()) > MOST_BYTES:
            raise Refused(413, "the request is too large")
        return self._accept(domain, request)

    def _accept(self, domain: str, request: EnqueueRequest) -> EnqueueResponse:
        stream = (domain, request.hub, request.group_id, request.shard)
        last, answer = self.streams.get(stream, (0, EnqueueResponse(())))
        recipients = sum(len(delivery.recipients) for delivery in request.deliveries)
        if request.seq == last:
            return answer
        if request.seq < last:
            return EnqueueResponse((QueueingServiceResponse.OK,) * recipients)
        if request.prev_seq != last:
            raise StreamGap(last)
        messages = {delivery: self._message(domain, delivery) for delivery in request.deliveries}
        results = []
        for delivery in request.deliveries:
            for config in delivery.recipients:
                results.append(self.results.get(config, QueueingServiceResponse.OK))
                if results[-1] is QueueingServiceResponse.OK:
                    got = Delivered(GroupId(request.group_id), request.seq, config, messages[delivery])
                    self.delivered.setdefault(domain, []).append(got)
        self.streams[stream] = (request.seq, EnqueueResponse(tuple(results)))
        return self.streams[stream][1]

    def _message(self, domain: str, delivery: Delivery) -> bytes:
        if not isinstance(delivery.message, BodyReference):
            return delivery.message
        require(domain != self.domain, "our own service is given everything")
        reference = delivery.message
        require((domain, reference.sha256) in self.bodies.kept, "what is referred to was never kept for this domain")
        content, until = self.bodies.kept[domain, reference.sha256]
        require(until > self.bodies.clock() and len(content) == reference.length, "it is gone, or something else")
        return content
