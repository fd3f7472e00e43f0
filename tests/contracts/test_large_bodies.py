"""`PeerBodies`, `RemoteBodies` and `Pieces`: how a message that is too large for a request gets to another domain."""

import dataclasses
import hashlib
from collections.abc import Callable

import pytest

from chalicelib.protocol.timestamps import DAY, HOUR
from chalicelib.services.delivery.state import DsPeer
from chalicelib.services.ports import RemoteBodies, Unreachable
from chalicelib.storage.remote_bodies import PeerRemoteBodies
from tests.contracts import aws, queueing
from tests.contracts.delivery import DsPorts
from tests.contracts.queueing import QueuePorts
from tests.contracts.races import race
from tests.fakes.clock import SettableClock
from tests.fakes.ds_peers import MemoryDsPeers, MemoryPeerCalls
from tests.fakes.faults import Faults
from tests.fakes.remote_bodies import MemoryRemoteBodies
from tests.fakes.tables import Tables

US, ASIA = "us.ds.example", "asia.ds.example"
CONTENT = bytes(range(256)) * 40
DIGEST = hashlib.sha256(CONTENT).digest()
OTHER = hashlib.sha256(b"other").digest()


# --- what a hub keeps for a peer


def test_what_is_kept_is_read_in_pieces(ds: DsPorts) -> None:
    ds.peer_bodies.keep(US, DIGEST, CONTENT)
    total = len(CONTENT)
    assert ds.peer_bodies.read(US, DIGEST, 0, total) == (CONTENT, total)
    assert ds.peer_bodies.read(US, DIGEST, 0, total + 1) == (CONTENT, total)
    assert ds.peer_bodies.read(US, DIGEST, 0, 7) == (CONTENT[:7], total)
    assert ds.peer_bodies.read(US, DIGEST, 7, 1) == (CONTENT[7:8], total)
    assert ds.peer_bodies.read(US, DIGEST, total - 3, 100) == (CONTENT[-3:], total)


def test_there_is_nothing_after_the_end(ds: DsPorts) -> None:
    ds.peer_bodies.keep(US, DIGEST, CONTENT)
    for offset in (len(CONTENT), len(CONTENT) + 1, 10**18):
        with pytest.raises(LookupError):
            ds.peer_bodies.read(US, DIGEST, offset, 10)


def test_only_whom_it_was_kept_for_finds_it(ds: DsPorts) -> None:
    ds.peer_bodies.keep(US, DIGEST, CONTENT)
    for domain, digest in ((ASIA, DIGEST), (US, OTHER), ("", DIGEST)):
        with pytest.raises(LookupError):
            ds.peer_bodies.read(domain, digest, 0, 10)


def test_it_is_kept_again_and_for_others_without_harm(ds: DsPorts) -> None:
    for domain in (US, ASIA, US):
        ds.peer_bodies.keep(domain, DIGEST, CONTENT)
    ds.clock.advance(23 * HOUR)
    for domain in (US, ASIA):
        assert ds.peer_bodies.read(domain, DIGEST, 0, 10)[0] == CONTENT[:10]


def test_what_was_kept_when_the_reply_was_lost_is_there(ds: DsPorts) -> None:
    ds.lose_reply("peer_bodies", "keep")
    race(lambda: ds.peer_bodies.keep(US, DIGEST, CONTENT))
    assert ds.peer_bodies.read(US, DIGEST, 0, 10) == (CONTENT[:10], len(CONTENT))


# --- what a queueing service asks a hub for


Answer = Callable[[bytes, int], tuple[bytes, int]]


@dataclasses.dataclass
class Asking:
    """The port, and a way to say how the hub `US` answers; None: not at all. Nobody else is known."""

    bodies: RemoteBodies
    answer: Callable[[Answer], None]


@pytest.fixture(params=["memory", "peers"])
def asking(request: pytest.FixtureRequest) -> Asking:
    clock = SettableClock()
    if request.param == "memory":
        fake = MemoryRemoteBodies(Faults(), clock)
        return Asking(fake, lambda answer: fake.domains.__setitem__(US, answer))
    peers, calls = MemoryDsPeers(Faults(), Tables(), clock), MemoryPeerCalls(Faults())
    for domain in (US, ASIA):
        peers.put(DsPeer(domain, f"https://{domain}", frozenset([domain.ljust(43, "-")])))

    def by_path(answer: Answer) -> None:
        def give(path: str) -> tuple[int, dict[str, str], bytes]:
            path, _, query = path.partition("?offset=")
            assert path.startswith("/ds/v1/federation/bodies/")
            try:
                piece, total = answer(bytes.fromhex(path.rpartition("/")[2]), int(query))
            except LookupError:
                return 404, {}, b"{}"
            return 200, {"body-length": str(total)}, piece

        calls.gives[US] = give

    return Asking(PeerRemoteBodies(peers, calls), by_path)


def test_a_hub_is_asked_for_what_is_wanted_and_believed_in_nothing(asking: Asking) -> None:
    asked: list[tuple[bytes, int]] = []

    def answer(sha256: bytes, offset: int) -> tuple[bytes, int]:
        asked.append((sha256, offset))
        return b"some bytes", 99

    asking.answer(answer)
    assert asking.bodies.fetch(US, DIGEST, 0, 1_000) == (b"some bytes", 99)
    assert asking.bodies.fetch(US, DIGEST, 10**15, 1_000) == (b"some bytes", 99)
    assert asked == [(DIGEST, 0), (DIGEST, 10**15)]


def test_a_hub_may_have_no_such_message(asking: Asking) -> None:
    def answer(_sha256: bytes, _offset: int) -> tuple[bytes, int]:
        raise LookupError

    asking.answer(answer)
    with pytest.raises(LookupError):
        asking.bodies.fetch(US, DIGEST, 0, 1_000)


@pytest.mark.parametrize("hub", [ASIA, "nowhere.example"])
def test_a_hub_that_does_not_answer_or_is_not_known_is_unreachable(asking: Asking, hub: str) -> None:
    asking.answer(lambda _sha256, _offset: (b"", 0))
    with pytest.raises(Unreachable):
        asking.bodies.fetch(hub, DIGEST, 0, 1_000)


# --- what has come so far


@pytest.fixture(params=["memory", "aws"])
def ports(request: pytest.FixtureRequest) -> QueuePorts:
    if request.param == "memory":
        return queueing.memory()
    return queueing.on_aws(aws.new_stage("delivery"), SettableClock())


def test_pieces_are_kept_by_hub_message_and_place(ports: QueuePorts) -> None:
    kept = {(US, DIGEST, 0): b"one", (US, DIGEST, 3): b"two", (US, OTHER, 0): b"three", (ASIA, DIGEST, 0): b"four"}
    for place, piece in kept.items():
        ports.pieces.keep(*place, piece)
    ports.clock.advance(DAY - HOUR)
    assert {place: ports.pieces.load(*place) for place in kept} == kept
    assert ports.pieces.load(US, DIGEST, 1) is None
    assert ports.pieces.load(ASIA, OTHER, 0) is None


def test_pieces_that_are_forgotten_are_gone_and_the_others_are_not(ports: QueuePorts) -> None:
    for place in ((US, DIGEST, 0), (US, DIGEST, 3), (US, DIGEST, 6), (ASIA, DIGEST, 0)):
        ports.pieces.keep(*place, b"abc")
    for _ in range(2):
        ports.pieces.forget(US, DIGEST, [0, 3, 9])
    found = [ports.pieces.load(*place) for place in ((US, DIGEST, 0), (US, DIGEST, 3), (US, DIGEST, 6))]
    assert found == [None, None, b"abc"]
    assert ports.pieces.load(ASIA, DIGEST, 0) == b"abc"


def test_a_piece_may_be_another_one_the_next_time(ports: QueuePorts) -> None:
    ports.pieces.keep(US, DIGEST, 0, b"a lie")
    ports.pieces.forget(US, DIGEST, [0])
    ports.pieces.keep(US, DIGEST, 0, b"the truth")
    assert ports.pieces.load(US, DIGEST, 0) == b"the truth"
