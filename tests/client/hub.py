"""What the client of a delivery service speaks to in these tests, and who it is."""

import base64
import hashlib
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from chalicelib.client import SignatureKey
from chalicelib.protocol.delivery import media
from chalicelib.protocol.delivery.messages import DSMessage, DSSenderID
from chalicelib.protocol.delivery.parts import Freshness
from chalicelib.protocol.delivery.responses import Answer, DSResponse
from chalicelib.protocol.mls.extensions import BASIC, Credential, ExternalSender
from tests.protocol.delivery.requests import DOMAIN
from tests.storage.tls_server import Asked, Reply

LEAF = DSSenderID.leaf(1)
KEY = SignatureKey(0xF057, b"\x05" * 32)
NONCE = bytes(range(16))
FRESH = Freshness(1_700_000_000_500, NONCE, DOMAIN)
EXTERNAL = ExternalSender(b"k" * 32, Credential(BASIC, b"eu.ds.example"))
MEDIA = ("Content-Type", media.DS_RESPONSE)
Serve = Callable[[Answer], list[DSMessage]]
PRIVATE = X25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = PRIVATE.public_key().public_bytes_raw()


def reply(asked: Asked, answer: Answer, status: int = 200) -> Reply:
    digest = hashlib.sha256(asked.body).digest()
    return Reply(status, DSResponse(digest, answer).encode(), (MEDIA,))


def description(domain: str) -> Reply:
    key = base64.urlsafe_b64encode(PUBLIC).rstrip(b"=").decode()
    body = (
        f'{{"domain": "{domain}", "origin": "https://a.example", "public_origin": "https://b.example",'
        f' "queue_config_key": {{"epoch": 1, "key": "{key}"}}, "state_key": {{"epoch": 2, "key": "{key}"}}}}'
    )
    return Reply(200, body.encode())
