"""One stage of the local run, whichever role it has: made as operators make theirs, and started as one process."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.local.authority import Authority, Identity
from infra.local.emulator import Emulator
from infra.local.operators import Operator
from infra.local.stage import Doors, StageSettings, start_stage
from infra.local.supervisor import Child, Supervisor

DATA_STACK = Path(__file__).parents[1] / "data-stack.json"


@dataclasses.dataclass(frozen=True, slots=True)
class Ground:
    """What every stage of a run stands on."""

    folder: Path
    supervisor: Supervisor
    emulator: Emulator
    authority: Authority
    buckets: str
    time_scale: float


class Deployment:
    """A stage: `identity` is the certificate by which its peers know it."""

    def __init__(self, ground: Ground, stage: str, role: str, region: str, settings: Mapping[str, str]) -> None:
        self.ground = ground
        self.stage = stage
        self.role = role
        self.region = region
        self.doors = Doors()
        self.identity = ground.authority.issue_client(stage)
        self.environment = {
            **ground.emulator.environment(region),
            "AWS_ENDPOINT_URL_S3": ground.buckets,
            "AWS_CA_BUNDLE": str(ground.authority.cert),
            "GLADOS_ROLE": role,
            "GLADOS_STAGE": stage,
            "GLADOS_ORIGIN": self.doors.url,
            "GLADOS_PUBLIC_ORIGIN": self.doors.public_url,
            **settings,
        }
        self.operator = Operator(stage, self.environment)

    @property
    def urls(self) -> dict[str, str]:
        """Where the stage is found, as `endpoints.json` says it."""
        return {"url": self.doors.url, "public_url": self.doors.public_url}

    def create_data_stack(self) -> None:
        """Create what is stateful."""
        parameters = {"Stage": self.stage, "Role": self.role}
        self.ground.emulator.create_stack(self.region, f"glados-{self.stage}-data", DATA_STACK, parameters)

    def take_certificate(self) -> None:
        """Give the stage the certificate with which it calls its peers."""
        self.operator.run(
            "federation-tls", "--certificate", self.identity.cert, "--key", self.identity.key,
            "--authorities", self.ground.authority.cert,
        )  # fmt: skip

    def enrol(self, ap: str, certificate: Identity, *more: str) -> dict[str, Any]:
        """Enrol an application provider and return its account, with the secret."""
        return self.operator.run(
            "enrol-ap", ap, "--name", ap.capitalize(), "--domain", f"{ap}.example",
            "--review", "reviewed for the local run", "--certificate", certificate.cert, *more,
        )  # fmt: skip

    def start(self) -> Child:
        """Start the stage's process; its caller waits until it is ready, in a thread that lives as long as it."""
        settings = StageSettings(
            name=self.stage,
            app="app:app",
            environment=self.environment,
            ca=self.ground.authority.cert,
            server=self.ground.authority.issue_server(f"{self.stage}-server"),
            time_scale=self.ground.time_scale,
        )
        return start_stage(self.ground.supervisor, settings, self.doors)
