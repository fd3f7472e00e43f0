"""What is put into a queueing service by its ports' tests."""

import contextlib
import hashlib
from collections.abc import Iterator

from chalicelib.protocol.delivery.parts import Domain
from chalicelib.protocol.timestamps import DAY
from chalicelib.services.queueing.shares import ENTRY_COST, Sender
from chalicelib.services.queueing.state import Append, Entry, Head, QueueId, StreamKey
from tests.contracts.queueing import QueuePorts
from tests.fakes.clock import START

SENDER = Sender(b"the hub.", b"a group.")
STREAM, OTHER_STREAM = StreamKey(b"s" * 32), StreamKey(b"t" * 32)
MESSAGE = b"a message"
DIGEST = hashlib.sha256(MESSAGE).digest()


def head(name: str = "a", key: bytes = b"key") -> Head:
    queue_id = QueueId(hashlib.sha256(name.encode()).digest()[:16])
    return Head(queue_id, 1, key, b"t" * 32, START, active_at=START, updated_at=0)


def load(ports: QueuePorts, name: str = "a") -> Head:
    (found,) = ports.heads.load([head(name).queue_id])
    assert found is not None
    return found


def made(ports: QueuePorts, name: str = "a") -> Head:
    ports.heads.create(head(name))
    return load(ports, name)


def append_to(
    before: Head, *sizes: int, seq: int = 1, gone_at: int = START + 30 * DAY, stream: StreamKey = STREAM
) -> Append:
    entries, total = [], before.total
    for number, size in enumerate(sizes, before.seq + 1):
        total += size
        entries.append(Entry(number, Domain("us.example"), b"group", seq, START, DIGEST, size, total, gone_at))
    shares = before.shares_with(SENDER, sum(sizes) + ENTRY_COST * len(sizes))
    assert shares is not None
    return Append(before, stream, seq, tuple(entries), shares)


def store(ports: QueuePorts) -> None:
    ports.bodies.put(DIGEST, MESSAGE, START + 100 * DAY)


@contextlib.contextmanager
def lost(ports: QueuePorts, port: str, method: str) -> Iterator[None]:
    """Lose a reply: the call in the body raises, or finds out that it succeeded."""
    ports.lose_reply(port, method)
    with contextlib.suppress(ConnectionError):
        yield
