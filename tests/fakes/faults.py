"""Failures on request, before and after the effect, and the record of who was called.

A lost reply is the failure that teaches most: the write happened and the caller is told it did not. Every method
of every fake can fail either way, so that a test can put a crash between any two steps of a story.
"""

import dataclasses
import functools
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Concatenate, Literal, ParamSpec, TypeVar

When = Literal["before", "after"]

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Port = TypeVar("Port", bound="Fake")


class Misuse(AssertionError):
    """A caller broke the contract of a port, whether or not production would have noticed."""


def require(condition: bool, complaint: str) -> None:
    """Fail the test whose code broke a port's contract."""
    if not condition:
        raise Misuse(complaint)


@dataclasses.dataclass
class Fault:
    """Of the calls to one method, let `skip` pass and make the next `times` fail."""

    when: When
    skip: int
    times: int


class Faults:
    """Which calls fail next; `calls` is every call so far as (port, method), failed ones included."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self._armed: dict[tuple[str, str], list[Fault]] = {}
        self._lock = threading.Lock()

    def arm(self, port: str, method: str, when: When, times: int, skip: int) -> None:
        with self._lock:
            self._armed.setdefault((port, method), []).append(Fault(when, skip, times))

    @property
    def armed(self) -> list[tuple[str, str]]:
        """The calls that are still to fail: none is left when a test's story reached them all."""
        with self._lock:
            return [call for call, faults in self._armed.items() if any(fault.times for fault in faults)]

    def arrive(self, port: str, method: str) -> When | None:
        """Note a call and say whether, and on which side of its effect, it fails."""
        with self._lock:
            self.calls.append((port, method))
            for fault in self._armed.get((port, method), []):
                if fault.skip:
                    fault.skip -= 1
                elif fault.times:
                    fault.times -= 1
                    return fault.when
            return None


class Fake:
    """One port. `lock` makes each method atomic where the port promises so."""

    port: str

    def __init__(self, faults: Faults, lock: AbstractContextManager[object] | None = None) -> None:
        self.faults = faults
        self.lock: AbstractContextManager[object] = lock or nullcontext()


def fallible(method: Callable[Concatenate[Port, Arguments], Result]) -> Callable[Concatenate[Port, Arguments], Result]:
    """Make a port's method atomic, and let it fail on request on either side of its effect."""
    name = method.__name__

    @functools.wraps(method)
    def called(self: Port, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        fails = self.faults.arrive(self.port, name)
        if fails == "before":
            raise ConnectionError(f"{self.port}.{name} was asked to fail")
        with self.lock:
            result = method(self, *args, **kwargs)
        if fails == "after":
            raise ConnectionError(f"the reply of {self.port}.{name} was asked to be lost")
        return result

    return called
