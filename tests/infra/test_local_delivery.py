"""The delivery services of the local run from outside, with `endpoints.json`."""

import hashlib
import itertools
import json
import os
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chalicelib.client import ApClient, ApiProblem
from chalicelib.client.ds_requests import DeliveryRefused
from chalicelib.client.mls_identity import Identity
from chalicelib.client.queue_client import Queue, QueueClient, QueueRefused
from chalicelib.protocol.base64url import encode_base64url
from chalicelib.protocol.delivery import media
from chalicelib.protocol.delivery.directory import AddPackage
from chalicelib.protocol.delivery.messages import ROUTES
from chalicelib.protocol.delivery.parts import Domain
from chalicelib.protocol.delivery.queueing import Delivery, EnqueueRequest
from chalicelib.protocol.delivery.responses import DSError, DSErrorCode, DSResponse
from chalicelib.protocol.mls.framing import MLSMessage
from chalicelib.protocol.mls.welcome import Welcome
from chalicelib.protocol.tls import decode
from chalicelib.services.delivery.enclosures import LARGEST_REQUEST
from infra.local.authority import Authority
from infra.local.devices import Device
from infra.local.large_group import SharedQueue
from infra.local.own_device import OwnDevice
from infra.local.rine_device import RineDevice
from infra.local.services import Services
from tests.infra.conftest import REPOSITORY, Run
from tests.infra.outsider import Answer, Outsider, send

EU, US = "eu.ds.example", "us.ds.example"


@pytest.fixture
def services(world: Outsider) -> Services:
    return Services.of(world.said)


@pytest.fixture
def laptop(world: Outsider, services: Services) -> Iterator[OwnDevice]:
    own = device(world, services, "eu", "alpha")
    yield own
    own.close()


@pytest.fixture
def phone(world: Outsider, services: Services, tmp_path: Path) -> Iterator[RineDevice]:
    device = RineDevice(services, "us", "phone", tmp_path)
    register(world, "gamma", device)
    yield device
    device.close()


def device(world: Outsider, services: Services, home: str, ap: str) -> OwnDevice:
    own = OwnDevice(services, home, f"mimi://{ap}.example/d/{os.urandom(4).hex()}/own")
    register(world, ap, own)
    return own


def register(world: Outsider, name: str, device: Device) -> dict[str, object]:
    ap = world.said["aps"][name]
    said = ap["ds"]
    url = world.said["ds"][ap["gp"]]["url"]
    client = ApClient(
        url, said["client_id"], said["client_secret"], cert=ap["cert"], key=ap["key"], ca=world.said["ca"]
    )
    user = device.user.decode() if device.user.startswith(b"mimi:") else encode_base64url(device.user)
    key = encode_base64url(device.signer.signature_key)
    try:
        return client.call("POST", "/ds/v1/users", {"user": user, "cipher_suite": device.suite, "signature_key": key})
    finally:
        client.close()


def post(
    world: Outsider, path: str, body: bytes, media_type: str, ds: str = "eu", accept: str = media.DS_RESPONSE
) -> Answer:
    """Call the door that asks for no certificate."""
    url = world.said["ds"][ds]["public_url"] + path
    return send("POST", url, world.context(), body, Content_Type=media_type, Accept=accept)


def refusal(answer: Answer, body: bytes) -> DSError:
    assert answer.headers["content-type"] == media.DS_RESPONSE
    response = decode(DSResponse.read, answer.body)
    assert response.request_sha256 == hashlib.sha256(body).digest()
    assert isinstance(response.body, DSError)
    return response.body


def test_a_group_across_both_regions_from_creation_to_fetching(laptop: OwnDevice, phone: RineDevice) -> None:
    phone.publish(2)
    named = laptop.hub(EU).request_group_id(laptop.as_user)
    laptop.create(named.group_id, EU, named.external_sender)
    laptop.add(named.group_id, laptop.claim(US, [phone.user]))
    phone.reach(named.group_id, 1)
    phone.say(named.group_id, b"hello")
    laptop.hear(named.group_id, b"hello")
    laptop.say(named.group_id, b"good day")
    phone.hear(named.group_id, b"good day")
    assert laptop.tree_hash(named.group_id) == phone.tree_hash(named.group_id)
    phone.close()  # And so acknowledges.
    assert phone.queue.fetch().acknowledged >= 1


def grouped(laptop: OwnDevice, *others: Device) -> bytes:
    """Make a group at laptop's service, with others in it from epoch 1 on."""
    named = laptop.hub(EU).request_group_id(laptop.as_user)
    laptop.create(named.group_id, EU, named.external_sender)
    laptop.add(named.group_id, [other.offer() for other in others])
    for other in others:
        other.reach(named.group_id, 1)
    return named.group_id


@pytest.mark.parametrize("size", [1_000_000, 3_200_000, 7_000_000])
def test_a_large_message_arrives_byte_for_byte_in_both_regions(laptop: OwnDevice, phone: RineDevice, size: int) -> None:
    """What no request can hold is uploaded at home: the hub fetches what a guest says, the guest's service its row."""
    group_id = grouped(laptop, phone)
    for speaker, listener in ((phone, laptop), (laptop, phone)):
        data = os.urandom(size)
        speaker.say(group_id, data)
        listener.hear(group_id, data)
        assert len(listener.heard) == 1


def test_a_guests_large_commit_and_welcome_arrive_in_both_regions(
    world: Outsider, services: Services, laptop: OwnDevice, phone: RineDevice
) -> None:
    """The names of those who are added make it so; one joiner takes the tree from the Welcome, one from the hub."""
    desk, late = device(world, services, "us", "gamma"), device(world, services, "eu", "alpha")
    queues = [SharedQueue(services, home) for home in ("eu", "us") * 12]
    group_id = grouped(laptop, desk)
    offered = [phone.offer(), late.offer()]
    for number, queue in zip(range(400), itertools.cycle(queues)):
        identity = Identity.basic(1, b"mimi://crowd.example/d/%d/" % number + b"n" * 8_000, os.urandom)
        package = identity.key_package(os.urandom, int(time.time())).public
        offered.append(AddPackage.sign(package, queue.config(), identity.sign))
    commit = desk.prepare_add(group_id, [one.key_package for one in offered], tree_in_welcome=True)
    sizes = [len(one.encode()) for one in (commit.commit, *commit.welcomes) if isinstance(one, MLSMessage)]
    assert len(sizes) == 2
    assert min(sizes) > LARGEST_REQUEST
    desk.send_add(group_id, commit, offered)
    for one in (laptop, phone, late):
        one.reach(group_id, 2)
    for queue in queues:
        queue.await_message(Welcome)
    assert len({one.tree_hash(group_id) for one in (laptop, desk, phone, late)}) == 1
    phone.say(group_id, b"hello")
    for one in (laptop, desk, late):
        one.hear(group_id, b"hello")
    for queue in queues:
        queue.close()
    desk.close()
    late.close()


def test_a_group_id_is_taken_once(laptop: OwnDevice) -> None:
    named = laptop.hub(EU).request_group_id(laptop.as_user)
    laptop.create(named.group_id, EU, named.external_sender)
    with pytest.raises(DeliveryRefused) as refused:
        laptop.create(named.group_id, EU, named.external_sender)
    assert (refused.value.status, refused.value.check) == (409, "mds-create-1")


def test_the_least_program_of_an_integrator_holds(run: Run) -> None:
    command = [sys.executable, "-m", "infra.local.hello", str(run.said.parent)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("bob read: Hello, Bob.\nalice read: Hello, Alice.\n", 0), done.stderr


def test_an_operator_works_on_a_stage_of_a_local_run(run: Run) -> None:
    command = [sys.executable, "-m", "infra.operator", "--run", str(run.said.parent), "--stage", "ds-eu"]
    done = subprocess.run([*command, "show", "alpha"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["domain"] == "alpha.example"


def test_a_user_needs_its_own_provider(world: Outsider, services: Services) -> None:
    stranger = OwnDevice(services, "eu", f"mimi://beta.example/d/{os.urandom(4).hex()}/laptop")
    with pytest.raises(ApiProblem) as refused:
        register(world, "alpha", stranger)
    assert refused.value.status == 403
    with pytest.raises(DeliveryRefused) as unknown:
        stranger.hub(EU).request_group_id(stranger.as_user)
    assert unknown.value.code == DSErrorCode.NOT_AUTHENTICATED
    stranger.close()


def test_what_is_no_operation_is_not_found(world: Outsider) -> None:
    answer = post(world, "/ds/v1/make-coffee", b"please", media.DS_MESSAGE)
    assert (answer.status, answer.json["type"]) == (404, "urn:glados:problem:not-found")
    answer = post(world, f"/ds/v1/hubs/{EU}/make-coffee", b"please", media.DS_MESSAGE, ds="us")
    assert answer.status == 404
    assert refusal(answer, b"please").code == DSErrorCode.REFUSED
    answer = post(world, "/ds/v1/hubs/nowhere.example/send-message", b"please", media.DS_MESSAGE, ds="us")
    assert answer.status == 404


@pytest.mark.parametrize("operation", sorted(ROUTES))
def test_garbage_is_refused_as_a_request_is(world: Outsider, operation: str) -> None:
    answer = post(world, f"/ds/v1/{operation}", b"garbage", media.DS_MESSAGE)
    assert answer.status == 400
    assert refusal(answer, b"garbage").code == DSErrorCode.MALFORMED


def test_another_media_type_is_refused_as_a_request_is(world: Outsider) -> None:
    answer = post(world, "/ds/v1/send-message", b"{}", "application/json")
    assert answer.status == 415
    assert refusal(answer, b"{}").code == DSErrorCode.MALFORMED
    answer = post(world, "/qs/v1/fetch", b"{}", "application/json", accept="application/problem+json")
    assert (answer.status, answer.json["type"]) == (415, "urn:glados:problem:unsupported-media-type")


def test_a_body_that_is_too_large_is_refused_by_whoever_sees_it_first(world: Outsider) -> None:
    most, more = bytes(4_500_000), bytes(4_500_001)
    assert refusal(post(world, "/ds/v1/commit", most, media.DS_MESSAGE), most).code == DSErrorCode.MALFORMED
    answer = post(world, "/ds/v1/commit", more, media.DS_MESSAGE)
    assert answer.status == 413
    assert refusal(answer, more).code == DSErrorCode.TOO_LARGE
    assert post(world, "/ds/v1/commit", bytes(10 << 20 | 1), media.DS_MESSAGE).status == 413


def test_between_delivery_services_a_certificate_is_asked_for(world: Outsider, tmp_path: Path) -> None:
    """The public door has none; a provider's is no peer's; and one of another authority does not get in at all."""
    fanout = EnqueueRequest(Domain(US), b"group", 0, 0, 1, 0, (Delivery(b"message", ()),)).encode()
    for path, body, kind in (
        ("/qs/v1/enqueue", fanout, media.DS_FANOUT),
        ("/ds/v1/federation/key-packages", b"", media.KEY_PACKAGES),
    ):
        answer = post(world, path, body, kind)
        assert (answer.status, answer.json["type"]) == (401, "urn:glados:problem:client-certificate-required")
        url = world.said["ds"]["eu"]["url"] + path
        for stranger in (world.said["aps"]["alpha"], world.said["peers"]["observer"]):
            answer = send("POST", url, world.context(stranger), body, Content_Type=kind)
            assert (answer.status, answer.json["type"]) == (401, "urn:glados:problem:unknown-certificate")
        foreign = Authority(tmp_path / kind.replace("/", "-")).issue_client("ds-us")
        context = world.context({"cert": foreign.cert, "key": foreign.key})
        with pytest.raises((urllib.error.URLError, ssl.SSLError, ConnectionError)):
            send("POST", url, context, body, Content_Type=kind)


def test_a_long_poll_returns_when_something_comes(laptop: OwnDevice, phone: RineDevice) -> None:
    asking = threading.Event()

    def wait() -> tuple[int, float, float]:
        began = time.monotonic()
        asking.set()
        page = phone.queue.fetch(wait=20)
        return len(page.entries), began, time.monotonic()

    named = laptop.hub(EU).request_group_id(laptop.as_user)
    laptop.create(named.group_id, EU, named.external_sender)
    package = phone.offer()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait)
        assert asking.wait(30)
        time.sleep(1)  # It is to have reached the service; nobody outside is told when it has.
        assert not waiting.done()
        adds = time.monotonic()
        laptop.add(named.group_id, [package])
        entries, began, ended = waiting.result(60)
    assert entries == 1
    assert began < adds < ended
    assert ended - began < 15


def test_a_long_poll_of_an_empty_queue_ends(phone: RineDevice) -> None:
    began = time.monotonic()
    assert phone.queue.fetch(wait=1).entries == ()
    assert 0.9 < time.monotonic() - began < 15


def test_a_queue_is_read_by_its_key_only(services: Services, phone: RineDevice) -> None:
    thief = Queue.draw(1, os.urandom)
    stolen = Queue(phone.queue.queue.queue_id, thief.enqueue_token, thief.key)
    client = QueueClient(services.urls["us"], US, stolen, ca=services.ca)
    for ask in (client.fetch, client.delete, lambda: client.acknowledge(1)):
        with pytest.raises(QueueRefused) as refused:
            ask()
        assert refused.value.status == 403
    client.close()
    assert phone.queue.fetch().entries == ()
