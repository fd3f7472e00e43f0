"""A guest's large request, from its upload at its own delivery service to its place in the hub's log, over fakes."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chalicelib.errors import Refusal, TooManyRequests, Unavailable
from chalicelib.protocol.delivery import media
from chalicelib.protocol.delivery.directory import Upload, UploadReference
from chalicelib.protocol.delivery.messages import DSMessage
from chalicelib.protocol.delivery.responses import DSResponse, Ok, UploadAnswer
from chalicelib.protocol.tls import TREE_ELEMENTS, decode
from chalicelib.services import fetching
from chalicelib.services.ports import Unreachable
from tests.fakes.delivery import DeliveryWorld
from tests.fakes.faults import When
from tests.protocol.mls.story import refused
from tests.services.delivery.accounts.user import User, peer
from tests.services.delivery.house import SECOND, House, Person

EU, US, ASIA = "eu.ds.example", "us.ds.example", "asia.ds.example"
PIECE = 100_000
SAID = b"".join(number.to_bytes(4, "big") for number in range(60_000))  # 240,000 bytes: three pieces.


class Journey:
    """Alice is a user of the guest service; the group in which she speaks is at the hub. Bob is there."""

    def __init__(self) -> None:
        self.guest = House(DeliveryWorld(EU))
        self.hub = House(DeliveryWorld(US, self.guest.world.clock, peers=[EU]))
        self.alice = Person(self.hub, "alice", domain=EU)
        self.bob = Person(self.hub, "bob")
        self.alice.create()
        self.alice.add(self.bob)
        self.user = User(self.guest, "alice")
        self.user.register()
        self.guest.world.ds_peers.put(peer(US))
        self.guest.world.peer_calls.answers[US] = self._arrive
        self.hub.world.remote_bodies.domains[EU] = self.hand_over
        self.message = self.alice.saying(SAID)
        self.before = self.hub.head()
        for house in (self.guest, self.hub):
            house.world.faults.calls.clear()

    def hand_over(self, sha256: bytes, offset: int) -> tuple[bytes, int]:
        """Do what the guest's door for peers does, with pieces that are quickly made."""
        return self.guest.world.peer_bodies.read(US, sha256, offset, PIECE)

    def _arrive(self, path: str, media_type: str, body: bytes) -> tuple[int, str, bytes]:
        """Do what the hub's door does for the guest service."""
        assert media_type == media.DS_REFERENCE
        try:
            content = self.hub.uploading.fetch_reference(body, peer(EU))
            return 200, media.DS_RESPONSE, self.hub.desk.serve(path.removeprefix("/ds/v1/"), content)
        except Unavailable as error:
            raise Unreachable("that was a 503") from error
        except Refusal as refusal:
            return 422, media.DS_RESPONSE, str(refusal.facts().get("check")).encode()

    @property
    def reference(self) -> bytes:
        content = self.message.encode()
        return UploadReference(hashlib.sha256(content).digest(), len(content)).encode()

    def upload(self) -> None:
        content = self.message.encode()
        asked = self.user.sign(Upload(hashlib.sha256(content).digest(), len(content), self.user.fresh()))
        answer = self.guest.serve(asked)
        assert isinstance(answer, UploadAnswer)
        assert self.guest.world.uploads.put_in(answer.url, content)

    def forward(self, operation: str = "send-message") -> tuple[int, str, bytes]:
        return self.guest.proxy.forward(US, operation, media.DS_REFERENCE, self.reference, "192.0.2.1")

    def restart(self) -> None:
        for house in (self.guest, self.hub):
            house.restart()

    def said(self) -> list[bytes]:
        """Return what the hub's log has of messages; it is what bob is given."""
        self.hub.deliver()
        return self.bob.catch_up()

    def kept(self) -> bytes:
        """Let what was uploaded be kept for the hub, and return the reference."""
        self.guest.world.peer_bodies.keep(US, self.message.request_sha256, self.message.encode())
        return self.reference


def is_ok(told: tuple[int, str, bytes], message: DSMessage) -> bool:
    status, media_type, answer = told
    response = decode(DSResponse.read, answer, TREE_ELEMENTS)
    return (status, media_type, response) == (200, media.DS_RESPONSE, DSResponse(message.request_sha256, Ok()))


@pytest.fixture
def journey() -> Journey:
    journey = Journey()
    journey.upload()
    return journey


def test_what_a_guest_uploads_at_home_the_hub_fetches_and_serves(journey: Journey) -> None:
    assert is_ok(journey.forward(), journey.message)
    assert journey.said() == [SAID]
    offsets = [offset for _, _, offset in journey.hub.world.remote_bodies.asked]
    assert offsets == [0, PIECE, 2 * PIECE]


def test_a_repeat_gets_the_answer_of_the_first_time_and_nothing_is_fetched_twice(journey: Journey) -> None:
    first = journey.forward()
    journey.restart()
    assert journey.forward() == first
    assert journey.said() == [SAID]
    assert len(journey.hub.world.remote_bodies.asked) == 3


def test_a_guest_can_also_commit_what_is_large(journey: Journey) -> None:
    carol = Person(journey.hub, "carol")
    journey.message, pending = journey.alice.adding(carol)
    journey.upload()
    assert is_ok(journey.forward("add-users"), journey.message)
    journey.alice.accepted(pending, joining=[carol])
    assert journey.hub.head().epoch == 2


# --- what is not there, or not it


def test_what_was_not_uploaded_is_not_forwarded() -> None:
    journey = Journey()
    with refused("mds-upload-2"):
        journey.forward()
    assert journey.guest.world.calls("peer_calls") == []
    assert journey.guest.world.peer_bodies.kept == {}


@pytest.mark.parametrize("length", [0, (64 << 20) + 1])
def test_a_length_that_cannot_be_is_refused_on_both_sides_before_anything_is_fetched(
    journey: Journey, length: int
) -> None:
    impossible = UploadReference(journey.message.request_sha256, length).encode()
    with refused("mds-upload-1"):
        journey.guest.proxy.forward(US, "send-message", media.DS_REFERENCE, impossible, "192.0.2.1")
    with refused("mds-upload-1"):
        journey.hub.uploading.fetch_reference(impossible, peer(EU))
    assert journey.hub.world.remote_bodies.asked == []
    assert ("uploads", "fetch") not in journey.guest.world.calls()


Lie = Callable[[bytes, int], tuple[bytes, int]]


def lies(true: Lie) -> dict[str, Lie]:
    def gone(_sha256: bytes, _offset: int) -> tuple[bytes, int]:
        raise LookupError

    def changed(sha256: bytes, offset: int) -> tuple[bytes, int]:
        piece, total = true(sha256, offset)
        return (piece[:-1] + bytes([piece[-1] ^ 1]) if offset == PIECE else piece), total

    def longer(sha256: bytes, offset: int) -> tuple[bytes, int]:
        piece, total = true(sha256, offset)
        return piece, total + 1

    def drips(sha256: bytes, offset: int) -> tuple[bytes, int]:
        piece, total = true(sha256, offset)
        return piece[: fetching.LEAST_PIECE - 1], total

    def pours(sha256: bytes, offset: int) -> tuple[bytes, int]:
        _, total = true(sha256, offset)
        return bytes(total - offset + 1), total

    return {"gone": gone, "changed": changed, "longer": longer, "drips": drips, "pours": pours}


@pytest.mark.parametrize("name", list(lies(lambda _sha256, _offset: (b"", 0))))
def test_a_peer_that_lies_is_refused_and_nothing_stays_of_it(journey: Journey, name: str) -> None:
    bodies = journey.hub.world.remote_bodies.domains
    bodies[EU] = lies(journey.hand_over)[name]
    assert journey.forward() == (422, media.DS_RESPONSE, b"mds-upload-2")
    assert journey.hub.head() == journey.before
    assert journey.hub.world.pieces.kept == {}
    bodies[EU] = journey.hand_over
    assert is_ok(journey.forward(), journey.message)
    assert journey.said() == [SAID]


# --- who may


def test_without_a_peers_certificate_a_reference_is_to_an_upload_here(journey: Journey) -> None:
    journey.forward()
    journey.hub.world.faults.calls.clear()
    with refused("mds-upload-2"):
        journey.hub.uploading.fetch_reference(journey.reference)
    assert journey.hub.world.calls("pieces") == []


def test_a_peer_cannot_name_what_another_peer_or_a_user_here_sent(journey: Journey) -> None:
    assert is_ok(journey.forward(), journey.message)
    user = User(journey.hub, "carol")
    user.register()
    here = journey.message.encode()
    asked = journey.hub.serve(user.sign(Upload(journey.message.request_sha256, len(here), user.fresh())))
    assert journey.hub.world.uploads.put_in(asked.url, here)

    def nothing(_sha256: bytes, _offset: int) -> tuple[bytes, int]:
        raise LookupError

    journey.hub.world.remote_bodies.domains[ASIA] = nothing
    with refused("mds-upload-2"):
        journey.hub.uploading.fetch_reference(journey.reference, peer(ASIA))
    assert journey.hub.uploading.fetch_reference(journey.reference) == here


def test_what_is_kept_is_for_the_hub_that_was_named(journey: Journey) -> None:
    journey.forward()
    sha256 = journey.message.request_sha256
    for domain in (ASIA, EU):
        with pytest.raises(LookupError):
            journey.guest.world.peer_bodies.read(domain, sha256, 0, 1)
    assert journey.guest.world.peer_bodies.read(US, sha256, 0, 1)[0] == journey.message.encode()[:1]


def test_one_peer_is_bounded_and_another_is_not_for_it(journey: Journey) -> None:
    domains = journey.hub.world.remote_bodies.domains
    domains[ASIA] = domains[EU]
    reference = journey.kept()
    for _ in range(240):
        journey.hub.uploading.fetch_reference(reference, peer(EU))
    with pytest.raises(TooManyRequests) as told:
        journey.hub.uploading.fetch_reference(reference, peer(EU))
    assert told.value.limit == "fetches-from-peer"
    assert journey.hub.uploading.fetch_reference(reference, peer(ASIA)) == journey.message.encode()


# --- time, and deaths


def test_a_slow_way_is_told_as_such_and_each_try_goes_on(journey: Journey) -> None:
    journey.hub.world.remote_bodies.takes = 6 * SECOND
    for pieces in (1, 2):
        with pytest.raises(Unavailable) as told:
            journey.forward()
        assert told.value.retry_after_seconds
        assert len(journey.hub.world.pieces.kept) == pieces
        assert journey.hub.head() == journey.before
        journey.restart()
    assert is_ok(journey.forward(), journey.message)
    assert journey.said() == [SAID]


def test_a_hub_that_cannot_come_for_it_yet_takes_it_later(journey: Journey) -> None:
    del journey.hub.world.remote_bodies.domains[EU]
    with pytest.raises(Unavailable):
        journey.forward()
    assert journey.hub.head() == journey.before
    journey.hub.world.remote_bodies.domains[EU] = journey.hand_over
    assert is_ok(journey.forward(), journey.message)


def deaths() -> Iterator[tuple[str, str, str, int, When]]:
    undisturbed = Journey()
    undisturbed.upload()
    for house in (undisturbed.guest, undisturbed.hub):
        house.world.faults.calls.clear()
    undisturbed.forward()
    sides: tuple[When, When] = ("before", "after")
    for name in ("guest", "hub"):
        seen: dict[Any, int] = {}
        for port, method in getattr(undisturbed, name).world.calls():
            skip = seen[port, method] = seen.get((port, method), -1) + 1
            if port not in {"hints", "alarms"}:
                yield from ((name, port, method, skip, when) for when in sides)


DEATHS = list(deaths())


def test_all_of_the_way_is_among_the_deaths() -> None:
    assert {(name, port, method) for name, port, method, _, _ in DEATHS} >= {
        ("guest", "uploads", "fetch"),
        ("guest", "peer_bodies", "keep"),
        ("guest", "peer_calls", "post"),
        ("hub", "remote_bodies", "fetch"),
        ("hub", "pieces", "load"),
        ("hub", "pieces", "keep"),
        ("hub", "groups", "append"),
    }


@pytest.mark.parametrize(("name", "port", "method", "skip", "when"), DEATHS)
def test_whoever_dies_on_the_way_a_repeat_does_all_of_it_once(
    journey: Journey, name: str, port: str, method: str, skip: int, when: When
) -> None:
    for house in (journey.guest, journey.hub):
        house.world.faults.calls.clear()
    world = getattr(journey, name).world
    world.fail(port, method, when=when, skip=skip)
    with pytest.raises(ConnectionError):
        journey.forward()
    assert world.faults.armed == []
    journey.restart()
    assert is_ok(journey.forward(), journey.message)
    assert journey.hub.head().seq == journey.before.seq + 1
    assert journey.said() == [SAID]
    assert len(journey.hub.world.remote_bodies.asked) <= 4, "one piece at most was fetched twice"
