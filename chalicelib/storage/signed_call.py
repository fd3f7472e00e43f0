"""BatchGetItem, sent by hand: the one call that the price of a query hangs on.

A query is one BatchGetItem, and botocore spends more processor time on building, signing, sending and parsing
it than everything else in the request together. Measured on two cores against the emulator, three keys of
about 600 bytes: 0.66 ms a call as botocore comes, 0.60 ms with validation and retries off, 0.22 ms here. So this
one call is signed here (Signature Version 4 with the day's key kept), sent over a urllib3 pool and parsed by
msgspec. Endpoint, region, credentials and trust anchors still come from botocore, and its `before-send` event
is still fired, so whatever stands in for AWS at that event in a test also stands in here.

Proxies from the environment are not consulted; a Lambda function has none.
"""

import datetime
import functools
import hashlib
import hmac
import json
from urllib.parse import urlsplit

import urllib3
from botocore.awsrequest import AWSPreparedRequest
from botocore.exceptions import ClientError, NoCredentialsError
from botocore.httpsession import get_cert_path

from chalicelib.storage import clients

_TARGET = "DynamoDB_20120810.BatchGetItem"
_TYPE = "application/x-amz-json-1.0"
_SIGNED = "content-type;host;x-amz-date;x-amz-target"
_SIGNED_WITH_TOKEN = "content-type;host;x-amz-date;x-amz-security-token;x-amz-target"


class SignedCall:
    """Sends BatchGetItem bodies and returns the answers' bytes; thread-safe."""

    def __init__(self) -> None:
        """Take endpoint, region and credentials from the ordinary client."""
        client = clients.client("dynamodb")
        self.credentials = clients.session().get_credentials()
        if self.credentials is None:
            raise NoCredentialsError
        self.events = client.meta.events
        self.region: str = client.meta.region_name
        self.url: str = client.meta.endpoint_url + "/"
        parts = urlsplit(self.url)
        self.host = parts.netloc
        timeout = urllib3.Timeout(connect=clients.CONNECT_SECONDS, read=clients.READ_SECONDS)
        if parts.scheme == "https":
            authorities = clients.session().get_config_variable("ca_bundle") or get_cert_path(True)
            self.pool: urllib3.HTTPConnectionPool = urllib3.HTTPSConnectionPool(
                parts.hostname or "", parts.port, timeout=timeout, maxsize=32, ca_certs=authorities
            )
        else:
            self.pool = urllib3.HTTPConnectionPool(parts.hostname or "", parts.port, timeout=timeout, maxsize=32)

    def send(self, body: bytes) -> bytes:
        """Return the answer to one BatchGetItem; raise `ClientError` for a refusal, as botocore does."""
        headers = self._signed(body)
        # Whoever listens reads the headers as any mapping; botocore's own kind costs more than the signature.
        request = AWSPreparedRequest("POST", self.url, headers, body, stream_output=False)  # type: ignore[arg-type]
        stood_in = self.events.emit_until_response("before-send.dynamodb.BatchGetItem", request=request)[1]
        if stood_in is not None:
            return _checked(stood_in.status_code, stood_in.content)
        answer = self.pool.urlopen("POST", "/", body=body, headers=headers, retries=False, redirect=False)
        return _checked(answer.status, answer.data)

    def _signed(self, body: bytes) -> dict[str, str]:
        """Return the headers of a request under Signature Version 4."""
        now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
        keys = self.credentials.get_frozen_credentials()
        token = f"x-amz-security-token:{keys.token}\n" if keys.token else ""
        names = _SIGNED_WITH_TOKEN if keys.token else _SIGNED
        canonical = (
            f"POST\n/\n\ncontent-type:{_TYPE}\nhost:{self.host}\nx-amz-date:{now}\n{token}x-amz-target:{_TARGET}\n\n"
            f"{names}\n{hashlib.sha256(body).hexdigest()}"
        )
        scope = f"{now[:8]}/{self.region}/dynamodb/aws4_request"
        to_sign = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = _signing_key(keys.secret_key, now[:8], self.region)
        signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
        headers = {
            "Host": self.host,
            "Content-Type": _TYPE,
            "X-Amz-Date": now,
            "X-Amz-Target": _TARGET,
            "Authorization": f"AWS4-HMAC-SHA256 Credential={keys.access_key}/{scope}, "
            f"SignedHeaders={names}, Signature={signature}",
        }
        if keys.token:
            headers["X-Amz-Security-Token"] = keys.token
        return headers


@functools.lru_cache(maxsize=4)
def _signing_key(secret: str, day: str, region: str) -> bytes:
    key = ("AWS4" + secret).encode()
    for part in (day, region, "dynamodb", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _checked(status: int, data: bytes) -> bytes:
    if status == 200:
        return data
    try:
        error = json.loads(data)
    except ValueError:
        error = {}
    code = str(error.get("__type", status)).rpartition("#")[2]
    message = error.get("message") or error.get("Message") or ""
    raise ClientError({"Error": {"Code": code, "Message": message}}, "BatchGetItem")
