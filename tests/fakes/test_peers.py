"""GPs in one process: they reach each other as over the wire, and not at all when they are down."""

import dataclasses
import hashlib

import pytest

from chalicelib.errors import DecodeError, FilterVersionGone, Refusal
from chalicelib.protocol.glados.federation_api import ClaimAnswer, Notification, SubscriptionAnswer, SubscriptionRequest
from chalicelib.protocol.glados.identifiers import Sii
from chalicelib.protocol.glados.mappings import Mapping, MappingId
from chalicelib.protocol.glados.trust import Peer, PeerKeys
from chalicelib.services.ports import Refused, Unreachable
from tests.contracts.examples import ALICE, DRAMA, NOW, mapping
from tests.fakes.faults import Misuse
from tests.fakes.peers import STATUSES, InProcessGp, status_of
from tests.fakes.world import World

US = Peer(gp="us", name="Us", origins=["https://us.example"], thumbprints=["u" * 43], keys=PeerKeys())
THEIRS = dataclasses.replace(mapping(), provider=dataclasses.replace(mapping().provider, gp="us"), sequence=3)


@pytest.fixture
def world() -> World:
    return World(gp="eu")


def answering(*held: Mapping) -> InProcessGp:
    return InProcessGp(query=lambda caller, sii, asker: held)


def test_a_peers_mappings_arrive_as_they_would_over_the_wire(world: World) -> None:
    asked: list[tuple[str, Sii, str]] = []

    def query(caller: str, sii: Sii, asker: str) -> list[Mapping]:
        asked.append((caller, sii, asker))
        return [THEIRS]

    world.peer_client.gps["us"] = InProcessGp(query=query)
    ((outcome, (found,)),) = world.peer_client.ask([US], ALICE, "pseudonym", NOW).values()
    assert outcome == "answered"
    assert asked == [("eu", ALICE, "pseudonym")]
    assert found == dataclasses.replace(THEIRS, mapping_id=MappingId(""), sequence=0)


@pytest.mark.parametrize("trouble", ["down", "unknown", "raises", "answers for another"])
def test_a_peer_that_gives_no_answer_is_unreachable(world: World, trouble: str) -> None:
    def broken(caller: str, sii: Sii, asker: str) -> list[Mapping]:
        raise ConnectionError

    match trouble:
        case "down":
            world.peer_client.gps["us"] = answering(THEIRS)
            world.peer_client.down.add("us")
        case "raises":
            world.peer_client.gps["us"] = InProcessGp(query=broken)
        case "answers for another":
            world.peer_client.gps["us"] = answering(mapping())
    assert world.peer_client.ask([US], ALICE, "pseudonym", NOW) == {"us": ("unreachable", ())}


def test_a_peer_that_keeps_failing_is_skipped_unasked(world: World) -> None:
    world.peer_client.gps["us"] = answering(THEIRS)
    world.peer_client.skipped.add("us")
    assert world.peer_client.ask([US], ALICE, "pseudonym", NOW) == {"us": ("skipped", ())}
    assert world.peer_client.asked == []


@pytest.mark.parametrize("kind", ["inbound", "twice", "test number"])
def test_a_question_that_must_not_be_asked_fails_the_test(world: World, kind: str) -> None:
    inbound = Peer(
        gp="in",
        name="In",
        origins=["https://in.example"],
        thumbprints=["i" * 43],
        keys=PeerKeys(),
        direction="inbound",
    )
    peers = {"inbound": [inbound], "twice": [US, US], "test number": [US]}[kind]
    with pytest.raises(Misuse):
        world.peer_client.ask(peers, DRAMA if kind == "test number" else ALICE, "pseudonym", NOW)


def test_a_peers_refusal_arrives_as_its_status(world: World) -> None:
    def gone(caller: str, request: SubscriptionRequest) -> SubscriptionAnswer:
        raise FilterVersionGone("the version is retired")

    world.peer_client.gps["us"] = InProcessGp(subscribe=gone)
    with pytest.raises(Refused) as refused:
        world.peer_client.subscribe(US, SubscriptionRequest(version=1, callback="https://eu.example/"))
    assert refused.value.status == 410


def test_every_kind_of_refusal_has_a_status() -> None:
    general = [kind for kind in Refusal.__subclasses__() if kind.__module__ == Refusal.__module__]
    unmapped = [kind for kind in general if not issubclass(kind, tuple(STATUSES))]
    assert {kind.__name__ for kind in unmapped} <= {
        "MethodNotAllowed",
        "UnsupportedMediaType",
        "NotAcceptable",
        "WrongCode",
        "TokenRefused",
        "InvalidHandshake",
        "UnsupportedCipherSuite",
    }
    assert status_of(DecodeError("malformed")) == 422


def test_a_body_that_no_peer_would_take_does_not_arrive(world: World) -> None:
    world.peer_client.gps["us"] = InProcessGp(claim=lambda caller, claim: ClaimAnswer(state="applied"))
    assert world.peer_client.claim(US, "a.b.c").state == "applied"
    with pytest.raises(Misuse):
        world.peer_client.claim(US, "a" * 16_385)


def test_a_notification_goes_to_the_peers_own_origin_only(world: World) -> None:
    notes: list[tuple[str, Notification]] = []
    world.peer_client.gps["us"] = InProcessGp(notify=lambda caller, note: notes.append((caller, note)))
    note = Notification(gp="eu", version=1, seq=1, at="2026-01-01T00:00:00.000Z", head="a.b.c", bits=[1])
    world.peer_client.notify(US, "https://us.example/notify", note)
    assert notes == [("eu", note)]
    with pytest.raises(DecodeError):
        world.peer_client.notify(US, "https://evil.example/notify", note)


def test_a_download_is_what_was_promised_or_nothing(world: World) -> None:
    world.peer_client.gps["us"] = InProcessGp(download=lambda caller, path: b"data")
    digest = hashlib.sha256(b"data").hexdigest()
    assert world.peer_client.download(US, "/federation/v1/filter/1/raw", 4, digest) == b"data"
    for size, sha256 in ((5, digest), (4, "0" * 64)):
        with pytest.raises(Unreachable):
            world.peer_client.download(US, "/federation/v1/filter/1/raw", size, sha256)
    with pytest.raises(Unreachable):
        world.peer_client.filter(US)


def test_a_webhook_answers_as_scripted_and_then_well(world: World) -> None:
    url = "https://alpha.example/hook"
    world.webhook_sender.script(url, 500, None, 410)
    assert world.webhook_sender.post(url, {}, b"1") == 500
    with pytest.raises(Unreachable):
        world.webhook_sender.post(url, {}, b"2")
    assert [world.webhook_sender.post(url, {}, body) for body in (b"3", b"4")] == [410, 200]
    assert [post.body for post in world.webhook_sender.posts] == [b"1", b"2", b"3", b"4"]


def test_an_inbox_shows_each_address_its_code(world: World) -> None:
    world.messenger.send_sms("+4915123456789", "012345 is your code.\n\n@alpha.example #012345")
    world.messenger.send_email("alice@example.org", "Your code", "543210 is your code.")
    assert [message.code for message in world.messenger.to("+4915123456789")] == ["012345"]
    assert [message.code for message in world.messenger.to("alice@example.org")] == ["543210"]
