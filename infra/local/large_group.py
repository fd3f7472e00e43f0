"""A group of 1,000: some real clients, and many that are made up, who share a few real queues.

The made-up ones are valid in all that a delivery service can see; nobody runs them. One commit adds them all, with a
Welcome that leaves the tree out, as only our own client does.
"""

import itertools
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from chalicelib.client.delivery_client import Message
from chalicelib.client.mls_identity import Identity
from chalicelib.client.queue_client import Queue, QueueClient
from chalicelib.protocol.delivery.directory import AddPackage
from chalicelib.protocol.delivery.queueing import ClientQueueConfig
from chalicelib.protocol.mls.framing import PrivateMessage, PublicMessage, decode_message
from chalicelib.protocol.mls.welcome import Welcome
from infra.local.devices import PATIENCE, PAUSE, POLL, Device, NothingCame
from infra.local.own_device import SUITE, OwnDevice
from infra.local.services import Services
from infra.local.story import expect

MEMBERS = 1_000
QUEUES = 20


class LargeGroup:
    """Tells and checks it. `others` are real clients of another library, which follow what `founder` does.

    So does `latecomer`, who joins when the group is large and needs the tree in its Welcome.
    """

    def __init__(
        self,
        founder: OwnDevice,
        others: Sequence[Device],
        latecomer: Device,
        say: Callable[[str], None],
        services: Services,
    ) -> None:
        self.founder = founder
        self.others = others
        self.latecomer = latecomer
        self.everybody = [founder, *others]
        self.say = say
        self.services = services
        self.queues = [SharedQueue(services, name) for name, _ in zip(itertools.cycle(services.urls), range(QUEUES))]

    def tell(self) -> None:
        """Tell it all."""
        try:
            self.grow()
            self.speak()
            self.renew()
            self.remove()
            self.welcome()
        finally:
            for queue in self.queues:
                queue.close()

    def grow(self) -> None:
        """Make the group, and add the many by one commit."""
        named = self.founder.hub(self.founder.domain).request_group_id(self.founder.as_user)
        self.group_id = named.group_id
        self.founder.create(self.group_id, self.founder.domain, named.external_sender)
        self.founder.add(self.group_id, [device.offer() for device in self.others])
        for device in self.others:
            device.reach(self.group_id, 1)
        packages = self._make_up(MEMBERS - len(self.everybody))
        began = time.monotonic()
        commit = self.founder.prepare_add(
            self.group_id, [package.key_package for package in packages], tree_in_welcome=False
        )
        made = time.monotonic()
        self.founder.send_add(self.group_id, commit, packages)
        accepted = time.monotonic()
        self._follow(2)
        followed = time.monotonic()
        self._arrive(Welcome)
        expect(holds=len(self.founder.leaves(self.group_id)) == MEMBERS, what=f"the group has {MEMBERS} members")
        self.say(
            f"one commit added {len(packages)} clients to a group: made in {_ms(began, made)}, judged in "
            f"{_ms(made, accepted)}, followed by {len(self.others)} rine clients after {_ms(accepted, followed)}"
        )

    def speak(self) -> None:
        """Send a message from the other region to all."""
        speaker = self.others[-1]
        data = os.urandom(20)
        began = time.monotonic()
        speaker.say(self.group_id, data)
        accepted = time.monotonic()
        self._arrive(PrivateMessage)
        for device in self.everybody:
            if device is not speaker:
                device.hear(self.group_id, data)
        arrived = time.monotonic()
        self.say(
            f"{speaker.name} (us) spoke to all {MEMBERS}: taken in {_ms(began, accepted)}, in every queue of both "
            f"regions and read by real clients after {_ms(accepted, arrived)}"
        )

    def renew(self) -> None:
        """Renew the founder's keys: first for a tree of unmerged leaves, then as it is usual."""
        took = []
        for epoch in (3, 4):
            commit = self.founder.prepare(self.group_id, (), tree_in_welcome=False)
            began = time.monotonic()
            self.founder.send_update(self.group_id, commit)
            accepted = time.monotonic()
            self._follow(epoch)
            self._arrive(PublicMessage)
            took.append(f"{_ms(began, accepted)} (everywhere after {_ms(accepted, time.monotonic())})")
        self.say(f"commits at {MEMBERS} members by alice's laptop were judged in {' and '.join(took)}")

    def remove(self) -> None:
        """Let another library commit, which sends the whole tree along."""
        leaf_index = self.founder.leaves(self.group_id)[-1][0]
        began = time.monotonic()
        self.others[0].remove(self.group_id, leaf_index)
        accepted = time.monotonic()
        self._follow(5)
        self.say(
            f"a rine client removed one of {MEMBERS}, judged within {_ms(began, accepted)}; all real clients agree"
        )

    def welcome(self) -> None:
        """Add one more real client, with the whole tree in its Welcome."""
        offered = self.latecomer.offer()
        commit = self.founder.prepare_add(self.group_id, [offered.key_package], tree_in_welcome=True)
        began = time.monotonic()
        self.founder.send_add(self.group_id, commit, [offered])
        accepted = time.monotonic()
        self.everybody.append(self.latecomer)
        self._follow(6)
        self.say(
            f"{self.latecomer.name} (us) was added with a Welcome of {_size(commit.welcomes):,} bytes, judged in "
            f"{_ms(began, accepted)}, joined after {_ms(accepted, time.monotonic())}"
        )

    def _follow(self, epoch: int) -> None:
        """Let all real clients come to an epoch, and check that they are in the same state."""
        for device in self.everybody:
            device.reach(self.group_id, epoch)
        hashes = {device.tree_hash(self.group_id) for device in self.everybody}
        expect(holds=len(hashes) == 1, what="all real clients have the same tree")

    def _arrive(self, kind: type) -> None:
        """Wait until every shared queue has a message of that kind."""
        with ThreadPoolExecutor(QUEUES) as pool:
            list(pool.map(lambda queue: queue.await_message(kind), self.queues))

    def _make_up(self, count: int) -> list[AddPackage]:
        now = int(time.time())
        packages = []
        for number, queue in zip(range(count), itertools.cycle(self.queues)):
            identity = Identity.basic(SUITE, b"mimi://crowd.example/d/%d/made-up" % number, os.urandom)
            package = identity.key_package(os.urandom, now).public
            packages.append(AddPackage.sign(package, queue.config(), identity.sign))
        return packages


class SharedQueue:
    """A real queue of many clients that are not."""

    def __init__(self, services: Services, home: str) -> None:
        queue = Queue.draw(SUITE, os.urandom)
        self._client = QueueClient(services.urls[home], services.domains[home], queue, ca=services.ca)
        self._client.create_queue()
        self._key = self._client.describe().queue_config_key
        self._incoming = self._client.entries(POLL, forever=False)

    def config(self) -> ClientQueueConfig:
        """Return where its messages go, sealed anew."""
        return self._client.client_queue_config(self._key)

    def await_message(self, kind: type) -> None:
        """Read until a message of that kind comes."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            for entry in self._incoming:
                if isinstance(entry.message, bytes) and isinstance(decode_message(entry.message).body, kind):
                    return
            time.sleep(PAUSE)  # As a device does.
            self._incoming = self._client.entries(POLL, forever=False)
        raise NothingCame(f"a queue waited {PATIENCE:.0f} s for a {kind.__name__}")

    def close(self) -> None:
        """Close the connections."""
        self._incoming.close()
        self._client.close()


def _size(messages: Sequence[Message]) -> int:
    return sum(len(one if isinstance(one, bytes) else one.encode()) for one in messages)


def _ms(began: float, ended: float) -> str:
    return f"{1000 * (ended - began):.0f} ms"
