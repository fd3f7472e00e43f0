"""Links into and out of the bucket, followed as a client does."""

import base64
import hashlib
import urllib.error
import urllib.request
from urllib.parse import parse_qs, urlsplit

import pytest

from chalicelib.storage.delivery_peer_bodies import AwsPeerBodies
from chalicelib.storage.delivery_uploads import AwsUploads
from chalicelib.storage.objects import Objects
from chalicelib.storage.remote_bodies import AwsPieces
from tests.contracts import aws
from tests.fakes.delivery_keys import MemoryDsKeys
from tests.fakes.faults import Faults
from tests.fakes.queueing import QueueWorld

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


# --- what peers come for


class Counted(Objects):
    """A bucket that counts what is written to it, and whose objects are as old as a test says."""

    def __init__(self, bucket: Objects) -> None:
        self.bucket = bucket.bucket
        self.puts = 0
        self.older: float = 0

    def put(self, name: str, data: bytes) -> None:
        self.puts += 1
        super().put(name, data)

    def age(self, name: str) -> float | None:
        age = super().age(name)
        return None if age is None else age + self.older


def test_what_is_kept_for_a_peer_is_written_once_a_day_however_often_it_is_tried(bucket: Objects) -> None:
    counted = Counted(bucket)
    bodies = AwsPeerBodies(counted, MemoryDsKeys(Faults(), "eu.ds.example"))
    for older, puts in ((0, 1), (0, 1), (80_000, 1), (86_500, 2), (0, 2)):
        counted.older = older
        bodies.keep("us.ds.example", DIGEST, BODY)
        assert counted.puts == puts
    assert bodies.read("us.ds.example", DIGEST, 2, 5) == (BODY[2:7], len(BODY))


def test_names_in_the_bucket_say_neither_for_whom_nor_what(bucket: Objects) -> None:
    world = QueueWorld()
    AwsPeerBodies(bucket, MemoryDsKeys(Faults(), "eu.ds.example")).keep("us.ds.example", DIGEST, BODY)
    AwsPieces(bucket, world.digests).keep("us.ds.example", DIGEST, 0, BODY)
    names = sorted(bucket.names("peers/"))
    assert [name.split("/")[1] for name in names] == ["in", "out"]
    assert all("us" not in name and DIGEST.hex() not in name for name in names)


def test_a_new_object_is_young_and_one_that_is_not_there_has_no_age(bucket: Objects) -> None:
    bucket.put("peers/out/x", b"x")
    age = bucket.age("peers/out/x")
    assert age is not None
    assert -2 <= age < 60
    assert bucket.age("peers/out/y") is None
