"""Proposals (RFC 9420 §12.1) and those of draft-ietf-mls-extensions, by registry.

A proposal's struct has no length of its own, so a type that is not in `PROPOSALS` cannot be skipped and is a
`DecodeError`. Each type says what the registry of §17.4 says of it: whether an external sender may send it
and whether a commit with it needs a path.
"""

import dataclasses
import enum
from typing import ClassVar, Self

from chalicelib.errors import DecodeError
from chalicelib.protocol.mls.extensions import Extensions, read_extensions
from chalicelib.protocol.mls.key_package import KeyPackage
from chalicelib.protocol.mls.nodes import LeafNode
from chalicelib.protocol.tls import (
    LARGE_ELEMENT,
    PROPOSAL_ELEMENTS,
    Reader,
    opaque,
    uint8,
    uint16,
    uint32,
    uint64,
    vector,
)


class PSKType(enum.IntEnum):
    """Where a pre-shared key comes from (§8.4; `APPLICATION` is of the extensions draft)."""

    EXTERNAL = 1
    RESUMPTION = 2
    APPLICATION = 3


class ResumptionPSKUsage(enum.IntEnum):
    """What a resumption PSK is used for (§8.4)."""

    APPLICATION = 1
    REINIT = 2
    BRANCH = 3


_USAGES = {int(usage): usage for usage in ResumptionPSKUsage}


@dataclasses.dataclass(frozen=True, slots=True)
class PreSharedKeyID:
    """The name of a pre-shared key; which of the optional fields are set follows from `psktype`."""

    psktype: PSKType
    psk_id: bytes
    psk_nonce: bytes
    usage: ResumptionPSKUsage | None = None
    psk_epoch: int | None = None
    component_id: int | None = None

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct; `psk_id` holds psk_group_id for a resumption PSK."""
        usage = epoch = component = None
        match reader.uint8():
            case PSKType.EXTERNAL:
                psktype, psk_id = PSKType.EXTERNAL, reader.opaque()
            case PSKType.RESUMPTION:
                psktype = PSKType.RESUMPTION
                usage = _USAGES.get(reader.uint8())
                if usage is None:
                    raise DecodeError("a resumption PSK has an unknown usage")
                psk_id = reader.opaque()
                epoch = reader.uint64()
            case PSKType.APPLICATION:
                psktype = PSKType.APPLICATION
                component = reader.uint16()
                psk_id = reader.opaque()
            case _:
                raise DecodeError("a PSK has an unknown type")
        return cls(psktype, psk_id, reader.opaque(), usage, epoch, component)

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        content = uint8(self.psktype)
        if self.usage is not None:
            content += uint8(self.usage)
        if self.component_id is not None:
            content += uint16(self.component_id)
        content += opaque(self.psk_id)
        if self.psk_epoch is not None:
            content += uint64(self.psk_epoch)
        return content + opaque(self.psk_nonce)


@dataclasses.dataclass(frozen=True, slots=True)
class Add:
    """Add the client of a KeyPackage (§12.1.1)."""

    proposal_type: ClassVar = 1
    external: ClassVar = True
    path_required: ClassVar = False
    key_package: KeyPackage

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(KeyPackage.read(reader))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return self.key_package.encode()


@dataclasses.dataclass(frozen=True, slots=True)
class Update:
    """Replace the sender's leaf (§12.1.2)."""

    proposal_type: ClassVar = 2
    external: ClassVar = False
    path_required: ClassVar = True
    leaf_node: LeafNode

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        reader.spend(LARGE_ELEMENT)
        return cls(LeafNode.read(reader))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return self.leaf_node.encode()


@dataclasses.dataclass(frozen=True, slots=True)
class Remove:
    """Remove the member at a leaf (§12.1.3)."""

    proposal_type: ClassVar = 3
    external: ClassVar = True
    path_required: ClassVar = True
    removed: int

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.uint32())

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return uint32(self.removed)


@dataclasses.dataclass(frozen=True, slots=True)
class PreSharedKey:
    """Mix a pre-shared key into the next epoch (§12.1.4)."""

    proposal_type: ClassVar = 4
    external: ClassVar = True
    path_required: ClassVar = False
    psk: PreSharedKeyID

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(PreSharedKeyID.read(reader))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return self.psk.encode()


@dataclasses.dataclass(frozen=True, slots=True)
class ReInit:
    """Close the group and open another with these parameters (§12.1.5)."""

    proposal_type: ClassVar = 5
    external: ClassVar = True
    path_required: ClassVar = False
    group_id: bytes
    version: int
    cipher_suite: int
    extensions: Extensions

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.opaque(), reader.uint16(), reader.uint16(), read_extensions(reader))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return opaque(self.group_id) + uint16(self.version) + uint16(self.cipher_suite) + vector(self.extensions)


@dataclasses.dataclass(frozen=True, slots=True)
class ExternalInit:
    """Start the next epoch from the external key pair (§12.1.6)."""

    proposal_type: ClassVar = 6
    external: ClassVar = False
    path_required: ClassVar = True
    kem_output: bytes

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.opaque())

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return opaque(self.kem_output)


@dataclasses.dataclass(frozen=True, slots=True)
class GroupContextExtensions:
    """Replace the GroupContext's extensions (§12.1.7)."""

    proposal_type: ClassVar = 7
    external: ClassVar = True
    path_required: ClassVar = True
    extensions: Extensions

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(read_extensions(reader))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return vector(self.extensions)


@dataclasses.dataclass(frozen=True, slots=True)
class AppDataUpdate:
    """Update or remove one component's data in the GroupContext (extensions draft)."""

    proposal_type: ClassVar = 8
    external: ClassVar = True
    path_required: ClassVar = False
    component_id: int
    update: bytes | None
    """The update, or None to remove the component's data."""

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        component_id = reader.uint16()
        match reader.uint8():
            case 1:
                return cls(component_id, reader.opaque())
            case 2:
                return cls(component_id, None)
            case _:
                raise DecodeError("an application data update neither updates nor removes")

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        operation = b"\x02" if self.update is None else b"\x01" + opaque(self.update)
        return uint16(self.component_id) + operation


@dataclasses.dataclass(frozen=True, slots=True)
class AppEphemeral:
    """Tell a component something along with a commit (extensions draft)."""

    proposal_type: ClassVar = 9
    external: ClassVar = True
    path_required: ClassVar = False
    component_id: int
    data: bytes

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.uint16(), reader.opaque())

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return uint16(self.component_id) + opaque(self.data)


@dataclasses.dataclass(frozen=True, slots=True)
class SelfRemove:
    """Remove the sender (extensions draft)."""

    proposal_type: ClassVar = 10
    external: ClassVar = False
    path_required: ClassVar = True

    @classmethod
    def read(cls, reader: Reader) -> Self:  # noqa: ARG003 - the struct is empty
        """Read the struct, which has no bytes."""
        return cls()

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return b""


Proposal = (
    Add
    | Update
    | Remove
    | PreSharedKey
    | ReInit
    | ExternalInit
    | GroupContextExtensions
    | AppDataUpdate
    | AppEphemeral
    | SelfRemove
)

PROPOSALS: dict[int, type[Proposal]] = {
    kind.proposal_type: kind
    for kind in (
        Add,
        Update,
        Remove,
        PreSharedKey,
        ReInit,
        ExternalInit,
        GroupContextExtensions,
        AppDataUpdate,
        AppEphemeral,
        SelfRemove,
    )
}

DEFAULT_PROPOSALS = frozenset({1, 2, 3, 4, 5, 6, 7})
"""What every client supports without listing it (§7.2)."""


def read_proposal(reader: Reader) -> Proposal:
    """Read a Proposal of a type that is known here."""
    reader.spend(PROPOSAL_ELEMENTS)
    kind = PROPOSALS.get(reader.uint16())
    if kind is None:
        raise DecodeError("a proposal has a type that is not known here")
    return kind.read(reader)


def encode_proposal(proposal: Proposal) -> bytes:
    """Return the encoding of a Proposal, its type first."""
    return uint16(proposal.proposal_type) + proposal.encode()
