"""The provider's application, watched: which AWS calls its requests make, and where their processor time goes.

A stage process that serves `app` of this module writes what it has seen, since it began, to GLADOS_BENCH_REPORT
whenever it gets SIGUSR1. Calls are counted at botocore's `before-send`, so each attempt counts, and only in
threads that serve a request: queues and schedules run beside. Times are those of the thread.
"""

import functools
import json
import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from chalicelib.handlers.routing import GladosApp
from chalicelib.services.accounts.access import Access
from chalicelib.services.provider.queries import Queries
from chalicelib.storage import clients
from chalicelib.storage.dynamodb import Database
from infra.local.private import write_private

REQUEST = "request"

_calls: Counter[str] = Counter()
_nanoseconds: Counter[str] = Counter()
_requests = 0
_lock = threading.RLock()  # A signal's handler runs in between the steps of the main thread.
_thread = threading.local()


def _count_call(event_name: str, **_: Any) -> None:
    if getattr(_thread, "serving", False):
        with _lock:
            _calls[event_name.removeprefix("before-send.")] += 1


def _time(owner: type, method: str, part: str) -> None:
    """Book the processor time of a method, and of all that it calls, under `part`."""
    inner = getattr(owner, method)

    @functools.wraps(inner)
    def timed(*args: Any, **named: Any) -> Any:
        global _requests  # noqa: PLW0603 - the tallies of this module are those of its process
        if part == REQUEST:
            _thread.serving = True
        began = time.thread_time_ns()
        try:
            return inner(*args, **named)
        finally:
            took = time.thread_time_ns() - began
            if getattr(_thread, "serving", False):
                with _lock:
                    _nanoseconds[part] += took
                    _requests += part == REQUEST
            if part == REQUEST:
                _thread.serving = False

    setattr(owner, method, timed)


def _report(*_: object) -> None:
    with _lock:
        seen = {"requests": _requests, "calls": dict(_calls), "nanoseconds": dict(_nanoseconds)}
    write_private(Path(os.environ["GLADOS_BENCH_REPORT"]), json.dumps(seen).encode())


clients.session().register("before-send", _count_call)
_time(GladosApp, "__call__", REQUEST)
_time(Access, "present", "token")
_time(Queries, "find", "service")
_time(Database, "batch_get", "database")
signal.signal(signal.SIGUSR1, _report)

from app import app  # noqa: E402 - its class is changed above

__all__ = ["app"]
