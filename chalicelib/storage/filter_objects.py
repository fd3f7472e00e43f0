"""The port `FilterObjects`: immutable objects in S3, encrypted with the stage's key.

An object is written on the condition that its name is free. If it is taken, the bytes must be the same ones:
what an object holds is in its name, so anything else is a bug or a tampered bucket.
"""

import hashlib

from botocore.exceptions import ClientError

from chalicelib.services.provider.state import StoredObject
from chalicelib.storage import clients

LINK_SECONDS = 300
_GONE = frozenset({"NoSuchKey", "404", "NotFound"})


class AwsFilterObjects:
    """The bucket of one stage."""

    def __init__(self, stage: str) -> None:
        self.bucket = f"glados-{stage}-filters"

    def put(self, name: str, data: bytes) -> StoredObject:
        """Write an object, durably; a repeat is the same object."""
        digest = hashlib.sha256(data).hexdigest()
        s3 = clients.client("s3", 3)
        try:
            s3.put_object(Bucket=self.bucket, Key=name, Body=data, IfNoneMatch="*", Metadata={"sha256": digest})
        except ClientError as error:
            if error.response["Error"]["Code"] not in {"PreconditionFailed", "412", "ConditionalRequestConflict"}:
                raise
            known = s3.head_object(Bucket=self.bucket, Key=name)
            if known["Metadata"].get("sha256") != digest or known["ContentLength"] != len(data):
                raise ValueError("an immutable object would be overwritten with other bytes") from error
        return StoredObject(name, len(data), digest)

    def get(self, name: str) -> bytes:
        """Return an object's bytes; raise `LookupError` where there is none."""
        return self._get(name)

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """Return some of an object's bytes."""
        return self._get(name, Range=f"bytes={start}-{start + length - 1}")

    def _get(self, name: str, **extra: str) -> bytes:
        try:
            answer = clients.client("s3", 3).get_object(Bucket=self.bucket, Key=name, **extra)
        except ClientError as error:
            if error.response["Error"]["Code"] in _GONE:
                raise LookupError("there is no such object") from error
            raise
        data: bytes = answer["Body"].read()
        return data

    def link(self, name: str) -> str:
        """Return a URL by which the object can be fetched for five minutes."""
        asked = {"Bucket": self.bucket, "Key": name}
        url: str = clients.client("s3", 3).generate_presigned_url("get_object", asked, ExpiresIn=LINK_SECONDS)
        return url

    def delete(self, name: str) -> None:
        """Remove an object; one that has gone is gone."""
        clients.client("s3", 3).delete_object(Bucket=self.bucket, Key=name)
