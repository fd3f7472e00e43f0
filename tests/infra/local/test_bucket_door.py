"""S3 over TLS: links lead to it, large bodies pass it whole, and what was signed is what arrives."""

import base64
import hashlib
import os
from collections.abc import Iterator
from typing import Any

import botocore.config
import botocore.session
import pytest

from chalicelib.client.ds_https import Https, InvalidAnswer
from chalicelib.protocol.delivery.parts import Reference
from infra.local.authority import Authority, server_context
from infra.local.bucket_door import BucketDoor
from infra.local.emulator import Emulator
from tests.infra.local.conftest import REGION

BUCKET = "behind-the-door"


@pytest.fixture(scope="module")
def door(authority: Authority, emulator: Emulator) -> Iterator[BucketDoor]:
    door = BucketDoor(emulator.port, server_context(authority.issue_server("buckets")))
    door.start()
    yield door
    door.stop()


@pytest.fixture
def s3(aws: Emulator, door: BucketDoor, authority: Authority) -> Iterator[Any]:
    config = botocore.config.Config(signature_version="s3v4")
    client: Any = botocore.session.get_session().create_client(
        "s3", REGION, endpoint_url=door.url, verify=str(authority.cert), config=config
    )
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    yield client
    client.delete_object(Bucket=BUCKET, Key="name")
    client.delete_bucket(Bucket=BUCKET)
    client.close()


def test_what_goes_in_by_a_link_comes_out_by_another(s3: Any, authority: Authority) -> None:
    body = os.urandom(7_000_001)
    digest = hashlib.sha256(body).digest()
    named = {"Bucket": BUCKET, "Key": "name"}
    signed = {**named, "ContentLength": len(body), "ChecksumSHA256": base64.b64encode(digest).decode()}
    https = Https("https://nowhere.example", str(authority.cert))
    https.put(s3.generate_presigned_url("put_object", signed), body)
    link = s3.generate_presigned_url("get_object", named)
    assert link.startswith("https://")
    assert https.resolve(Reference(link, digest, len(body))) == body
    https.close()


def test_a_link_takes_nothing_else_than_it_was_signed_for(s3: Any, authority: Authority) -> None:
    signed = {"Bucket": BUCKET, "Key": "name", "ContentLength": 4, "ChecksumSHA256": "AAAA"}
    https = Https("https://nowhere.example", str(authority.cert))
    with pytest.raises(InvalidAnswer, match="403: the upload was not taken"):
        https.put(s3.generate_presigned_url("put_object", signed), b"else")
    https.close()


def test_a_service_puts_and_gets_what_is_large(s3: Any) -> None:
    body = os.urandom(5_000_000)
    s3.put_object(Bucket=BUCKET, Key="name", Body=body)
    assert s3.get_object(Bucket=BUCKET, Key="name")["Body"].read() == body
    piece = s3.get_object(Bucket=BUCKET, Key="name", Range="bytes=4999990-")
    assert piece["Body"].read() == body[4_999_990:]
