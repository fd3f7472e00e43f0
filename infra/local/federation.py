"""A whole federation on one machine: an emulated AWS, two GPs, four application providers, and the world outside.

Everything is set up the way operators would: the data stack from its template, accounts and peers through
`python -m infra.operator`, webhooks through the API itself.
"""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from chalicelib.client import ApClient, ApiProblem
from chalicelib.protocol.glados.signed import SigningKey
from infra.local.authority import Authority, server_context
from infra.local.emulator import Emulator
from infra.local.inbox import Inbox
from infra.local.private import write_private
from infra.local.stage import Doors, StageSettings, start_stage
from infra.local.supervisor import Supervisor, write_endpoints

REGIONS = {"eu": "eu-central-1", "us": "us-east-1"}
APS = {"alpha": "eu", "beta": "eu", "gamma": "us", "delta": "eu"}
TRUSTED_BULK = {"delta"}
QUERY_RATES = {"gamma": "1000", "delta": "1000"}  # A second: they ask for every region's number. The others have 10.
OBSERVER = "observer"
DATA_STACK = Path(__file__).parents[1] / "data-stack.json"
READY_SECONDS = 90.0

Result = TypeVar("Result")


class NeverCame(Exception):
    """Something that was waited for did not happen in time."""


def wait_for(what: str, look: Callable[[], Result | None], seconds: float = READY_SECONDS) -> Result:
    """Look again and again until there is something, and return it; raise `NeverCame` after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise NeverCame(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(0.05)  # Between two looks; what is looked at has no way to call us.


@dataclasses.dataclass
class Federation:
    """What runs, and how to speak to it."""

    folder: Path
    emulator: Emulator
    inbox: Inbox
    endpoints: dict[str, Any]
    clients: dict[str, ApClient]


@contextlib.contextmanager
def running(folder: Path, *, time_scale: float, note: Callable[[str], None]) -> Iterator[tuple[Supervisor, Federation]]:
    """Start everything, yield it once every part is ready, and stop every child at the end."""
    with Supervisor(folder) as supervisor, contextlib.ExitStack() as undo:
        note("starting the emulated AWS")
        emulator = Emulator.start(supervisor)
        authority = Authority(folder / "certificates")
        inbox = Inbox(emulator.port, server_context(authority.issue_server("inbox")))
        inbox.start()
        undo.callback(inbox.stop)
        setup = _Setup(folder, supervisor, emulator, authority, inbox, time_scale)
        note("creating each region's tables, queues, keys and bucket from infra/data-stack.json")
        setup.each(setup.create_data_stack)
        note("introducing the providers to each other, enrolling alpha, beta, gamma and delta")
        setup.each(setup.prepare)
        setup.exchange_trust_lists()
        accounts = dict(one for many in setup.each(setup.enrol) for one in many)
        note("starting the providers eu and us")
        setup.start_stages()
        federation = setup.federation(accounts)
        for client in federation.clients.values():
            undo.callback(client.close)
        note("waiting until each provider follows the other's routing filter")
        setup.each(lambda gp: _await_filters(federation, gp))
        write_endpoints(folder, federation.endpoints)
        yield supervisor, federation


class _Setup:
    """The steps of starting, each told once for every GP."""

    def __init__(
        self,
        folder: Path,
        supervisor: Supervisor,
        emulator: Emulator,
        authority: Authority,
        inbox: Inbox,
        time_scale: float,
    ) -> None:
        self.folder = folder
        self.supervisor = supervisor
        self.emulator = emulator
        self.authority = authority
        self.inbox = inbox
        self.time_scale = time_scale
        self.doors = {gp: Doors() for gp in REGIONS}
        self.peers = {gp: authority.issue_client(f"gp-{gp}") for gp in (*REGIONS, OBSERVER)}
        self.certificates = {ap: authority.issue_client(ap) for ap in APS}
        self.trust_key = SigningKey("trust-authority", ec.generate_private_key(ec.SECP256R1()))
        self.keys: dict[str, dict[str, list[dict[str, str]]]] = {}

    def each(self, step: Callable[[str], Result]) -> list[Result]:
        """Do a step for every GP at once."""
        with ThreadPoolExecutor(len(REGIONS)) as pool:
            return list(pool.map(step, REGIONS))

    def create_data_stack(self, gp: str) -> None:
        """Create what is stateful, and the sender that SES asks to be verified."""
        self.emulator.create_stack(
            REGIONS[gp], f"glados-gp-{gp}-data", DATA_STACK, {"Stage": f"gp-{gp}", "Role": "provider"}
        )
        ses = self.emulator.client("sesv2", REGIONS[gp])
        ses.create_email_identity(EmailIdentity=_sender(gp))
        ses.close()

    def prepare(self, gp: str) -> None:
        """Give a GP its client certificate, and learn its public keys."""
        identity = self.peers[gp]
        self.operator(
            gp, "federation-tls", "--certificate", identity.cert, "--key", identity.key,
            "--authorities", self.authority.cert,
        )  # fmt: skip
        self.keys[gp] = self.operator(gp, "keys")

    def exchange_trust_lists(self) -> None:
        """Have the authority sign each GP's list of peers, and load it."""
        pem = self.trust_key.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        key = self.folder / "certificates" / "trust-authority.key"
        write_private(key, pem)

        def load(gp: str) -> None:
            others = [self._peer(other) for other in REGIONS if other != gp]
            plain = self.folder / f"trust-list-{gp}.json"
            write_private(plain, json.dumps({"version": 1, "peers": [*others, self._observer()]}).encode())
            signed = self.operator(gp, "sign-trust-list", plain, "--key", key, "--gp", gp)["trust_list"]
            listed = self.folder / f"trust-list-{gp}.jws"
            write_private(listed, signed.encode())
            self.operator(gp, "load-trust-list", listed)

        self.each(load)

    def enrol(self, gp: str) -> list[tuple[str, dict[str, Any]]]:
        """Enrol the application providers of a GP's region."""
        enrolled = []
        for ap, home in APS.items():
            if home == gp:
                extra = ["--trusted-bulk", "--scope", "bulk"] if ap in TRUSTED_BULK else []
                account = self.operator(
                    gp, "enrol-ap", ap, "--name", ap.capitalize(), "--domain", f"{ap}.example",
                    "--review", "reviewed for the local run", "--certificate", self.certificates[ap].cert,
                    "--sms-region", "*", "--scope", "query", "--scope", "register", "--scope", "webhooks",
                    "--scope", "reports", "--scope", "account", *extra,
                    *(["--query-rate", QUERY_RATES[ap]] if ap in QUERY_RATES else []),
                )  # fmt: skip
                enrolled.append((ap, account))
        return enrolled

    def start_stages(self) -> None:
        """Start one process a GP and wait until both answer."""
        children = []
        for gp in REGIONS:
            settings = StageSettings(
                name=f"gp-{gp}",
                app="app:app",
                environment=self.environment(gp),
                ca=self.authority.cert,
                server=self.authority.issue_server(f"gp-{gp}-server"),
                time_scale=self.time_scale,
            )
            children.append(start_stage(self.supervisor, settings, self.doors[gp]))
        for child in children:
            child.await_ready()
        self.each(lambda gp: self.operator(gp, "rebuild"))

    def federation(self, accounts: dict[str, dict[str, Any]]) -> Federation:
        """Set every AP's webhook through the API, and gather how to reach everything."""
        ca = str(self.authority.cert)
        clients, aps = {}, {}
        for ap, gp in APS.items():
            account, identity = accounts[ap], self.certificates[ap]
            client = ApClient(
                self.doors[gp].url,
                account["client_id"],
                account["client_secret"],
                cert=str(identity.cert),
                key=str(identity.key),
                ca=ca,
            )
            webhook = f"{self.inbox.receiving_url}/{ap}"
            clients[ap] = client
            aps[ap] = {
                "gp": gp,
                "provider_id": ap,
                "client_id": account["client_id"],
                "client_secret": account["client_secret"],
                "cert": str(identity.cert),
                "key": str(identity.key),
                "webhook": webhook,
                "webhook_secret": client.set_webhook(webhook)["secret"],
                "trusted_bulk": account["trusted_bulk"],
            }
        observer = self.peers[OBSERVER]
        endpoints: dict[str, Any] = {
            "ca": ca,
            "emulator": self.emulator.url,
            "inbox": self.inbox.url,
            "gps": {gp: {"url": door.url, "public_url": door.public_url} for gp, door in self.doors.items()},
            "ds": {},
            "aps": aps,
            "peers": {
                OBSERVER: {
                    "gp": OBSERVER,
                    "cert": str(observer.cert),
                    "key": str(observer.key),
                    "callback": f"{self.inbox.receiving_url}/{OBSERVER}",
                }
            },
        }
        return Federation(self.folder, self.emulator, self.inbox, endpoints, clients)

    def environment(self, gp: str) -> dict[str, str]:
        """Return the settings of a stage, as `.chalice/config.json` and AWS would give them."""
        door = self.doors[gp]
        return {
            **self.emulator.environment(REGIONS[gp]),
            "GLADOS_ROLE": "provider",
            "GLADOS_STAGE": f"gp-{gp}",
            "GLADOS_GP": gp,
            "GLADOS_GP_NAME": f"GLADOS provider {gp.upper()}",
            "GLADOS_ORIGIN": door.url,
            "GLADOS_PUBLIC_ORIGIN": door.public_url,
            "GLADOS_EMAIL_FROM": _sender(gp),
            "GLADOS_TRUST_AUTHORITY": json.dumps(self.trust_key.public_jwk()),
            "GLADOS_WEBHOOK_EXEMPT_ORIGIN": self.inbox.receiving_url,
        }

    def operator(self, gp: str, *arguments: str | Path) -> dict[str, Any]:
        """Run `python -m infra.operator` in a stage's environment and return its answer."""
        done = subprocess.run(
            [sys.executable, "-m", "infra.operator", *map(str, arguments)],
            env={"PATH": os.environ.get("PATH", os.defpath), **self.environment(gp)},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"infra.operator {arguments[0]} failed on {gp}: {done.stderr.strip()[-2000:]}")
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def _peer(self, gp: str) -> dict[str, Any]:
        keys = self.keys[gp]
        return {
            "gp": gp,
            "name": f"GLADOS provider {gp.upper()}",
            "origins": [self.doors[gp].url],
            "thumbprints": [self.peers[gp].thumbprint()],
            "direction": "both",
            "keys": {
                "filter": keys["glados-filter+jwt"],
                "head": keys["glados-head+jwt"],
                "claim": keys["glados-claim+jwt"],
            },
        }

    def _observer(self) -> dict[str, Any]:
        return {
            "gp": OBSERVER,
            "name": "An observer that holds nothing",
            "origins": [self.inbox.receiving_url],
            "thumbprints": [self.peers[OBSERVER].thumbprint()],
            "direction": "inbound",
            "keys": {},
        }


def _sender(gp: str) -> str:
    return f"codes@{gp}.gp.example"


def _await_filters(federation: Federation, gp: str) -> None:
    """Wait until a GP rules the other out for a number that nobody has: then it follows its filter."""
    asker = next(federation.clients[ap] for ap in QUERY_RATES if APS[ap] == gp)

    def follows() -> bool:
        try:
            answer = asker.query("tel:+12025550100")
        except ApiProblem:
            return False
        return bool(answer["complete"]) and not answer["consulted"]

    wait_for(f"{gp} following its peer's filter", follows)
