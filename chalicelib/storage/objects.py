"""Objects in a bucket of the stage, encrypted with its key; each is named by what it holds and never changes."""

import datetime
from collections.abc import Iterable, Iterator
from email.utils import parsedate_to_datetime

from botocore.exceptions import ClientError

from chalicelib.storage import clients

LINK_SECONDS = 300
_MOST_IN_DELETE = 1000
_GONE = frozenset({"NoSuchKey", "404", "NotFound", "InvalidRange"})


class Objects:
    """One bucket of a stage."""

    def __init__(self, stage: str, name: str) -> None:
        self.bucket = f"glados-{stage}-{name}"

    def put(self, name: str, data: bytes) -> None:
        """Write an object, durably. Written again it has the same bytes and counts as new, so that it lives longer."""
        clients.client("s3", 3).put_object(Bucket=self.bucket, Key=name, Body=data)

    def get(self, name: str, at_most: int | None = None) -> bytes:
        """Return an object's bytes; raise `LookupError` where there is none, or it has more bytes than that."""
        try:
            answer = clients.client("s3", 3).get_object(Bucket=self.bucket, Key=name)
        except ClientError as error:
            if error.response["Error"]["Code"] in _GONE:
                raise LookupError("there is no such object") from error
            raise
        if at_most is not None and answer["ContentLength"] > at_most:
            answer["Body"].close()
            raise LookupError("the object is larger than it should be")
        data: bytes = answer["Body"].read()
        return data

    def get_range(self, name: str, offset: int, most: int) -> tuple[bytes, int]:
        """Return at most so many bytes from an offset, and the object's length; `LookupError` if it has none there."""
        wanted = f"bytes={offset}-{offset + most - 1}"
        try:
            answer = clients.client("s3", 3).get_object(Bucket=self.bucket, Key=name, Range=wanted)
        except ClientError as error:
            if error.response["Error"]["Code"] in _GONE:
                raise LookupError("there is no such object, or it ends before that") from error
            raise
        data: bytes = answer["Body"].read()
        return data, int(answer["ContentRange"].rpartition("/")[2])

    def age(self, name: str) -> float | None:
        """Return how many seconds ago an object was written, by S3's own clock, or None where there is none."""
        try:
            answer = clients.client("s3", 3).head_object(Bucket=self.bucket, Key=name)
        except ClientError as error:
            if error.response["Error"]["Code"] in _GONE:
                return None
            raise
        written_at: datetime.datetime = answer["LastModified"]
        now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        return (now - written_at).total_seconds()

    def link(self, name: str, seconds: int = LINK_SECONDS) -> str:
        """Return a URL by which the object can be fetched, for five minutes unless said otherwise."""
        asked = {"Bucket": self.bucket, "Key": name}
        url: str = clients.client("s3", 3).generate_presigned_url("get_object", asked, ExpiresIn=seconds)
        return url

    def link_in(self, name: str, length: int, checksum: str, seconds: int) -> str:
        """Return a URL that takes one PUT of so many bytes with this SHA-256 (base64); both are signed headers."""
        asked = {"Bucket": self.bucket, "Key": name, "ContentLength": length, "ChecksumSHA256": checksum}
        url: str = clients.client("s3", 3).generate_presigned_url("put_object", asked, ExpiresIn=seconds)
        return url

    def names(self, prefix: str) -> Iterator[str]:
        """Yield the names of all objects that begin with a prefix."""
        pages = clients.client("s3", 3).get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return (found["Key"] for page in pages for found in page.get("Contents", ()))

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects; those that are gone are gone."""
        left = list(names)
        for start in range(0, len(left), _MOST_IN_DELETE):
            keys = [{"Key": name} for name in left[start : start + _MOST_IN_DELETE]]
            answer = clients.client("s3", 3).delete_objects(Bucket=self.bucket, Delete={"Objects": keys, "Quiet": True})
            if answer.get("Errors"):
                raise RuntimeError(f"S3 did not delete an object: {answer['Errors'][0].get('Code')}")
