"""A device whose groups rine-mls keeps: mls-rs behind a wheel, made by people who never heard of this project.

It applies its own commit at once, so it is saved before and loaded again if another has won. A proposal that stands
alone is "unexpected" to it and kept all the same: its next commit covers it. It wants the tree inside the Welcome and
the GroupInfo. Its credential is its public key, so to a delivery service each of its clients is a user of its own.
"""

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import rine_mls

from chalicelib.client.delivery_client import JoinInfo
from chalicelib.client.signer import SignatureKey
from chalicelib.protocol.crypto import cipher_suite
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.framing import MLSMessage, decode_message
from chalicelib.protocol.mls.group_info import GroupInfo
from chalicelib.protocol.mls.key_package import KeyPackage
from chalicelib.protocol.mls.plain_tree import decode_tree
from chalicelib.protocol.mls.policy import Policy
from infra.local.devices import Commit, Device
from infra.local.services import Services

Inside = TypeVar("Inside", GroupInfo, KeyPackage)

TAG = bytes([rine_mls.APP_MESSAGE_TAG])
"""Its own envelope: a leading byte before an application message."""


class RineDevice(Device):
    """A rine client; its state is in a folder of its own."""

    def __init__(self, services: Services, home: str, name: str, folder: Path, suite: int = 1) -> None:
        self._seed = os.urandom(32)
        self._folder, self._lives = folder, 0
        super().__init__(services, home, name, SignatureKey(suite, self._seed))
        self.groups: dict[bytes, Any] = {}
        self._begin()

    def lose_everything(self) -> None:
        """Keep the seed and the queue, and forget all groups, as after a fall into water."""
        self.groups.clear()
        self.hub_of.clear()
        self._begin()

    def _begin(self) -> None:
        self._lives += 1
        self._client = rine_mls.MlsClient(str(self._folder / f"{self.name}-{self._lives}"), self._seed, self.suite)

    @property
    def user(self) -> bytes:
        """Return whose client this is: its own."""
        return self.signer.signature_key

    def key_package(self) -> KeyPackage:
        """Return a new KeyPackage."""
        return _inside(self._client.generate_key_package(), KeyPackage)

    def create(self, group_id: bytes, hub: str) -> None:
        """Make a group of one; rine commits once before it shows it."""
        group = self._client.create_group(group_id)
        self.groups[group_id], self.hub_of[group_id] = group, hub
        self.at(group_id).create_group(
            self.as_member(group_id), group_id, self.key_package(), self.config(), group.group_info()
        )

    def leaf(self, group_id: bytes) -> int:
        """Return the own leaf index."""
        index: int = self.groups[group_id].current_member_index()
        return index

    def epoch(self, group_id: bytes) -> int:
        """Return the epoch that the device is in."""
        epoch: int = self.groups[group_id].epoch()
        return epoch

    def tree_hash(self, group_id: bytes) -> bytes:
        """Return the hash of the tree that the device holds."""
        return _inside(self.groups[group_id].group_info(), GroupInfo).group_context.tree_hash

    def join(self, _hub: str, message: MLSMessage) -> bytes:
        """Join by a Welcome, in which the tree must be."""
        group = self._client.join_from_welcome(message.encode())
        group_id = bytes(group.group_id())
        self.groups[group_id] = group
        return group_id

    def follow(self, group_id: bytes, handshake: MLSMessage) -> None:
        """Take in a commit or a proposal."""
        with contextlib.suppress(rine_mls.UnexpectedMessageError):
            self.groups[group_id].apply_commit(handshake.encode())

    def read(self, group_id: bytes, message: MLSMessage) -> bytes:
        """Return what a message says."""
        said: bytes = self.groups[group_id].decrypt_application_message(TAG + message.encode()).envelope
        return said

    def write(self, group_id: bytes, data: bytes) -> bytes:
        """Return a message that says it."""
        encoded: bytes = self.groups[group_id].encrypt_application_message(data)
        return encoded.removeprefix(TAG)

    def prepare_add(self, group_id: bytes, packages: Sequence[KeyPackage]) -> Commit:
        """Make a commit that adds clients; at most some twenty, because the tree goes along."""
        encoded = [MLSMessage(package).encode() for package in packages]
        return self._prepare(group_id, lambda group: group.add_members(encoded))

    def prepare_remove(self, group_id: bytes, leaf_index: int) -> Commit:
        """Make a commit that removes a member."""
        return self._prepare(group_id, lambda group: group.remove_member(leaf_index))

    def prepare_resync(self, info: JoinInfo) -> Commit:
        """Make an external commit that replaces the own leaf, which is found in the tree by its key."""
        tree = decode_tree(cipher_suite(self.suite), Policy(), info.ratchet_tree)
        own = next(index for index, leaf in Draft(tree).all_leaves() if leaf.signature_key == self.signer.signature_key)
        group = self._client.resync_by_external_commit(info.group_info.encode(), own)
        made: Any = group.last_commit()
        return Commit(made.commit, made.group_info, after=group)

    def _prepare(self, group_id: bytes, make: Callable[[Any], Any]) -> Commit:
        group = self.groups[group_id]
        group.save()
        made = make(group)
        return Commit(made.commit, made.group_info, made.welcomes)

    def accepted(self, group_id: bytes, commit: Commit) -> None:
        """Go on: it has moved on already, but for a group that it comes back to."""
        if commit.after is not None:
            self.groups[group_id] = commit.after

    def refused(self, group_id: bytes) -> None:
        """Load what was saved before the commit; if it would have come back by it, there is nothing."""
        if group_id in self.groups:
            self.groups[group_id] = self._client.load_group(group_id)


def _inside(encoded: bytes, kind: type[Inside]) -> Inside:
    body = decode_message(encoded).body
    if not isinstance(body, kind):
        raise TypeError(f"rine gave something else than a {kind.__name__}")
    return body
