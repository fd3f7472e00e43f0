"""One deployed stage as one process: its two domains, its queues and its schedules.

The supervisor's side is `Doors` and `start_stage`; `python -m infra.local.stage SETTINGS.json` is the
process. Everything it needs to know is in that file, so that nothing secret stands on a command line.
"""

import dataclasses
import importlib
import json
import logging
import os
import signal
import socket
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from chalice import Chalice

from infra.local.authority import Identity, server_context
from infra.local.gateway import Gateway
from infra.local.listener import reserve_port
from infra.local.private import write_private
from infra.local.pump import Pump
from infra.local.supervisor import Child, Supervisor, announce_ready

STOP_SECONDS = 12


class Doors:
    """The listening sockets of a stage, made before it starts, so that others can be told its URLs."""

    def __init__(self) -> None:
        self.main = reserve_port()
        self.public = reserve_port()
        self.url = f"https://127.0.0.1:{self.main.getsockname()[1]}"
        self.public_url = f"https://127.0.0.1:{self.public.getsockname()[1]}"

    def close(self) -> None:
        """Give up our side; a stage that was started keeps its own."""
        self.main.close()
        self.public.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class StageSettings:
    """What a stage is made of: `app` is MODULE:ATTRIBUTE, imported with `environment` in place."""

    name: str
    app: str
    environment: dict[str, str]
    ca: Path
    server: Identity
    time_scale: float = 1.0


def start_stage(supervisor: Supervisor, settings: StageSettings, doors: Doors) -> Child:
    """Start the process of a stage behind `doors`, which it takes over; `await_ready` is the caller's."""
    path = supervisor.folder / f"{settings.name}.settings.json"
    listeners = [doors.main.fileno(), doors.public.fileno()]
    content = {**dataclasses.asdict(settings), "listeners": listeners}
    write_private(path, json.dumps(content, default=str).encode())
    child = supervisor.start(
        settings.name,
        [sys.executable, "-m", "infra.local.stage", str(path)],
        environment={"PATH": os.environ.get("PATH", os.defpath)},
        descriptors=listeners,
    )
    doors.close()
    return child


def main(arguments: list[str]) -> None:
    """Serve the stage that the settings file describes, until SIGTERM."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    settings: dict[str, Any] = json.loads(Path(arguments[0]).read_text())
    os.environ.update(settings["environment"])
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # It is a text stream here.
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s", level=logging.WARNING)
    app = _load(settings["app"])
    gateway = Gateway(app, settings["name"])
    pump = Pump(app, time_scale=settings["time_scale"])
    ours = Identity(Path(settings["server"]["cert"]), Path(settings["server"]["key"]))
    main_door, public_door = (socket.socket(fileno=descriptor) for descriptor in settings["listeners"])
    gateway.listen(main_door, server_context(ours, client_ca=Path(settings["ca"])))
    gateway.listen(public_door, server_context(ours))
    pump.start()
    announce_ready()
    stopping.wait()
    # If something hangs, and nobody is left to notice, the alarm ends this process.
    signal.alarm(STOP_SECONDS)
    gateway.stop()
    pump.stop()


def _load(name: str) -> Chalice:
    module, _, attribute = name.partition(":")
    app = getattr(importlib.import_module(module), attribute)
    if not isinstance(app, Chalice):
        raise TypeError(f"{name} is not a Chalice application")
    return app


if __name__ == "__main__":
    main(sys.argv[1:])
