"""What a delivery service answers: one DSResponse to every DSMessage, whatever becomes of it.

`request_sha256` is the digest of the DSMessage that it answers, so that an answer cannot be taken for another's and a
repeat is answered as the first was.
"""

import dataclasses
import enum
from collections.abc import Mapping
from typing import Final, Self

from chalicelib.errors import DecodeError
from chalicelib.protocol.delivery.directory import AddPackage
from chalicelib.protocol.delivery.group_updates import read_proposals
from chalicelib.protocol.delivery.parts import (
    DIGEST_SIZE,
    Reference,
    encode_option,
    enumeration,
    read_option,
    read_url,
    text,
)
from chalicelib.protocol.mls.extensions import ExternalSender
from chalicelib.protocol.mls.framing import MLSMessage
from chalicelib.protocol.mls.group_info import GroupInfo
from chalicelib.protocol.tls import Reader, opaque, uint8, uint16, uint32, uint64, vector

VERSION: Final = 1

TreeOption = bytes | Reference
"""A ratchet tree, encoded as `optional<Node> ratchet_tree<V>`, or where it can be fetched."""


class DSErrorCode(enum.IntEnum):
    """What a client can do something about.

    MALFORMED           the bytes are not what the operation takes
    NOT_AUTHENTICATED   the sender is named otherwise than the operation takes, its signature does not verify, or
                        the request is not of now or not for this service
    UNKNOWN_GROUP       there is no such group, or the sender is no member, or a sealed group's key does not open
    STALE_EPOCH         the group is in `current_epoch`: follow it there, and ask again
    MUST_COVER          `required_proposals` have to be in the next commit; until then no message is taken
    TOO_LARGE           less has to be asked for, or sent, at once
    REFUSED             a rule is broken, which `check_id` names; the same request will be refused again
    TOO_MANY_REQUESTS   nothing was done; ask again after `retry_after_ms`
    UNAVAILABLE         the same; but a request that was forwarded may have been served
    NOT_PERMITTED       the sender is known and may not: as a member, because it is being removed
    ALREADY_EXISTS      what is to be created stands already, with other contents
    GROUP_FROZEN        the group was reinitialised and takes nothing more but its end
    """

    MALFORMED = 1
    NOT_AUTHENTICATED = 2
    UNKNOWN_GROUP = 3
    STALE_EPOCH = 4
    MUST_COVER = 5
    TOO_LARGE = 6
    REFUSED = 7
    TOO_MANY_REQUESTS = 8
    UNAVAILABLE = 9
    NOT_PERMITTED = 10
    ALREADY_EXISTS = 11
    GROUP_FROZEN = 12


_ERROR_CODES = {int(member): member for member in DSErrorCode}


@dataclasses.dataclass(frozen=True, slots=True)
class Ok:
    """It is done."""

    @classmethod
    def read(cls, _reader: Reader) -> Self:
        """Read the struct, which is empty."""
        return cls()

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return b""


def read_check_id(reader: Reader) -> str:
    """Read the id of a check, which may be empty."""
    check_id = reader.opaque()
    if not check_id.isascii():
        raise DecodeError("a check's id is not ASCII")
    return check_id.decode("ascii")


@dataclasses.dataclass(frozen=True, slots=True)
class DSError:
    """It is refused. Beside the code stand the facts that help: a check's id, the epoch, what must be committed.

    What a code has no use for is empty or 0.
    """

    code: DSErrorCode
    check_id: str = ""
    current_epoch: int = 0
    retry_after_ms: int = 0
    required_proposals: tuple[MLSMessage, ...] = ()

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        code = _ERROR_CODES.get(reader.uint16())
        if code is None:
            raise DecodeError("a DSErrorCode has an unknown value")
        return cls(code, read_check_id(reader), reader.uint64(), reader.uint32(), read_proposals(reader))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return (
            uint16(self.code)
            + text(self.check_id)
            + uint64(self.current_epoch)
            + uint32(self.retry_after_ms)
            + vector(self.required_proposals)
        )


class CreateGroupResponse(enum.IntEnum):
    """Why a group is not created; that it is, Ok says."""

    INVALID_GROUP_ID = 0
    INVALID_KEY_PACKAGE = 1
    INVALID_GROUP_INFO = 2


@dataclasses.dataclass(frozen=True, slots=True)
class CreateGroupRefused:
    """The group is not created: -02's word for why, and beside it the id of the check that failed."""

    reason: CreateGroupResponse
    check_id: str = ""

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(enumeration(CreateGroupResponse)(reader), read_check_id(reader))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return uint8(self.reason) + text(self.check_id)


@dataclasses.dataclass(frozen=True, slots=True)
class GroupIdAnswer:
    """An unused group id, and what the group's external_senders must hold."""

    group_id: bytes
    external_sender: ExternalSender

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.opaque(), ExternalSender.read(reader))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return opaque(self.group_id) + self.external_sender.encode()


def _read_group_info(reader: Reader) -> MLSMessage:
    message = MLSMessage.read(reader)
    if not isinstance(message.body, GroupInfo):
        raise DecodeError("a message is not a GroupInfo")
    return message


@dataclasses.dataclass(frozen=True, slots=True)
class WelcomeInfoAnswer:
    """What someone welcomed needs beside the Welcome."""

    group_info: MLSMessage
    ratchet_tree: TreeOption

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(_read_group_info(reader), read_option(reader))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return self.group_info.encode() + encode_option(self.ratchet_tree)


@dataclasses.dataclass(frozen=True, slots=True)
class ExternalCommitInfoAnswer:
    """What someone needs to join from outside; the proposals are those that wait for a commit."""

    group_info: MLSMessage
    ratchet_tree: TreeOption
    proposals: tuple[MLSMessage, ...] = ()

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(_read_group_info(reader), read_option(reader), read_proposals(reader))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return self.group_info.encode() + encode_option(self.ratchet_tree) + vector(self.proposals)


@dataclasses.dataclass(frozen=True, slots=True)
class KeyPackagesAnswer:
    """One AddPackage for every client that had one to give."""

    add_packages: tuple[AddPackage, ...]

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.vector(AddPackage.read))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return vector(self.add_packages)


@dataclasses.dataclass(frozen=True, slots=True)
class PublicKeyAnswer:
    """What a group's external_senders must hold."""

    external_sender: ExternalSender

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(ExternalSender.read(reader))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return self.external_sender.encode()


@dataclasses.dataclass(frozen=True, slots=True)
class UploadAnswer:
    """Where the body may be PUT, for a short time."""

    url: str

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(read_url(reader))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return text(self.url)


class DSResponseType(enum.IntEnum):
    """What an answer holds."""

    OK = 0
    ERROR = 1
    CREATE_GROUP = 2
    GROUP_ID = 3
    WELCOME_INFO = 4
    EXTERNAL_COMMIT_INFO = 5
    KEY_PACKAGES = 6
    PUBLIC_KEY = 7
    UPLOAD = 8


Answer = (
    Ok
    | DSError
    | CreateGroupRefused
    | GroupIdAnswer
    | WelcomeInfoAnswer
    | ExternalCommitInfoAnswer
    | KeyPackagesAnswer
    | PublicKeyAnswer
    | UploadAnswer
)

ANSWERS: Mapping[DSResponseType, type[Answer]] = {
    DSResponseType.OK: Ok,
    DSResponseType.ERROR: DSError,
    DSResponseType.CREATE_GROUP: CreateGroupRefused,
    DSResponseType.GROUP_ID: GroupIdAnswer,
    DSResponseType.WELCOME_INFO: WelcomeInfoAnswer,
    DSResponseType.EXTERNAL_COMMIT_INFO: ExternalCommitInfoAnswer,
    DSResponseType.KEY_PACKAGES: KeyPackagesAnswer,
    DSResponseType.PUBLIC_KEY: PublicKeyAnswer,
    DSResponseType.UPLOAD: UploadAnswer,
}
_TYPES = {kind: response_type for response_type, kind in ANSWERS.items()}


@dataclasses.dataclass(frozen=True, slots=True)
class DSResponse:
    """An answer to the DSMessage with this digest; its type is its body's."""

    request_sha256: bytes
    body: Answer

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        if reader.uint16() != VERSION:
            raise DecodeError("a DSResponse has another version than 1")
        return cls(reader.take(DIGEST_SIZE), ANSWERS[enumeration(DSResponseType)(reader)].read(reader))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return uint16(VERSION) + self.request_sha256 + uint8(self.response_type) + self.body.encode()

    @property
    def response_type(self) -> DSResponseType:
        """Return the response type, which the body implies."""
        return _TYPES[type(self.body)]
