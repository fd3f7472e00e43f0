"""What a delivery service costs in calls to AWS: requests about groups, their fan-out, and the reading of queues.

Requests go through the app's handlers in this process, event in and answer out; storage is the emulator's and every
call is counted. Trees are warm (see `commit`). A container that has nothing of the group in memory is measured beside
the one that made the change before. Fan-out is done by containers of their own, one or two, from the hint in the
queue to the last member's queue. Rates have in them the emulator's work, one Python process for all of AWS.
"""

import dataclasses
import json
import os
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from chalicelib.protocol.delivery.messages import DSMessage
from chalicelib.protocol.delivery.queueing import ClientQueueConfig
from chalicelib.services.delivery.sweeping import WORK
from chalicelib.wiring import groups
from infra.bench import _growth
from infra.bench._counted import Tally, counted
from infra.bench._delivery import CrowdGroup, Service, milliseconds, running
from infra.bench._queues import MESSAGE, Owner, fill_log
from infra.bench.commit import verification
from infra.bench.report import Options, Row

WARM_UP = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    members: tuple[int, ...]
    fanned_out: tuple[int, ...]
    rounds: int
    log: int
    pairs: int


FULL = Sizes((10, 100, 1_000, 10_000, 50_000), (1_000, 10_000), 30, 100_000, 5)
QUICK = Sizes((10, 100, 1_000), (1_000,), 8, 2_000, 2)


@dataclasses.dataclass
class Series:
    """Requests of one kind, one after another."""

    tallies: list[Tally] = dataclasses.field(default_factory=list)
    seconds: list[float] = dataclasses.field(default_factory=list)
    cpu: list[float] = dataclasses.field(default_factory=list)

    def run(self, service: Service, message: DSMessage) -> None:
        """Send one request and book what it took."""
        with counted() as tally:
            began, cpu = time.perf_counter(), time.process_time()
            service.say(message)
            self.seconds.append(time.perf_counter() - began)
            self.cpu.append(time.process_time() - cpu)
        self.tallies.append(tally)

    @property
    def rate(self) -> float:
        """Requests a second, all together."""
        return len(self.seconds) / sum(self.seconds)

    def mean(self, of: Callable[[Tally], float]) -> float:
        """Return the mean of something over the requests."""
        return statistics.fmean(map(of, self.tallies))

    def calls(self) -> float:
        """Return the calls of a request."""
        return self.mean(lambda tally: tally.total)


def run(options: Options) -> Iterator[Row]:
    """Measure requests at growing sizes, then fan-out, then queues, then growth."""
    sizes = QUICK if options.quick else FULL
    with running() as service:
        owner = Owner()
        somewhere = [config for _, config in service.queues(1, owner.public)]
        grown = Growth()
        for members in sizes.members:
            group = service.group(members, somewhere)
            yield from commits(service, group, members, sizes, grown)
            yield from messages(service, group, members, sizes, grown)
            yield from moves(service, group, members, sizes, somewhere[0])
        for members in sizes.fanned_out:
            yield from fan_out(service, owner, members, grown)
        yield from reading(service, owner)
        yield from growth(service, owner, sizes, somewhere)
        if options.plot is not None:
            grown.draw(options.plot)


class Growth:
    """What is drawn over the number of members."""

    def __init__(self) -> None:
        self.lines: dict[str, dict[int, float]] = {}

    def note(self, line: str, members: int, value: float) -> None:
        """Add a point."""
        self.lines.setdefault(line, {})[members] = value

    def draw(self, file: Path) -> None:
        """Draw what was noted."""
        _growth.draw(file, "A delivery service", "members", self.lines)


def commits(service: Service, group: CrowdGroup, members: int, sizes: Sizes, grown: Growth) -> Iterator[Row]:
    """Let random members commit."""
    series, cold = both(service, lambda: group.committing(milliseconds()), sizes.rounds)
    bar = "<= 12" if members == 1_000 else ""
    yield Row(f"commit, {members:,} members: AWS calls before fan-out, nothing in memory", cold.calls(), "calls", bar)
    yield from parts(cold)
    yield Row(f"commit, {members:,} members: calls of the container that committed before", series.calls(), "calls")
    yield Row("  items read", series.mean(lambda tally: tally.read), "items")
    yield Row("  bytes read", series.mean(lambda tally: tally.bytes_read), "bytes")
    yield Row(f"commit, {members:,} members: rate, one container", series.rate, "/s")
    unit = verification()
    yield Row("  processor time", statistics.median(series.cpu) / unit, "Ed25519 verifications")
    grown.note("calls of a commit", members, cold.calls())
    grown.note("kB read and written by a commit", members, cold.mean(lambda tally: _bytes(tally) / 1_000))


def messages(service: Service, group: CrowdGroup, members: int, sizes: Sizes, grown: Growth) -> Iterator[Row]:
    """Let random members say something."""
    series, cold = both(service, lambda: group.sending(milliseconds()), sizes.rounds)
    yield Row(f"send-message, {members:,} members: AWS calls, nothing in memory", cold.calls(), "calls")
    yield from parts(cold)
    yield Row(f"send-message, {members:,} members: calls of the container that sent before", series.calls(), "calls")
    yield Row(f"send-message, {members:,} members: rate, one container", series.rate, "/s")
    grown.note("calls of a message", members, cold.calls())


def moves(service: Service, group: CrowdGroup, members: int, sizes: Sizes, config: ClientQueueConfig) -> Iterator[Row]:
    """Let random members have their messages sent elsewhere."""
    series, cold = both(service, lambda: group.moving(milliseconds(), config), sizes.rounds)
    yield Row(f"update-queue-info, {members:,} members: AWS calls, nothing in memory", cold.calls(), "calls")
    yield from parts(cold)
    yield Row(f"update-queue-info, {members:,} members: rate, one container", series.rate, "/s")


def both(service: Service, make: Callable[[], DSMessage], rounds: int) -> tuple[Series, Series]:
    """Measure requests to a container that did the one before, and to one that has seen nothing of the group."""
    warm, cold = Series(), Series()
    service.forget()
    for _ in range(WARM_UP):
        service.say(make())
    for _ in range(rounds):
        warm.run(service, make())
    for _ in range(min(rounds, 10)):
        service.forget()
        cold.run(service, make())
    return warm, cold


def parts(series: Series) -> Iterator[Row]:
    """Return what the requests of a series read, wrote and called."""
    calls: Counter[str] = sum((tally.calls for tally in series.tallies), Counter())
    for name, count in sorted(calls.items()):
        yield Row(f"    {name}", count / len(series.tallies), "calls")
    yield Row("    items read", series.mean(lambda tally: tally.read), "items")
    yield Row("    items written", series.mean(lambda tally: tally.written), "items")
    yield Row("    bytes read", series.mean(lambda tally: tally.bytes_read), "bytes")
    yield Row("    bytes written", series.mean(lambda tally: tally.bytes_written), "bytes")


def _total(tally: Tally) -> int:
    return tally.total


def _bytes(tally: Tally) -> int:
    return tally.bytes_read + tally.bytes_written


# Fan-out.


def fan_out(service: Service, owner: Owner, members: int, grown: Growth) -> Iterator[Row]:
    """Deliver messages to all members of a group, each with a queue of its own."""
    queues = [config for _, config in service.queues(members, owner.public)]
    group = service.group(members, queues)
    service.clear()
    workers = [service.worker() for _ in range(2)]
    try:
        for worker in workers:
            _answer(worker)
        deliver(service, group, workers)  # Shards are taken for the first time, and configs opened.
        deliver(service, group, workers[:1])
        for count in (1, 2):
            tally, seconds, cpu = deliver(service, group, workers[:count])
            recipients = members - 1
            who = f"fan-out to {members:,} queues, {count} at once" if count > 1 else f"fan-out to {members:,} queues"
            if count == 1:
                bar = "<= 0.1" if members == 1_000 else ""
                yield Row(f"{who}: AWS calls for a recipient", tally.total / recipients, "calls", bar)
                for name, calls in sorted(tally.calls.items()):
                    yield Row(f"    {name}", calls, "calls")
                unit = verification() * recipients
                yield Row(f"{who}: processor time for a recipient", cpu / unit, "Ed25519 verifications")
                grown.note("calls of a fan-out", members, tally.total)
            yield Row(f"{who}: recipients", recipients / seconds, "/s")
            yield Row(f"{who}: until the last queue has it", seconds, "s")
        with counted() as swept:
            groups.sweep().wake(group.group_id, milliseconds() + WORK)
        yield Row("  the sweep after it", swept.total, "calls")
    finally:
        for worker in workers:
            worker.communicate()


def deliver(service: Service, group: CrowdGroup, workers: list["subprocess.Popen[str]"]) -> tuple[Tally, float, float]:
    """Send a message and have it delivered; return the calls, the seconds, and the processor time of the workers."""
    service.say(group.sending(milliseconds()))
    began = time.time()
    for worker in workers:
        if worker.stdin is None:
            raise AssertionError("the process was started with pipes")
        worker.stdin.write("go\n")
        worker.stdin.flush()
    whole, ended, cpu = Tally(), began, 0.0
    for worker in workers:
        said = json.loads(_answer(worker))
        whole.add(Tally(**{**said["tally"], "calls": Counter(said["tally"]["calls"])}))
        cpu += said["cpu"]
        if said["done"]:
            ended = max(ended, said["ended"])
    head, _ = groups.rows().load(group.group_id, b"")
    shards = groups.fanout().shards.of(group.group_id)
    if head is None or min(shard.cursor for shard in shards if shard.shard < head.shards) < head.seq:
        raise RuntimeError("the workers left something undelivered")
    return whole, ended - began, cpu


def _answer(worker: "subprocess.Popen[str]") -> str:
    line = "" if worker.stdout is None else worker.stdout.readline()
    if not line:
        raise RuntimeError("a worker has ended")
    return line


# Queues, and growth.


def reading(service: Service, owner: Owner) -> Iterator[Row]:
    """Fetch all of a queue."""
    ((queue_id, _),) = service.queues(1, owner.public)
    owner.fill(queue_id, [os.urandom(MESSAGE) for _ in range(500)])
    seconds = []
    for _ in range(5):
        with counted() as tally:
            began = time.perf_counter()
            fetched = owner.fetch(service, queue_id, 500)
            seconds.append(time.perf_counter() - began)
    if fetched != 500:
        raise RuntimeError("the queue did not give out what was put into it")
    yield Row("fetch of 500 entries: AWS calls", tally.total, "calls")
    for name, calls in sorted(tally.calls.items()):
        yield Row(f"    {name}", calls, "calls")
    yield Row("fetch of 500 entries: entries", 500 / statistics.median(seconds), "/s")


def growth(service: Service, owner: Owner, sizes: Sizes, somewhere: list[ClientQueueConfig]) -> Iterator[Row]:
    """Compare small with large, in turn, so that what the machine does meanwhile strikes both alike."""
    few, many = sizes.members[1:3] if len(sizes.members) == 3 else (1_000, 10_000)
    small, large = service.group(few, somewhere), service.group(many, somewhere)
    ratio = paired(service, large.committing, small.committing, sizes)
    yield Row(f"commits/s at {many:,} ÷ at {few:,} members, in pairs", ratio, "times")
    short, long = service.group(100, somewhere), service.group(100, somewhere, rows=sizes.log)
    fill_log(long.group_id, sizes.log)
    ratio = paired(service, long.sending, short.sending, sizes)
    yield Row(f"messages/s with {sizes.log:,} rows in the log ÷ with 1, in pairs", ratio, "times")
    ((ten, _), (full, _)) = service.queues(2, owner.public)
    owner.fill(ten, [bytes(MESSAGE)] * 10)
    owner.fill(full, [bytes(MESSAGE)] * 9_000)
    # Not by the clock: the emulator sorts all rows of a partition for each query, which DynamoDB has in order.
    for what in ("fetch of 10 entries", "append"):
        spent = [owner.spend(service, what, queue_id) for queue_id in (full, ten)]
        for unit, of in (("calls", _total), ("bytes", _bytes)):
            ratio = of(spent[0]) / of(spent[1])
            yield Row(f"{what}: {unit} with 9,000 entries in the queue ÷ with 10", ratio, "times")


def paired(service: Service, one: Callable[[int], DSMessage], other: Callable[[int], DSMessage], sizes: Sizes) -> float:
    """Return the median of rate ÷ rate."""
    ratios = []
    for turn in range(sizes.pairs + 1):
        pair = Series(), Series()
        for series, make in zip(pair, (one, other), strict=True):
            for _ in range(sizes.rounds):
                series.run(service, make(milliseconds()))
        if turn:
            ratios.append(pair[0].rate / pair[1].rate)
    return statistics.median(ratios)
