"""What a client says to a delivery service: a DSMessage holds a request, who sends it, and a signature over both.

Where each struct comes from, and what is ours:

    DSMessage, DSSenderID, DSSenderType, DSRequest   draft -02; the signature is SignWithLabel, which is ours to say
    DSRequestType                      0 and 1 are -02's; the other numbers are ours, most of the names -02's or -03's
    CreateGroupRequest                 -02, and `sealed_state_key`, which is ours
    UpdateQueueInfo, WelcomeInfo, ExternalCommitInfo, ResyncClient, SendMessage
                                       -02's named fields; what stands for its "TBD" is ours
    AddUsers, RemoveUsers, AddClients, RemoveClients, UpdateClient
                                       -02's operations; the group update is -03's; `added` is ours
    DeleteGroupRequest, JoinByExternalCommit, SelfRemoveRequest, MLSGroupUpdate, PartialGroupInfo
                                       -03, and freshness, queue configs and `sealed_state_key`, which are ours
    RequestGroupId, PublicKey          operations of -03; bodies ours
    AddPackage, KeyPackages            ideas of -03 and -04; bodies ours
    SubmitProposals, CommitRequest     operations of -06; bodies ours
    PublishKeyPackages, Upload, CloseGroup, Freshness, Sealed, Reference, UploadReference        ours
    BodyReference                      ours, between delivery services
    KeyPackagesQuery                   ours, between delivery services
    ClientQueueConfig                  named by -02, its contents are ours; so is QueueConfig
    QueueingServiceResponse            -02's two values, and three of ours
    EnqueueRequest, EnqueueResponse    ours: -02's QueueingServiceRequest, for many clients at once
    QSMessage and its requests, QueueEntry, Fetched                                  ours: -02 leaves them open
    CreateGroupResponse                -02
    DSResponse, DSError, TreeOption and the answers                                  named by -02, contents ours

Freshness stands in every request that could be repeated to some effect: create_group is protected by its unused
group id, and a member's commit by its epoch.
"""

import dataclasses
import enum
import hashlib
from collections.abc import Callable, Mapping
from typing import Self

from chalicelib.protocol.crypto import CipherSuite
from chalicelib.protocol.delivery.directory import KeyPackages, PublicKey, PublishKeyPackages, RequestGroupId, Upload
from chalicelib.protocol.delivery.group_messages import SelfRemoveRequest, SendMessage, SubmitProposals
from chalicelib.protocol.delivery.group_updates import (
    AddClients,
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
from chalicelib.protocol.delivery.parts import Freshness, encode_signature, enumeration, read_signature
from chalicelib.protocol.delivery.sealed import Sealed
from chalicelib.protocol.mls.key_package import KeyPackage
from chalicelib.protocol.tls import Reader, opaque, uint8, uint32

TBS_LABEL = "MIMI DSMessageTBS"


class DSRequestType(enum.IntEnum):
    """What can be asked; a route's name is the member's, with dashes."""

    CREATE_GROUP = 0
    DELETE_GROUP = 1
    UPDATE_QUEUE_INFO = 2
    WELCOME_INFO = 3
    EXTERNAL_COMMIT_INFO = 4
    ADD_USERS = 5
    REMOVE_USERS = 6
    ADD_CLIENTS = 7
    REMOVE_CLIENTS = 8
    UPDATE_CLIENT = 9
    RESYNC_CLIENT = 10
    SEND_MESSAGE = 11
    REQUEST_GROUP_ID = 12
    SELF_REMOVE = 13
    JOIN_BY_EXTERNAL_COMMIT = 14
    KEY_PACKAGES = 15
    PUBLIC_KEY = 16
    SUBMIT_PROPOSALS = 17
    COMMIT = 18
    PUBLISH_KEY_PACKAGES = 19
    UPLOAD = 20
    CLOSE_GROUP = 21

    @property
    def route(self) -> str:
        """Return the last part of POST /ds/v1/OPERATION."""
        return self.name.lower().replace("_", "-")


ROUTES: Mapping[str, DSRequestType] = {member.route: member for member in DSRequestType}

Body = (
    CreateGroupRequest
    | DeleteGroupRequest
    | UpdateQueueInfo
    | WelcomeInfo
    | ExternalCommitInfo
    | AddUsers
    | RemoveUsers
    | AddClients
    | RemoveClients
    | UpdateClient
    | ResyncClient
    | SendMessage
    | RequestGroupId
    | SelfRemoveRequest
    | JoinByExternalCommit
    | KeyPackages
    | PublicKey
    | SubmitProposals
    | CommitRequest
    | PublishKeyPackages
    | Upload
    | CloseGroup
)

BODIES: Mapping[DSRequestType, type[Body]] = {
    DSRequestType.CREATE_GROUP: CreateGroupRequest,
    DSRequestType.DELETE_GROUP: DeleteGroupRequest,
    DSRequestType.UPDATE_QUEUE_INFO: UpdateQueueInfo,
    DSRequestType.WELCOME_INFO: WelcomeInfo,
    DSRequestType.EXTERNAL_COMMIT_INFO: ExternalCommitInfo,
    DSRequestType.ADD_USERS: AddUsers,
    DSRequestType.REMOVE_USERS: RemoveUsers,
    DSRequestType.ADD_CLIENTS: AddClients,
    DSRequestType.REMOVE_CLIENTS: RemoveClients,
    DSRequestType.UPDATE_CLIENT: UpdateClient,
    DSRequestType.RESYNC_CLIENT: ResyncClient,
    DSRequestType.SEND_MESSAGE: SendMessage,
    DSRequestType.REQUEST_GROUP_ID: RequestGroupId,
    DSRequestType.SELF_REMOVE: SelfRemoveRequest,
    DSRequestType.JOIN_BY_EXTERNAL_COMMIT: JoinByExternalCommit,
    DSRequestType.KEY_PACKAGES: KeyPackages,
    DSRequestType.PUBLIC_KEY: PublicKey,
    DSRequestType.SUBMIT_PROPOSALS: SubmitProposals,
    DSRequestType.COMMIT: CommitRequest,
    DSRequestType.PUBLISH_KEY_PACKAGES: PublishKeyPackages,
    DSRequestType.UPLOAD: Upload,
    DSRequestType.CLOSE_GROUP: CloseGroup,
}
_TYPES = {kind: request_type for request_type, kind in BODIES.items()}


class DSSenderType(enum.IntEnum):
    """How a sender is named, and so where its key is found."""

    LEAF_INDEX = 0
    KEY_PACKAGE_REF = 1
    USER_KEY_HASH = 2


@dataclasses.dataclass(frozen=True, slots=True)
class DSSenderID:
    """Who sends a request: `value` is a leaf index, or the bytes of a reference or hash."""

    sender_type: DSSenderType
    value: int | bytes

    @classmethod
    def leaf(cls, index: int) -> Self:
        """Name a member of the group."""
        return cls(DSSenderType.LEAF_INDEX, index)

    @classmethod
    def key_package(cls, reference: bytes) -> Self:
        """Name a client by the KeyPackageRef of a KeyPackage of its."""
        return cls(DSSenderType.KEY_PACKAGE_REF, reference)

    @classmethod
    def user(cls, key_hash: bytes) -> Self:
        """Name a user by the SHA-256 of its key, which its application provider registered."""
        return cls(DSSenderType.USER_KEY_HASH, key_hash)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        sender_type = enumeration(DSSenderType)(reader)
        return cls(sender_type, reader.uint32() if sender_type == DSSenderType.LEAF_INDEX else reader.opaque())

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        value = uint32(self.value) if isinstance(self.value, int) else opaque(self.value)
        return uint8(self.sender_type) + value


@dataclasses.dataclass(frozen=True, slots=True)
class DSRequest:
    """One request; its type is its body's."""

    body: Body

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(BODIES[enumeration(DSRequestType)(reader)].read(reader))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return uint8(self.request_type) + self.body.encode()

    @property
    def request_type(self) -> DSRequestType:
        """Return the request type, which the body implies."""
        return _TYPES[type(self.body)]

    @property
    def group_id(self) -> bytes | None:
        """Return the group that the request is about, as the MLS message inside names it; None for the directory."""
        found: bytes | None = getattr(self.body, "group_id", None)
        return found

    @property
    def freshness(self) -> Freshness | None:
        """Return what makes the request good once; None where something else does."""
        found: Freshness | None = getattr(self.body, "freshness", None)
        return found

    @property
    def sealed_state_key(self) -> Sealed | None:
        """Return the key of a group in privacy mode, sealed to the hub."""
        found: Sealed | None = getattr(self.body, "sealed_state_key", None)
        return found

    @property
    def key_package(self) -> KeyPackage | None:
        """Return the sender's own KeyPackage, where the body carries one."""
        found: KeyPackage | None = getattr(self.body, "key_package", None)
        return found


@dataclasses.dataclass(frozen=True, slots=True)
class DSMessage:
    """A request, signed by its sender; unverified until `verify`. `signed` is DSMessageTBS, as received."""

    sender_id: DSSenderID
    request: DSRequest
    signature: bytes
    signed: bytes = dataclasses.field(default=b"", compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.signed:
            object.__setattr__(self, "signed", self.sender_id.encode() + self.request.encode())

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        start = reader.position
        sender_id = DSSenderID.read(reader)
        request = DSRequest.read(reader)
        signed = reader.since(start)
        return cls(sender_id, request, read_signature(reader), signed)

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return self.signed + encode_signature(self.signature)

    @property
    def request_sha256(self) -> bytes:
        """Return the digest of the whole message, by which an answer names it and a repeat is known."""
        return hashlib.sha256(self.encode()).digest()

    def verify(self, suite: CipherSuite, signature_key: bytes) -> None:
        """[ds-20] Verify the signature with the sender's key, or raise `InvalidSignature`."""
        suite.verify_with_label(signature_key, TBS_LABEL, self.signed, self.signature, "ds-20")


def sign_message(sender_id: DSSenderID, request: DSRequest, sign: Callable[[str, bytes], bytes]) -> DSMessage:
    """Sign a request; `sign` is SignWithLabel with the sender's key."""
    unsigned = DSMessage(sender_id, request, b"")
    return dataclasses.replace(unsigned, signature=sign(TBS_LABEL, unsigned.signed))
