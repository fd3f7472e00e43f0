"""What Lambda puts around a function: its context, and one request at a time.

Lambda runs one request at a time in a process, and Chalice keeps the current one as an attribute of the
application. Here many threads share a process, so each must see its own.
"""

import threading
import time
import traceback
import uuid
from typing import Any

from chalice import Chalice

PER_REQUEST_ATTRIBUTES = ("current_request", "lambda_context")


def isolate_threads(app: Chalice) -> None:
    """Let every thread see its own `current_request` and `lambda_context` of `app`.

    The application keeps its class's behaviour, an overridden `__call__` included: it becomes an instance
    of a subclass in which the two attributes live in thread-local storage.
    """
    storage = threading.local()

    def attribute_of_thread(name: str) -> property:
        def read(_: Chalice) -> Any:
            return getattr(storage, name, None)

        def write(_: Chalice, value: Any) -> None:
            setattr(storage, name, value)

        return property(read, write)

    served = type(app)
    app.__class__ = type(
        served.__name__, (served,), {name: attribute_of_thread(name) for name in PER_REQUEST_ATTRIBUTES}
    )


class LambdaContext:
    """The second argument of a Lambda function, with what handlers read from it."""

    function_version = "$LATEST"
    memory_limit_in_mb = "1024"
    log_stream_name = "local"

    def __init__(self, function_name: str, timeout_seconds: float, request_id: str | None = None) -> None:
        self.function_name = function_name
        self.aws_request_id = request_id or str(uuid.uuid4())
        self._deadline = time.monotonic() + timeout_seconds

    @property
    def invoked_function_arn(self) -> str:
        """Return a name in the form of AWS's."""
        return f"arn:aws:lambda:local:000000000000:function:{self.function_name}"

    @property
    def log_group_name(self) -> str:
        """Return where AWS would put the function's log."""
        return f"/aws/lambda/{self.function_name}"

    def get_remaining_time_in_millis(self) -> int:
        """Return how long the function may still run."""
        return max(0, int((self._deadline - time.monotonic()) * 1000))


def where(error: BaseException) -> str:
    """Return the error's class and the frames it came through, without its message.

    A message may quote what a client sent, and nothing by which a person could be found is logged.
    """
    return f"{type(error).__name__}\n{''.join(traceback.format_tb(error.__traceback__))}"
