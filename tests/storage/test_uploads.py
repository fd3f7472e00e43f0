"""Links into and out of the bucket, followed as a client does."""

import base64
import hashlib
import urllib.error
import urllib.request
from urllib.parse import parse_qs, urlsplit

import pytest

from chalicelib.storage.delivery_uploads import AwsUploads
from chalicelib.storage.objects import Objects
from tests.contracts import aws

BODY = b"a large body"
DIGEST = hashlib.sha256(BODY).digest()


@pytest.fixture
def bucket() -> Objects:
    return Objects(aws.new_stage("delivery"), "objects")


def put(url: str, body: bytes, digest: bytes = DIGEST) -> int:
    headers = {"x-amz-checksum-sha256": base64.b64encode(digest).decode(), "Content-Length": str(len(body))}
    request = urllib.request.Request(url, body, headers, method="PUT")
    try:
        with urllib.request.urlopen(request) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_link_in_is_signed_for_one_length_and_one_digest(bucket: Objects) -> None:
    query = parse_qs(urlsplit(AwsUploads(bucket).link_in(DIGEST, len(BODY))).query)
    assert query["X-Amz-SignedHeaders"] == ["content-length;host;x-amz-checksum-sha256"]
    assert query["X-Amz-Expires"] == ["900"]


def test_what_was_put_is_fetched(bucket: Objects) -> None:
    uploads = AwsUploads(bucket)
    assert put(uploads.link_in(DIGEST, len(BODY)), BODY) == 200
    assert uploads.fetch(DIGEST, len(BODY)) == BODY


@pytest.mark.parametrize("other", [b"another body", b"a larger body than it was said", b""], ids=len)
def test_what_is_not_what_was_said_is_never_fetched(bucket: Objects, other: bytes) -> None:
    uploads = AwsUploads(bucket)
    put(uploads.link_in(DIGEST, len(BODY)), other, hashlib.sha256(other).digest())
    with pytest.raises(LookupError):
        uploads.fetch(DIGEST, len(BODY))


def test_whatever_stands_in_the_bucket_is_checked(bucket: Objects) -> None:
    uploads = AwsUploads(bucket)
    name = f"uploads/in/{DIGEST.hex()}-{len(BODY)}"
    for content in (b"b" * len(BODY), BODY + b"!", b""):
        bucket.put(name, content)
        with pytest.raises(LookupError):
            uploads.fetch(DIGEST, len(BODY))
    bucket.put(f"uploads/in/{DIGEST.hex()}-{len(BODY) + 1}", BODY)
    with pytest.raises(LookupError):
        uploads.fetch(DIGEST, len(BODY) + 1)
    bucket.put(name, BODY)
    assert uploads.fetch(DIGEST, len(BODY)) == BODY


def test_a_link_out_leads_to_what_was_put_there(bucket: Objects) -> None:
    url = AwsUploads(bucket).put_out(BODY)
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == BODY
    assert parse_qs(urlsplit(url).query)["X-Amz-Expires"] == ["86400"]
