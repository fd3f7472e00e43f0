"""A whole federation on one machine: an emulated AWS, two GPs, two DSs, four application providers, the world outside.

Everything is set up the way operators would: the data stack from its template, accounts and peers through
`infra.operator`, webhooks through the API itself.
"""

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from chalicelib.client import ApClient, ApiProblem
from chalicelib.protocol.signed import SigningKey
from infra.local import delivery_services
from infra.local.authority import Authority, server_context
from infra.local.bucket_door import BucketDoor
from infra.local.deployment import Deployment, Ground
from infra.local.emulator import Emulator
from infra.local.inbox import Inbox
from infra.local.private import write_private
from infra.local.supervisor import Supervisor, write_endpoints

REGIONS = {"eu": "eu-central-1", "us": "us-east-1"}
APS = {"alpha": "eu", "beta": "eu", "gamma": "us", "delta": "eu"}
TRUSTED_BULK = {"delta"}
QUERY_RATES = {"gamma": "1000", "delta": "1000"}  # A second: they ask for every region's number. The others have 10.
OBSERVER = "observer"
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
        buckets = BucketDoor(emulator.port, server_context(authority.issue_server("buckets")))
        buckets.start()
        undo.callback(buckets.stop)
        setup = _Setup(Ground(folder, supervisor, emulator, authority, buckets.url, time_scale), inbox)
        undo.callback(setup.dismiss_operators)
        note("creating each stage's tables, queues, keys and bucket from infra/data-stack.json")
        setup.create_data_stacks()
        delivery_services = [ds.start() for ds in setup.ds.values()]
        note("introducing the stages to each other, enrolling alpha, beta, gamma and delta")
        accounts, at_ds = setup.introduce_and_enrol()
        note("starting the providers eu and us, and the delivery services eu and us")
        providers = [gp.start() for gp in setup.gps.values()]
        for child in (*delivery_services, *providers):
            child.await_ready()
        setup.each_gp(lambda gp: setup.gps[gp].operator.run("rebuild"))
        federation = setup.federation(accounts, at_ds)
        for client in federation.clients.values():
            undo.callback(client.close)
        note("waiting until each provider follows the other's routing filter")
        setup.each_gp(lambda gp: _await_filters(federation, gp))
        setup.dismiss_operators()
        write_endpoints(folder, federation.endpoints)
        yield supervisor, federation


class _Setup:
    """The steps of starting, each told once for every stage that takes it."""

    def __init__(self, ground: Ground, inbox: Inbox) -> None:
        self.ground = ground
        self.inbox = inbox
        self.observer = ground.authority.issue_client(f"gp-{OBSERVER}")
        self.certificates = {ap: ground.authority.issue_client(ap) for ap in APS}
        self.trust_key = SigningKey("trust-authority", ec.generate_private_key(ec.SECP256R1()))
        self.gps = {name: self._provider(name, region) for name, region in REGIONS.items()}
        self.ds = {name: delivery_services.delivery_service(ground, name, region) for name, region in REGIONS.items()}
        self.keys: dict[str, dict[str, list[dict[str, str]]]] = {}

    def _provider(self, gp: str, region: str) -> Deployment:
        settings = {
            "GLADOS_GP": gp,
            "GLADOS_GP_NAME": f"GLADOS provider {gp.upper()}",
            "GLADOS_EMAIL_FROM": _sender(gp),
            "GLADOS_TRUST_AUTHORITY": json.dumps(self.trust_key.public_jwk()),
            "GLADOS_WEBHOOK_EXEMPT_ORIGIN": self.inbox.receiving_url,
        }
        return Deployment(self.ground, f"gp-{gp}", "provider", region, settings)

    def each_gp(self, step: Callable[[str], Result]) -> list[Result]:
        """Do a step for every GP at once."""
        with ThreadPoolExecutor(len(REGIONS)) as pool:
            return list(pool.map(step, REGIONS))

    def create_data_stacks(self) -> None:
        """Create what is stateful, and the senders that SES asks to be verified."""
        stages = [*self.gps.values(), *self.ds.values()]
        with ThreadPoolExecutor(len(stages)) as pool:
            list(pool.map(Deployment.create_data_stack, stages))
        for gp, region in REGIONS.items():
            ses = self.ground.emulator.client("sesv2", region)
            ses.create_email_identity(EmailIdentity=_sender(gp))
            ses.close()

    def introduce_and_enrol(self) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
        """Make peers known to each other and enrol the application providers; return their accounts at GPs and DSs."""
        with ThreadPoolExecutor(len(REGIONS)) as pool:
            at_ds = [pool.submit(self._prepare_ds, name) for name in REGIONS]
            self.each_gp(self._prepare_gp)
            self._exchange_trust_lists()
            accounts = dict(one for many in self.each_gp(self._enrol) for one in many)
            return accounts, {ap: account for done in at_ds for ap, account in done.result().items()}

    def _prepare_ds(self, name: str) -> dict[str, dict[str, Any]]:
        ds = self.ds[name]
        delivery_services.introduce(ds, {other: self.ds[other] for other in self.ds if other != name})
        return delivery_services.enrol(ds, {ap: self.certificates[ap] for ap, home in APS.items() if home == name})

    def _prepare_gp(self, gp: str) -> None:
        """Give a GP its client certificate, and learn its public keys."""
        self.gps[gp].take_certificate()
        self.keys[gp] = self.gps[gp].operator.run("keys")

    def _exchange_trust_lists(self) -> None:
        """Have the authority sign each GP's list of peers, and load it."""
        folder = self.ground.folder
        pem = self.trust_key.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        key = folder / "certificates" / "trust-authority.key"
        write_private(key, pem)

        def load(gp: str) -> None:
            operator = self.gps[gp].operator
            others = [self._peer(other) for other in REGIONS if other != gp]
            plain = folder / f"trust-list-{gp}.json"
            write_private(plain, json.dumps({"version": 1, "peers": [*others, self._observer()]}).encode())
            signed = operator.run("sign-trust-list", plain, "--key", key, "--gp", gp)["trust_list"]
            listed = folder / f"trust-list-{gp}.jws"
            write_private(listed, signed.encode())
            operator.run("load-trust-list", listed)

        self.each_gp(load)

    def _enrol(self, gp: str) -> list[tuple[str, dict[str, Any]]]:
        """Enrol the application providers of a GP's region."""
        enrolled = []
        for ap, home in APS.items():
            if home == gp:
                scopes = ["query", "register", "webhooks", "reports", "account"]
                trusted = ["--trusted-bulk", "--scope", "bulk"] if ap in TRUSTED_BULK else []
                rate = ["--query-rate", QUERY_RATES[ap]] if ap in QUERY_RATES else []
                said = [word for scope in scopes for word in ("--scope", scope)]
                account = self.gps[gp].enrol(ap, self.certificates[ap], "--sms-region", "*", *said, *trusted, *rate)
                enrolled.append((ap, account))
        return enrolled

    def dismiss_operators(self) -> None:
        """End the operators' processes: nothing more is changed by hand."""
        for stage in (*self.gps.values(), *self.ds.values()):
            stage.operator.dismiss()

    def federation(self, accounts: dict[str, dict[str, Any]], at_ds: dict[str, dict[str, Any]]) -> Federation:
        """Set every AP's webhook through the API, and gather how to reach everything."""
        ca = str(self.ground.authority.cert)
        clients, aps = {}, {}
        for ap, gp in APS.items():
            account, identity = accounts[ap], self.certificates[ap]
            client = ApClient(
                self.gps[gp].doors.url,
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
                "ds": at_ds[ap],
            }
        endpoints: dict[str, Any] = {
            "ca": ca,
            "emulator": self.ground.emulator.url,
            "inbox": self.inbox.url,
            "gps": {name: gp.urls for name, gp in self.gps.items()},
            "ds": {name: {**ds.urls, "domain": delivery_services.domain_of(name)} for name, ds in self.ds.items()},
            "aps": aps,
            "peers": {
                OBSERVER: {
                    "gp": OBSERVER,
                    "cert": str(self.observer.cert),
                    "key": str(self.observer.key),
                    "callback": f"{self.inbox.receiving_url}/{OBSERVER}",
                }
            },
        }
        return Federation(self.ground.folder, self.ground.emulator, self.inbox, endpoints, clients)

    def _peer(self, gp: str) -> dict[str, Any]:
        keys = self.keys[gp]
        return {
            "gp": gp,
            "name": f"GLADOS provider {gp.upper()}",
            "origins": [self.gps[gp].doors.url, self.ground.buckets],
            "thumbprints": [self.gps[gp].identity.thumbprint()],
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
            "thumbprints": [self.observer.thumbprint()],
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
