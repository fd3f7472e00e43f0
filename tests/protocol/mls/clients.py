"""Real clients behind one face: rine-mls, agentvault-mls-rs-uniffi, and beside them our own member.

A third package, rfc9420, cannot follow a group but reads its tree: an opinion that shares no code with the others.

Each joins, commits what it can, receives what others commit, and says what it holds for the group's state. What a
client cannot do, it leaves out of `tasks`; the history then asks another.
"""

import abc
import contextlib
import dataclasses
import random
from pathlib import Path
from typing import Any

import mls_rs_uniffi
import rine_mls
from rfc9420 import DefaultCryptoProvider
from rfc9420.protocol.tree.ratchet_tree import RatchetTree

from chalicelib.client.mls_identity import Identity, PrivateKeyPackage
from chalicelib.client.mls_member import Member
from chalicelib.protocol.crypto import cipher_suite
from chalicelib.protocol.mls.commit import ProposalOrRef
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.framing import MLSMessage, decode_message
from chalicelib.protocol.mls.group_info import GroupInfo
from chalicelib.protocol.mls.key_package import KeyPackage
from chalicelib.protocol.mls.plain_tree import decode_tree, encode_tree
from chalicelib.protocol.mls.policy import Policy
from chalicelib.protocol.mls.proposals import Add, Remove
from chalicelib.protocol.mls.welcome import Welcome

SUITE = 1
GROUP_ID = b"a history"
EXPORT = ("a history", b"context", 32)


@dataclasses.dataclass(frozen=True)
class Sent:
    """What a committer sends: the commit, and the Welcomes for those it adds."""

    commit: bytes
    welcomes: list[bytes]


class Client(abc.ABC):
    """One client; the base knows nothing of MLS but its own key package."""

    tasks: frozenset[str] = frozenset()

    @abc.abstractmethod
    def key_package(self) -> bytes: ...

    @abc.abstractmethod
    def join(self, welcomes: list[bytes], tree: bytes) -> None: ...

    @abc.abstractmethod
    def receive(self, message: bytes) -> None: ...

    @abc.abstractmethod
    def tree_hash(self) -> bytes: ...

    def exported(self) -> bytes | None:
        """Return an exported secret, from a client that exports any."""
        return None

    @abc.abstractmethod
    def say(self, data: bytes) -> bytes:
        """Return an application message to the group."""

    @abc.abstractmethod
    def hear(self, message: bytes) -> bytes:
        """Return what somebody else said."""


class Rine(Client):
    """rine-mls: adds, removes, external joins and resyncs; it applies its own commits at once."""

    tasks = frozenset({"add", "remove", "external", "resync"})

    def __init__(self, folder: Path, seed: bytes, suite: int = SUITE) -> None:
        self.client = rine_mls.MlsClient(str(folder), seed, suite)
        self.group: Any = None

    def key_package(self) -> bytes:
        return self.client.generate_key_package()

    def create(self, key_packages: list[bytes]) -> tuple[Sent, bytes]:
        """Create the group; rine commits once, and its GroupInfo carries the tree."""
        self.group = self.client.create_group_with_members(GROUP_ID, key_packages)
        bundle = self.group.last_commit()
        return Sent(bundle.commit, bundle.welcomes), bundle.group_info

    def join(self, welcomes: list[bytes], tree: bytes) -> None:
        for welcome in welcomes:
            with contextlib.suppress(rine_mls.RineMlsError):
                self.group = self.client.join_from_welcome(welcome)
                return
        raise AssertionError("none of the Welcomes is for this client")

    def receive(self, message: bytes) -> None:
        # A standalone proposal is "unexpected" to it, and cached all the same.
        with contextlib.suppress(rine_mls.UnexpectedMessageError):
            self.group.apply_commit(message)

    def reload(self) -> None:
        """Go back to what was saved, after a commit of its own was not accepted."""
        self.group = self.client.load_group(GROUP_ID)

    def group_info(self) -> bytes:
        info: bytes = self.group.group_info()
        return info

    def say(self, data: bytes) -> bytes:
        # Its own envelope is a leading byte before the MLSMessage.
        payload: bytes = self.group.encrypt_application_message(data)
        assert payload[0] == rine_mls.APP_MESSAGE_TAG
        return payload[1:]

    def hear(self, message: bytes) -> bytes:
        tagged = bytes([rine_mls.APP_MESSAGE_TAG]) + message
        heard: bytes = self.group.decrypt_application_message(tagged).envelope
        return heard

    def tree_hash(self) -> bytes:
        info = decode_message(self.group_info()).body
        assert isinstance(info, GroupInfo)
        return info.group_context.tree_hash

    def add(self, key_packages: list[bytes], tree: bytes) -> Sent:
        bundle = self.group.add_members(key_packages)
        return Sent(bundle.commit, bundle.welcomes)

    def remove(self, leaf_index: int) -> Sent:
        return Sent(self.group.remove_member(leaf_index).commit, [])

    def external(self, info: bytes) -> Sent:
        self.group = self.client.join_by_external_commit(info)
        return Sent(self.group.last_commit().commit, [])

    def resync(self, info: bytes, leaf_index: int) -> Sent:
        self.group = self.client.resync_by_external_commit(info, leaf_index)
        return Sent(self.group.last_commit().commit, [])


class Agentvault(Client):
    """agentvault-mls-rs-uniffi: proposals, empty commits and the exporter; no GroupInfo."""

    tasks = frozenset({"add", "update", "propose_add", "commit_pending"})

    def __init__(self, name: bytes) -> None:
        suite = mls_rs_uniffi.CipherSuite.CURVE25519_AES128
        keys = mls_rs_uniffi.generate_signature_keypair(suite)
        self.client = mls_rs_uniffi.Client(name, keys, mls_rs_uniffi.client_config_default())
        self.group: Any = None

    def key_package(self) -> bytes:
        encoded: bytes = self.client.generate_key_package_message().to_bytes()
        return encoded

    def join(self, welcomes: list[bytes], tree: bytes) -> None:
        for welcome in welcomes:
            with contextlib.suppress(mls_rs_uniffi.Error):
                message = mls_rs_uniffi.Message.from_bytes(welcome)
                self.group = self.client.join_group(mls_rs_uniffi.RatchetTree(bytes=tree), message).group
                return
        raise AssertionError("none of the Welcomes is for this client")

    def receive(self, message: bytes) -> None:
        self.group.process_incoming_message(mls_rs_uniffi.Message.from_bytes(message))

    def say(self, data: bytes) -> bytes:
        encoded: bytes = self.group.encrypt_application_message(data).to_bytes()
        return encoded

    def hear(self, message: bytes) -> bytes:
        heard: bytes = self.group.process_incoming_message(mls_rs_uniffi.Message.from_bytes(message)).data
        return heard

    def tree_hash(self) -> bytes:
        tree = decode_tree(cipher_suite(SUITE), Policy(), self.group.export_tree().bytes)
        return Draft(tree).tree_hash

    def exported(self) -> bytes | None:
        secret: bytes = self.group.export_secret(EXPORT[0].encode(), *EXPORT[1:])
        return secret

    def add(self, key_packages: list[bytes], tree: bytes) -> Sent:
        messages = [mls_rs_uniffi.Message.from_bytes(key_package) for key_package in key_packages]
        return self._sent(self.group.add_members(messages))

    def update(self) -> Sent:
        return self._sent(self.group.commit())

    commit_pending = update

    def propose_add(self, key_package: bytes) -> bytes:
        message = mls_rs_uniffi.Message.from_bytes(key_package)
        (proposal,) = self.group.propose_add_members([message])
        encoded: bytes = proposal.to_bytes()
        return encoded

    def _sent(self, output: Any) -> Sent:
        self.group.process_incoming_message(output.commit_message)
        welcome = output.welcome_message
        return Sent(output.commit_message.to_bytes(), [] if welcome is None else [welcome.to_bytes()])


class Own(Client):
    """Our own member: whatever the others do not do."""

    tasks = frozenset(
        {
            "add",
            "remove",
            "update",
            "external",
            "resync",
            "propose_add",
            "propose_update",
            "propose_remove",
            "commit_pending",
        }
    )

    def __init__(self, name: bytes, source: random.Random, now: int) -> None:
        self.source, self.now = source, now
        self.identity = Identity.basic(SUITE, name, source.randbytes)
        self.offered: PrivateKeyPackage | None = None
        self.member: Any = None

    def key_package(self) -> bytes:
        self.offered = self.identity.key_package(self.source.randbytes, self.now)
        return MLSMessage(self.offered.public).encode()

    def join(self, welcomes: list[bytes], tree: bytes) -> None:
        assert self.offered is not None
        reference = self.offered.public.reference(cipher_suite(SUITE))
        for encoded in welcomes:
            welcome = decode_message(encoded).body
            assert isinstance(welcome, Welcome)
            if reference in [entry.new_member for entry in welcome.secrets]:
                self.member = Member.join(self.offered, welcome, tree)
                return
        raise AssertionError("none of the Welcomes is for this client")

    def receive(self, message: bytes) -> None:
        self.member = self.member.receive(decode_message(message), self.now)

    def say(self, data: bytes) -> bytes:
        encoded: bytes = self.member.protect_application(data, self.source.randbytes).encode()
        return encoded

    def hear(self, message: bytes) -> bytes:
        heard: bytes = self.member.receive(decode_message(message), self.now)
        return heard

    def tree_hash(self) -> bytes:
        tree_hash: bytes = self.member.group.context.tree_hash
        return tree_hash

    def exported(self) -> bytes | None:
        secret: bytes = self.member.secrets.export(self.member.suite, *EXPORT)
        return secret

    def group_info(self) -> bytes:
        return MLSMessage(self.member.group_info(with_tree=True)).encode()

    def add(self, key_packages: list[bytes], tree: bytes) -> Sent:
        # Without a path now and then, so that leaves stay unmerged.
        return self._commit(*map(_add, key_packages), path=self.source.random() < 0.5)

    def remove(self, leaf_index: int) -> Sent:
        return self._commit(Remove(leaf_index))

    def update(self) -> Sent:
        return self._commit()

    def commit_pending(self) -> Sent:
        return self._commit(*self.member.group.proposals)

    def propose_add(self, key_package: bytes) -> bytes:
        return self._propose(_add(key_package))

    def propose_remove(self, leaf_index: int) -> bytes:
        return self._propose(Remove(leaf_index))

    def propose_update(self) -> bytes:
        message, self.member = self.member.propose_update(self.source.randbytes)
        self.receive(message.encode())
        encoded: bytes = message.encode()
        return encoded

    def external(self, info: bytes) -> Sent:
        return self._external(info)

    def resync(self, info: bytes, leaf_index: int) -> Sent:
        return self._external(info, ProposalOrRef(Remove(leaf_index)))

    def _external(self, info: bytes, *proposals: ProposalOrRef) -> Sent:
        decoded = decode_message(info).body
        assert isinstance(decoded, GroupInfo)
        pending = Member.join_by_external_commit(
            self.identity, decoded, None, self.source.randbytes, self.now, proposals=proposals
        )
        self.member = pending.accepted
        return Sent(pending.commit.encode(), [])

    def _propose(self, proposal: Any) -> bytes:
        message = self.member.propose(proposal).encode()
        self.receive(message)
        encoded: bytes = message
        return encoded

    def _commit(self, *proposals: Any, path: bool = True) -> Sent:
        pending = self.member.commit(proposals, self.source.randbytes, self.now, path=path, tree_in_welcome=True)
        self.member = pending.accepted
        return Sent(pending.commit.encode(), [] if pending.welcome is None else [pending.welcome.encode()])


def _add(encoded: bytes) -> Add:
    key_package = decode_message(encoded).body
    assert isinstance(key_package, KeyPackage)
    return Add(key_package)


def third_opinion(tree: bytes) -> bytes:
    """Return the hash of an encoded tree, and check its parent hashes, by an implementation in pure Python."""
    read = RatchetTree(DefaultCryptoProvider())
    read.load_full_tree_from_welcome_bytes(tree)
    read.verify_parent_hash_chains()
    tree_hash: bytes = read.calculate_tree_hash()
    return tree_hash


def ratchet_tree(group: Any) -> bytes:
    """Return the tree that the delivery service would send to a joiner."""
    return encode_tree(group.tree)
