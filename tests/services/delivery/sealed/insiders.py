"""People in a sealed group, and what of it can be seen from outside."""

import dataclasses
import pickle
from collections.abc import Callable, Iterator
from typing import Any

from chalicelib.client.mls_identity import Identity
from chalicelib.protocol.delivery.info_requests import UpdateQueueInfo, WelcomeInfo
from chalicelib.protocol.delivery.messages import Body, DSMessage, DSSenderID
from chalicelib.protocol.delivery.queueing import QueueingServiceResponse
from chalicelib.protocol.delivery.sealed import STATE_KEY, Sealed, seal_to
from chalicelib.protocol.mls.proposals import SelfRemove
from chalicelib.services.delivery.state import GroupId
from tests.services.delivery.house import GROUP, SUITE, House, Person

KEY = bytes(range(32))
IMPROPER = {"short": KEY[:31], "long": KEY + b"\x00", "empty": b""}
OTHER = GroupId(b"another group")
OVERHEAD = 1 + 12 + 16
SELF_REMOVE = 10


def sealed_key(house: House, key: bytes = KEY, group_id: bytes = GROUP) -> Sealed:
    epoch, public = house.world.keys.hub_key()
    return seal_to(public, epoch, STATE_KEY, group_id, key)


class Insider(Person):
    """A person who knows the key of the group, and seals it to the service with every request."""

    key: bytes | None = KEY

    def __init__(self, house: House, name: str, domain: str | None = None) -> None:
        super().__init__(house, name, domain)
        self.identity = Identity.basic(SUITE, self.identity.credential.content, self.random, (SELF_REMOVE,))

    def sign(self, sender: DSSenderID, body: Body) -> DSMessage:
        about: Any = body
        if self.key is not None and hasattr(about, "sealed_state_key"):
            about = dataclasses.replace(about, sealed_state_key=sealed_key(self.house, self.key, about.group_id))
        return super().sign(sender, about)


@dataclasses.dataclass
class Cast:
    """A house, and three people of whom alice and bob are in the sealed group."""

    house: House
    alice: Insider
    bob: Insider
    carol: Insider

    def __post_init__(self) -> None:
        self.alice.create()
        self.alice.add(self.bob)
        self.house.deliver()


def got(house: House, person: Person) -> list[bytes]:
    """Return what came to a person's queue."""
    there = house.world.queueing_services.delivered.get(person.domain, [])
    return [one.message for one in there if one.config == person.queue]


def outside(house: House) -> bytes:
    """Return all bytes that the service has stored."""
    tables = {name: value for name, value in vars(house.world.tables).items() if name != "lock"}
    others = (house.world.memberships, house.world.users, house.world.directory, house.world.uploads)
    rows = [value for port in others for name, value in vars(port).items() if name.startswith("_")]
    return pickle.dumps((tables, rows))


def traces(house: House, *people: Person) -> set[str]:
    """Return whose identities, keys and queues can be read in what the service has stored."""
    stored, found = outside(house), set()
    for person in people:
        leaf = person.identity.signature_key
        secrets = (person.identity.credential.content, leaf, person.queue.sealed_config.ciphertext)
        found |= {f"{person.name} {place}" for place, secret in enumerate(secrets) if secret in stored}
    return found | ({"the key"} if KEY in stored else set())


def new_cast() -> Cast:
    house = House()
    return Cast(house, Insider(house, "alice"), Insider(house, "bob"), Insider(house, "carol", "us.ds.example"))


def contents(cast: Cast) -> Any:
    """Return what the sealed object holds now."""
    opened = cast.house.vault.unlock(cast.house.head(), sealed_key(cast.house))
    assert opened.safe is not None
    return opened.safe


def requests(cast: Cast) -> Iterator[tuple[str, Callable[[], DSMessage]]]:
    """Give a maker for one request of each kind about the group."""
    alice, bob = cast.alice, cast.bob
    yield "send", lambda: bob.saying(b"hello")
    yield "commit", lambda: alice.updating()[0]
    yield "propose", lambda: bob.proposing(SelfRemove())
    yield "come back", bob.asking_to_return
    key = bob.identity.signature_key
    yield "queue", lambda: bob.as_member(UpdateQueueInfo(GROUP, key, bob.queue, bob.fresh()))
    assert bob.offered is not None
    reference = DSSenderID.key_package(bob.offered.public.reference(bob.member_suite))
    yield "welcome", lambda: bob.sign(reference, WelcomeInfo(GROUP, key, 1, bob.fresh()))


def reject(cast: Cast, person: Person) -> None:
    cast.house.world.queueing_services.results[person.queue] = QueueingServiceResponse.INVALID_CLIENT_QUEUE_INFORMATION
