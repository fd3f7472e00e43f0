"""`python -m infra.local`: the whole federation on this machine, and its story.

Without options it starts everything, tells the story once, stops everything, and exits 0 only if every step
held. State goes to a fresh temporary folder unless `--state` names one; `DIR/endpoints.json` tells scripts how
to reach every part.
"""

import argparse
import contextlib
import fcntl
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from chalicelib.client import ApiProblem
from infra.local.federation import Federation, NeverCame, running
from infra.local.story import Story, StoryFailed
from infra.local.supervisor import ChildDied, Stopped, Supervisor, sigterm_raises

TIME_SCALE = 30.0  # Schedules of a minute fire every two seconds.


def main() -> int:
    """Run as asked and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m infra.local", description=__doc__)
    keep = parser.add_mutually_exclusive_group()
    keep.add_argument("--serve", action="store_true", help="keep running after the story")
    keep.add_argument("--serve-only", action="store_true", help="skip the story and keep running")
    parser.add_argument("--state", type=Path, metavar="DIR", help="where state goes (default: a temporary folder)")
    parser.add_argument("--time-scale", type=float, default=TIME_SCALE, help="how much faster schedules fire")
    asked = parser.parse_args()
    if asked.time_scale <= 0:
        parser.error("--time-scale is above 0")
    with tempfile.TemporaryDirectory(prefix="glados-") as temporary, sigterm_raises():
        folder = (asked.state or Path(temporary)).resolve()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            parser.error(f"--state {folder}: {error.strerror}")
        try:
            with _alone_in(folder):
                return _run(folder, asked)
        except (KeyboardInterrupt, Stopped):
            _say("stopped")
            return 0 if asked.serve or asked.serve_only else 130
        except InUse:
            _say(f"FAILED: {folder} is in use by another run; name another folder with --state")
            return 1
        except (StoryFailed, ApiProblem, NeverCame, ChildDied, RuntimeError, TimeoutError) as error:
            _say(f"FAILED: {error}")
            return 1


class InUse(Exception):
    """Another run has its state in the folder."""


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder for this run, and leave no endpoints.json that leads nowhere."""
    endpoints = folder / "endpoints.json"
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InUse from error
        endpoints.unlink(missing_ok=True)
        try:
            yield
        finally:
            endpoints.unlink(missing_ok=True)


def _run(folder: Path, asked: argparse.Namespace) -> int:
    began = time.monotonic()
    with running(folder, time_scale=asked.time_scale, note=lambda text: _say(f"… {text}")) as (supervisor, federation):
        _say(f"ready after {time.monotonic() - began:.1f} s")
        if not asked.serve_only:
            _tell(federation)
        if asked.serve or asked.serve_only:
            _serve(supervisor, federation)
    return 0


def _tell(federation: Federation) -> None:
    began = time.monotonic()
    Story(federation, lambda text: _say(f"✓ {text}")).tell()
    _say(f"every step held; the story took {time.monotonic() - began:.1f} s")


def _serve(supervisor: Supervisor, federation: Federation) -> None:
    _say(f"serving until ctrl-C or SIGTERM; {federation.folder}/endpoints.json says where")
    supervisor.wait()


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
