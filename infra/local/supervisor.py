"""Starts processes in order, notices when one dies, and stops them all again, each by its own process id.

Children sit in sessions of their own, so that ctrl-C reaches only the supervisor and it decides the order;
each is on a leash, so that none outlives a supervisor that is killed.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Self

from infra.local.private import write_private

TERMINATE_SECONDS = 15.0
READY_SECONDS = 60.0
TAIL_BYTES = 4_000
LIFELINE = "GLADOS_LOCAL_LIFELINE"

_REPOSITORY = Path(__file__).parents[2]


class ChildDied(Exception):
    """A child ended that should be running; its last words come with it."""

    def __init__(self, name: str, status: int, tail: str) -> None:
        super().__init__(f"{name} ended with status {status}; the end of its log:\n{tail}")
        self.name = name
        self.status = status


class Stopped(BaseException):
    """The process was asked to stop by SIGTERM; raised wherever the main thread happens to be."""


class Child:
    """One running process, its log, and the pipe by which it speaks to us.

    The child holds the pipe's write end until it dies: a line in it means that the child is ready, its end
    that the child is gone.
    """

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path, lifeline: int) -> None:
        self.name = name
        self.process = process
        self.log = log
        self.lifeline = os.fdopen(lifeline, "rb", buffering=0)

    def check(self) -> None:
        """Raise `ChildDied` if the child is not running."""
        status = self.process.poll()
        if status is not None:
            raise ChildDied(self.name, status, self.tail())

    def tail(self) -> str:
        """Return the end of its log."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - TAIL_BYTES))
            return file.read().decode("utf-8", "replace")

    def await_ready(self, seconds: float = READY_SECONDS) -> None:
        """Wait until the child calls `announce_ready`; raise `ChildDied` or `TimeoutError` instead."""
        if not select.select([self.lifeline], [], [], seconds)[0]:
            raise TimeoutError(f"{self.name} was not ready in {seconds:.0f} s; its log ends:\n{self.tail()}")
        if not self.lifeline.readline():
            self.process.wait(TERMINATE_SECONDS)
            self.check()

    def terminate(self) -> None:
        """Ask the process to end, and do not wait for it."""
        if self.process.poll() is None:
            self.process.terminate()

    def stop(self, seconds: float = TERMINATE_SECONDS) -> None:
        """End the process: SIGTERM, and after some time SIGKILL."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.lifeline.close()


class Supervisor:
    """Owns the children of one run, the first of which serves the others; leaving it as a context manager stops them.

    Use it from a thread that lives as long as the children: the kernel's leash is tied to that thread.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.children: list[Child] = []
        self._logs = folder / "logs"
        self._logs.mkdir(mode=0o700, parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(
        self, name: str, command: Sequence[str], *, environment: Mapping[str, str], descriptors: Sequence[int] = ()
    ) -> Child:
        """Start `command`, an absolute path and its arguments, with its output in logs/NAME.log.

        The child inherits `descriptors` under their own numbers, and `environment` instead of ours.
        """
        log = self._logs / f"{name}.log"
        lifeline, childs_end = os.pipe()
        with log.open("ab") as output:
            log.chmod(0o600)
            process = subprocess.Popen(
                [sys.executable, "-m", "infra.local.leash", str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**environment, LIFELINE: str(childs_end)},
                pass_fds=[*descriptors, childs_end],
                start_new_session=True,
                cwd=_REPOSITORY,
            )
        os.close(childs_end)
        child = Child(name, process, log, lifeline)
        self.children.append(child)
        return child

    def check(self) -> None:
        """Raise `ChildDied` for the first child that is not running."""
        for child in self.children:
            child.check()

    def wait(self, seconds: float | None = None) -> None:
        """Return after `seconds`, or never; raise `ChildDied` as soon as a child dies."""
        ended, _, _ = select.select([child.lifeline for child in self.children], [], [], seconds)
        for child in self.children:
            if child.lifeline in ended:
                child.process.wait(TERMINATE_SECONDS)
        self.check()

    def stop(self) -> None:
        """Stop every child: all at once but the first, which goes when nobody is left to need it."""
        for child in self.children[1:]:
            child.terminate()
        while self.children:
            self.children[-1].stop()
            self.children.pop()


def announce_ready() -> None:
    """Tell the supervisor that started this process that it is ready."""
    os.write(int(os.environ[LIFELINE]), b"ready\n")


@contextlib.contextmanager
def sigterm_raises() -> Iterator[None]:
    """Inside, SIGTERM raises `Stopped` in the main thread, as ctrl-C raises KeyboardInterrupt."""

    def stop(_: int, __: FrameType | None) -> None:
        raise Stopped

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def write_endpoints(folder: Path, endpoints: Mapping[str, object]) -> Path:
    """Write endpoints.json for everyone outside: whole or not at all, for its owner only."""
    path = folder / "endpoints.json"
    write_private(path, json.dumps(endpoints, indent=2).encode() + b"\n")
    return path
