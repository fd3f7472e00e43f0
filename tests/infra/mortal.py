"""The local federation in this process's hands: its delivery services can be killed, and started again."""

import json
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.local.federation import Federation, running
from infra.local.listener import hold_port
from infra.local.private import write_private
from infra.local.supervisor import Child, Supervisor

APP = "tests.infra.hasty:app"
TIME_SCALE = 30.0
BACKLOG = 128


class Mortal:
    """A delivery service's process. Use it from the thread that started the run: children are tied to that."""

    def __init__(self, supervisor: Supervisor, federation: Federation, name: str) -> None:
        self.supervisor = supervisor
        self.child = next(child for child in supervisor.children if child.name == f"ds-{name}")
        self.settings = federation.folder / f"ds-{name}.settings.json"
        said = federation.endpoints["ds"][name]
        self.ports = [int(said[which].rpartition(":")[2]) for which in ("url", "public_url")]
        self.deaths = 0
        self._held: list[socket.socket] = []

    def kill(self) -> None:
        """Kill it, whatever it is doing."""
        self.child.process.kill()
        self.child.process.wait()
        self.supervisor.children.remove(self.child)
        self.child.stop()
        self.deaths += 1
        if not self._held:
            self._held = [hold_port(port) for port in self.ports]

    def release(self) -> None:
        """Give up the ports."""
        for held in self._held:
            held.close()

    def start(self) -> Child:
        """Start it anew on its ports, and wait until it is ready."""
        listeners = [hold_port(port) for port in self.ports]
        for listener in listeners:
            listener.listen(BACKLOG)
        numbers = [listener.fileno() for listener in listeners]
        settings = {**json.loads(self.settings.read_text()), "listeners": numbers, "app": APP}
        write_private(self.settings, json.dumps(settings).encode())
        self.child = self.supervisor.start(
            settings["name"],
            [sys.executable, "-m", "infra.local.stage", str(self.settings)],
            environment={"PATH": "/usr/bin:/bin"},
            descriptors=numbers,
        )
        for listener in listeners:
            listener.close()
        self.child.await_ready()
        return self.child


@contextmanager
def mortal_federation(folder: Path) -> Iterator[tuple[Federation, list[Mortal]]]:
    """Start a federation whose delivery services are `Mortal`, in their hasty form from the beginning."""
    with running(folder, time_scale=TIME_SCALE, note=lambda _: None) as (supervisor, federation):
        services = [Mortal(supervisor, federation, name) for name in federation.endpoints["ds"]]
        try:
            for service in services:
                service.kill()
                service.start()
                service.deaths = 0
            yield federation, services
        finally:
            for service in services:
                service.release()
