"""Requests about a group that hold no message to it: where messages go, what a joiner needs, and that it is done with.

`sender` is the public signature key that signs the request, as the draft has it.
"""

import dataclasses
from typing import Self

from chalicelib.protocol.delivery.parts import Freshness
from chalicelib.protocol.delivery.queueing import ClientQueueConfig
from chalicelib.protocol.delivery.sealed import Sealed, read_sealed_state_key
from chalicelib.protocol.mls.key_package import KeyPackage
from chalicelib.protocol.tls import Reader, opaque, optional, uint64


@dataclasses.dataclass(frozen=True, slots=True)
class UpdateQueueInfo:
    """Replace the sender's queue config; the draft's UpdateClientFanoutInfo is the same."""

    group_id: bytes
    sender: bytes
    client_queue_config: ClientQueueConfig
    freshness: Freshness
    sealed_state_key: Sealed | None = None

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(
            reader.opaque(),
            reader.opaque(),
            ClientQueueConfig.read(reader),
            Freshness.read(reader),
            reader.optional(read_sealed_state_key),
        )

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return (
            opaque(self.group_id)
            + opaque(self.sender)
            + self.client_queue_config.encode()
            + self.freshness.encode()
            + optional(self.sealed_state_key)
        )


@dataclasses.dataclass(frozen=True, slots=True)
class CloseGroup:
    """Delete a group that was reinitialised: nobody may send it the commit that would delete another."""

    group_id: bytes
    sender: bytes
    freshness: Freshness
    sealed_state_key: Sealed | None = None

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.opaque(), reader.opaque(), Freshness.read(reader), reader.optional(read_sealed_state_key))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return opaque(self.group_id) + opaque(self.sender) + self.freshness.encode() + optional(self.sealed_state_key)


@dataclasses.dataclass(frozen=True, slots=True)
class WelcomeInfo:
    """Ask for the tree and the GroupInfo of the epoch that a Welcome leads to."""

    group_id: bytes
    sender: bytes
    epoch: int
    freshness: Freshness
    sealed_state_key: Sealed | None = None

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(
            reader.opaque(),
            reader.opaque(),
            reader.uint64(),
            Freshness.read(reader),
            reader.optional(read_sealed_state_key),
        )

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return (
            opaque(self.group_id)
            + opaque(self.sender)
            + uint64(self.epoch)
            + self.freshness.encode()
            + optional(self.sealed_state_key)
        )


@dataclasses.dataclass(frozen=True, slots=True)
class ExternalCommitInfo:
    """Ask for the tree and the GroupInfo of the current epoch, to join from outside."""

    group_id: bytes
    sender: bytes
    key_package: KeyPackage | None
    freshness: Freshness
    sealed_state_key: Sealed | None = None

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(
            reader.opaque(),
            reader.opaque(),
            reader.optional(KeyPackage.read),
            Freshness.read(reader),
            reader.optional(read_sealed_state_key),
        )

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return (
            opaque(self.group_id)
            + opaque(self.sender)
            + optional(self.key_package)
            + self.freshness.encode()
            + optional(self.sealed_state_key)
        )
