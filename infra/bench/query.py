"""What a query costs, and that it does not grow with the table.

Two stages on one emulator, one with 1,000 mappings and one that grows, are measured in turn: what the machine
does meanwhile strikes both alike. So is the peer, with as many rows. Every query asks for an identifier that is
mapped here, with two peers whose filters rule them out; the peer is asked for an address that it has.
"""

import dataclasses
import json
import random
import statistics
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from infra.bench import _peer
from infra.bench._load import Outcome, Sent, Target, put_load
from infra.bench._numbers import mapped
from infra.bench._provider import Bench, Server, cpu_seconds, running
from infra.bench.report import Options, Row
from infra.local.progress import Progress

SMALL = "gp-small"
LARGE = "gp-large"
FEW = 1_000
CONNECTIONS = 8
SAMPLE = 20_000
STOCKERS = 2
WRITES = {
    f"dynamodb.{name}" for name in ("PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems", "BatchWriteItem")
}


@dataclasses.dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured: our growing table takes on the sizes of `ours`, the peer's those of `peer`."""

    ours: tuple[int, ...]
    peer: tuple[int, ...]
    rounds: int
    seconds: float
    counted: int


FULL = Sizes((10_000, 100_000, 1_000_000), (FEW, 10_000, 100_000, 1_000_000), 5, 2.0, 3_000)
QUICK = Sizes((10_000, 20_000), (FEW, 10_000), 3, 1.0, 1_000)
PEER_BARS = {100_000: "> 30", 1_000_000: "> 300"}


class Series:
    """The loads of one process at one size of its table, and the processor time that it took for them."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.cpu = 0.0

    def measure(self, pid: int, target: Target, requests: Sequence[Sent], seconds: float) -> None:
        """Put one more load on the process."""
        before = cpu_seconds(pid)
        outcome = put_load(target, requests, connections=CONNECTIONS, seconds=seconds)
        outcome.check(200)
        self.cpu += cpu_seconds(pid) - before
        self.outcomes.append(outcome)

    @property
    def rate(self) -> float:
        """The median of the loads' rates."""
        return statistics.median(outcome.rate for outcome in self.outcomes)

    @property
    def cpu_milliseconds(self) -> float:
        """The processor time of a request."""
        return 1000 * self.cpu / sum(outcome.done for outcome in self.outcomes)

    def percentile(self, percent: float) -> float:
        """The median of the loads' percentiles, in milliseconds."""
        return statistics.median(outcome.percentile(percent) for outcome in self.outcomes)

    def rows(self, who: str, size: int) -> Iterator[Row]:
        """Return the series as parts of a figure."""
        yield Row(f"{who}, {size:,} mappings: rate, {CONNECTIONS} connections", self.rate, "/s")
        yield Row(f"{who}, {size:,} mappings: p50", self.percentile(50), "ms")
        yield Row(f"{who}, {size:,} mappings: p99", self.percentile(99), "ms")


def run(options: Options) -> Iterator[Row]:
    """Measure, row by row."""
    sizes = QUICK if options.quick else FULL
    with running() as bench:
        accounts = {stage: bench.create(stage) for stage in (SMALL, LARGE)}
        for stage in accounts:
            bench.run(stage, "infra.bench._stock", "peers")
        stock(bench, SMALL, 0, FEW)
        yield from count(bench.serve(SMALL, accounts[SMALL], watched=True), sizes)
        yield from Growth(bench, bench.serve(SMALL, accounts[SMALL]), bench.serve(LARGE, accounts[LARGE]), sizes).rows(
            options.plot
        )


def stock(bench: Bench, stage: str, first: int, count: int) -> None:
    """Write so many mappings into a stage's table."""
    share = -(-count // STOCKERS)
    with Progress(f"mappings for {stage}", count) as progress:
        begun = [
            bench.begin(stage, "infra.bench._stock", "mappings", str(begin), str(min(share, first + count - begin)))
            for begin in range(first, first + count, share)
        ]
        readers = [threading.Thread(target=_follow, args=(process, progress)) for process in begun]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
    for process in begun:
        _, complaint = process.communicate()
        if process.returncode:
            raise RuntimeError(f"the mappings could not be written: {complaint.strip()[-2000:]}")


def _follow(process: "subprocess.Popen[str]", progress: Progress) -> None:
    for line in process.stdout or ():
        progress.advance(int(line))


def queries(size: int) -> list[Sent]:
    """Return queries for a sample of the mapped identifiers."""
    return [Sent("/v1/queries", json.dumps({"sii": mapped(number)})) for number in _sample(size)]


def count(server: Server, sizes: Sizes) -> Iterator[Row]:
    """Count a query's AWS calls and divide its processor time; one query at a time, as a Lambda container gets them."""
    target, asked = server.target(), queries(FEW)
    put_load(target, asked[:500], connections=1).check(200)  # Keys, trust list and filters are loaded, the lease grows.
    before, cpu = server.watch(), cpu_seconds(server.pid)
    put_load(target, [asked[turn % len(asked)] for turn in range(sizes.counted)], connections=1).check(200)
    seen, cpu = server.watch().since(before), cpu_seconds(server.pid) - cpu
    calls = {name: made / seen.requests for name, made in seen.calls.items() if made}
    batch_gets = calls.pop("dynamodb.BatchGetItem", 0.0)
    yield Row("AWS calls of a local hit, two peers, warm filters: BatchGetItem", batch_gets, "", "<= 1")
    for name, made in sorted(calls.items()):
        yield Row(f"  and, for leases of the query limit: {name.partition('.')[2]}", made, "")
    writes = sum(made for name, made in calls.items() if name in WRITES)
    yield Row("AWS calls of a local hit: writes, amortised", writes, "", "<= 0.1")
    spent = {part: time / 1e6 / seen.requests for part, time in seen.nanoseconds.items()}
    whole = 1000 * cpu / seen.requests
    yield Row("processor time of a query, watched, one connection", whole, "ms")
    yield Row("  TLS and HTTP", whole - spent["request"], "ms")
    yield Row("  Chalice and the door", spent["request"] - spent["token"] - spent["service"], "ms")
    yield Row("  access token", spent["token"], "ms")
    yield Row("  DynamoDB calls", spent["database"], "ms")
    yield Row("  service and opening of rows", spent["service"] - spent["database"], "ms")


class Growth:
    """The measurement of rate against size, ours and the peer's."""

    def __init__(self, bench: Bench, small: Server, large: Server, sizes: Sizes) -> None:
        self.bench = bench
        self.small = small
        self.large = large
        self.sizes = sizes
        self.ours: dict[int, float] = {}
        self.peers: dict[int, float] = {}

    def rows(self, plot: Path | None) -> Iterator[Row]:
        """Measure at each size, the smallest first."""
        made_of = _peer.parts()
        peer = None if made_of is None else _peer.Sydent(made_of, self.bench.supervisor)
        for server in (self.small, self.large):
            put_load(server.target(), queries(FEW), connections=CONNECTIONS)  # Misses in a table that is empty yet.
        if peer is not None:
            yield from self._beside(peer)
        held = 0
        for size in self.sizes.ours:
            stock(self.bench, LARGE, held, size - held)
            held = size
            yield from self._at(size, peer)
        if plot is not None:
            self._draw(plot)

    def _beside(self, peer: _peer.Sydent) -> Iterator[Row]:
        """Compare with the peer where it is at its best: a small table."""
        ours, theirs = Series(), Series()
        peer.grow(FEW)
        for _ in range(self.sizes.rounds):
            ours.measure(self.small.pid, self.small.target(), queries(FEW), self.sizes.seconds)
            theirs.measure(peer.pid, peer.target(), peer.lookups(_sample(FEW)), self.sizes.seconds)
        self.ours[FEW], self.peers[FEW] = ours.rate, theirs.rate
        yield from ours.rows("ours", FEW)
        yield from theirs.rows("Sydent", FEW)
        yield Row(f"rate ÷ Sydent's, {FEW:,} mappings", ours.rate / theirs.rate, "")
        yield Row(f"ours, {FEW:,} mappings: processor time of a query", ours.cpu_milliseconds, "ms")
        yield Row(f"Sydent, {FEW:,} mappings: processor time of a look-up, without TLS", theirs.cpu_milliseconds, "ms")
        ratio = ours.cpu_milliseconds / theirs.cpu_milliseconds
        yield Row(f"processor time of a query ÷ Sydent's, {FEW:,} mappings", ratio, "", "<= 1")

    def _at(self, size: int, peer: _peer.Sydent | None) -> Iterator[Row]:
        small, large, theirs = Series(), Series(), Series()
        beside = peer if size in self.sizes.peer else None
        if beside is not None:
            beside.grow(size)
        for _ in range(self.sizes.rounds):
            small.measure(self.small.pid, self.small.target(), queries(FEW), self.sizes.seconds)
            large.measure(self.large.pid, self.large.target(), queries(size), self.sizes.seconds)
        if beside is not None:
            # One load: at a million rows the peer takes longer for one look-up than our rounds take.
            theirs.measure(beside.pid, beside.target(), beside.lookups(_sample(size)), 2 * self.sizes.seconds)
            self.peers[size] = theirs.rate
        self.ours[size] = large.rate
        yield from large.rows("ours", size)
        pairs = zip(large.outcomes, small.outcomes, strict=True)
        ratio = statistics.median(one.rate / other.rate for one, other in pairs)
        bar = ">= 0.9" if size == self.sizes.ours[-1] else ""
        yield Row(f"rate with {size:,} mappings ÷ rate with {FEW:,}, in pairs", ratio, "", bar)
        if beside is not None:
            yield from theirs.rows("Sydent", size)
            yield Row(f"rate ÷ Sydent's, {size:,} mappings", large.rate / theirs.rate, "", PEER_BARS.get(size, ""))

    def _draw(self, file: Path) -> None:
        from matplotlib.figure import Figure  # noqa: PLC0415 - only a plot needs it, and it takes a second

        figure = Figure(figsize=(7, 4.5), layout="constrained")
        axes = figure.subplots()
        for name, rates in (("GLADOS provider", self.ours), ("Sydent", self.peers)):
            if rates:
                axes.plot(*zip(*sorted(rates.items()), strict=True), marker="o", label=name)
        axes.set(xscale="log", yscale="log", xlabel="mappings", ylabel="queries a second, one process")
        axes.grid(visible=True, which="both", alpha=0.3)
        axes.legend()
        figure.savefig(file)


def _sample(size: int) -> list[int]:
    return random.Random(size).choices(range(size), k=min(size, SAMPLE))  # noqa: S311 - a sample, no secret
