"""Objects in a bucket of the stage, encrypted with its key; each is named by what it holds and never changes."""

from botocore.exceptions import ClientError

from chalicelib.storage import clients

LINK_SECONDS = 300
_GONE = frozenset({"NoSuchKey", "404", "NotFound"})


class Objects:
    """One bucket of a stage."""

    def __init__(self, stage: str, name: str) -> None:
        self.bucket = f"glados-{stage}-{name}"

    def put(self, name: str, data: bytes) -> None:
        """Write an object, durably. Written again it has the same bytes and counts as new, so that it lives longer."""
        clients.client("s3", 3).put_object(Bucket=self.bucket, Key=name, Body=data)

    def get(self, name: str) -> bytes:
        """Return an object's bytes; raise `LookupError` where there is none."""
        try:
            answer = clients.client("s3", 3).get_object(Bucket=self.bucket, Key=name)
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
