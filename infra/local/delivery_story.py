"""The delivery services' part of the story: two people find each other, and their clients share groups.

Alice is alpha's user (eu) and Bob gamma's (us). Her laptop has our own client; her phone and tablet, and all of his,
have rine-mls. Each client knows its own delivery service only. Each step is checked: that clients agree is seen by
equal tree hashes and by each reading what any other says.
"""

import contextlib
import os
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import unquote

from rine_mls import RineMlsError

from chalicelib.client import ApClient
from chalicelib.client.ds_https import DeliveryError
from chalicelib.client.ds_requests import DeliveryRefused
from chalicelib.client.mls_crypto import CannotFollow
from chalicelib.errors import Refusal
from chalicelib.protocol.base64url import decode_base64url, encode_base64url
from chalicelib.protocol.delivery.messages import DSSenderID
from chalicelib.protocol.delivery.responses import DSErrorCode
from infra.local.devices import Device, NothingCame
from infra.local.federation import Federation, wait_for
from infra.local.large_group import LargeGroup
from infra.local.own_device import OwnDevice
from infra.local.rine_device import RineDevice
from infra.local.services import Services
from infra.local.story import Story, StoryFailed, expect

ALICE, BOB = "tel:+447400123460", "tel:+447400123461"
LARGE, TOO_LARGE = 1_000_000, 5_000_000
"""Bytes that a request to a delivery service or between two can bring along, and bytes that neither can."""

XWING = 0xF057
"""The cipher suite that rine takes unless told otherwise: its KEM is X25519 with ML-KEM-768."""

FAILURES = (DeliveryError, NothingCame, RineMlsError, CannotFollow, Refusal)
"""What a client runs into if something is wrong."""

Kind = TypeVar("Kind", bound=Device)

_KEY = re.compile(r"[A-Za-z0-9_-]{43}")


class DeliveryStory:
    """Tells and checks it on a running federation, in which numbers can be registered."""

    def __init__(self, federation: Federation, say: Callable[[str], None]) -> None:
        self.federation = federation
        self.say = say
        self.services = Services.of(federation.endpoints)
        self.eu, self.us = self.services.domains["eu"], self.services.domains["us"]
        self.folder = federation.folder / "rine"
        self.folder.mkdir(mode=0o700)
        self._undo = contextlib.ExitStack()
        self.servers = {ap: self._server(ap) for ap in ("alpha", "gamma")}

    def tell(self) -> None:
        """Tell it all."""
        with self._undo:
            try:
                self._tell()
            except FAILURES as failure:
                raise StoryFailed(f"{type(failure).__name__}: {failure}") from failure

    def _tell(self) -> None:
        self.clients()
        self.discovery()
        self.group()
        self.large_messages()
        self.race()
        self.lost_state()
        self.removal()
        self.deletion()
        self.group_of_another_library()
        self.sealed_group()
        latecomer = self.rine("gamma", "latecomer")
        LargeGroup(self.laptop, [self.phone, self.tablet, self.bob], latecomer, self.say, self.services).tell()

    # People and their clients.

    def clients(self) -> None:
        """Register both users' numbers, and give their clients queues and KeyPackages."""
        began = time.monotonic()
        self.laptop = self.own("alpha", "mimi://alpha.example/d/alice/laptop")
        self.phone, self.tablet = self.rine("alpha", "alice's phone"), self.rine("alpha", "alice's tablet")
        self.bob = self.rine("gamma", "bob's phone")
        numbers = Story(self.federation, self.say)
        numbers.register(self.federation.clients["alpha"], ALICE, "alice")
        # Rine's credential is its key and nothing else, so that is what gamma calls its user.
        numbers.register(self.federation.clients["gamma"], BOB, encode_base64url(self.bob.user))
        for device in (self.laptop, self.phone, self.tablet, self.bob):
            device.publish(3)
        self.said(began, "alice's three clients (eu) and bob's (us) have queues and published KeyPackages")

    def discovery(self) -> None:
        """Each finds the other by number, and a KeyPackage by what the number leads to."""
        began = time.monotonic()
        alice, at_eu = self.found("gamma", ALICE)
        of_bob, at_us = self.found("alpha", BOB)
        (of_alice,) = self.bob.claim(at_eu, [alice])
        expect(holds=of_alice.key_package.leaf_node.signature_key == self.laptop.identity.signature_key, what="hers")
        self.of_bob = self.laptop.claim(at_us, [of_bob])
        keys = [package.key_package.leaf_node.signature_key for package in self.of_bob]
        expect(holds=keys == [self.bob.signer.signature_key], what="bob's number leads to his client's KeyPackage")
        self.said(began, "by number → SSI → delivery service, each took a KeyPackage of the other's")

    # One group.

    def group(self) -> None:
        """Alice's laptop makes a group, adds the rine clients, and all of them talk."""
        began = time.monotonic()
        hub = self.laptop.hub(self.eu)
        named = hub.request_group_id(self.laptop.as_user)
        self.group_id = named.group_id
        self.laptop.create(self.group_id, self.eu, named.external_sender)
        hers = self.laptop.claim(self.eu, [self.phone.user, self.tablet.user])
        self.laptop.add(self.group_id, [*self.of_bob, *hers])
        self.members: list[Device] = [self.laptop, self.phone, self.tablet, self.bob]
        self.agree(1)
        self.said(began, "alice's laptop made a group at ds-eu; three rine clients joined; each hears each other")

    def large_messages(self) -> None:
        """What no request can hold is uploaded, and fetched: by a hub from a guest's service, and the other way."""
        began = time.monotonic()
        for speaker, size in ((self.bob, TOO_LARGE), (self.laptop, TOO_LARGE), (self.laptop, LARGE)):
            data = os.urandom(size)
            speaker.say(self.group_id, data)
            for listener in self.members:
                if listener is not speaker:
                    listener.hear(self.group_id, data)
        self.said(
            began, f"bob (us) and alice each said {TOO_LARGE:,} bytes, by upload and reference, and all heard them"
        )

    def race(self) -> None:
        """Two rine clients commit in the same epoch: one wins, the other hears so, follows, and does it again."""
        began = time.monotonic()
        leaver, guest = self.rine("alpha", "leaver"), self.rine("gamma", "guest")
        self.leaver, self.guest = leaver, guest
        leaver.publish(1)  # A provider's word counts only of clients that its user published.
        wanted = {self.phone: leaver.offer(), self.bob: guest.offer()}
        epoch = self.laptop.epoch(self.group_id)

        def add(device: RineDevice) -> DeliveryRefused | None:
            try:
                device.add(self.group_id, [wanted[device]])
            except DeliveryRefused as refusal:
                return refusal
            return None

        with ThreadPoolExecutor(2) as pool:
            refusals = dict(zip(wanted, pool.map(add, wanted), strict=True))
        lost = {device: refusal for device, refusal in refusals.items() if refusal is not None}
        expect(holds=len(lost) == 1, what="one of two commits won")
        ((loser, refusal),) = lost.items()
        expect(holds=refusal.code == DSErrorCode.STALE_EPOCH, what="the loser is told that the epoch has ended")
        expect(holds=refusal.current_epoch == epoch + 1, what="the loser is told of the new epoch")
        loser.reach(self.group_id, epoch + 1)
        loser.add(self.group_id, [wanted[loser]])
        self.members += [leaver, guest]
        self.agree(epoch + 2)
        self.said(began, f"two rine clients raced a commit; {loser.name} heard stale_epoch, reloaded, followed, won")

    def lost_state(self) -> None:
        """A client that forgot its groups comes back by an external commit, in its old place."""
        began = time.monotonic()
        before = self.laptop.epoch(self.group_id)
        self.tablet.lose_everything()
        self.tablet.resync(self.group_id, self.eu)
        self.agree(before + 1)
        self.said(began, "alice's tablet lost its state and came back by an external commit")

    def removal(self) -> None:
        """A member removes another, who is told and then out."""
        began = time.monotonic()
        before = self.laptop.epoch(self.group_id)
        leaf_index = self.guest.leaf(self.group_id)
        self.phone.remove(self.group_id, leaf_index)
        self.members.remove(self.guest)
        self.guest.take_in(lambda: not self.guest.groups[self.group_id].is_active(), "its removal")
        sender, hub = DSSenderID.leaf(leaf_index), self.guest.at(self.group_id)
        refusal = _refusal(lambda: hub.update_queue_info(sender, self.group_id, self.guest.config()))
        expect(holds=refusal.code == DSErrorCode.UNKNOWN_GROUP, what="who is out is told that there is no such group")
        self.agree(before + 1)
        self.said(began, "alice's phone removed the guest, who can neither speak nor hear any more")

    def deletion(self) -> None:
        """An account is deleted: the delivery service proposes the removal, and nobody speaks until it is committed."""
        began = time.monotonic()
        before = self.laptop.epoch(self.group_id)
        event = {"event": "user_deleted", "user": _name(self.leaver.user)}
        self.servers["alpha"].call("POST", "/ds/v1/account-events", event)
        refusal = wait_for("messages being refused", self.must_cover)
        expect(holds=len(refusal.required_proposals) == 1, what="the refusal carries the proposal")
        self.phone.take_in(lambda: self.phone.waiting.get(self.group_id, 0) == 1, "the proposal")
        # Rine covers what it was proposed in whatever it commits next: here, it takes the guest back.
        self.phone.add(self.group_id, [self.guest.offer()])
        self.members.remove(self.leaver)
        self.members.append(self.guest)
        self.agree(before + 1)
        keys = {leaf.signature_key for _, leaf in self.laptop.leaves(self.group_id)}
        expect(holds=self.leaver.signer.signature_key not in keys, what="the deleted user's client is out")
        self.said(began, "alpha deleted a user: ds-eu proposed, refused messages, and a rine client committed it")

    def must_cover(self) -> DeliveryRefused | None:
        """Say something, and return how that was refused, once it is."""
        try:
            self.bob.say(self.group_id, os.urandom(8))
        except DeliveryRefused as refusal:
            expect(holds=refusal.code == DSErrorCode.MUST_COVER, what="messages wait for the removal")
            return refusal
        return None

    # Other groups.

    def group_of_another_library(self) -> None:
        """Rine makes a group of its own: no external sender, the tree inside the GroupInfo, its own cipher suite."""
        began = time.monotonic()
        host = self.rine("gamma", "bob's tablet", XWING)
        guest = self.rine("alpha", "alice's watch", XWING)
        group_id = os.urandom(16)
        host.create(group_id, self.us)
        host.add(group_id, [guest.offer()])
        self.agree(2, group_id, [host, guest])
        self.said(began, "bob's other rine client made a group at ds-us in its own post-quantum suite, with alice's")

    def sealed_group(self) -> None:
        """A group whose state ds-eu can open only while a request with the group's key is served."""
        began = time.monotonic()
        desk = self.own("gamma", "mimi://gamma.example/d/bob/desk")
        named = self.laptop.hub(self.eu).request_group_id(self.laptop.as_user)
        group_id, state_key = named.group_id, os.urandom(32)
        for device in (self.laptop, desk):  # How members tell each other the key is the application's matter.
            device.share_state_key(group_id, self.eu, state_key)
        self.laptop.create(group_id, self.eu, named.external_sender)
        self.laptop.add(group_id, [desk.offer()])
        desk.reach(group_id, 1)
        desk.update(group_id)
        self.agree(2, group_id, [self.laptop, desk])
        del desk.sealed_state_keys[group_id]
        refusal = _refusal(lambda: desk.say(group_id, b"without the key"))
        expect(holds=refusal.code == DSErrorCode.UNKNOWN_GROUP, what="without its key there is no such group")
        self.said(began, "a sealed group of our own clients: ds-eu cannot open it without the members' key")

    # How it is done.

    def agree(self, epoch: int, group_id: bytes = b"", members: Sequence[Device] = ()) -> None:
        """Let all members come to an epoch, and check that they are in the same state and read each other."""
        group_id, members = group_id or self.group_id, members or self.members
        for device in members:
            device.reach(group_id, epoch)
            expect(holds=device.epoch(group_id) == epoch, what=f"{device.name} is in epoch {epoch}")
        hashes = {device.tree_hash(group_id) for device in members}
        expect(holds=len(hashes) == 1, what="all members have the same tree")
        said = {speaker: os.urandom(12) for speaker in members}
        for speaker, data in said.items():
            speaker.say(group_id, data)
        for speaker, data in said.items():
            for listener in members:
                if listener is not speaker:
                    listener.hear(group_id, data)

    def found(self, asker: str, number: str) -> tuple[bytes, str]:
        """Ask a provider for a number; return whom it leads to, and that user's delivery service."""

        def look() -> dict[str, Any] | None:
            answer = self.federation.clients[asker].query(number)
            return answer["mapping"] if answer["found"] else None

        mapping = wait_for(f"{asker} finding {number}", look)
        return user_of_ssi(mapping["ssi"]), self.services.domains[mapping["gp"]]

    def own(self, ap: str, identity: str) -> OwnDevice:
        """Return a device with our own client, whose user's provider has registered it."""
        return self._registered(ap, OwnDevice(self.services, self._home(ap), identity))

    def rine(self, ap: str, name: str, suite: int = 1) -> RineDevice:
        """Return a device with a rine client, which to the delivery service is a user of its own."""
        return self._registered(ap, RineDevice(self.services, self._home(ap), name, self.folder, suite))

    def _registered(self, ap: str, device: Kind) -> Kind:
        self._undo.callback(device.close)
        key = encode_base64url(device.signer.signature_key)
        body = {"user": _name(device.user), "cipher_suite": device.suite, "signature_key": key}
        self.servers[ap].call("POST", "/ds/v1/users", body)
        return device

    def _home(self, ap: str) -> str:
        home: str = self.federation.endpoints["aps"][ap]["gp"]
        return home

    def _server(self, ap: str) -> ApClient:
        """Return a provider's way to its delivery service."""
        said = self.federation.endpoints["aps"][ap]
        url = self.federation.endpoints["ds"][said["gp"]]["url"]
        credentials = said["ds"]
        client = ApClient(
            url,
            credentials["client_id"],
            credentials["client_secret"],
            cert=said["cert"],
            key=said["key"],
            ca=self.federation.endpoints["ca"],
        )
        self._undo.callback(client.close)
        return client

    def said(self, began: float, what: str) -> None:
        """Tell a step that held, and how long it took."""
        self.say(f"{what}  {1000 * (time.monotonic() - began):.0f} ms")


def user_of_ssi(ssi: str) -> bytes:
    """Return the delivery service's user that an SSI names: by a mimi: URI, or by the key that is its name."""
    name, _, domain = ssi.removeprefix("im:").rpartition("@")
    user_id = unquote(name)
    return decode_base64url(user_id) if _KEY.fullmatch(user_id) else f"mimi://{domain}/u/{user_id}".encode()


def _name(user: bytes) -> str:
    return user.decode() if user.startswith(b"mimi://") else encode_base64url(user)


def _refusal(do: Callable[[], object]) -> DeliveryRefused:
    try:
        do()
    except DeliveryRefused as refusal:
        return refusal
    raise StoryFailed("something that should be refused was not")
