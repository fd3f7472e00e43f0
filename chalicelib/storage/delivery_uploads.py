"""The port `Uploads`: large bodies pass through the bucket, past our functions and their limits.

A link in is signed for one length and one SHA-256: who uploads must send the headers Content-Length and
x-amz-checksum-sha256 (base64) as they were signed, and S3 refuses a body that is not what they say. What comes is
checked here once more. What goes out is named by its digest and forgotten by the bucket two days later.

A link signed with a role's temporary credentials ends with those, if they end before its own time.
"""

import base64
import hashlib

from chalicelib.storage.objects import Objects

IN_SECONDS = 900
OUT_SECONDS = 86_400


class AwsUploads:
    """The uploads of one stage."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects

    def link_in(self, sha256: bytes, length: int) -> str:
        """Return a URL that takes one PUT of exactly these bytes."""
        checksum = base64.b64encode(sha256).decode()
        return self.objects.link_in(_name_in(sha256, length), length, checksum, IN_SECONDS)

    def fetch(self, sha256: bytes, length: int) -> bytes:
        """Return what was uploaded; raise `LookupError` if nothing was, or something else."""
        content = self.objects.get(_name_in(sha256, length), at_most=length)
        if len(content) != length or hashlib.sha256(content).digest() != sha256:
            raise LookupError("what was uploaded is not what was said")
        return content

    def put_out(self, content: bytes) -> str:
        """Store bytes for a day, and return a URL to fetch them."""
        name = f"uploads/out/{hashlib.sha256(content).hexdigest()}"
        self.objects.put(name, content)
        return self.objects.link(name, OUT_SECONDS)


def _name_in(sha256: bytes, length: int) -> str:
    return f"uploads/in/{sha256.hex()}-{length}"
