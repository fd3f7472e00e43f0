"""What a delivery service says of itself, and whose keys are whose."""

from collections.abc import Callable
from pathlib import Path

import pytest
import rine_mls

from chalicelib.client import (
    DeliveryClient,
    InvalidAnswer,
    ServiceKey,
    SignatureKey,
    group_update,
    seal_state_key,
)
from chalicelib.protocol.crypto import cipher_suite
from chalicelib.protocol.delivery import group_updates
from chalicelib.protocol.delivery.group_updates import AddedClient
from chalicelib.protocol.delivery.messages import DSMessage, DSSenderID
from chalicelib.protocol.delivery.responses import (
    Ok,
)
from chalicelib.protocol.delivery.sealed import STATE_KEY, open_sealed
from chalicelib.protocol.mls.framing import decode_message
from chalicelib.protocol.mls.key_package import KeyPackage
from tests.client.hub import KEY, PRIVATE, PUBLIC, description
from tests.protocol.delivery.requests import DOMAIN, QUEUE
from tests.protocol.mls.story import GROUP_ID
from tests.storage.tls_server import Reply, Server


def test_a_service_says_who_it_is_and_a_group_key_is_sealed_to_it(client: DeliveryClient, server: Server) -> None:
    server.answer = lambda _: description("eu.ds.example")
    found = client.describe()
    assert (found.domain, found.origin, found.public_origin) == (
        "eu.ds.example",
        "https://a.example",
        "https://b.example",
    )
    assert found.queue_config_key == ServiceKey(1, PUBLIC)
    sealed = seal_state_key(found.hub_key, GROUP_ID, b"k" * 32)
    assert sealed.key_epoch == 2
    assert open_sealed(PRIVATE.private_bytes_raw(), STATE_KEY, GROUP_ID, sealed) == b"k" * 32


@pytest.mark.parametrize("answer", [Reply(404), Reply(200, b"{}"), Reply(200, b"["), Reply(200, b"[]")], ids=str)
def test_what_is_no_description_is_none(client: DeliveryClient, server: Server, answer: Reply) -> None:
    server.answer = lambda asked: answer
    with pytest.raises(InvalidAnswer):
        client.describe()


def test_a_private_key_does_not_show() -> None:
    assert "\\x05" not in repr(KEY)


@pytest.mark.parametrize("suite", [rine_mls.CIPHER_SUITE_CLASSICAL, rine_mls.CIPHER_SUITE_XWING])
def test_another_librarys_client_needs_its_seed_and_its_bytes_only(
    server: Server, ca: str, tmp_path: Path, serve: Callable[..., list[DSMessage]], suite: int
) -> None:
    seed = b"\x06" * 32
    alice = rine_mls.MlsClient(str(tmp_path / "alice"), seed, suite)
    bob = rine_mls.MlsClient(str(tmp_path / "bob"), b"\x07" * 32, suite)
    offered = bob.generate_key_package()
    own = alice.generate_key_package()
    made = alice.create_group_with_members(GROUP_ID, [offered]).last_commit()
    assert made is not None
    key = SignatureKey(suite, seed)
    package = decode_message(own).body
    assert isinstance(package, KeyPackage)
    assert package.leaf_node.signature_key == key.signature_key
    taken = serve(Ok(), key)
    client = DeliveryClient(server.origin, DOMAIN, key, ca=ca)
    client.create_group(DSSenderID.leaf(0), GROUP_ID, own, QUEUE, made.group_info)
    invited = decode_message(offered).body
    assert isinstance(invited, KeyPackage)
    added = AddedClient(invited.reference(cipher_suite(suite)), QUEUE)
    update = group_update(made.commit, made.group_info)
    client.add_users(DSSenderID.leaf(0), update, made.welcomes, [added])
    assert [message.request.group_id for message in taken] == [GROUP_ID, GROUP_ID]
    body = taken[1].request.body
    assert isinstance(body, group_updates.AddUsers)
    assert body.group_update.commit.encode() == made.commit
    assert [welcome.encode() for welcome in body.welcomes] == made.welcomes
