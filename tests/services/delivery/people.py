"""People who are members of a delivery service's groups, and what they say to it."""

import dataclasses
import hashlib
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from chalicelib.client.mls_identity import Identity, PrivateKeyPackage
from chalicelib.client.mls_member import Member, Pending
from chalicelib.protocol.crypto import CipherSuite
from chalicelib.protocol.delivery.directory import AddPackage, KeyPackageRefQuery
from chalicelib.protocol.delivery.group_messages import SelfRemoveRequest, SendMessage, SubmitProposals
from chalicelib.protocol.delivery.group_updates import (
    AddClients,
    AddedClient,
    AddUsers,
    CommitRequest,
    CreateGroupRequest,
    DeleteGroupRequest,
    JoinByExternalCommit,
    RemoveClients,
    RemoveUsers,
    ResyncClient,
    UpdateClient,
)
from chalicelib.protocol.delivery.info_requests import CloseGroup, ExternalCommitInfo, UpdateQueueInfo, WelcomeInfo
from chalicelib.protocol.delivery.media import KEY_PACKAGE_REF, KEY_PACKAGES_RESPONSE
from chalicelib.protocol.delivery.messages import Body, DSMessage, DSRequest, DSSenderID, sign_message
from chalicelib.protocol.delivery.parts import NONCE_SIZE, Domain, Freshness
from chalicelib.protocol.delivery.paths import PUBLISHED_KEY_PACKAGES
from chalicelib.protocol.delivery.policy import client_of, user_of
from chalicelib.protocol.delivery.queueing import QUEUE_CONFIG_SIZE, ClientQueueConfig
from chalicelib.protocol.delivery.responses import KeyPackagesAnswer, Ok
from chalicelib.protocol.delivery.sealed import OVERHEAD, Sealed
from chalicelib.protocol.mls.commit import ProposalOrRef
from chalicelib.protocol.mls.extensions import Extension, external_senders_extension
from chalicelib.protocol.mls.framing import MLSMessage, PublicMessage, decode_message
from chalicelib.protocol.mls.group_info import GroupInfo
from chalicelib.protocol.mls.key_package import KeyPackage
from chalicelib.protocol.mls.policy import Policy
from chalicelib.protocol.mls.proposal_list import QueuedProposal
from chalicelib.protocol.mls.proposals import Add, Proposal, Remove, SelfRemove
from chalicelib.protocol.mls.welcome import Welcome
from chalicelib.protocol.tls import decode
from chalicelib.services.delivery.registrations import KEY_LIFE
from chalicelib.services.delivery.state import DsPeer, GroupId, User
from tests.services.delivery.messages import Renewing, update_of

if TYPE_CHECKING:
    from tests.services.delivery.house import House

SUITE = 1
Adding = AddUsers | AddClients | CommitRequest
Removing = RemoveUsers | RemoveClients | DeleteGroupRequest
GROUP = GroupId(b"a group")
SECOND = 1_000


def sealed_queue(name: str) -> Sealed:
    """Return what looks like a sealed config, and shows its name."""
    return Sealed(1, name.encode().ljust(OVERHEAD + QUEUE_CONFIG_SIZE, b"."))


class Person:
    """A client: its identity, its queue, and its membership in one group."""

    def __init__(
        self, house: "House", name: str, domain: str | None = None, user: str | None = None, *, keyed: bool = False
    ) -> None:
        self.house = house
        self.random = random.Random(name).randbytes
        self.user = user or name
        # Who is `keyed` names its user only, and is told apart from the user's other clients by its key.
        identity = self.user.encode() if keyed else f"mimi://example.com/d/{self.user}/{name}".encode()
        self.identity = Identity.basic(SUITE, identity, self.random, proposals=(SelfRemove.proposal_type,))
        self.domain = domain or house.world.domain
        self.name = name
        self.queue = ClientQueueConfig(Domain(self.domain), sealed_queue(name))
        self.offered: PrivateKeyPackage | None = None
        self.group: Member | None = None
        self.read = 0

    @property
    def member(self) -> Member:
        """The membership, which there must be."""
        assert self.group is not None
        return self.group

    @property
    def now(self) -> int:
        """The time in seconds."""
        return self.house.world.clock() // SECOND

    # What it says.

    def sign(self, sender: DSSenderID, body: Body) -> DSMessage:
        return sign_message(sender, DSRequest(body), self.identity.sign)

    def as_member(self, body: Body) -> DSMessage:
        return self.sign(DSSenderID.leaf(self.member.leaf_index), body)

    def fresh(self) -> Freshness:
        return Freshness(self.house.world.clock(), self.random(NONCE_SIZE), Domain(self.house.world.domain))

    def renewed(self, **changes: Any) -> Identity:
        """Return who this client may become: with another signature key, or as `changes` say."""
        return dataclasses.replace(self.identity, **(changes or {"signature_private": self.random(32)}))

    def renewing(self, after: Identity, *proposals: Proposal) -> Pending:
        """Return a commit by which this client becomes somebody else; it is still signed by who it was."""
        before = self.member
        self.group = dataclasses.replace(before, identity=Renewing(**vars(self.identity), after=after))
        pending = self.commit(*proposals)
        self.group = before
        return dataclasses.replace(pending, accepted=dataclasses.replace(pending.accepted, identity=after))

    def registered(self) -> DSSenderID:
        """Let the user be registered with this client's key, and return how it then signs."""
        key = self.identity.signature_key
        name = f"mimi://example.com/u/{self.user}".encode()
        self.house.world.users.register(User(name, "provider", SUITE, key))
        return DSSenderID.user(hashlib.sha256(key).digest())

    def key_package(self) -> PrivateKeyPackage:
        self.offered = self.identity.key_package(self.random, self.now)
        return self.offered

    def offering(self, *extensions: Extension) -> KeyPackage:
        """Return a KeyPackage with extensions of its own, which nobody has to support."""
        plain = self.identity.key_package(self.random, self.now).public
        changed = dataclasses.replace(plain, extensions=extensions, signed=b"", signature=b"")
        return dataclasses.replace(changed, signature=self.identity.sign("KeyPackageTBS", changed.signed))

    def creation(self, group_id: GroupId = GROUP, *, with_sender: bool = True, **changes: Any) -> DSMessage:
        """Return the request to create a group that lists this service."""
        owner = self.key_package()
        sender = self.house.vault.signer(group_id, SUITE).public
        extensions = (external_senders_extension((sender,)),) if with_sender else ()
        self.group = Member.create(owner, group_id, self.random, extensions)
        info = self.group.group_info(with_tree=True)
        request = CreateGroupRequest(group_id, owner.public, self.queue, info)
        return self.as_member(dataclasses.replace(request, **changes))

    def create(self, group_id: GroupId = GROUP, *, with_sender: bool = True) -> None:
        assert self.house.serve(self.creation(group_id, with_sender=with_sender)) == Ok()

    def commit(self, *proposals: Proposal | bytes, path: bool = True) -> Pending:
        return self.member.commit(proposals, self.random, self.now, path=path)

    def adding(self, *people: "Person", kind: type[Adding] = AddUsers) -> tuple[DSMessage, Pending]:
        packages = {person: person.key_package().public for person in people}
        pending = self.commit(*(Add(package) for package in packages.values()))
        suite = self.member.suite.cipher_suite
        added = tuple(AddedClient(package.reference(suite), person.queue) for person, package in packages.items())
        welcomes = () if pending.welcome is None else (pending.welcome,)
        return self.as_member(kind(update_of(pending), welcomes, added)), pending

    def add(self, *people: "Person", kind: type[Adding] = AddUsers) -> None:
        """Add people, who join from their Welcome."""
        message, pending = self.adding(*people, kind=kind)
        assert self.house.serve(message) == Ok()
        self.accepted(pending, joining=people)

    def accepted(self, pending: Pending, joining: Sequence["Person"] = (), others: Sequence["Person"] = ()) -> None:
        """Move on after a commit was accepted, and let others follow or join."""
        self.group = pending.accepted
        for person in joining:
            person.join(pending)
        for person in others:
            person.receive(pending.commit)

    def join(self, pending: Pending) -> None:
        assert self.offered is not None
        assert pending.welcome is not None
        assert isinstance(pending.welcome.body, Welcome)
        reference = self.offered.public.reference(self.member_suite)
        request = WelcomeInfo(GROUP, self.identity.signature_key, pending.staged.context.epoch, self.fresh())
        answer = self.house.serve(self.sign(DSSenderID.key_package(reference), request))
        tree = getattr(answer, "ratchet_tree", None)
        assert isinstance(tree, bytes)
        self.group = Member.join(self.offered, pending.welcome.body, tree)

    @property
    def member_suite(self) -> CipherSuite:
        return self.identity.suite.cipher_suite

    def receive(self, message: MLSMessage | bytes) -> bytes | None:
        """Take in a message; return what it says if it is an application message."""
        decoded = decode_message(message) if isinstance(message, bytes) else message
        after = self.member.receive(decoded, self.now)
        if isinstance(after, bytes):
            return after
        self.group = after
        return None

    def catch_up(self) -> list[bytes]:
        """Read the queue from where it was read last, follow every handshake, and return what was said."""
        said = []
        for message in self.house.queue(self)[self.read :]:
            self.read += 1
            if isinstance(message.body, Welcome) or (
                isinstance(message.body, PublicMessage) and message.body.content.epoch < self.member.epoch
            ):
                continue  # It joined by it, or made it.
            data = self.receive(message)
            if data is not None:
                said.append(data)
        return said

    def saying(self, data: bytes) -> DSMessage:
        message = self.member.protect_application(data, self.random)
        return self.as_member(SendMessage(message, self.fresh()))

    def say(self, data: bytes) -> None:
        assert self.house.serve(self.saying(data)) == Ok()

    def proposing(self, *proposals: Proposal | MLSMessage) -> DSMessage:
        messages = tuple(one if isinstance(one, MLSMessage) else self.member.propose(one) for one in proposals)
        return self.as_member(SubmitProposals(messages, self.fresh()))

    def leaving(self) -> DSMessage:
        return self.as_member(SelfRemoveRequest(self.member.propose(SelfRemove()), self.fresh()))

    def moving(self, name: str) -> DSMessage:
        """Return the request to have messages sent to another queue; the caller keeps track of which one it is."""
        config = dataclasses.replace(self.queue, sealed_config=sealed_queue(name))
        return self.as_member(UpdateQueueInfo(GROUP, self.identity.signature_key, config, self.fresh()))

    def closing(self) -> DSMessage:
        return self.as_member(CloseGroup(GROUP, self.identity.signature_key, self.fresh()))

    def committing(self, *proposals: Proposal | bytes, path: bool = True) -> tuple[DSMessage, Pending]:
        """Return the request to commit anything that adds nobody."""
        pending = self.commit(*proposals, path=path)
        return self.as_member(CommitRequest(update_of(pending))), pending

    def covering(self) -> tuple[DSMessage, Pending]:
        """Return the request to commit all proposals that were heard of."""
        return self.committing(*self.member.group.proposals)

    def updating(self) -> tuple[DSMessage, Pending]:
        pending = self.commit()
        return self.as_member(UpdateClient(update_of(pending))), pending

    def removing(self, *people: "Person", kind: type[Removing] = RemoveUsers) -> tuple[DSMessage, Pending]:
        pending = self.commit(*(Remove(person.member.leaf_index) for person in people))
        return self.as_member(kind(update_of(pending))), pending

    def publish(self) -> None:
        """Put a new KeyPackage into the directory of the delivery service that has the queue, as its user would."""
        offered, world = self.key_package().public, self.house.world
        reference = offered.reference(self.member_suite)
        package = AddPackage.sign(offered, self.queue, self.identity.sign)
        if self.domain == world.domain:
            user, client = (
                user_of(self.identity.credential),
                client_of(self.identity.credential) or self.identity.signature_key,
            )
            if client == self.identity.signature_key:
                world.users.register(User(user, "provider", SUITE, client))
            world.directory.record_keys(user, "provider", [self.identity.signature_key], KEY_LIFE + world.clock())
            world.directory.publish(user, client, SUITE, [(reference, package)])
            return

        def answer(path: str, media_type: str, body: bytes) -> tuple[int, str, bytes]:
            assert (path, media_type) == (PUBLISHED_KEY_PACKAGES, KEY_PACKAGE_REF)
            known = decode(KeyPackageRefQuery.read, body).key_package_ref == reference
            return 200, KEY_PACKAGES_RESPONSE, KeyPackagesAnswer((package,) if known else ()).encode()

        if self.domain not in world.peer_calls.answers:
            world.ds_peers.put(DsPeer(self.domain, f"https://{self.domain}", frozenset({self.domain})))
        world.peer_calls.answers[self.domain] = answer

    def asking_to_return(self, *, published: bool = True) -> DSMessage:
        """Return the request for what an external commit needs, signed by a KeyPackage that is published, or is not."""
        if published:
            self.publish()
        else:
            self.key_package()
        assert self.offered is not None
        reference = self.offered.public.reference(self.member_suite)
        request = ExternalCommitInfo(GROUP, self.identity.signature_key, self.offered.public, self.fresh())
        return self.sign(DSSenderID.key_package(reference), request)

    def returning(
        self,
        info: GroupInfo,
        tree: bytes,
        old_leaf: int | None,
        leaving: Sequence[QueuedProposal] = (),
        *,
        published: bool = True,
    ) -> tuple[DSMessage, Pending]:
        """Return the request to come in by an external commit: anew, or in the place of an old leaf."""
        proposals = [] if old_leaf is None else [ProposalOrRef(Remove(old_leaf))]
        proposals += [ProposalOrRef(reference=one.reference) for one in leaving]
        pending = Member.join_by_external_commit(
            self.identity, info, tree, self.random, self.now, proposals=proposals, queued=leaving, policy=Policy()
        )
        if published:
            self.publish()
        else:
            self.key_package()
        assert self.offered is not None
        offered = self.offered.public
        sender = DSSenderID.key_package(offered.reference(self.member_suite))
        if old_leaf is None:
            joining = JoinByExternalCommit(update_of(pending), offered, self.queue, self.fresh())
            return self.sign(sender, joining), pending
        key = self.identity.signature_key
        return self.sign(sender, ResyncClient(GROUP, key, update_of(pending), offered, None, self.fresh())), pending


def settled(*people: Person) -> None:
    """Let the first create a group and add the others, so that all are in epoch 1."""
    first, *others = people
    first.create()
    if others:
        first.add(*others)


def done(served: tuple[DSMessage, Pending], by: Person, *others: Person) -> None:
    """Let a commit be accepted, and everybody follow."""
    message, pending = served
    assert by.house.serve(message) == Ok()
    by.accepted(pending, others=others)
