"""A delivery service on the emulator whose process dies at any call to AWS, and is replaced by one that knows nothing.

A `Stage` is what outlives its processes: the tables and bucket, the people, and a clock. A `Photograph` takes the
tables back to how they were, because a commit cannot be made twice the same. What dies raises `Death`, which no
handler catches, where requests leave the process.
"""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest
from botocore.httpsession import URLLib3Session

from chalicelib import wiring
from chalicelib.protocol.delivery.messages import DSMessage
from chalicelib.services.delivery.state import GroupId, Head
from chalicelib.storage import clients, signed_call
from chalicelib.wiring import delivery, groups
from infra.local.authority import Authority, Identity
from tests.contracts import aws
from tests.fakes.clock import SettableClock
from tests.fakes.delivery import DeliveryWorld
from tests.handlers.conftest import forget, operate
from tests.handlers.delivery.conftest import DOMAIN, ENVIRONMENT, fresh_app
from tests.handlers.edge import Answer, Ap, Edge
from tests.services.delivery.house import GROUP, House, Person
from tests.services.queueing.queues import Owner, Qs

PEER = "us.ds.example"
Side = Literal["before", "after"]


class Death(BaseException):
    """The process ends here."""


@contextlib.contextmanager
def dying(at: int | None = None, side: Side = "before") -> Iterator[list[str]]:
    """Count the calls to AWS in a list, and die right before or right after one of them reached it."""
    calls: list[str] = []
    lock = threading.Lock()

    def mortal(send: Callable[..., Any]) -> Callable[..., Any]:
        def sent(sender: Any, request: Any, *more: Any) -> Any:
            with lock:
                number = len(calls)
                calls.append(_name(request))
            if (number, side) == (at, "before"):
                raise Death
            answer = send(sender, request, *more)
            if (number, side) == (at, "after"):
                raise Death
            return answer

        return sent

    with pytest.MonkeyPatch.context() as patch:
        for owner, method in ((signed_call.Connections, "post"), (URLLib3Session, "send")):
            patch.setattr(owner, method, mortal(getattr(owner, method)))
        yield calls


def _name(request: Any) -> str:
    """Return the operation that a request is for; S3's have none in their headers, and are told by their method."""
    headers = request if isinstance(request, dict) else request.headers
    target = headers.get("X-Amz-Target") or request.method
    return (target.decode() if isinstance(target, bytes) else str(target)).rpartition(".")[2]


class Stage(House):
    """One delivery service, its people and their queues; each request goes to the app, each sweep to its wiring."""

    def __init__(self, authority: Authority, clock: SettableClock) -> None:
        super().__init__(DeliveryWorld(DOMAIN, clock))
        self.edge = Edge(fresh_app())
        self.owners: dict[str, Owner] = {}
        identity = authority.issue_client("alpha")
        said = ["--name", "Alpha", "--domain", "example.com", "--review", "reviewed for the tests"]
        account = operate("enrol-ap", "alpha", *said, "--certificate", str(identity.cert), "--sms-region", "*")
        self.peer = authority.issue_client("us")
        operate("admit-ds", PEER, "--origin", f"https://{PEER}", "--certificate", str(self.peer.cert))
        self.ap = Ap(self.edge, "alpha", account["client_id"], account["client_secret"], identity)

    def restart(self) -> None:
        """Throw the container away: what comes next is built anew, with nothing in mind."""
        super().restart()
        forget(wiring, delivery, groups)
        self.vault = groups.vault()
        self.sweep = groups.sweep()
        self.account_desk = groups.account_desk()

    def person(self, name: str) -> Person:
        """Return a client with a queue here."""
        person = Person(self, name)
        person.queue = self.owner(name).config
        return person

    def owner(self, name: str) -> Owner:
        """Return the owner of a queue of this name, which is made if it is not there."""
        if name not in self.owners:
            self.owners[name] = Owner(self.queueing, name)
            self.owners[name].create()
        return self.owners[name]

    @property
    def queueing(self) -> Qs:
        return Qs(
            delivery.queue_owners(),
            delivery.queue_reading(),
            delivery.enqueueing(),
            delivery.queue_upkeep(),
            delivery.queue_configs(),
            self.world.clock,
        )

    def post(self, path: str, media_type: str, body: bytes, identity: Identity | None = None) -> Answer:
        return self.edge.call("POST", path, body, {"content-type": media_type}, identity=identity)

    def serve(self, message: DSMessage) -> Any:
        self.desk = groups.desk()
        return super().serve(message)

    def head(self, group_id: GroupId = GROUP) -> Head:
        head, _ = groups.rows().load(group_id, b"")
        assert head is not None
        return head

    def tables(self) -> list[str]:
        """Return the names of all tables."""
        resources = json.loads(aws.STACK.read_text())["Resources"].values()
        wanted = (one for one in resources if one["Type"] == "AWS::DynamoDB::Table")
        names = [one["Properties"]["TableName"]["Fn::Sub"] for one in wanted if one.get("Condition") != "IsProvider"]
        return [name.replace("${Stage}", wiring.config().stage) for name in names]


class Photograph:
    """The rows of all tables, the names of all objects and the time, as they were when it was made."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.now = stage.world.clock()
        self.keys = {name: _key_of(name) for name in stage.tables()}
        self.rows = {name: self._rows(name) for name in self.keys}
        self.objects = set(delivery.bucket().names(""))

    def restore(self) -> None:
        """Take the tables and the time back, and begin with a new container."""
        for name, then in self.rows.items():
            now = self._rows(name)
            changes = [{"PutRequest": {"Item": row}} for key, row in then.items() if now.get(key) != row]
            gone = [row for key, row in now.items() if key not in then]
            changes += [{"DeleteRequest": {"Key": {part: row[part] for part in self.keys[name]}}} for row in gone]
            for start in range(0, len(changes), 25):
                asked = {name: changes[start : start + 25]}
                assert not clients.client("dynamodb").batch_write_item(RequestItems=asked)["UnprocessedItems"]
        bucket = delivery.bucket()
        bucket.delete(name for name in bucket.names("") if name not in self.objects)
        self.stage.world.clock.now = self.now
        self.stage.restart()

    def _rows(self, name: str) -> dict[str, Any]:
        items = clients.client("dynamodb").scan(TableName=name, ConsistentRead=True)["Items"]
        return {repr([row[part] for part in self.keys[name]]): row for row in items}


def _key_of(table: str) -> list[str]:
    schema = clients.client("dynamodb").describe_table(TableName=table)["Table"]["KeySchema"]
    return [part["AttributeName"] for part in schema]


@contextlib.contextmanager
def deployed(authority: Authority) -> Iterator[Stage]:
    """Be containers of a new stage of a delivery service on the emulator."""
    name, clock = aws.new_stage("delivery"), SettableClock()
    with pytest.MonkeyPatch.context() as patch:
        for key, value in {**ENVIRONMENT, "GLADOS_STAGE": name}.items():
            if key != "AWS_DEFAULT_REGION":
                patch.setenv(key, value)
        patch.setattr(wiring, "clock", lambda: clock)
        forget(wiring, delivery, groups)
        yield Stage(authority, clock)
        forget(wiring, delivery, groups)
