"""The peer: a Sydent identity server on loopback, driven by the parts of `../shared/peers` (or $GLADOS_SHARED).

It runs by an interpreter of its own, GLADOS_SYDENT_PYTHON; without that, a virtual environment is made once in
the user's cache folder. A machine without the folder measures only ours, and says so.
"""

import configparser
import contextlib
import hashlib
import importlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Literal

from chalicelib.protocol.base64url import encode_base64url
from infra.bench._load import Sent, Target
from infra.local.federation import wait_for
from infra.local.supervisor import Child, Supervisor

API = "/_matrix/identity/v2"
TOKEN = "bench"
USER = "@bench:bench.example"
NEVER_LIMITED = {"burst": "1000000000", "rate_hz": "1"}
PACKAGES = ("matrix-sydent==2.6.1", "prometheus_client")
INTERPRETER = "GLADOS_SYDENT_PYTHON"

Medium = Literal["email", "msisdn"]

_REPOSITORY = Path(__file__).parents[2]


def note(text: str) -> None:
    """Tell the one who waits; the rows alone go to standard output."""
    print(text, file=sys.stderr, flush=True)


def parts() -> ModuleType | None:
    """Return the folder's module that knows how to set a Sydent up, or None on a machine without it."""
    folder = Path(os.environ.get("GLADOS_SHARED", _REPOSITORY.parent / "shared")) / "peers"
    if not (folder / "bench_sydent.py").exists():
        note("there is no ../shared/peers here (GLADOS_SHARED says where else to look): only ours is measured")
        return None
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    return importlib.import_module("bench_sydent")


def interpreter() -> str:
    """Return a Python that has Sydent, making a virtual environment for it where none is named."""
    named = os.environ.get(INTERPRETER)
    if named:
        return named
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    if not os.access(cache if cache.exists() else cache.parent, os.W_OK):
        cache = Path(tempfile.gettempdir())
    folder = cache / "glados-bench-sydent"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        note(f"installing the peer into {folder} ({INTERPRETER} names another interpreter)")
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True, stdout=sys.stderr)
        (folder / "complete").touch()
    return str(python)


class Sydent:
    """A Sydent with a file database and, for its mail and its texts, sinks of ours."""

    def __init__(self, made_of: ModuleType, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._folder = supervisor.folder / "sydent"
        templates = self._folder / "templates" / "bench"
        templates.mkdir(parents=True)
        # The sink finds the code between these brackets.
        mail = "From: {{ from }}\r\nTo: {{ to }}\r\nSubject: code\r\n\r\n<<<{{ token }}>>>\r\n"
        (templates / "verification_template.eml.j2").write_text(mail)
        (templates / "invite_template.eml.j2").write_text(mail)
        (templates / "verify_response_template.html").write_text("")
        self._sinks = made_of.Sinks(str(self._folder))
        self._database = self._folder / "sydent.db"
        self._rows = 0
        self.port: int = made_of.free_port()
        _write_config(self._folder, self._database, self.port, made_of.free_port(), self._sinks.smtp)
        (self._folder / "run.py").write_text(made_of.RUNNER % self._sinks.sms)
        self._child = self._start()
        with self._connected() as database:
            (self._pepper,) = database.execute("SELECT lookup_pepper FROM hashing_metadata").fetchone()
            database.execute("INSERT INTO accounts (user_id, created_ts) VALUES (?, 0)", (USER,))
            database.execute("INSERT INTO tokens (user_id, token) VALUES (?, ?)", (USER, TOKEN))

    def _start(self) -> Child:
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "SYDENT_CONF": str(self._folder / "sydent.conf"),
            "SYDENT_SERVER_NAME": "bench.example",
        }
        command = [interpreter(), str(self._folder / "run.py")]
        child = self._supervisor.start("sydent", command, environment=environment)

        def answers() -> bool:
            child.check()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/_matrix/identity/versions", timeout=5).close()
            except urllib.error.URLError:
                return False
            return True

        wait_for("the peer's start", answers)
        return child

    @property
    def pid(self) -> int:
        """The process."""
        return self._child.process.pid

    def target(self) -> Target:
        """Return where to send requests: plain TCP, which is its best case."""
        return Target(self.port, {"Authorization": f"Bearer {TOKEN}"})

    def grow(self, rows: int) -> None:
        """Have so many associations in all. It starts anew, because it keeps its database locked while it runs."""
        self._child.stop()
        now = int(time.time() * 1000)
        with self._connected() as database:
            database.executemany(
                "INSERT INTO global_threepid_associations (medium, address, lookup_hash, mxid, ts, notBefore, notAfter,"
                " originServer, originId, sgAssoc) VALUES ('email', ?, ?, ?, ?, 0, ?, 'bench.example', ?, '{}')",
                (
                    (_mail(number), self._hash(number), f"@user-{number}:home.example", now, 2 * now, number)
                    for number in range(self._rows, rows)
                ),
            )
        self._rows = rows
        self._child = self._start()

    def lookups(self, numbers: Sequence[int]) -> list[Sent]:
        """Return look-ups of one address each, in the hashed form that clients use."""
        return [
            Sent(
                f"{API}/lookup",
                json.dumps({"addresses": [self._hash(number)], "algorithm": "sha256", "pepper": self._pepper}),
            )
            for number in numbers
        ]

    def code_sent_to(self, address: str) -> str:
        """Return the code that was sent to an address: a mailbox, or a number, which the sink knows without its +."""
        code: str = wait_for("a code of the peer's", lambda: self._sinks.codes.pop(address.removeprefix("+"), None))
        return code

    def _hash(self, number: int) -> str:
        return encode_base64url(hashlib.sha256(f"{_mail(number)} email {self._pepper}".encode()).digest())

    @contextlib.contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """Open the database, and commit at the end."""
        with contextlib.closing(sqlite3.connect(self._database, timeout=30)) as database, database:
            yield database


def _write_config(folder: Path, database: Path, port: int, federation_port: int, smtp_port: int) -> None:
    config = configparser.ConfigParser()
    config["general"] = {
        "server.name": "bench.example",
        "pidfile.path": str(folder / "sydent.pid"),
        "log.level": "WARNING",
        "templates.path": str(folder / "templates"),
        "brand.default": "bench",
        "ip.whitelist": "127.0.0.1",
    }
    config["db"] = {"db.file": str(database)}
    config["http"] = {
        "clientapi.http.bind_address": "127.0.0.1",
        "clientapi.http.port": str(port),
        "client_http_base": f"http://127.0.0.1:{port}",
        "replication.https.bind_address": "127.0.0.1",
        "replication.https.port": str(federation_port),
    }
    config["email"] = {
        "email.smtphost": "127.0.0.1",
        "email.smtpport": str(smtp_port),
        "email.tlsmode": "0",
        "email.from": "codes@bench.example",
        **{f"email.ratelimit_sender.{name}": value for name, value in NEVER_LIMITED.items()},
    }
    config["sms"] = {
        "bodyTemplate": "Your code is {token}",
        "username": "bench",
        "password": "bench",
        **{
            f"{kind}.ratelimit.{name}": value for kind in ("msisdn", "country") for name, value in NEVER_LIMITED.items()
        },
    }
    with (folder / "sydent.conf").open("w") as file:
        config.write(file)


def _mail(number: int) -> str:
    return f"user-{number}@bench.example"


def asking(medium: Medium, address: str) -> Sent:
    """Return the request that has a code sent; an address is a mailbox, or a number in E.164 form."""
    whom = {"email": address} if medium == "email" else {"phone_number": address, "country": "GB"}
    return Sent(
        f"{API}/validate/{medium}/requestToken",
        json.dumps({**whom, "client_secret": _secret(address), "send_attempt": 1}),
    )


def entering(medium: Medium, address: str, session: str, code: str) -> Sent:
    """Return the request that enters a code."""
    return Sent(
        f"{API}/validate/{medium}/submitToken",
        json.dumps({"sid": session, "client_secret": _secret(address), "token": code}),
    )


def _secret(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest()
