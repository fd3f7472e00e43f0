"""Requests that send to a group without ending its epoch: application messages and proposals."""

import dataclasses
from typing import Self

from chalicelib.errors import DecodeError
from chalicelib.protocol.delivery.group_updates import public_content, read_proposals
from chalicelib.protocol.delivery.parts import Freshness
from chalicelib.protocol.delivery.sealed import Sealed, read_sealed_state_key
from chalicelib.protocol.mls.framing import ContentType, FramedContent, MLSMessage, PrivateMessage
from chalicelib.protocol.tls import Reader, optional, vector


@dataclasses.dataclass(frozen=True, slots=True)
class SendMessage:
    """Send an application message to the group."""

    application_message: MLSMessage
    freshness: Freshness
    sealed_state_key: Sealed | None = None

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct; the message must be a private one with application data."""
        request = cls(MLSMessage.read(reader), Freshness.read(reader), reader.optional(read_sealed_state_key))
        # [mds-send-1] It is a PrivateMessage that holds application data: the rest of it is closed to us.
        if request.message.content_type != ContentType.APPLICATION:
            raise DecodeError("a message to be sent holds no application data")
        return request

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return self.application_message.encode() + self.freshness.encode() + optional(self.sealed_state_key)

    @property
    def message(self) -> PrivateMessage:
        """Return the PrivateMessage inside (RFC 9420 §6: application data is encrypted)."""
        if not isinstance(self.application_message.body, PrivateMessage):
            raise DecodeError("a message to be sent is not a private one")
        return self.application_message.body

    @property
    def group_id(self) -> bytes:
        """Return the group that the message names."""
        return self.message.group_id


@dataclasses.dataclass(frozen=True, slots=True)
class SelfRemoveRequest:
    """Ask the others to remove the sender."""

    proposal: MLSMessage
    freshness: Freshness
    sealed_state_key: Sealed | None = None

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct; the message must be a public proposal."""
        proposal = MLSMessage.read(reader)
        public_content(proposal, ContentType.PROPOSAL)
        return cls(proposal, Freshness.read(reader), reader.optional(read_sealed_state_key))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return self.proposal.encode() + self.freshness.encode() + optional(self.sealed_state_key)

    @property
    def contents(self) -> tuple[FramedContent, ...]:
        """Return the proposal's content, as SubmitProposals does."""
        return (public_content(self.proposal, ContentType.PROPOSAL),)

    @property
    def group_id(self) -> bytes:
        """Return the group that the proposal names."""
        return self.contents[0].group_id


@dataclasses.dataclass(frozen=True, slots=True)
class SubmitProposals:
    """Store proposals for a later commit, all of one group."""

    proposals: tuple[MLSMessage, ...]
    freshness: Freshness
    sealed_state_key: Sealed | None = None

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct: one public proposal or more, and one group."""
        request = cls(read_proposals(reader), Freshness.read(reader), reader.optional(read_sealed_state_key))
        # [mds-propose-1] There is something to store, and one group to store it in.
        if len({content.group_id for content in request.contents}) != 1:
            raise DecodeError("the proposals of one request do not name one group")
        return request

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return vector(self.proposals) + self.freshness.encode() + optional(self.sealed_state_key)

    @property
    def contents(self) -> tuple[FramedContent, ...]:
        """Return the proposals' contents."""
        return tuple([public_content(proposal, ContentType.PROPOSAL) for proposal in self.proposals])

    @property
    def group_id(self) -> bytes:
        """Return the group that all the proposals name."""
        return self.contents[0].group_id
