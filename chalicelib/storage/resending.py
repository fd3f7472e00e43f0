"""What is sent to DynamoDB again, and when.

A read, and a transaction under its token, after anything that may pass; a single conditional write only when DynamoDB
says that it did not happen. Sent again blindly it could fail on its own success. All attempts together stay below a
second or so; then the error is the caller's.
"""

from collections.abc import Callable
from typing import TypeVar

from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, EndpointConnectionError

ATTEMPTS = 7

Answer = TypeVar("Answer")
Left = TypeVar("Left")

# DynamoDB did nothing, and may do it a little later.
_DID_NOT_HAPPEN = frozenset(
    {
        "ThrottlingException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)
_PASSING_REASONS = frozenset({"None", "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})
_MAY_HAVE_HAPPENED = frozenset({"InternalServerError", "ServiceUnavailable", "500", "502", "503", "504"})


def repeat(call: Callable[[], Answer], wait: Callable[[int], None], *, safe: bool) -> Answer:
    """Call until it succeeds, fails for good, or has been tried often enough; `wait` follows each attempt, from 0 on.

    `safe` says that doing it twice is doing it once.
    """
    for attempt in range(ATTEMPTS - 1):
        try:
            return call()
        except (ClientError, BotoCoreError) as error:
            if not _may_repeat(error, safe=safe):
                raise
        wait(attempt)
    return call()


def repeat_what_is_left(send: Callable[[Left], Left], asked: Left, wait: Callable[[int], None]) -> None:
    """Send a batch, and what of it was left unprocessed, until nothing is; `TimeoutError` where something stays so."""
    for attempt in range(ATTEMPTS):
        asked = send(asked)
        if not asked:
            return
        wait(attempt)
    raise TimeoutError("DynamoDB left something unprocessed too often")


def cancellation_reasons(error: ClientError) -> list[str]:
    """Return why a transaction was cancelled: a code for each operation."""
    return [reason.get("Code", "None") for reason in error.response.get("CancellationReasons", [])]


def code_of(error: ClientError) -> str:
    """Return DynamoDB's code of a refusal."""
    return str(error.response["Error"]["Code"])


def _may_repeat(error: Exception, *, safe: bool) -> bool:
    if isinstance(error, ClientError):
        code = code_of(error)
        if code == "TransactionCanceledException":
            reasons = set(cancellation_reasons(error))
            return reasons <= _PASSING_REASONS and reasons != {"None"}
        return code in _DID_NOT_HAPPEN or (safe and code in _MAY_HAVE_HAPPENED)
    return safe or isinstance(error, ConnectTimeoutError | EndpointConnectionError)
