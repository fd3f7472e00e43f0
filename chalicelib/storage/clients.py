"""botocore clients, made when first used and kept for the life of a container.

Region, endpoint and credentials are botocore's business: it reads them from its own environment and files. The
resource layer of boto3 is never imported; it costs a third of a cold start. Retries are off here: which call
may be repeated, and when, is decided beside the call, because a conditional write that is blindly sent twice
can report its own first success as somebody else's.

Links into S3 name bucket and region in their host. Those that botocore makes by itself name the global endpoint,
which sends who follows them elsewhere while a bucket is young, and to whatever region it takes the bucket for. Where
the endpoint is an address, as an emulator's is, botocore names the bucket in the path all the same.
"""

import functools
import threading
from typing import Any

import botocore.config
import botocore.session

_making = threading.Lock()

CONNECT_SECONDS = 2.0
READ_SECONDS = 5.0


@functools.cache
def session() -> Any:
    """Return the one session of this process; only `client` may use it, because making clients is not thread-safe."""
    return botocore.session.get_session()


def client(service: str, attempts: int = 1) -> Any:
    """Return the client of a service; `attempts` above one is for calls that are safe to send again."""
    return _client(service, attempts)


@functools.cache
def _client(service: str, attempts: int) -> Any:
    config = botocore.config.Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        max_pool_connections=32,
        parameter_validation=False,  # What we send is built by code that mypy has checked; the service checks again.
        retries={"total_max_attempts": attempts, "mode": "standard"},
        signature_version="s3v4" if service == "s3" else None,
        s3={"addressing_style": "virtual", "us_east_1_regional_endpoint": "regional"},
    )
    with _making:
        return session().create_client(service, config=config)
