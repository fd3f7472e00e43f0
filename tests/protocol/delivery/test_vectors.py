"""The wire, byte for byte, as this project wrote it down once: it is not to change by accident.

`python -m tests.protocol.delivery.test_vectors` writes the files anew, which is a change of the wire.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from chalicelib.protocol.crypto import cipher_suite
from chalicelib.protocol.delivery.group_messages import SendMessage
from chalicelib.protocol.delivery.messages import DSMessage, DSRequest, DSSenderID, sign_message
from chalicelib.protocol.delivery.parts import BodyReference, Domain, Freshness
from chalicelib.protocol.delivery.queueing import ClientQueueConfig, Delivery, EnqueueRequest, QueueConfig
from chalicelib.protocol.delivery.responses import DSError, DSErrorCode, DSResponse
from chalicelib.protocol.delivery.sealed import STATE_KEY, Sealed, open_sealed, seal_to
from chalicelib.protocol.mls.framing import ContentType, MLSMessage, PrivateMessage
from chalicelib.protocol.tls import decode

FOLDER = Path(__file__).parents[2] / "vectors" / "delivery"
SUITE = cipher_suite(1)
SIGNATURE_PRIVATE = bytes(range(32))
HPKE_PRIVATE = bytes(range(32, 64))
HUB, GUEST = Domain("eu.ds.example"), Domain("us.ds.example")
GROUP_ID = bytes(range(64, 80))
CONFIG = QueueConfig(bytes(range(16)), bytes(range(16, 32)))


def vector(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return found


def octets(name: str, member: str) -> bytes:
    return bytes.fromhex(vector(name)[member])


def message(sealed_state_key: Sealed) -> DSMessage:
    private = MLSMessage(PrivateMessage(GROUP_ID, 7, ContentType.APPLICATION, b"", b"\xaa" * 28, b"\xbb" * 40))
    body = SendMessage(private, Freshness(1_763_683_200_000, bytes(range(80, 96)), HUB), sealed_state_key)
    return sign_message(
        DSSenderID.leaf(3),
        DSRequest(body),
        lambda label, content: SUITE.sign_with_label(SIGNATURE_PRIVATE, label, content),
    )


def response(request_sha256: bytes) -> DSResponse:
    return DSResponse(request_sha256, DSError(DSErrorCode.STALE_EPOCH, current_epoch=8))


def enqueue(config: Sealed) -> EnqueueRequest:
    recipients = (ClientQueueConfig(GUEST, config),)
    deliveries = Delivery(b"a message", recipients), Delivery(BodyReference(bytes(range(96, 128)), 5_000_000), ())
    return EnqueueRequest(HUB, GROUP_ID, 0, 41, 42, 1_763_683_201_234, deliveries)


def test_a_ds_message_is_what_was_written_down() -> None:
    encoded = octets("ds_message", "message")
    found = decode(DSMessage.read, encoded)
    assert found.encode() == encoded
    sealed_state_key = found.request.sealed_state_key
    assert sealed_state_key is not None
    assert message(sealed_state_key).encode() == encoded
    assert found.signed == octets("ds_message", "signed")
    assert found.request_sha256 == octets("ds_message", "request_sha256")
    found.verify(SUITE, octets("ds_message", "signature_key"))
    opened = open_sealed(octets("ds_message", "hpke_private"), STATE_KEY, GROUP_ID, sealed_state_key)
    assert opened == octets("ds_message", "state_key")


def test_a_ds_response_is_what_was_written_down() -> None:
    encoded = octets("ds_response", "response")
    assert response(octets("ds_response", "request_sha256")).encode() == encoded
    assert decode(DSResponse.read, encoded) == response(octets("ds_message", "request_sha256"))


def test_an_enqueue_request_is_what_was_written_down() -> None:
    encoded = octets("enqueue_request", "request")
    found = decode(EnqueueRequest.read, encoded)
    config = found.deliveries[0].recipients[0]
    assert enqueue(config.sealed_config).encode() == encoded
    assert config.open(octets("enqueue_request", "hpke_private")) == CONFIG
    assert config.open(octets("enqueue_request", "hpke_private")).encode() == octets("enqueue_request", "queue_config")


@pytest.mark.parametrize("name", ["ds_message", "ds_response", "enqueue_request"])
def test_a_vector_says_where_it_comes_from(name: str) -> None:
    assert vector(name)["provenance"].startswith("made by this project on 2026-")


def write(day: str) -> None:
    """Write the vectors anew."""
    public = X25519PrivateKey.from_private_bytes(HPKE_PRIVATE).public_key().public_bytes_raw()
    sent = message(seal_to(public, 5, STATE_KEY, GROUP_ID, b"\xcc" * 32))
    config = ClientQueueConfig.seal(GUEST, 2, public, CONFIG).sealed_config
    files: dict[str, dict[str, str | bytes]] = {
        "ds_message": {
            "about": "send-message by leaf 3 with a state key, signed by an Ed25519 key (cipher suite 1)",
            "signature_private": SIGNATURE_PRIVATE,
            "signature_key": SUITE.signatures.public_key(SIGNATURE_PRIVATE),
            "hpke_private": HPKE_PRIVATE,
            "state_key": b"\xcc" * 32,
            "message": sent.encode(),
            "signed": sent.signed,
            "request_sha256": sent.request_sha256,
        },
        "ds_response": {
            "about": "stale_epoch, the current epoch being 8, to the message in ds_message.json",
            "request_sha256": sent.request_sha256,
            "response": response(sent.request_sha256).encode(),
        },
        "enqueue_request": {
            "about": "one message for one queue, and a reference to a larger one for none",
            "hpke_private": HPKE_PRIVATE,
            "queue_config": CONFIG.encode(),
            "request": enqueue(config).encode(),
        },
    }
    for name, members in files.items():
        content = {"provenance": f"made by this project on {day}", **members}
        shown = {member: value.hex() if isinstance(value, bytes) else value for member, value in content.items()}
        (FOLDER / f"{name}.json").write_text(json.dumps(shown, indent=2) + "\n")


if __name__ == "__main__":
    write(sys.argv[1])
