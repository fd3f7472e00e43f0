"""A provider to measure: the emulated AWS, a stage's data, and one real serving process behind mutual TLS.

Several serving processes may share one stage's tables, as several containers do on AWS. Their schedules stand
still: a rebuild in the midst of a measurement would be measured with it.
"""

import base64
import contextlib
import dataclasses
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from infra.bench._load import Target
from infra.local.authority import Authority, client_context
from infra.local.deployment import DATA_STACK
from infra.local.emulator import Emulator
from infra.local.federation import wait_for
from infra.local.stage import Doors, StageSettings, start_stage
from infra.local.supervisor import Child, Supervisor

REGION = "eu-central-1"
PROVIDER_ID = "bench"
SENDER = "codes@gp.example"
STANDSTILL = 0.0001  # The schedules' clock against ours.
WATCHED_APP = "infra.bench._watched:app"

_REPOSITORY = Path(__file__).parents[2]


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process so far, all its threads together; Linux alone tells it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass(frozen=True, slots=True)
class Account:
    """The application provider that asks."""

    client_id: str
    client_secret: str = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Watch:
    """What the requests of a watched process came to: AWS calls by name, nanoseconds of processor time by part."""

    requests: int
    calls: dict[str, int]
    nanoseconds: dict[str, int]

    def since(self, before: "Watch") -> "Watch":
        """Return what was added after `before`."""
        return Watch(
            self.requests - before.requests,
            {name: count - before.calls.get(name, 0) for name, count in self.calls.items()},
            {part: time - before.nanoseconds.get(part, 0) for part, time in self.nanoseconds.items()},
        )


class Bench:
    """Makes stages, and the processes that serve them; everything ends with the supervisor."""

    def __init__(self, folder: Path, supervisor: Supervisor) -> None:
        self.folder = folder
        self.supervisor = supervisor
        self.emulator = Emulator.start(supervisor)
        self.authority = Authority(folder / "certificates")
        self.identity = self.authority.issue_client(PROVIDER_ID)

    def create(self, stage: str) -> Account:
        """Create a stage's tables, queues, keys and bucket, and enrol the application provider."""
        self.emulator.create_stack(REGION, f"glados-{stage}-data", DATA_STACK, {"Stage": stage})
        ses = self.emulator.client("sesv2", REGION)
        ses.create_email_identity(EmailIdentity=SENDER)
        ses.close()
        enrolled = self.run(
            stage, "infra.operator", "enrol-ap", PROVIDER_ID, "--name", "Bench", "--domain", "bench.example",
            "--review", "none: a benchmark", "--certificate", str(self.identity.cert), "--sms-region", "*",
            "--query-rate", "100000", "--send-rate", "1000000",
        )  # fmt: skip
        account = json.loads(enrolled)
        return Account(account["client_id"], account["client_secret"])

    def serve(self, stage: str, account: Account, *, watched: bool = False) -> "Server":
        """Start one more process that serves a stage, and return once it is ready."""
        name = f"{stage}-{len(self.supervisor.children)}"
        report = self.folder / f"{name}.watch.json"
        doors = Doors()
        url = doors.url
        settings = StageSettings(
            name=name,
            app=WATCHED_APP if watched else "app:app",
            environment={**self.environment(stage, url), "GLADOS_BENCH_REPORT": str(report)},
            ca=self.authority.cert,
            server=self.authority.issue_server(name),
            time_scale=STANDSTILL,
        )
        child = start_stage(self.supervisor, settings, doors)
        child.await_ready()
        return Server(self, child, int(url.rpartition(":")[2]), account, report)

    def environment(self, stage: str, origin: str) -> dict[str, str]:
        """Return the settings of a stage."""
        return {
            **self.emulator.environment(REGION),
            "GLADOS_ROLE": "provider",
            "GLADOS_STAGE": stage,
            "GLADOS_GP": stage,
            "GLADOS_ORIGIN": origin,
            "GLADOS_EMAIL_FROM": SENDER,
            "POWERTOOLS_SERVICE_NAME": "glados",
        }

    def run(self, stage: str, module: str, *arguments: str) -> str:
        """Run a module of ours in a stage's environment, and return what it prints."""
        with self.begin(stage, module, *arguments) as process:
            printed, complaint = process.communicate()
        if process.returncode:
            raise RuntimeError(f"{module} {arguments[0]} failed: {complaint.strip()[-2000:]}")
        return printed

    def begin(self, stage: str, module: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a module of ours in a stage's environment."""
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env={"PATH": os.environ.get("PATH", os.defpath), **self.environment(stage, "https://127.0.0.1")},
            cwd=_REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def captured(self, path: str) -> Any:
        """Return what the emulator captured of the messages sent."""
        connection = http.client.HTTPConnection("127.0.0.1", self.emulator.port, timeout=60)
        with contextlib.closing(connection):
            connection.request("GET", path)
            return json.load(connection.getresponse())


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """One serving process, and how to load it."""

    bench: Bench
    child: Child
    port: int
    account: Account
    report: Path

    @property
    def pid(self) -> int:
        """The process."""
        return self.child.process.pid

    def target(self) -> Target:
        """Return where to send requests, with an access token that is good for a quarter of an hour."""
        basic = base64.b64encode(f"{self.account.client_id}:{self.account.client_secret}".encode()).decode()
        headers = {"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded"}
        token = self._post("/oauth2/token", "grant_type=client_credentials", headers)["access_token"]
        return Target(self.port, {"Authorization": f"Bearer {token}"}, self.bench.authority.cert, self.bench.identity)

    def watch(self) -> Watch:
        """Ask a watched process what its requests have come to."""
        self.report.unlink(missing_ok=True)
        os.kill(self.pid, signal.SIGUSR1)
        wait_for("the report of a watched process", self.report.exists)
        return Watch(**json.loads(self.report.read_text()))

    def _post(self, path: str, body: str, headers: Mapping[str, str]) -> dict[str, Any]:
        context = client_context(self.bench.authority.cert, self.bench.identity)
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=30)
        with contextlib.closing(connection):
            connection.request("POST", path, body, dict(headers))
            answer = connection.getresponse()
            content: dict[str, Any] = json.load(answer)
        if answer.status >= 400:
            raise RuntimeError(f"{path} was refused: {content}")
        return content


@contextlib.contextmanager
def running() -> Iterator[Bench]:
    """Start the emulated AWS in a folder of its own; stop everything at the end."""
    with tempfile.TemporaryDirectory(prefix="glados-bench-") as folder, Supervisor(Path(folder)) as supervisor:
        yield Bench(Path(folder), supervisor)
