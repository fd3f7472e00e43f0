"""Every real adapter on an emulator: the other side of the contracts that the fakes are held to.

The emulator is one process for the whole run, on a free loopback port, with the stack of `infra/data-stack.json`
created in it; each `ports()` takes a stage of its own, so tests do not meet.
"""

import atexit
import contextlib
import dataclasses
import functools
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest
from botocore.exceptions import ReadTimeoutError
from botocore.httpsession import URLLib3Session

from chalicelib.config import Role
from chalicelib.storage import clients
from chalicelib.storage.accounts import AccountRows, AwsAccounts
from chalicelib.storage.alarms import AwsAlarms
from chalicelib.storage.buckets import AwsBuckets
from chalicelib.storage.datakeys import DataKeys
from chalicelib.storage.dynamodb import Database
from chalicelib.storage.events import AwsEvents
from chalicelib.storage.filter_objects import AwsFilterObjects
from chalicelib.storage.filter_pointer import AwsFilterPointer
from chalicelib.storage.hints import AwsHints
from chalicelib.storage.idempotency import AwsIdempotency
from chalicelib.storage.items import Items
from chalicelib.storage.keyring import AwsKeyring
from chalicelib.storage.objects import Objects
from chalicelib.storage.outbox import AwsOutbox
from chalicelib.storage.peer_filters import AwsPeerFilters
from chalicelib.storage.peer_heads import AwsPeerHeads
from chalicelib.storage.pending_log import AwsPendingLog
from chalicelib.storage.queues import Queues
from chalicelib.storage.rebuild_jobs import AwsRebuildJobs
from chalicelib.storage.scans import AwsScans
from chalicelib.storage.sealing import Sealer
from chalicelib.storage.snapshots import AwsSnapshots
from chalicelib.storage.store import AwsStore
from chalicelib.storage.subscriptions import AwsSubscriptions
from chalicelib.storage.trust_lists import AwsTrustLists
from infra.local.listener import hold_port
from tests.fakes.clock import SettableClock

STACK = Path(__file__).parents[2] / "infra" / "data-stack.json"
READY_SECONDS = 120
ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_ACCESS_KEY_ID": "000000000000",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclasses.dataclass(frozen=True)
class AwsPorts:
    """One stage's adapters, an attribute for each port, and what they are made of."""

    stage: str
    clock: SettableClock
    database: Database
    keys: DataKeys
    sealer: Sealer
    items: Items
    store: AwsStore
    snapshots: AwsSnapshots
    accounts: AwsAccounts
    outbox: AwsOutbox
    events: AwsEvents
    idempotency: AwsIdempotency
    buckets: AwsBuckets
    keyring: AwsKeyring
    hints: AwsHints
    trust_lists: AwsTrustLists
    peer_heads: AwsPeerHeads
    filter_objects: AwsFilterObjects
    peer_filters: AwsPeerFilters
    filter_pointer: AwsFilterPointer
    pending_log: AwsPendingLog
    scans: AwsScans
    subscriptions: AwsSubscriptions
    rebuild_jobs: AwsRebuildJobs
    alarms: AwsAlarms

    def lose_reply(self, port: str, method: str) -> None:
        """Make the next call of a port's method take effect and lose its reply.

        On the wire where the adapter uses our own clients, so that what it does about it is seen; pynamodb makes
        clients of its own, and there the call itself raises when it is done.
        """
        adapter = getattr(self, port)
        call = getattr(adapter, method)

        def lossy(*args: Any, **named: Any) -> Any:
            delattr(adapter, method)
            if port in {"subscriptions", "rebuild_jobs"}:
                call(*args, **named)
                raise ReplyLost
            lose_next_reply()
            return call(*args, **named)

        setattr(adapter, method, lossy)


def container(stage: str, clock: SettableClock) -> AwsPorts:
    """Return the adapters as one more container would make them: nothing cached, the same stage."""
    database = Database(stage)
    keys = DataKeys(database, clock)
    sealer = Sealer(keys)
    items = Items(keys, sealer, clock)
    account_rows = AccountRows(sealer)
    objects = AwsFilterObjects(Objects(stage, "filters"))
    alarms = AwsAlarms(stage, clock)
    return AwsPorts(
        stage=stage,
        clock=clock,
        database=database,
        keys=keys,
        sealer=sealer,
        items=items,
        store=AwsStore(database, items),
        snapshots=AwsSnapshots(database, items.records, account_rows),
        accounts=AwsAccounts(database, account_rows, clock),
        outbox=AwsOutbox(database, sealer),
        events=AwsEvents(database, sealer, clock),
        idempotency=AwsIdempotency(database, keys, sealer),
        buckets=AwsBuckets(database),
        keyring=AwsKeyring(keys),
        hints=AwsHints(Queues(stage, alarms)),
        trust_lists=AwsTrustLists(database, clock),
        peer_heads=AwsPeerHeads(database),
        filter_objects=objects,
        peer_filters=AwsPeerFilters(objects),
        filter_pointer=AwsFilterPointer(database),
        pending_log=AwsPendingLog(database, sealer),
        scans=AwsScans(database, items.records),
        subscriptions=AwsSubscriptions(stage),
        rebuild_jobs=AwsRebuildJobs(stage),
        alarms=alarms,
    )


def ports(clock: SettableClock | None = None) -> AwsPorts:
    """Return all adapters on a new stage of the emulator; skip the test where there is no emulator."""
    return container(new_stage("provider"), clock or SettableClock())


def new_stage(role: Role) -> str:
    """Create a stage of its own on the emulator and return its name; skip the test where there is no emulator."""
    emulator()
    stage = f"t{uuid.uuid4().hex[:12]}"
    create_stack(stage, role)
    return stage


class ReplyLost(ConnectionError):
    """What a call raises whose effect happened and whose answer did not arrive."""


WRITES = frozenset(
    {
        "PutItem",
        "UpdateItem",
        "DeleteItem",
        "TransactWriteItems",
        "BatchWriteItem",
        "PutObject",
        "DeleteObject",
        "DeleteObjects",
    }
)


def lose_next_reply() -> None:
    """Lose the answer to this process's next write, on the wire, after it took effect."""
    listeners = [clients.client("dynamodb").meta.events, clients.client("s3", 3).meta.events]

    def lose(request: AWSPreparedRequest, event_name: str, **_: object) -> None:
        about_keys = isinstance(request.body, bytes) and b"-keys" in request.body
        if event_name.rpartition(".")[2] in WRITES and not about_keys:
            for events in listeners:
                events.unregister("before-send", lose)
            URLLib3Session().send(request)
            raise ReadTimeoutError(endpoint_url="the emulator")

    for events in listeners:
        events.register("before-send", lose)


def create_stack(stage: str, role: Role = "provider") -> None:
    """Create the data stack of a stage, from the template that production uses."""
    cloudformation = clients.client("cloudformation")
    name = f"glados-{stage}-data"
    parameters = [
        {"ParameterKey": "Stage", "ParameterValue": stage},
        {"ParameterKey": "Role", "ParameterValue": role},
    ]
    cloudformation.create_stack(StackName=name, TemplateBody=STACK.read_text(), Parameters=parameters)
    until = time.monotonic() + READY_SECONDS
    while True:
        stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        if stack["StackStatus"] == "CREATE_COMPLETE":
            return
        if stack["StackStatus"] != "CREATE_IN_PROGRESS" or time.monotonic() > until:
            raise RuntimeError(f"the data stack is {stack['StackStatus']}: {stack.get('StackStatusReason')}")
        time.sleep(0.02)


@functools.cache
def emulator() -> str:
    """Start the emulator once for this process and return its URL; clients find it by botocore's environment."""
    if importlib.util.find_spec("ministack") is None:
        # The fakes are held to the same contracts without it.
        pytest.skip("ministack is not installed; the extra [local] has it")
    running = contextlib.ExitStack()
    url = running.enter_context(contextlib.contextmanager(_running)())
    atexit.register(running.close)
    os.environ.update(ENVIRONMENT, AWS_ENDPOINT_URL=url)
    return url


def _running() -> Iterator[str]:
    held = hold_port()
    port = held.getsockname()[1]
    environment = {
        **os.environ,
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "MINISTACK_REGION": ENVIRONMENT["AWS_DEFAULT_REGION"],
    }
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("wb") as log:
        process = subprocess.Popen(
            # On a leash, so that a test run that is killed leaves no emulator behind.
            [sys.executable, "-m", "infra.local.leash", str(os.getpid()), sys.executable, "-m", "ministack"],
            env={**environment, "PYTHONPATH": str(STACK.parents[1])},
            cwd=folder,
            stdout=log,
            stderr=log,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            with held:
                _wait(url, process)
            yield url
        finally:
            process.terminate()
            process.wait(60)


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"the emulator ended with status {process.returncode}")
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/_ministack/health") as answer:
            json.load(answer)
            return
        time.sleep(0.05)
    raise RuntimeError("the emulator did not get ready")
