"""One JSON line for what went wrong. Types and places only: an exception's message may quote a value."""

import json
import sys
import traceback


def failure(what: str, error: BaseException, **facts: str) -> None:
    """Write what failed, the error's type, and where it was raised; `facts` hold nothing of a person's."""
    where = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    line = {"level": "ERROR", "message": what, "error": type(error).__name__, "where": where, **facts}
    print(json.dumps(line), file=sys.stderr, flush=True)
