"""Objects in a bucket of the stage, encrypted with its key; each is named by what it holds and never changes."""

import datetime
import hashlib
from collections.abc import Iterable, Iterator
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.storage import clients

LINK_SECONDS = 300
_MOST_IN_DELETE = 1000
_GONE = frozenset({"NoSuchKey", "404", "NotFound", "InvalidRange"})
_TAKEN = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict"})


class Objects:
    """One bucket of a stage."""

    def __init__(self, stage: str, name: str) -> None:
        self.bucket = f"glados-{stage}-{name}"

    def put(self, name: str, data: bytes) -> None:
        """Write an object, durably. Written again it has the same bytes and counts as new, so that it lives longer."""
        clients.client("s3", 3).put_object(Bucket=self.bucket, Key=name, Body=data)

    def put_once(self, name: str, data: bytes) -> str:
        """Write an object unless its name is taken, and return the SHA-256 of its bytes; others are a `ValueError`."""
        digest = hashlib.sha256(data).hexdigest()
        s3 = clients.client("s3", 3)
        try:
            s3.put_object(Bucket=self.bucket, Key=name, Body=data, IfNoneMatch="*", Metadata={"sha256": digest})
        except ClientError as error:
            if error.response["Error"]["Code"] not in _TAKEN:
                raise
            known = s3.head_object(Bucket=self.bucket, Key=name)
            if known["Metadata"].get("sha256") != digest or known["ContentLength"] != len(data):
                raise ValueError("an immutable object would be overwritten with other bytes") from error
        return digest

    def get(self, name: str, at_most: int | None = None) -> bytes:
        """Return an object's bytes; raise `LookupError` where there is none, or it has more bytes than that."""
        answer = self._found("get_object", name)
        if at_most is not None and answer["ContentLength"] > at_most:
            answer["Body"].close()
            raise LookupError("the object is larger than it should be")
        data: bytes = answer["Body"].read()
        return data

    def get_range(self, name: str, offset: int, most: int) -> tuple[bytes, int]:
        """Return at most so many bytes from an offset, and the object's length; `LookupError` if it has none there."""
        answer = self._found("get_object", name, Range=f"bytes={offset}-{offset + most - 1}")
        data: bytes = answer["Body"].read()
        return data, int(answer["ContentRange"].rpartition("/")[2])

    def age(self, name: str) -> float | None:
        """Return how many seconds ago an object was written, by S3's own clock, or None where there is none."""
        try:
            answer = self._found("head_object", name)
        except LookupError:
            return None
        written_at: datetime.datetime = answer["LastModified"]
        now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        return (now - written_at).total_seconds()

    def link(self, name: str, seconds: int = LINK_SECONDS) -> str:
        """Return a URL by which the object can be fetched, for five minutes unless said otherwise."""
        return self._signed("get_object", name, seconds)

    def link_in(self, name: str, length: int, checksum: str, seconds: int) -> str:
        """Return a URL that takes one PUT of so many bytes with this SHA-256 (base64); both are signed headers."""
        return self._signed("put_object", name, seconds, ContentLength=length, ChecksumSHA256=checksum)

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

    def _found(self, method: str, name: str, **asked: str) -> Any:
        """Return S3's answer about an object; raise `LookupError` where it is not there, or ends before that."""
        try:
            return getattr(clients.client("s3", 3), method)(Bucket=self.bucket, Key=name, **asked)
        except ClientError as error:
            if error.response["Error"]["Code"] in _GONE:
                raise LookupError("there is no such object, or it ends before that") from error
            raise

    def _signed(self, method: str, name: str, seconds: int, **signed: object) -> str:
        asked = {"Bucket": self.bucket, "Key": name, **signed}
        url: str = clients.client("s3", 3).generate_presigned_url(method, asked, ExpiresIn=seconds)
        return url
