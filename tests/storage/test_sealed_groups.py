"""A sealed group on an emulated AWS: what lies in its tables and its bucket, under the keys of the service itself.

What the service encrypts for every group alike is left open here, as for a thief who has the KMS key: only what is
special to sealed groups may hide their members.
"""

import json
from collections.abc import Iterator

import pytest

from chalicelib.protocol.delivery.group_updates import DeleteGroupRequest
from chalicelib.protocol.delivery.responses import Ok
from chalicelib.protocol.timestamps import DAY
from chalicelib.services.delivery.upkeep import Upkeep
from chalicelib.storage import clients
from chalicelib.storage.sealing import Sealer
from tests.contracts import aws
from tests.contracts.delivery import on_aws
from tests.fakes.delivery import DeliveryWorld
from tests.services.delivery.house import GROUP, House, Person
from tests.services.delivery.sealed.insiders import KEY, Insider
from tests.storage.test_at_rest import leaves

PORTS = ("groups", "objects", "inboxes", "garbage", "rounds", "shards", "wakes", "hints", "memberships", "keys")


class Glass(Sealer):
    """What looks through the encryption that every row has."""

    def seal(self, table: str, row: str | bytes, plain: bytes) -> bytes:
        return plain

    def open(self, table: str, row: str | bytes, sealed: bytes) -> bytes:
        return sealed


class Stage:
    """A house over real adapters."""

    def __init__(self) -> None:
        self.name = aws.new_stage("delivery")
        self.world = DeliveryWorld(peers=("us.ds.example",))
        ports = on_aws(self.name, self.world.clock)
        for port in PORTS:
            setattr(self.world, port, getattr(ports, port))
        glass = Glass(None)  # type: ignore[arg-type]
        self.world.groups.sealer = self.world.objects.sealer = glass  # type: ignore[attr-defined]
        self.house = House(self.world)

    def stored(self) -> Iterator[bytes]:
        """Yield all that DynamoDB and S3 hold of the stage."""
        resources = json.loads(aws.STACK.read_text())["Resources"].values()
        for resource in resources:
            if resource["Type"] == "AWS::DynamoDB::Table" and resource.get("Condition") != "IsProvider":
                name = resource["Properties"]["TableName"]["Fn::Sub"].replace("${Stage}", self.name)
                for row in clients.client("dynamodb").scan(TableName=name)["Items"]:
                    yield from leaves(row)
        bucket = self.world.objects.objects  # type: ignore[attr-defined]
        for name in bucket.names(""):
            yield bucket.get(name)

    def traces(self, *people: Person) -> int:
        """Count the identities, keys and queues of people that can be read, and the key of the group."""
        stored = b"|".join(self.stored())
        found = 0
        for person in people:
            identity, queue = person.identity, person.queue.sealed_config.ciphertext
            found += sum(secret in stored for secret in (identity.credential.content, identity.signature_key, queue))
        return found + (KEY in stored)

    def rows(self) -> set[str]:
        """Return the kinds of rows that the group has."""
        name = f"glados-{self.name}-groups"
        found = clients.client("dynamodb").scan(TableName=name)["Items"]
        return {row["r"]["S"].partition("#")[0] for row in found}


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_a_sealed_group_lives_on_aws_and_nobody_can_be_read_there(stage: Stage) -> None:
    house = stage.house
    alice, bob, carol = Insider(house, "alice"), Insider(house, "bob"), Insider(house, "carol", "us.ds.example")
    people = alice, bob, carol
    alice.create()
    message, pending = alice.adding(bob, carol)
    assert house.serve(message) == Ok()
    assert stage.rows() == {"head", "log", "answer", "shards", "o", "wrote"}
    assert stage.traces(*people) == 0
    assert house.serve(message) == Ok()
    alice.accepted(pending, [bob, carol])
    house.deliver()
    carol.say(b"hello")
    assert stage.traces(*people) == 0
    house.deliver()
    assert "log" not in stage.rows()
    assert stage.traces(*people) == 0
    delivered = stage.world.queueing_services.delivered[bob.domain]
    assert bob.receive(next(one.message for one in reversed(delivered) if one.config == bob.queue)) == b"hello"
    message, pending = alice.removing(bob, carol, kind=DeleteGroupRequest)
    assert house.serve(message) == Ok()
    house.deliver()
    assert stage.traces(*people) == 0
    assert house.head().deleted


def test_a_group_that_is_not_sealed_can_be_read_by_who_has_the_key_of_the_service(stage: Stage) -> None:
    alice = Person(stage.house, "alice")
    alice.create()
    assert stage.traces(alice) == 3


def test_what_earlier_versions_left_is_collected_and_the_group_lives_on(stage: Stage) -> None:
    house, world = stage.house, stage.world
    alice = Insider(house, "alice")
    alice.create()
    for _ in range(3):
        message, pending = alice.updating()
        assert house.serve(message) == Ok()
        alice.accepted(pending)
    assert len(world.garbage.objects(GROUP)) == 4
    world.clock.advance(2 * DAY)
    scribe = house.removals.scribe
    upkeep = Upkeep(
        world.groups,
        house.vault,
        world.garbage,
        world.rounds,
        house.removals,
        scribe,
        world.alarms,
        world.clock,
        inactive=DAY,
        unused=90 * DAY,
    )
    upkeep.tend(GROUP)
    assert list(world.garbage.objects(GROUP)) == [house.head().root]
    alice.say(b"still here")
    world.clock.advance(70 * DAY)
    upkeep.tend(GROUP)
    assert not house.head().deleted
    world.clock.advance(100 * DAY)
    upkeep.tend(GROUP)
    assert house.head().deleted
