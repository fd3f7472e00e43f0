"""Requests that change a group, or send to it: each carries what MLS sends, and what the delivery service adds.

What a request is about is decided here, once: a group update holds a public commit, proposals are public, an
application message is private, and all parts of one request name the same group. Everything else about them is
judged where the group is known. `group_id` of a request is that of the MLS message inside.
"""

import dataclasses
from collections.abc import Sequence
from typing import Self

from chalicelib.errors import DecodeError
from chalicelib.protocol.delivery.parts import Freshness
from chalicelib.protocol.delivery.queueing import ClientQueueConfig
from chalicelib.protocol.delivery.sealed import Sealed, read_sealed_state_key
from chalicelib.protocol.mls.framing import (
    ContentType,
    FramedContent,
    MLSMessage,
    PublicMessage,
)
from chalicelib.protocol.mls.group_info import GroupInfo, PartialGroupInfo
from chalicelib.protocol.mls.key_package import KeyPackage
from chalicelib.protocol.mls.welcome import Welcome
from chalicelib.protocol.tls import LARGE_ELEMENT, Reader, opaque, optional, vector


def public_content(message: MLSMessage, content_type: ContentType) -> FramedContent:
    """Return the content of a public message of this type, or raise `DecodeError`."""
    if not isinstance(message.body, PublicMessage) or message.body.content.content_type != content_type:
        raise DecodeError(f"a message is not a public one with a {content_type.name.lower()}")
    return message.body.content


def read_proposals(reader: Reader) -> tuple[MLSMessage, ...]:
    """Read `MLSMessage proposals<V>`, public messages all."""
    messages = reader.vector(MLSMessage.read)
    for message in messages:
        # [mds-propose-2] What is proposed is a proposal.
        public_content(message, ContentType.PROPOSAL)
    return messages


def welcomes_in(messages: Sequence[MLSMessage]) -> list[Welcome]:
    """Return the Welcomes in some messages, or raise `DecodeError`."""
    welcomes = [message.body for message in messages if isinstance(message.body, Welcome)]
    # [mds-welcome-1] What comes along as a Welcome is one.
    if len(welcomes) != len(messages):
        raise DecodeError("a message among the Welcomes is none")
    return welcomes


def read_welcomes(reader: Reader) -> tuple[MLSMessage, ...]:
    """Read `MLSMessage welcomes<V>`."""
    messages = reader.vector(MLSMessage.read)
    welcomes_in(messages)
    return messages


@dataclasses.dataclass(frozen=True, slots=True)
class MLSGroupUpdate:
    """A commit, and what the next epoch's GroupInfo needs from its sender."""

    commit: MLSMessage
    partial_group_info: PartialGroupInfo

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct; the message must be a public commit."""
        commit = MLSMessage.read(reader)
        public_content(commit, ContentType.COMMIT)
        return cls(commit, PartialGroupInfo.read(reader))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return self.commit.encode() + self.partial_group_info.encode()

    @property
    def content(self) -> FramedContent:
        """Return the commit's content: its group, epoch, sender and proposals."""
        return public_content(self.commit, ContentType.COMMIT)

    @property
    def group_id(self) -> bytes:
        """Return the group that the commit names."""
        return self.content.group_id


@dataclasses.dataclass(frozen=True, slots=True)
class AddedClient:
    """Where the messages of a client go that a commit adds, which is named by its KeyPackageRef."""

    key_package_ref: bytes
    client_queue_config: ClientQueueConfig

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        reader.spend(LARGE_ELEMENT)
        return cls(reader.opaque(), ClientQueueConfig.read(reader))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return opaque(self.key_package_ref) + self.client_queue_config.encode()


@dataclasses.dataclass(frozen=True, slots=True)
class CreateGroupRequest:
    """Create a group with one member. Its unused `group_id` protects it from being repeated."""

    group_id: bytes
    key_package: KeyPackage
    client_queue_config: ClientQueueConfig
    group_info: GroupInfo
    sealed_state_key: Sealed | None = None

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(
            reader.opaque(),
            KeyPackage.read(reader),
            ClientQueueConfig.read(reader),
            GroupInfo.read(reader),
            reader.optional(read_sealed_state_key),
        )

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return (
            opaque(self.group_id)
            + self.key_package.encode()
            + self.client_queue_config.encode()
            + self.group_info.encode()
            + optional(self.sealed_state_key)
        )


@dataclasses.dataclass(frozen=True, slots=True)
class PlainUpdate:
    """A commit that adds nobody: the body of several requests."""

    group_update: MLSGroupUpdate
    sealed_state_key: Sealed | None = None

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(MLSGroupUpdate.read(reader), reader.optional(read_sealed_state_key))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return self.group_update.encode() + optional(self.sealed_state_key)

    @property
    def group_id(self) -> bytes:
        """Return the group that the commit names."""
        return self.group_update.group_id


class DeleteGroupRequest(PlainUpdate):
    """Remove everybody else and delete the group."""

    __slots__ = ()


class RemoveUsers(PlainUpdate):
    """Remove users with all their clients."""

    __slots__ = ()


class RemoveClients(PlainUpdate):
    """Remove clients of the sender's own user."""

    __slots__ = ()


class UpdateClient(PlainUpdate):
    """Give the sender a new leaf."""

    __slots__ = ()


@dataclasses.dataclass(frozen=True, slots=True)
class AddingUpdate:
    """A commit that may add clients: the body of several requests."""

    group_update: MLSGroupUpdate
    welcomes: tuple[MLSMessage, ...] = ()
    added: tuple[AddedClient, ...] = ()
    sealed_state_key: Sealed | None = None

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(
            MLSGroupUpdate.read(reader),
            read_welcomes(reader),
            reader.vector(AddedClient.read),
            reader.optional(read_sealed_state_key),
        )

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return self.group_update.encode() + vector(self.welcomes) + vector(self.added) + optional(self.sealed_state_key)

    @property
    def group_id(self) -> bytes:
        """Return the group that the commit names."""
        return self.group_update.group_id


class AddUsers(AddingUpdate):
    """Add users who are not in the group."""

    __slots__ = ()


class AddClients(AddingUpdate):
    """Add clients of users who are in the group."""

    __slots__ = ()


class CommitRequest(AddingUpdate):
    """Commit any valid list of proposals."""

    __slots__ = ()


@dataclasses.dataclass(frozen=True, slots=True)
class ResyncClient:
    """Replace the sender's own leaf from outside, after it lost its state."""

    group_id: bytes
    sender: bytes
    group_update: MLSGroupUpdate
    key_package: KeyPackage | None
    client_queue_config: ClientQueueConfig | None
    freshness: Freshness
    sealed_state_key: Sealed | None = None

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct; both group ids are one."""
        request = cls(
            reader.opaque(),
            reader.opaque(),
            MLSGroupUpdate.read(reader),
            reader.optional(KeyPackage.read),
            reader.optional(ClientQueueConfig.read),
            Freshness.read(reader),
            reader.optional(read_sealed_state_key),
        )
        if request.group_id != request.group_update.group_id:
            raise DecodeError("a request and the commit in it name two groups")
        return request

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return (
            opaque(self.group_id)
            + opaque(self.sender)
            + self.group_update.encode()
            + optional(self.key_package)
            + optional(self.client_queue_config)
            + self.freshness.encode()
            + optional(self.sealed_state_key)
        )


@dataclasses.dataclass(frozen=True, slots=True)
class JoinByExternalCommit:
    """Join from outside, without a Welcome."""

    group_update: MLSGroupUpdate
    key_package: KeyPackage | None
    client_queue_config: ClientQueueConfig
    freshness: Freshness
    sealed_state_key: Sealed | None = None

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(
            MLSGroupUpdate.read(reader),
            reader.optional(KeyPackage.read),
            ClientQueueConfig.read(reader),
            Freshness.read(reader),
            reader.optional(read_sealed_state_key),
        )

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return (
            self.group_update.encode()
            + optional(self.key_package)
            + self.client_queue_config.encode()
            + self.freshness.encode()
            + optional(self.sealed_state_key)
        )

    @property
    def group_id(self) -> bytes:
        """Return the group that the commit names."""
        return self.group_update.group_id
