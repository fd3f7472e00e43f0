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
from collections.abc import Callable, Iterator
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
    tell = None if asked.serve_only else _storyteller()
    began = time.monotonic()
    with running(folder, time_scale=asked.time_scale, note=lambda text: _say(f"… {text}")) as (supervisor, federation):
        _say(f"ready after {time.monotonic() - began:.1f} s")
        try:
            if tell is not None:
                tell(federation)
            if asked.serve or asked.serve_only:
                _serve(supervisor, federation)
        except (KeyboardInterrupt, Stopped):
            _say("… stopping: what is being served is finished first")
            raise
    return 0


def _storyteller() -> Callable[[Federation], None]:
    """Return what tells the story; raise `StoryFailed` at once if the clients that it is about are not installed."""
    try:
        from infra.local.delivery_story import DeliveryStory  # noqa: PLC0415 - serving needs no MLS library
    except ImportError as error:
        missing = f"the story needs MLS clients, and {error.name} is not installed: pip install -e '.[local]'"
        raise StoryFailed(missing) from error

    def tell(federation: Federation) -> None:
        began = time.monotonic()
        Story(federation, lambda text: _say(f"✓ {text}")).tell()
        _say(f"the providers' part took {time.monotonic() - began:.1f} s")
        then = time.monotonic()
        DeliveryStory(federation, lambda text: _say(f"✓ {text}")).tell()
        _say(f"the delivery services' part took {time.monotonic() - then:.1f} s")
        _say(f"every step held; the story took {time.monotonic() - began:.1f} s")

    return tell


def _serve(supervisor: Supervisor, federation: Federation) -> None:
    _say(f"serving until ctrl-C or SIGTERM; {federation.folder}/endpoints.json says where")
    supervisor.wait()


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
