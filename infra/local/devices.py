"""A client of the delivery services, as an integrator would build one from `DeliveryClient` and `QueueClient`.

What MLS library keeps its groups is a subclass's matter: `RineDevice` has another team's, `OwnDevice` ours. A device
speaks to its own delivery service only; to groups whose hub is elsewhere, that passes its requests on.
"""

import abc
import contextlib
import dataclasses
import hashlib
import os
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, TypeVar

from chalicelib.client.delivery_client import DeliveryClient, JoinInfo, Message, group_update, seal_state_key
from chalicelib.client.ds_https import NoAnswer
from chalicelib.client.ds_requests import DeliveryRefused
from chalicelib.client.queue_client import Queue, QueueClient, QueueRefused
from chalicelib.client.signer import Signer
from chalicelib.protocol.crypto import cipher_suite
from chalicelib.protocol.delivery.directory import AddPackage
from chalicelib.protocol.delivery.group_updates import AddedClient, MLSGroupUpdate
from chalicelib.protocol.delivery.messages import DSMessage, DSSenderID
from chalicelib.protocol.delivery.queueing import ClientQueueConfig, QueueEntry
from chalicelib.protocol.delivery.responses import DSErrorCode
from chalicelib.protocol.delivery.sealed import Sealed
from chalicelib.protocol.mls.commit import Commit as MLSCommit
from chalicelib.protocol.mls.framing import MLSMessage, PrivateMessage, PublicMessage, decode_message
from chalicelib.protocol.mls.group_info import GroupInfo
from chalicelib.protocol.mls.key_package import KeyPackage
from chalicelib.protocol.mls.welcome import Welcome
from infra.local.services import QUEUE_SUITE, Services

PATIENCE = 60.0
"""Seconds that a device waits for something to come into its queue, however short each answer to that is."""

POLL = 20.0
"""Seconds that it asks a queueing service to wait, which that does for one fetch of a queue at a time."""

INSISTENCE = 60.0
"""Seconds for which it asks again where answers are lost."""

PAUSE = 0.2

Given = TypeVar("Given")


class NothingCame(Exception):
    """A device waited for something that did not come."""


@dataclasses.dataclass(frozen=True)
class Commit:
    """A commit that was made and not sent yet; `after` is what the library holds once it is accepted."""

    commit: Message
    group_info: Message | GroupInfo
    welcomes: Sequence[Message] = ()
    after: Any = None

    @property
    def update(self) -> MLSGroupUpdate:
        """Return what a delivery service takes."""
        return group_update(self.commit, self.group_info)


class Device(abc.ABC):
    """One client: a signature key, a queue at its own service, and its groups."""

    def __init__(self, services: Services, home: str, name: str, signer: Signer) -> None:
        self.services = services
        self.name = name
        self.signer = signer
        self.domain = services.domains[home]
        self._url = services.urls[home]
        self.queue = QueueClient(self._url, self.domain, Queue.draw(QUEUE_SUITE, os.urandom), ca=services.ca)
        self.persist(self.queue.create_queue)
        self.description = self.persist(self.queue.describe)
        self.hub_of: dict[bytes, str] = {}
        self.waiting: dict[bytes, int] = {}
        self.heard: list[tuple[bytes, bytes]] = []
        self.sealed_state_keys: dict[bytes, Sealed] = {}
        self._hubs: dict[str, DeliveryClient] = {}
        self._incoming: Generator[QueueEntry, None, None] | None = None
        self._handled = 0

    def close(self) -> None:
        """Close all connections; what was taken in is acknowledged."""
        self._pause()
        for hub in self._hubs.values():
            hub.close()
        self.queue.close()

    # What each library does its own way.

    @property
    @abc.abstractmethod
    def user(self) -> bytes:
        """Return whose client this is, as its credential says."""

    @abc.abstractmethod
    def key_package(self) -> KeyPackage:
        """Return a new KeyPackage, whose private keys are kept."""

    @abc.abstractmethod
    def leaf(self, group_id: bytes) -> int:
        """Return the own leaf index."""

    @abc.abstractmethod
    def epoch(self, group_id: bytes) -> int:
        """Return the epoch that the device is in."""

    @abc.abstractmethod
    def tree_hash(self, group_id: bytes) -> bytes:
        """Return the hash of the tree that the device holds."""

    @abc.abstractmethod
    def join(self, hub: str, message: MLSMessage) -> bytes:
        """Join by a Welcome from the queue, and return the group's id."""

    @abc.abstractmethod
    def follow(self, group_id: bytes, handshake: MLSMessage) -> None:
        """Take in a commit or a proposal."""

    @abc.abstractmethod
    def read(self, group_id: bytes, message: MLSMessage) -> bytes:
        """Return what a message says."""

    @abc.abstractmethod
    def write(self, group_id: bytes, data: bytes) -> Message:
        """Return a message that says it."""

    @abc.abstractmethod
    def prepare_add(self, group_id: bytes, packages: Sequence[KeyPackage]) -> Commit:
        """Make a commit that adds clients."""

    @abc.abstractmethod
    def prepare_remove(self, group_id: bytes, leaf_index: int) -> Commit:
        """Make a commit that removes a member."""

    @abc.abstractmethod
    def prepare_resync(self, info: JoinInfo) -> Commit:
        """Make an external commit that replaces the own leaf."""

    @abc.abstractmethod
    def accepted(self, group_id: bytes, commit: Commit) -> None:
        """Move on: the own commit was accepted."""

    @abc.abstractmethod
    def refused(self, group_id: bytes) -> None:
        """Go back to before the own commit: it was not accepted."""

    # Who and where.

    @property
    def suite(self) -> int:
        """Return the cipher suite of its key."""
        return self.signer.cipher_suite

    @property
    def as_user(self) -> DSSenderID:
        """Name it by the key that its provider registered."""
        return DSSenderID.user(hashlib.sha256(self.signer.signature_key).digest())

    def as_member(self, group_id: bytes) -> DSSenderID:
        """Name it by its leaf."""
        return DSSenderID.leaf(self.leaf(group_id))

    def hub(self, domain: str) -> DeliveryClient:
        """Return the way to a hub: straight to the own service, through it to any other."""
        if domain not in self._hubs:
            self._hubs[domain] = DeliveryClient(
                self._url,
                domain,
                self.signer,
                forwarded=domain != self.domain,
                uploader=(self.signer, self.as_user),
                ca=self.services.ca,
            )
        return self._hubs[domain]

    def at(self, group_id: bytes) -> DeliveryClient:
        """Return the way to a group's hub."""
        return self.hub(self.hub_of[group_id])

    def config(self) -> ClientQueueConfig:
        """Return where messages for it go, sealed anew."""
        return self.queue.client_queue_config(self.description.queue_config_key)

    def share_state_key(self, group_id: bytes, hub: str, state_key: bytes) -> None:
        """Use a sealed group's key from now on."""
        self.sealed_state_keys[group_id] = seal_state_key(self.services.describe(hub).hub_key, group_id, state_key)

    # The directory.

    def offer(self) -> AddPackage:
        """Return a new KeyPackage with the queue that belongs to it."""
        return AddPackage.sign(self.key_package(), self.config(), self.signer.sign)

    def publish(self, count: int) -> None:
        """Publish KeyPackages at the own service."""
        self.hub(self.domain).publish_key_packages(self.as_user, [self.offer() for _ in range(count)])

    def claim(self, domain: str, users: Iterable[bytes]) -> tuple[AddPackage, ...]:
        """Take a KeyPackage of every client of some users of a service, by the own one, and check its signature."""
        claimed = self.hub(self.domain).key_packages(self.as_user, domain, users)
        for package in claimed:
            package.verify(cipher_suite(package.key_package.cipher_suite))
        return claimed

    # In groups.

    def add(self, group_id: bytes, packages: Sequence[AddPackage]) -> Commit:
        """Add clients of users who are not in the group."""
        commit = self.prepare_add(group_id, [package.key_package for package in packages])
        self.send_add(group_id, commit, packages)
        return commit

    def send_add(self, group_id: bytes, commit: Commit, packages: Sequence[AddPackage]) -> None:
        """Send a commit that adds clients."""
        suite = cipher_suite(self.suite)
        added = [AddedClient(one.key_package.reference(suite), one.client_queue_config) for one in packages]
        sender, key = self.as_member(group_id), self.sealed_state_keys.get(group_id)
        self.settle(
            group_id,
            commit,
            lambda: self.at(group_id).add_users(sender, commit.update, commit.welcomes, added, sealed_state_key=key),
        )

    def remove(self, group_id: bytes, leaf_index: int) -> Commit:
        """Remove a user whose only client in the group that is."""
        sender, key = self.as_member(group_id), self.sealed_state_keys.get(group_id)
        commit = self.prepare_remove(group_id, leaf_index)
        self.settle(
            group_id, commit, lambda: self.at(group_id).remove_users(sender, commit.update, sealed_state_key=key)
        )
        return commit

    def resync(self, group_id: bytes, hub: str) -> Commit:
        """Come back into a group whose state was lost, in the place of the own old leaf."""
        self.hub_of[group_id] = hub
        key_package, key = self.key_package(), self.sealed_state_keys.get(group_id)
        sender = DSSenderID.key_package(key_package.reference(cipher_suite(self.suite)))
        info = self.persist(
            lambda: self.hub(hub).external_commit_info(sender, group_id, key_package=key_package, sealed_state_key=key)
        )
        commit = self.prepare_resync(info)
        self.settle(
            group_id,
            commit,
            lambda: self.hub(hub).resync_client(
                sender, commit.update, key_package=key_package, queue_config=self.config(), sealed_state_key=key
            ),
        )
        return commit

    def say(self, group_id: bytes, data: bytes) -> None:
        """Send a message to everybody else in the group."""
        key = self.sealed_state_keys.get(group_id)
        hub, sender, message = self.at(group_id), self.as_member(group_id), self.write(group_id, data)
        self.insist(hub, lambda: hub.send_message(sender, message, sealed_state_key=key))

    def insist(self, hub: DeliveryClient, ask: Callable[[], None]) -> None:
        """Ask until there is an answer. A lost one may have taken effect, so the same bytes are sent again."""
        try:
            ask()
        except (NoAnswer, DeliveryRefused) as failure:
            message, pause = failure.message, _pause_after(failure)
            if pause is None or not isinstance(message, DSMessage):
                raise
            time.sleep(pause)
            again = message
            self.persist(lambda: hub.send(again))

    def persist(self, ask: Callable[[], Given]) -> Given:
        """Ask until there is an answer, as one may for what changes nothing."""
        until = time.monotonic() + INSISTENCE
        while True:
            try:
                return ask()
            except (NoAnswer, DeliveryRefused, QueueRefused) as failure:
                pause = _pause_after(failure)
                if pause is None or time.monotonic() > until:
                    raise
                time.sleep(pause)

    def settle(self, group_id: bytes, commit: Commit, send: Callable[[], None]) -> None:
        """Send a commit, and move on or go back according to the answer."""
        try:
            self.insist(self.at(group_id), send)
        except DeliveryRefused:
            self.refused(group_id)
            raise
        self.accepted(group_id, commit)

    # What comes.

    def take_in(self, until: Callable[[], bool], what: str) -> None:
        """Take in what comes until something is so; raise `NothingCame` if it never is."""
        while not until():
            self.receive(self._next(what))

    def hear(self, group_id: bytes, data: bytes) -> None:
        """Take in what comes until somebody has said this in a group."""
        self.take_in(lambda: (group_id, data) in self.heard, "a message")

    def reach(self, group_id: bytes, epoch: int) -> None:
        """Take in what comes until the device is in an epoch of a group, in which it may not be yet."""
        self.take_in(lambda: group_id in self.hub_of and self.epoch(group_id) >= epoch, f"epoch {epoch}")

    def drain(self) -> None:
        """Take in what is there, and do not wait for more."""
        self._pause()

        def pass_over() -> None:
            for entry in self.queue.entries(0.0, forever=False):
                self.receive(entry)

        self.persist(pass_over)

    def receive(self, entry: QueueEntry) -> None:
        """Do what an entry of the queue asks for; one that was handled and not acknowledged comes again."""
        if entry.number <= self._handled:
            return
        self._handle(entry)
        self._handled = entry.number

    def _handle(self, entry: QueueEntry) -> None:
        encoded = entry.message
        if not isinstance(encoded, bytes):
            raise TypeError("an entry's message was not fetched")
        message = decode_message(encoded)
        match message.body:
            case Welcome():
                group_id = self.join(entry.hub, message)
                self.hub_of[group_id] = entry.hub
            case PublicMessage(content=content) if content.epoch < self.epoch(entry.group_id):
                pass  # A proposal that our own commit overtook.
            case PublicMessage(content=content):
                self.follow(entry.group_id, message)
                proposed = not isinstance(content.content, MLSCommit)
                self.waiting[entry.group_id] = self.waiting.get(entry.group_id, 0) + 1 if proposed else 0
            case PrivateMessage():
                self.heard.append((entry.group_id, self.read(entry.group_id, message)))
            case _:
                raise ValueError("something came that no group sends")

    def _pause(self) -> None:
        if self._incoming is not None:
            with contextlib.suppress(NoAnswer):  # What is not acknowledged comes again.
                self._incoming.close()
            self._incoming = None

    def _next(self, what: str) -> QueueEntry:
        def ask() -> QueueEntry | None:
            if self._incoming is None:
                self._incoming = self.queue.entries(POLL, forever=False)
            try:
                return next(self._incoming, None)
            except (NoAnswer, QueueRefused):
                self._incoming = None
                raise

        until = time.monotonic() + PATIENCE
        while (entry := self.persist(ask)) is None:
            self._incoming = None
            if time.monotonic() > until:
                raise NothingCame(f"{self.name} waited {PATIENCE:.0f} s for {what}")
            time.sleep(PAUSE)  # An earlier fetch of ours, whose connection is gone, may be the one that waits there.
        return entry


def _pause_after(failure: NoAnswer | DeliveryRefused | QueueRefused) -> float | None:
    """Return after how many seconds it can be tried again, or None if that is of no use."""
    match failure:
        case NoAnswer():
            return PAUSE
        case DeliveryRefused(code=DSErrorCode.UNAVAILABLE | DSErrorCode.TOO_MANY_REQUESTS):
            return failure.retry_after or PAUSE
        case QueueRefused(status=429 | 503):
            return failure.retry_after or PAUSE
        case _:
            return None
