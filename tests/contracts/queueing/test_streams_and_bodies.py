"""The ports of a queueing service beside its queues: streams, messages and keys."""

import hashlib
from functools import partial

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from chalicelib.protocol.timestamps import DAY
from chalicelib.services.ports import Lost
from chalicelib.services.queueing.state import LARGEST_ANSWER, Stream
from tests.contracts.queueing import QueuePorts
from tests.contracts.queueing.rows import (
    DIGEST,
    MESSAGE,
    OTHER_STREAM,
    STREAM,
    lost,
    store,
)
from tests.contracts.races import race, winners
from tests.fakes.clock import START


def stream(seq: int, tokens: int = 7) -> Stream:
    return Stream(seq, b"\x00\x01\x02", tokens, START)


def test_a_stream_moves_on_from_where_it_was(ports: QueuePorts) -> None:
    assert ports.streams.load(STREAM) is None
    ports.streams.advance(STREAM, None, stream(4))
    assert ports.streams.load(STREAM) == stream(4)
    ports.streams.advance(STREAM, stream(4), stream(5))
    assert (ports.streams.load(STREAM), ports.streams.load(OTHER_STREAM)) == (stream(5), None)


@pytest.mark.parametrize("before", [None, stream(3)])
def test_a_stream_that_moved_is_lost(ports: QueuePorts, before: Stream | None) -> None:
    ports.streams.advance(STREAM, None, stream(4))
    with pytest.raises(Lost):
        ports.streams.advance(STREAM, before, stream(6))
    assert ports.streams.load(STREAM) == stream(4)


def test_of_many_that_move_a_stream_one_wins(ports: QueuePorts) -> None:
    calls = [partial(ports.streams.advance, STREAM, None, stream(4, tokens)) for tokens in range(4)]
    assert winners(race(*calls), Lost) == 1


def test_a_move_whose_reply_was_lost_stands(ports: QueuePorts) -> None:
    with lost(ports, "streams", "advance"):
        ports.streams.advance(STREAM, None, stream(4))
    assert ports.streams.load(STREAM) == stream(4)


@pytest.mark.parametrize("size", [0, 9, 350_000, 350_001, 1_000_000])
def test_a_message_is_read_as_it_was_put_however_often(ports: QueuePorts, size: int) -> None:
    messages = {hashlib.sha256(data).digest(): data for data in (bytes(size), b"other")}
    for _ in range(2):
        for digest, data in messages.items():
            ports.bodies.put(digest, data, START + DAY)
    assert ports.bodies.get(messages) == messages


@pytest.mark.parametrize("size", [9, 400_000])
def test_a_message_lasts_as_long_as_was_asked_last_and_then_is_gone(ports: QueuePorts, size: int) -> None:
    data = bytes(size)
    digest = hashlib.sha256(data).digest()
    ports.bodies.put(digest, data, START + 5 * DAY)
    ports.bodies.put(digest, data, START + DAY)
    ports.clock.advance(5 * DAY - 1)
    assert ports.bodies.get([digest]) == {digest: data}
    ports.bodies.put(digest, data, START + 10 * DAY)
    ports.clock.advance(5 * DAY)
    assert ports.bodies.get([digest]) == {digest: data}
    ports.clock.advance(2 * DAY)
    assert ports.bodies.get([digest]) == {}


def test_messages_that_are_not_there_are_left_out(ports: QueuePorts) -> None:
    store(ports)
    assert ports.bodies.get([DIGEST, bytes(32)]) == {DIGEST: MESSAGE}
    assert ports.bodies.link(bytes(32)) is None


def test_a_message_whose_reply_was_lost_is_there(ports: QueuePorts) -> None:
    with lost(ports, "bodies", "put"):
        store(ports)
    assert ports.bodies.get([DIGEST]) == {DIGEST: MESSAGE}


def test_a_link_leads_to_one_large_message(ports: QueuePorts) -> None:
    large = [bytes([number]) * (LARGEST_ANSWER + 1) for number in range(2)]
    digests = [hashlib.sha256(one).digest() for one in large]
    for digest, one in zip(digests, large, strict=True):
        ports.bodies.put(digest, one, START + DAY)
    assert len({ports.bodies.link(digest) for digest in digests}) == 2


def test_the_public_key_is_that_of_its_epochs_private_one_and_stays(ports: QueuePorts) -> None:
    epoch, public = ports.config_keys.public()
    private = ports.config_keys.private(epoch)
    assert private is not None
    assert X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw() == public
    assert ports.config_keys.public() == (epoch, public)
    assert ports.config_keys.private(epoch + 1) is None
