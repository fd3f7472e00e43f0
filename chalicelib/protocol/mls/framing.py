"""Message framing (RFC 9420 §6): what every handshake and application message is wrapped in.

A signature covers the FramedContent exactly as it was received (`FramedContent.received`), never a copy
encoded again. What a non-member cannot check is kept and travels on: `membership_tag` and `confirmation_tag`.
"""

import dataclasses
import enum
from typing import Self

from chalicelib.errors import DecodeError
from chalicelib.protocol.crypto import CipherSuite
from chalicelib.protocol.mls.commit import Commit
from chalicelib.protocol.mls.group_info import GroupContext, GroupInfo
from chalicelib.protocol.mls.key_package import MLS10, KeyPackage
from chalicelib.protocol.mls.proposals import Proposal, encode_proposal, read_proposal
from chalicelib.protocol.mls.welcome import Welcome
from chalicelib.protocol.tls import LARGE_ELEMENT, Reader, decode, opaque, uint8, uint16, uint32, uint64


class WireFormat(enum.IntEnum):
    """What an MLSMessage holds."""

    PUBLIC_MESSAGE = 1
    PRIVATE_MESSAGE = 2
    WELCOME = 3
    GROUP_INFO = 4
    KEY_PACKAGE = 5


class ContentType(enum.IntEnum):
    """What a FramedContent holds."""

    APPLICATION = 1
    PROPOSAL = 2
    COMMIT = 3


class SenderType(enum.IntEnum):
    """Who sends a FramedContent, and so whose key signs it."""

    MEMBER = 1
    EXTERNAL = 2
    NEW_MEMBER_PROPOSAL = 3
    NEW_MEMBER_COMMIT = 4


_SENDER_TYPES = {int(member): member for member in SenderType}
_CONTENT_TYPES = {int(member): member for member in ContentType}


def read_content_type(reader: Reader) -> ContentType:
    """Read a content type that is defined."""
    content_type = _CONTENT_TYPES.get(reader.uint8())
    if content_type is None:
        raise DecodeError("a message has an unknown content type")
    return content_type


@dataclasses.dataclass(frozen=True, slots=True)
class Sender:
    """A sender; `index` is a leaf index for a member, a place in external_senders for an external sender."""

    sender_type: SenderType
    index: int | None = None

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        sender_type = _SENDER_TYPES.get(reader.uint8())
        if sender_type is None:
            raise DecodeError("a message has an unknown sender type")
        indexed = sender_type in {SenderType.MEMBER, SenderType.EXTERNAL}
        return cls(sender_type, reader.uint32() if indexed else None)

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return uint8(self.sender_type) + (b"" if self.index is None else uint32(self.index))


@dataclasses.dataclass(frozen=True, slots=True)
class FramedContent:
    """A message's content and its frame. `received` is the encoding it was read from."""

    group_id: bytes
    epoch: int
    sender: Sender
    authenticated_data: bytes
    content: bytes | Proposal | Commit
    received: bytes = dataclasses.field(default=b"", compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.received:
            object.__setattr__(self, "received", self._encode())

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        start = reader.position
        group_id = reader.opaque()
        epoch = reader.uint64()
        sender = Sender.read(reader)
        authenticated_data = reader.opaque()
        content = read_content(reader, read_content_type(reader))
        return cls(group_id, epoch, sender, authenticated_data, content, reader.since(start))

    @property
    def content_type(self) -> ContentType:
        """Return the content type, which the content implies."""
        if isinstance(self.content, bytes):
            return ContentType.APPLICATION
        return ContentType.COMMIT if isinstance(self.content, Commit) else ContentType.PROPOSAL

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return self.received

    def _encode(self) -> bytes:
        return (
            opaque(self.group_id)
            + uint64(self.epoch)
            + self.sender.encode()
            + opaque(self.authenticated_data)
            + uint8(self.content_type)
            + encode_content(self.content)
        )

    def to_be_signed(self, wire_format: WireFormat, context: GroupContext) -> bytes:
        """Return FramedContentTBS (§6.1): the GroupContext counts for members and external committers."""
        content = uint16(MLS10) + uint16(wire_format) + self.received
        if self.sender.sender_type in {SenderType.MEMBER, SenderType.NEW_MEMBER_COMMIT}:
            return content + context.encode()
        return content


def read_content(reader: Reader, content_type: ContentType) -> bytes | Proposal | Commit:
    """Read the content that the content type announces."""
    match content_type:
        case ContentType.APPLICATION:
            return reader.opaque()
        case ContentType.PROPOSAL:
            return read_proposal(reader)
        case ContentType.COMMIT:
            return Commit.read(reader)


def encode_content(content: bytes | Proposal | Commit) -> bytes:
    """Return the encoding of a message's content."""
    if isinstance(content, bytes):
        return opaque(content)
    return content.encode() if isinstance(content, Commit) else encode_proposal(content)


@dataclasses.dataclass(frozen=True, slots=True)
class FramedContentAuthData:
    """The sender's signature, and for a commit the confirmation tag, which only members can check."""

    signature: bytes
    confirmation_tag: bytes | None = None

    @classmethod
    def read(cls, reader: Reader, content_type: ContentType) -> Self:
        """Read the struct, which depends on the content's type."""
        return cls(reader.opaque(), reader.opaque() if content_type == ContentType.COMMIT else None)

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        tag = b"" if self.confirmation_tag is None else opaque(self.confirmation_tag)
        return opaque(self.signature) + tag


@dataclasses.dataclass(frozen=True, slots=True)
class AuthenticatedContent:
    """A content with its authentication, whatever message carried it."""

    wire_format: WireFormat
    content: FramedContent
    auth: FramedContentAuthData

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        number = reader.uint16()
        if number not in {WireFormat.PUBLIC_MESSAGE, WireFormat.PRIVATE_MESSAGE}:
            raise DecodeError("framed content travels in public and private messages only")
        content = FramedContent.read(reader)
        auth = FramedContentAuthData.read(reader, content.content_type)
        return cls(WireFormat(number), content, auth)

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return uint16(self.wire_format) + self.content.encode() + self.auth.encode()

    def proposal_reference(self, suite: CipherSuite) -> bytes:
        """Return the ProposalRef (§5.2)."""
        return suite.ref_hash("MLS 1.0 Proposal Reference", self.encode())


@dataclasses.dataclass(frozen=True, slots=True)
class PublicMessage:
    """A signed message that anyone may read (§6.2)."""

    content: FramedContent
    auth: FramedContentAuthData
    membership_tag: bytes | None = None

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        content = FramedContent.read(reader)
        auth = FramedContentAuthData.read(reader, content.content_type)
        member = content.sender.sender_type == SenderType.MEMBER
        return cls(content, auth, reader.opaque() if member else None)

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        tag = b"" if self.membership_tag is None else opaque(self.membership_tag)
        return self.content.encode() + self.auth.encode() + tag

    def authenticated_content(self) -> AuthenticatedContent:
        """Return the content with its authentication; the membership tag is left to members (§6.2)."""
        return AuthenticatedContent(WireFormat.PUBLIC_MESSAGE, self.content, self.auth)


@dataclasses.dataclass(frozen=True, slots=True)
class PrivateMessage:
    """A signed and encrypted message (§6.3): group, epoch and kind are all that shows."""

    group_id: bytes
    epoch: int
    content_type: ContentType
    authenticated_data: bytes
    encrypted_sender_data: bytes
    ciphertext: bytes

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(
            reader.opaque(),
            reader.uint64(),
            read_content_type(reader),
            reader.opaque(),
            reader.opaque(),
            reader.opaque(),
        )

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return (
            opaque(self.group_id)
            + uint64(self.epoch)
            + uint8(self.content_type)
            + opaque(self.authenticated_data)
            + opaque(self.encrypted_sender_data)
            + opaque(self.ciphertext)
        )


Body = PublicMessage | PrivateMessage | Welcome | GroupInfo | KeyPackage

BODIES: dict[int, type[Body]] = {
    WireFormat.PUBLIC_MESSAGE: PublicMessage,
    WireFormat.PRIVATE_MESSAGE: PrivateMessage,
    WireFormat.WELCOME: Welcome,
    WireFormat.GROUP_INFO: GroupInfo,
    WireFormat.KEY_PACKAGE: KeyPackage,
}
_WIRE_FORMATS = {kind: WireFormat(number) for number, kind in BODIES.items()}


@dataclasses.dataclass(frozen=True, slots=True)
class MLSMessage:
    """Anything that MLS sends."""

    body: Body

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        reader.spend(LARGE_ELEMENT)
        if reader.uint16() != MLS10:
            raise DecodeError("a message has another protocol version than MLS 1.0")
        kind = BODIES.get(reader.uint16())
        if kind is None:
            raise DecodeError("a message has an unknown wire format")
        body = kind.read(reader)
        if isinstance(body, KeyPackage) and body.version != MLS10:
            # [mls-10-1] The version of a KeyPackage is that of the MLSMessage around it.
            raise DecodeError("a KeyPackage has another version than the message around it")
        return cls(body)

    @property
    def wire_format(self) -> WireFormat:
        """Return the wire format, which the body implies."""
        return _WIRE_FORMATS[type(self.body)]

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return uint16(MLS10) + uint16(self.wire_format) + self.body.encode()


def decode_message(data: bytes) -> MLSMessage:
    """Return the one MLSMessage that all of `data` encodes, or raise `DecodeError`."""
    return decode(MLSMessage.read, data)
