"""A user's account as its provider knows it, and the clients that offer KeyPackages for it."""

import hashlib
import random
from typing import Any

from chalicelib.client.mls_identity import Identity
from chalicelib.protocol.base64url import encode_base64url
from chalicelib.protocol.delivery.account_api import AccountEventBody, UserRegistration
from chalicelib.protocol.delivery.directory import AddPackage, KeyPackages, PublishKeyPackages, UserID
from chalicelib.protocol.delivery.group_state import RemovalReason
from chalicelib.protocol.delivery.messages import Body, DSMessage, DSRequest, DSSenderID, sign_message
from chalicelib.protocol.delivery.parts import NONCE_SIZE, Domain, Freshness
from chalicelib.protocol.delivery.responses import KeyPackagesAnswer, Ok
from chalicelib.services.delivery.state import DsPeer, GroupId
from tests.services.delivery.house import GROUP, SUITE, House, Person

PROVIDER, PROVIDER_DOMAIN = "alpha", "example.com"


class User:
    """A user at one house, with the key that signs for the account; `clients` are people who belong to it."""

    def __init__(self, house: House, name: str, *clients: Person) -> None:
        self.house, self.name = house, name
        self.user = UserID(f"mimi://example.com/u/{name}".encode())
        self.random = random.Random(f"user {name}").randbytes
        self.key = Identity.basic(SUITE, self.user, self.random)
        self.clients = clients or (Person(house, f"{name}-phone", user=name),)

    @property
    def sender(self) -> DSSenderID:
        return DSSenderID.user(hashlib.sha256(self.key.signature_key).digest())

    def registration(self, **changes: Any) -> UserRegistration:
        said = {
            "user": self.user.decode(),
            "cipher_suite": SUITE,
            "signature_key": encode_base64url(self.key.signature_key),
        }
        return UserRegistration(**{**said, **changes})

    def register(self, provider_id: str = PROVIDER, **changes: Any) -> str:
        return self.house.account_desk.register(
            provider_id, PROVIDER_DOMAIN, self.registration(**changes)
        ).user_key_hash

    def tell(self, *, client: bytes | None = None, provider_id: str = PROVIDER, queues: tuple[bytes, ...] = ()) -> None:
        """Let the provider say that the user, or one client, is gone."""
        self.house.account_desk.take_in(provider_id, event(self.user, client, queues))

    def sign(self, body: Body) -> DSMessage:
        return sign_message(self.sender, DSRequest(body), self.key.sign)

    def fresh(self) -> Freshness:
        return Freshness(self.house.world.clock(), self.random(NONCE_SIZE), Domain(self.house.world.domain))

    def publishing(self, *packages: AddPackage) -> DSMessage:
        return self.sign(PublishKeyPackages(packages, self.fresh()))

    def publish(self, *packages: AddPackage) -> None:
        assert self.house.serve(self.publishing(*packages)) == Ok()

    def claiming(self, *users: "User | bytes", domain: str | None = None, suite: int = SUITE) -> DSMessage:
        named = tuple(UserID(one.user if isinstance(one, User) else one) for one in users)
        return self.sign(KeyPackages(Domain(domain or self.house.world.domain), suite, named, self.fresh()))

    def claim(self, *users: "User | bytes", domain: str | None = None) -> tuple[AddPackage, ...]:
        answer = self.house.serve(self.claiming(*users, domain=domain))
        assert isinstance(answer, KeyPackagesAnswer)
        return answer.add_packages


def event(user: bytes, client: bytes | None = None, queues: tuple[bytes, ...] = ()) -> AccountEventBody:
    named = tuple(encode_base64url(queue) for queue in queues)
    if client is None:
        return AccountEventBody(event="user_deleted", user=user.decode(), queues=named)
    return AccountEventBody(event="client_removed", user=user.decode(), client=encode_base64url(client), queues=named)


def package(person: Person, *, last_resort: bool = False, lifetime: int = 30 * 86_400) -> AddPackage:
    """Return a new KeyPackage of a client's with its queue, signed."""
    offered = person.identity.key_package(person.random, person.now, lifetime)
    return AddPackage.sign(offered.public, person.queue, person.identity.sign, last_resort=last_resort)


def client_of(person: Person) -> bytes:
    """Return how groups name a client."""
    return person.identity.credential.content


QUEUE = b"q" * 16


def removals(house: House, group_id: GroupId = GROUP) -> dict[bytes, RemovalReason]:
    """Return whom the service wants out of a group, by the names of clients, and why."""
    state = house.vault.open(house.head(group_id))
    return {removal.client: removal.reason for removal in state.removals}


def peer(domain: str) -> DsPeer:
    return DsPeer(domain, f"https://{domain}", frozenset({domain.ljust(43, "-")}))
