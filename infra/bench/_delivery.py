"""A delivery service to measure, in this process: the emulated AWS, a stage's data, and the app of its Lambda.

Requests go through the handlers as the local gateway's would, event in and answer out, without sockets or TLS. Groups
are not grown by thousands of commits: their state is built as one, and stored as the service stores it.
"""

import contextlib
import dataclasses
import importlib
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from chalicelib import wiring
from chalicelib.protocol.delivery import media
from chalicelib.protocol.delivery.group_messages import SendMessage
from chalicelib.protocol.delivery.group_state import Change, GroupState
from chalicelib.protocol.delivery.group_updates import MLSGroupUpdate, UpdateClient
from chalicelib.protocol.delivery.info_requests import UpdateQueueInfo
from chalicelib.protocol.delivery.messages import Body, DSMessage, DSRequest, DSSenderID, sign_message
from chalicelib.protocol.delivery.parts import NONCE_SIZE, Domain, Freshness
from chalicelib.protocol.delivery.policy import DsPolicy
from chalicelib.protocol.delivery.queueing import ClientQueueConfig, QueueConfig
from chalicelib.protocol.delivery.records import DeliveryRecord, Records
from chalicelib.protocol.mls.chunked_tree import ChunkedTree
from chalicelib.protocol.mls.chunks import reference
from chalicelib.protocol.mls.extensions import external_senders_extension
from chalicelib.protocol.mls.framing import ContentType, MLSMessage, PrivateMessage, decode_message
from chalicelib.protocol.mls.group_info import GroupInfo, PartialGroupInfo
from chalicelib.protocol.mls.public_group import PublicGroup, StagedCommit
from chalicelib.protocol.timestamps import DAY
from chalicelib.services.delivery.ports import Groups
from chalicelib.services.delivery.state import SHARD_LEAVES, GroupId, Head, KeptAnswer, Kind, LogRow
from chalicelib.services.delivery.vault import Vault
from chalicelib.services.queueing.owners import token_digest
from chalicelib.services.queueing.state import Head as QueueHead
from chalicelib.services.queueing.state import QueueId
from chalicelib.storage import clients
from chalicelib.wiring import delivery, groups
from infra.bench import _counted
from infra.bench.commit import SUITE, Crowd, Store
from infra.local.deployment import DATA_STACK
from infra.local.emulator import Emulator
from infra.local.http1 import Request
from infra.local.invocation import LambdaContext
from infra.local.proxy import ProxyIntegration
from infra.local.supervisor import Supervisor

STAGE = "ds-bench"
DOMAIN = "bench.ds.example"
REGION = "eu-central-1"
SECONDS = 29.0
ANYBODY = {"sourceIp": "127.0.0.1"}

_REPOSITORY = Path(__file__).parents[2]


def milliseconds() -> int:
    """The time of day."""
    return time.time_ns() // 1_000_000


class CrowdGroup:
    """A group of made-up members, as they know it: what they say next follows from what they said before."""

    def __init__(self, members: int, vault: Vault, name: str = "") -> None:
        self.group_id = GroupId(f"mimi://{DOMAIN}/g/{name or uuid.uuid4().hex}".encode())
        self.vault = vault
        own = vault.signer(self.group_id, SUITE.number).public
        self.crowd = Crowd(members, self.group_id, DsPolicy(own), (external_senders_extension((own,)),))
        self.store = Store()
        self.group = self.crowd.group(self.store, warm=True)

    def settle(self, groups: Groups, configs: Sequence[ClientQueueConfig], now: int, rows: int = 1) -> None:
        """Store the group, one queue config for each member or the same for all; its log counts so many rows."""
        info = self._info(self.group, self.crowd.random.randrange(self.crowd.members))
        attempt = self.vault.attempt(self.group_id)
        records, written = Records(attempt).changed(
            {
                leaf_index: DeliveryRecord(configs[leaf_index % len(configs)], 1, now)
                for leaf_index in range(self.crowd.members)
            }
        )
        encoded = info.encode()
        ref = reference(attempt.name, encoded)
        change = Change(GroupState(self.group, ref, records), {**written, ref: encoded})
        self.vault.objects.put(self.group_id, change.objects)
        shards = -(-records.extent // SHARD_LEAVES)
        head = Head(self.group_id, self.group.epoch, 1, rows, change.root, shards, created_at=now, used_at=now)
        row = LogRow(rows, Kind.CREATED, self.group.epoch, change.root, now, b"", sender=0)
        groups.create(head, [row], KeptAnswer(bytes(32), b"created", now + DAY))

    def committing(self, now: int) -> DSMessage:
        """Return a random member's request to renew its path; it is taken for accepted."""
        leaf_index = self._anyone()
        commit = decode_message(self.crowd.commit(self.group, leaf_index))
        staged = self.group.stage(commit, now // 1_000)
        if not isinstance(staged, StagedCommit):
            raise TypeError("the benchmark makes commits")
        self.group = self.group.merge(staged)
        if not isinstance(self.group.tree, ChunkedTree):
            raise TypeError("the benchmark makes chunked trees")
        self.store.update(self.group.tree.written)
        info = self._info(self.group, leaf_index)
        update = MLSGroupUpdate(commit, PartialGroupInfo((), info.signature))
        return self._signed(leaf_index, UpdateClient(update))

    def sending(self, now: int, size: int = 1_000) -> DSMessage:
        """Return a random member's request to send an application message."""
        random = self.crowd.random.randbytes
        message = PrivateMessage(
            self.group_id, self.group.epoch, ContentType.APPLICATION, b"", random(28), random(size)
        )
        return self._signed(self._anyone(), SendMessage(MLSMessage(message), self._fresh(now)))

    def moving(self, now: int, config: ClientQueueConfig) -> DSMessage:
        """Return a random member's request to have its messages sent elsewhere."""
        leaf_index = self._anyone()
        key = self.crowd.keys[leaf_index].public_key().public_bytes_raw()
        return self._signed(leaf_index, UpdateQueueInfo(self.group_id, key, config, self._fresh(now)))

    def _anyone(self) -> int:
        return self.crowd.random.randrange(self.crowd.members)

    def _fresh(self, now: int) -> Freshness:
        return Freshness(now, self.crowd.random.randbytes(NONCE_SIZE), Domain(self.vault.domain))

    def _signed(self, leaf_index: int, body: Body) -> DSMessage:
        return sign_message(
            DSSenderID.leaf(leaf_index),
            DSRequest(body),
            lambda label, content: self.crowd.sign(leaf_index, label, content),
        )

    def _info(self, group: PublicGroup, signer: int) -> GroupInfo:
        unsigned = GroupInfo(group.context, (), group.confirmation_tag, signer, b"")
        return dataclasses.replace(unsigned, signature=self.crowd.sign(signer, "GroupInfoTBS", unsigned.signed))


class Refused(Exception):
    """The service refused what the benchmark asked for."""


@dataclasses.dataclass(frozen=True)
class Service:
    """The stage that is measured: its handlers, and the environment of its containers."""

    app: Any
    environment: Mapping[str, str]

    def post(self, path: str, media_type: str, body: bytes) -> bytes:
        """Pass a request to the handlers and return what they answer, or raise `Refused`."""
        headers = {"host": ["bench"], "content-type": [media_type], "accept": ["*/*"]}
        request, request_id = Request("POST", path, headers, body), str(uuid.uuid4())
        proxy = ProxyIntegration(STAGE, self.app.api.binary_types)
        event = proxy.event(request, request_id=request_id, route=path, parameters={}, identity=ANYBODY)
        answer = proxy.answer(request, self.app(event, LambdaContext("bench", SECONDS, request_id)), request_id)
        if answer.status >= 300:
            raise Refused(f"{path}: {answer.status} {answer.body[:200]!r}")
        return answer.body

    def say(self, message: DSMessage) -> bytes:
        """Send a request of a group's member."""
        return self.post(f"/ds/v1/{message.request.request_type.route}", media.DS_MESSAGE, message.encode())

    def group(self, members: int, queues: Sequence[ClientQueueConfig], rows: int = 1) -> CrowdGroup:
        """Make a group whose members have these queues, or this one."""
        made = CrowdGroup(members, groups.vault())
        made.settle(groups.rows(), queues, milliseconds(), rows)
        return made

    def forget(self) -> None:
        """Be a container that has seen no group yet."""
        groups.objects().forget()

    def queues(self, count: int, signature_key: bytes) -> list[tuple[QueueId, ClientQueueConfig]]:
        """Make queues that belong to one key, and return each with its config, sealed as its client would."""
        epoch, public = delivery.queue_configs().public()
        made = []
        for _ in range(count):
            queue_id, token, now = QueueId(os.urandom(16)), os.urandom(16), milliseconds()
            digest = token_digest(wiring.digests(), token)
            head = QueueHead(queue_id, SUITE.number, signature_key, digest, now, active_at=now, updated_at=0)
            delivery.queue_heads().create(head)
            made.append((queue_id, ClientQueueConfig.seal(Domain(DOMAIN), epoch, public, QueueConfig(queue_id, token))))
        return made

    def clear(self) -> None:
        """Forget which deliveries are due, so that the next ones are all there are."""
        sqs = clients.client("sqs", 2)
        sqs.purge_queue(QueueUrl=sqs.get_queue_url(QueueName=wiring.queue_name("fanout"))["QueueUrl"])

    def worker(self) -> "subprocess.Popen[str]":
        """Start one more container, which delivers; `infra.bench._worker` says how to speak with it."""
        return subprocess.Popen(
            [sys.executable, "-m", "infra.bench._worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PATH": os.environ.get("PATH", os.defpath), **self.environment},
            cwd=_REPOSITORY,
            text=True,
        )


@contextlib.contextmanager
def running() -> Iterator[Service]:
    """Start the emulated AWS with a delivery service's data, and be a container of it; once a process."""
    with tempfile.TemporaryDirectory(prefix="glados-bench-") as folder, Supervisor(Path(folder)) as supervisor:
        emulator = Emulator.start(supervisor)
        emulator.create_stack(REGION, f"glados-{STAGE}-data", DATA_STACK, {"Stage": STAGE, "Role": "delivery"})
        environment = {
            **emulator.environment(REGION),
            "GLADOS_ROLE": "delivery",
            "GLADOS_STAGE": STAGE,
            "GLADOS_DS_DOMAIN": DOMAIN,
            "GLADOS_ORIGIN": "https://127.0.0.1",
            "POWERTOOLS_SERVICE_NAME": "glados",
        }
        os.environ.update(environment)
        _counted.install()
        # Importing the app reads the stage's settings.
        yield Service(importlib.import_module("app").app, environment)
