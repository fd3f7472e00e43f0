"""What it costs to prove that a user holds a number or an address: a code is asked for, and entered.

A flow is two requests. All first requests of a round go out together; then the codes are read from what the
emulated SNS and SES captured (from sinks, at the peer), which is not timed; then all second requests go out.
Every number and every address is used once. Ours ends with a mapping that can be asked for; the peer's ends with
a proof alone. The peer's rounds alternate with ours.

Ours is several DynamoDB transactions on the emulator, which is one Python process and takes more time for them
than the serving process does; on AWS that part is somebody else's processor.
"""

import dataclasses
import json
import re
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence

from infra.bench import _peer
from infra.bench._load import Outcome, Sent, Target, put_load
from infra.bench._numbers import mobiles
from infra.bench._provider import Bench, Server, cpu_seconds, running
from infra.bench.report import Options, Row

STAGE = "gp-verify"
CONNECTIONS = 8
BARS = {"SMS": "> 1", "e-mail": "> 3"}

_CODE = re.compile(r"(?<!\d)\d{6}(?!\d)")


@dataclasses.dataclass(frozen=True, slots=True)
class Flows:
    """A round of flows that all succeeded."""

    asked: Outcome
    entered: Outcome
    cpu: float
    emulator_cpu: float = 0.0

    @property
    def rate(self) -> float:
        """Flows a second."""
        return self.entered.done / (self.asked.seconds + self.entered.seconds)


def run(options: Options) -> Iterator[Row]:
    """Measure, channel by channel."""
    rounds, flows = (2, 100) if options.quick else (5, 300)
    made_of = _peer.parts()
    with running() as bench:
        account = bench.create(STAGE)
        server = bench.serve(STAGE, account)
        peer = None if made_of is None else _peer.Sydent(made_of, bench.supervisor)
        ours = Ours(bench, server)
        for channel, bar in BARS.items():
            ours.round(channel, 20)  # Keys are made, connections opened.
            mine, theirs = [], []
            for _ in range(rounds):
                mine.append(ours.round(channel, flows))
                if peer is not None:
                    theirs.append(Theirs(peer, ours).round(channel, flows))
            yield from _rows("ours", channel, mine)
            if theirs:
                yield from _rows("Sydent", channel, theirs)
                pairs = zip(mine, theirs, strict=True)
                ratio = statistics.median(one.rate / other.rate for one, other in pairs)
                yield Row(f"{channel} flows/s ÷ Sydent's, in pairs", ratio, "", bar)
        yield from _calls(ours, bench.serve(STAGE, account, watched=True))


def _rows(who: str, channel: str, rounds: Sequence[Flows]) -> Iterator[Row]:
    done = sum(one.entered.done for one in rounds)
    yield Row(f"{who}, {channel}: flows, {CONNECTIONS} connections", statistics.median(r.rate for r in rounds), "/s")
    yield Row(f"{who}, {channel}: request, p50", statistics.median(r.asked.percentile(50) for r in rounds), "ms")
    yield Row(f"{who}, {channel}: code, p50", statistics.median(r.entered.percentile(50) for r in rounds), "ms")
    yield Row(f"{who}, {channel}: processor time of a flow", 1000 * sum(r.cpu for r in rounds) / done, "ms")
    emulator = sum(r.emulator_cpu for r in rounds)
    if emulator:
        yield Row(f"{who}, {channel}: processor time of the emulated AWS for it", 1000 * emulator / done, "ms")


class Ours:
    """Flows at our provider."""

    def __init__(self, bench: Bench, server: Server) -> None:
        self.bench = bench
        self.server = server
        self.mobiles = mobiles()
        self.boxes = (f"user-{number}@bench.example" for number in range(1_000_000))

    def addresses(self, channel: str, count: int) -> list[str]:
        """Return addresses that nobody used before."""
        source = self.mobiles if channel == "SMS" else self.boxes
        return [next(source) for _ in range(count)]

    def round(self, channel: str, count: int) -> Flows:
        """Put so many flows on the serving process."""
        scheme = "tel:" if channel == "SMS" else "mailto:"
        addresses = self.addresses(channel, count)
        target, emulator = self.server.target(), self.bench.emulator.child.process.pid
        before, emulators = cpu_seconds(self.server.pid), cpu_seconds(emulator)
        asked = _sent(
            target,
            [
                Sent("/v1/verifications", json.dumps({"sii": scheme + address, "user_id": f"user of {address}"}))
                for address in addresses
            ],
            201,
        )
        cpu, emulator_cpu = cpu_seconds(self.server.pid) - before, cpu_seconds(emulator) - emulators
        opened = [json.loads(answer)["verification_id"] for answer in asked.answers]
        code = self.codes(channel)
        before, emulators = cpu_seconds(self.server.pid), cpu_seconds(emulator)
        entered = _sent(
            target,
            [
                Sent(
                    f"/v1/verifications/{verification}/code",
                    json.dumps({"user_id": f"user of {address}", "code": code[address]}),
                )
                for address, verification in zip(addresses, opened, strict=True)
            ],
            200,
        )
        cpu += cpu_seconds(self.server.pid) - before
        return Flows(asked, entered, cpu, emulator_cpu + cpu_seconds(emulator) - emulators)

    def codes(self, channel: str) -> dict[str, str]:
        """Return the latest code that each address was sent, as its holder would read it."""
        if channel == "SMS":
            texts = self.bench.captured("/_ministack/sns/sms-messages")["sms_messages"]
            return {number: _code(messages[-1]["Message"]) for number, messages in texts.items()}
        mails = self.bench.captured("/_ministack/ses/messages")["messages"]
        return {mail["To"][0]: _code(mail["BodyText"]) for some in mails.values() for mail in some}


class Theirs:
    """Flows at the peer, to addresses from the same supply."""

    def __init__(self, peer: _peer.Sydent, ours: Ours) -> None:
        self.peer = peer
        self.ours = ours

    def round(self, channel: str, count: int) -> Flows:
        """Put so many flows on the peer."""
        medium: _peer.Medium = "msisdn" if channel == "SMS" else "email"
        addresses = self.ours.addresses(channel, count)
        target = self.peer.target()
        before = cpu_seconds(self.peer.pid)
        asked = _sent(target, [_peer.asking(medium, address) for address in addresses], 200)
        sessions = [json.loads(answer)["sid"] for answer in asked.answers]
        entering = [
            _peer.entering(medium, address, session, self.peer.code_sent_to(address))
            for address, session in zip(addresses, sessions, strict=True)
        ]
        entered = _sent(target, entering, 200)
        return Flows(asked, entered, cpu_seconds(self.peer.pid) - before)


def _calls(ours: Ours, watched: Server) -> Iterator[Row]:
    """Count the AWS calls of flows, one at a time."""
    counting = Ours(ours.bench, watched)
    counting.mobiles, counting.boxes = ours.mobiles, ours.boxes
    for channel in BARS:
        counting.round(channel, 5)
        before = watched.watch()
        flows = counting.round(channel, 50)
        seen = watched.watch().since(before)
        made = Counter({name: count for name, count in seen.calls.items() if count})
        done = flows.entered.done
        yield Row(f"{channel}: AWS calls of a flow", made.total() / done, "")
        for name, count in made.most_common():
            yield Row(f"  {name}", count / done, "")


def _sent(target: Target, requests: Sequence[Sent], status: int) -> Outcome:
    outcome = put_load(target, requests, connections=CONNECTIONS)
    outcome.check(status)
    return outcome


def _code(text: str) -> str:
    found = _CODE.search(text)
    if found is None:
        raise LookupError("a message holds no code")
    return found.group()
