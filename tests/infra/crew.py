"""Devices for random histories: they remember what they sent, know who is in a group, and bear to be late."""

import abc
import os
from pathlib import Path
from typing import Any

import mls_rs_uniffi
import rine_mls

from chalicelib.client.delivery_client import DeliveryClient, JoinInfo
from chalicelib.client.mls_path import NotForThisMember
from chalicelib.client.signer import SignatureKey, Signer
from chalicelib.protocol.crypto import cipher_suite
from chalicelib.protocol.delivery.messages import TBS_LABEL, DSMessage, DSRequestType
from chalicelib.protocol.delivery.queueing import QueueEntry
from chalicelib.protocol.mls.commit import Commit as MLSCommit
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.extensions import RATCHET_TREE, find
from chalicelib.protocol.mls.framing import MLSMessage, PrivateMessage, PublicMessage, decode_message
from chalicelib.protocol.mls.group_info import GroupInfo
from chalicelib.protocol.mls.key_package import KeyPackage
from chalicelib.protocol.mls.plain_tree import decode_tree
from chalicelib.protocol.mls.policy import Policy
from chalicelib.protocol.tls import TREE_ELEMENTS, decode
from infra.local.devices import Commit, Device
from infra.local.own_device import OwnDevice
from infra.local.rine_device import RineDevice
from infra.local.services import Services

SUITE = 1
FOLLOWS = "agentvault joins, follows and speaks in these histories; the others commit"
EXPORT = ("a history", b"context", 32)
Roster = frozenset[bytes]
"""The signature keys of a group's members."""


class Remembering:
    """A signer that remembers each DSMessage it signed for a hub: what is signed is all of it but for the signature.

    To upload what is too large is no request of its own: it is done again where the request is sent again.
    """

    def __init__(self, signer: Signer) -> None:
        self.signer = signer
        self.sent: list[DSMessage] = []

    @property
    def cipher_suite(self) -> int:
        return self.signer.cipher_suite

    @property
    def signature_key(self) -> bytes:
        return self.signer.signature_key

    def sign(self, label: str, content: bytes) -> bytes:
        signature = self.signer.sign(label, content)
        if label == TBS_LABEL:
            encoded = content + bytes([len(signature)]) + signature
            message = decode(DSMessage.read, encoded, TREE_ELEMENTS)
            if message.request.request_type is not DSRequestType.UPLOAD:
                self.sent.append(message)
        return signature


class Late(Device):
    """Bears what comes for a group that it is not in any more, or in whose past it was somebody else."""

    floors: dict[bytes, int]
    """From which epoch on it reads a group, because it came back by a resync in between."""

    lost: set[bytes]
    """The groups whose state it lost."""

    out: set[bytes]
    """The groups that it was removed from."""

    missed: int
    """How many messages its library could not read for a reason of its own."""

    def ready(self) -> None:
        """Begin to remember."""
        self.missed = 0
        self.floors, self.lost, self.out = {}, set(), set()
        self.memory = Remembering(self.signer)
        self.signer = self.memory

    @abc.abstractmethod
    def placed(self, group_id: bytes) -> dict[bytes, int]:
        """Return the members' leaf indices by their signature keys."""

    def roster(self, group_id: bytes) -> Roster:
        """Return who is in the group."""
        return frozenset(self.placed(group_id))

    def inside(self, group_id: bytes) -> bool:
        """Say whether it is in the group, as far as it knows."""
        if group_id not in self.hub_of or group_id in self.lost | self.out:
            return False  # Its Welcome is still on the way, or it has no state, or is not in it any more.
        return self.signer.signature_key in self.roster(group_id)

    def exported(self, group_id: bytes) -> bytes | None:
        """Return an exported secret, from a client that exports any."""
        return None

    def hub(self, domain: str) -> DeliveryClient:
        known = domain in self._hubs
        hub = super().hub(domain)
        if not known:
            hub._https._sleep = lambda seconds: None  # `insist` has a pause of its own.
        return hub

    def _handle(self, entry: QueueEntry) -> None:
        body = decode_message(entry.message).body if isinstance(entry.message, bytes) else None
        if isinstance(body, PublicMessage | PrivateMessage):
            epoch = body.content.epoch if isinstance(body, PublicMessage) else body.epoch
            if entry.group_id in self.lost | self.out or epoch < self.floors.get(entry.group_id, 0):
                return
        try:
            super()._handle(entry)
        except NotForThisMember:
            self.out.add(entry.group_id)  # Says our own member of a commit that removes it.

    def come_back(self, group_id: bytes, hub: str) -> None:
        """Resync, and read from there on."""
        self.resync(group_id, hub)
        self.lost.discard(group_id)
        self.floors[group_id] = self.epoch(group_id)


class OwnHand(OwnDevice, Late):
    """Our own client, whose GroupInfo now and then has the tree inside, as rine wants it for a resync."""

    def __init__(self, services: Services, home: str, identity: str) -> None:
        super().__init__(services, home, identity)
        self.ready()

    def prepare(self, group_id: bytes, proposals: Any, *, tree_in_welcome: bool) -> Commit:
        commit = super().prepare(group_id, proposals, tree_in_welcome=tree_in_welcome)
        if os.urandom(1)[0] & 1:
            return commit
        return Commit(commit.commit, commit.after.group_info(with_tree=True), commit.welcomes, commit.after)

    def placed(self, group_id: bytes) -> dict[bytes, int]:
        return {leaf.signature_key: index for index, leaf in self.leaves(group_id)}

    def exported(self, group_id: bytes) -> bytes | None:
        member = self.groups[group_id]
        return member.secrets.export(member.suite, *EXPORT)

    def lose(self, group_id: bytes) -> None:
        self.lost.add(group_id)


class RineHand(RineDevice, Late):
    """A rine client."""

    def __init__(self, services: Services, home: str, name: str, folder: Path) -> None:
        super().__init__(services, home, name, folder)
        self.ready()

    def inside(self, group_id: bytes) -> bool:
        known = self.groups.get(group_id)
        return (known is None or known.is_active()) and super().inside(group_id)

    def read(self, group_id: bytes, message: MLSMessage) -> bytes:
        try:
            return super().read(group_id, message)
        except rine_mls.MlsProtocolError as error:
            if "No member found" not in str(error):
                raise
            # It has removed the speaker before the message reached it, and looks for its name among today's members.
            self.missed += 1
            return b""

    def placed(self, group_id: bytes) -> dict[bytes, int]:
        info = decode_message(self.groups[group_id].group_info()).body
        assert isinstance(info, GroupInfo)
        tree = find(info.extensions, RATCHET_TREE)
        assert tree is not None
        return _placed(tree)

    def lose(self, group_id: bytes) -> None:
        hubs, self.groups_before = dict(self.hub_of), set(self.groups)
        self.lose_everything()
        self.hub_of.update(hubs)
        self.lost |= self.groups_before


class AgentvaultHand(Late):
    """agentvault-mls-rs-uniffi: joins, follows, speaks. It gives no GroupInfo, so it cannot commit here.

    A proposal by an external sender ends it for good ("not yet implemented"), so it is in no group with deletions.
    """

    def __init__(self, services: Services, home: str, name: str) -> None:
        suite = mls_rs_uniffi.CipherSuite.CURVE25519_AES128
        keys = mls_rs_uniffi.generate_signature_keypair(suite)
        self._identity = name.encode()
        self._client = mls_rs_uniffi.Client(self._identity, keys, mls_rs_uniffi.client_config_default())
        super().__init__(services, home, name, SignatureKey(SUITE, keys.secret_key.bytes[:32]))
        self.groups: dict[bytes, Any] = {}
        self._epochs: dict[bytes, int] = {}
        self.ready()

    @property
    def user(self) -> bytes:
        return self._identity

    def key_package(self) -> KeyPackage:
        body = decode_message(self._client.generate_key_package_message().to_bytes()).body
        assert isinstance(body, KeyPackage)
        return body

    def leaf(self, group_id: bytes) -> int:
        return self.placed(group_id)[self.signer.signature_key]

    def epoch(self, group_id: bytes) -> int:
        return self._epochs[group_id]

    def tree_hash(self, group_id: bytes) -> bytes:
        tree = decode_tree(cipher_suite(SUITE), Policy(), self.groups[group_id].export_tree().bytes)
        return Draft(tree).tree_hash

    def placed(self, group_id: bytes) -> dict[bytes, int]:
        return _placed(self.groups[group_id].export_tree().bytes)

    def exported(self, group_id: bytes) -> bytes | None:
        secret: bytes = self.groups[group_id].export_secret(EXPORT[0].encode(), *EXPORT[1:])
        return secret

    def join(self, _hub: str, message: MLSMessage) -> bytes:
        group = self._client.join_group(None, mls_rs_uniffi.Message.from_bytes(message.encode())).group
        # It does not say where it is; what it writes does.
        written = decode_message(group.encrypt_application_message(b"").to_bytes()).body
        assert isinstance(written, PrivateMessage)
        self.groups[written.group_id], self._epochs[written.group_id] = group, written.epoch
        return written.group_id

    def follow(self, group_id: bytes, handshake: MLSMessage) -> None:
        self.groups[group_id].process_incoming_message(mls_rs_uniffi.Message.from_bytes(handshake.encode()))
        assert isinstance(handshake.body, PublicMessage)
        self._epochs[group_id] += isinstance(handshake.body.content.content, MLSCommit)

    def read(self, group_id: bytes, message: MLSMessage) -> bytes:
        encoded = mls_rs_uniffi.Message.from_bytes(message.encode())
        said: bytes = self.groups[group_id].process_incoming_message(encoded).data
        return said

    def write(self, group_id: bytes, data: bytes) -> bytes:
        encoded: bytes = self.groups[group_id].encrypt_application_message(data).to_bytes()
        return encoded

    def prepare_add(self, group_id: bytes, packages: Any) -> Commit:
        raise NotImplementedError(FOLLOWS)

    def prepare_remove(self, group_id: bytes, leaf_index: int) -> Commit:
        raise NotImplementedError(FOLLOWS)

    def prepare_resync(self, info: JoinInfo) -> Commit:
        raise NotImplementedError(FOLLOWS)

    def accepted(self, group_id: bytes, commit: Commit) -> None:
        raise NotImplementedError(FOLLOWS)

    def refused(self, group_id: bytes) -> None:
        raise NotImplementedError(FOLLOWS)


def _placed(tree: bytes) -> dict[bytes, int]:
    leaves = Draft(decode_tree(cipher_suite(SUITE), Policy(), tree)).all_leaves()
    return {leaf.signature_key: index for index, leaf in leaves}
