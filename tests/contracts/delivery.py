"""The ports of a delivery service, behind fakes or real adapters, and the values that their contracts speak of."""

import dataclasses
import random
from collections.abc import Callable

from chalicelib.protocol.mls.chunks import Ref, reference
from chalicelib.services.delivery import ports
from chalicelib.services.delivery.state import GroupId, Head, KeptAnswer, Kind, LogRow
from chalicelib.storage.alarms import AwsAlarms
from chalicelib.storage.datakeys import DataKeys
from chalicelib.storage.delivery_directory import AwsDirectory
from chalicelib.storage.delivery_garbage import AwsGarbage
from chalicelib.storage.delivery_groups import AwsGroups
from chalicelib.storage.delivery_hints import AwsFanoutHints
from chalicelib.storage.delivery_inboxes import AwsInboxes
from chalicelib.storage.delivery_keys import AwsDsKeys
from chalicelib.storage.delivery_objects import AwsGroupObjects
from chalicelib.storage.delivery_peer_bodies import AwsPeerBodies
from chalicelib.storage.delivery_rounds import AwsRounds
from chalicelib.storage.delivery_shards import AwsShards
from chalicelib.storage.delivery_uploads import AwsUploads
from chalicelib.storage.delivery_users import AwsMemberships, AwsUsers
from chalicelib.storage.delivery_wakes import AwsWakes
from chalicelib.storage.dynamodb import Database
from chalicelib.storage.objects import Objects
from chalicelib.storage.queues import Queues
from chalicelib.storage.sealing import Sealer
from tests.contracts import aws
from tests.fakes.clock import START, SettableClock
from tests.fakes.delivery import DeliveryWorld

GROUP = GroupId(b"a group")
CONTENT = b"the root of an epoch"
ROOT = reference(b"attempt0", CONTENT)
HEAD = Head(GROUP, epoch=5, version=1, seq=1, root=ROOT, shards=1, created_at=START, used_at=START)
CREATED = LogRow(1, Kind.CREATED, 5, ROOT, START, b"", sender=0, joined=(b"alice@eu",))
ANSWER = KeptAnswer(b"c" * 32, b"created", START + 86_400_000)


@dataclasses.dataclass(frozen=True)
class DsPorts:
    """One delivery service's stored state, empty at first. `lose_reply` is as in `tests.contracts.ports`."""

    clock: SettableClock
    lose_reply: Callable[[str, str], None]
    rotate_hub_key: Callable[[], object]
    groups: ports.Groups
    objects: ports.GroupObjects
    garbage: ports.Garbage
    rounds: ports.Rounds
    inboxes: ports.Inboxes
    shards: ports.Shards
    wakes: ports.Wakes
    hints: ports.FanoutHints
    memberships: ports.Memberships
    users: ports.Users
    directory: ports.Directory
    keys: ports.DsKeys
    uploads: ports.Uploads
    peer_bodies: ports.PeerBodies

    def store(self, content: bytes, attempt: bytes = b"attempt0", group_id: GroupId = GROUP) -> Ref:
        """Store an object and return its reference."""
        ref = reference(attempt, content)
        self.objects.put(group_id, {ref: content})
        return ref

    def create(self, head: Head = HEAD) -> Head:
        """Create a group of one epoch, and return its head."""
        self.store(CONTENT, group_id=head.group_id)
        self.groups.create(head, [dataclasses.replace(CREATED, seq=head.seq)], ANSWER)
        return head

    def head(self, group_id: GroupId = GROUP) -> Head:
        """Return a head that must be there."""
        head, _ = self.groups.load(group_id, b"")
        assert head is not None
        return head

    def say(self, *bodies: bytes) -> Head:
        """Append messages to the group, and return its head."""
        before = self.head()
        rows = [message(before, place, body) for place, body in enumerate(bodies, 1)]
        self.groups.append(before, rows, answer(random.randbytes(32)))
        return self.head()


def message(before: Head, place: int = 1, body: bytes = b"hello") -> LogRow:
    """Return a row for an application message that comes after a head."""
    return LogRow(before.seq + place, Kind.APPLICATION, before.epoch, before.root, START, body, sender=0)


def commit(before: Head, body: bytes = b"commit", **changes: object) -> LogRow:
    """Return a row for a commit that comes after a head."""
    row = LogRow(before.seq + 1, Kind.COMMIT, before.epoch, before.root, START, body, sender=0)
    return dataclasses.replace(row, **changes)  # type: ignore[arg-type]


def following(before: Head, rows: int = 1, **changes: object) -> Head:
    """Return the head of the next epoch."""
    after = dataclasses.replace(
        before, epoch=before.epoch + 1, version=before.version + 1, seq=before.seq + rows, used_at=START
    )
    return dataclasses.replace(after, **changes)  # type: ignore[arg-type]


def answer(digest: bytes, response: bytes = b"answer", until: int = START + 86_400_000) -> KeptAnswer:
    """Return an answer to be given for a day."""
    return KeptAnswer(digest, response, until)


def memory() -> DsPorts:
    """Return the ports of a new world in memory."""
    world = DeliveryWorld()
    return DsPorts(
        clock=world.clock,
        lose_reply=lambda port, method: world.fail(port, method, when="after"),
        rotate_hub_key=world.keys.rotate,
        groups=world.groups,
        objects=world.objects,
        garbage=world.garbage,
        rounds=world.rounds,
        inboxes=world.inboxes,
        shards=world.shards,
        wakes=world.wakes,
        hints=world.hints,
        memberships=world.memberships,
        users=world.users,
        directory=world.directory,
        keys=world.keys,
        uploads=world.uploads,
        peer_bodies=world.peer_bodies,
    )


def on_aws(stage: str, clock: SettableClock) -> DsPorts:
    """Return the adapters of a stage as one more container would make them."""
    database = Database(stage)
    data_keys = DataKeys(database, clock)
    sealer = Sealer(data_keys)
    bucket, shards, keys = Objects(stage, "objects"), AwsShards(database), AwsDsKeys(data_keys, sealer)
    return DsPorts(
        clock=clock,
        lose_reply=lambda _port, _method: aws.lose_next_reply(),
        rotate_hub_key=lambda: data_keys.rotate("group-state"),
        groups=AwsGroups(database, bucket, sealer, clock),
        objects=AwsGroupObjects(database, bucket, sealer, clock),
        garbage=AwsGarbage(database, bucket, shards),
        rounds=AwsRounds(database),
        inboxes=AwsInboxes(database),
        shards=shards,
        wakes=AwsWakes(database),
        hints=AwsFanoutHints(Queues(stage, AwsAlarms(stage, clock))),
        memberships=AwsMemberships(database, data_keys),
        users=AwsUsers(database, data_keys, sealer),
        directory=AwsDirectory(database, data_keys, sealer, clock),
        keys=keys,
        uploads=AwsUploads(bucket),
        peer_bodies=AwsPeerBodies(bucket, keys),
    )


def new_on_aws() -> DsPorts:
    """Return the adapters of a new stage, or skip the test where there is no emulator."""
    return on_aws(aws.new_stage("delivery"), SettableClock())
