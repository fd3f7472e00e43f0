"""Requests that are about no group: names for new ones, the directory of KeyPackages, and uploads."""

import dataclasses
from collections.abc import Callable
from typing import NewType, Self

from chalicelib.errors import DecodeError
from chalicelib.protocol.crypto import CipherSuite
from chalicelib.protocol.delivery.parts import DIGEST_SIZE, Domain, Freshness, read_domain, text
from chalicelib.protocol.delivery.queueing import ClientQueueConfig
from chalicelib.protocol.mls.key_package import KeyPackage
from chalicelib.protocol.tls import Reader, opaque, uint8, uint16, uint64, vector

ADD_PACKAGE_LABEL = "MIMI AddPackage"

UserID = NewType("UserID", bytes)
"""Who a user is at its own delivery service."""


@dataclasses.dataclass(frozen=True, slots=True)
class RequestGroupId:
    """Ask for an unused group id, and for the external sender that the new group shall name."""

    cipher_suite: int
    freshness: Freshness

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.uint16(), Freshness.read(reader))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return uint16(self.cipher_suite) + self.freshness.encode()


@dataclasses.dataclass(frozen=True, slots=True)
class PublicKey:
    """Ask for the external sender of a group that the client named itself."""

    group_id: bytes
    cipher_suite: int
    freshness: Freshness

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.opaque(), reader.uint16(), Freshness.read(reader))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return opaque(self.group_id) + uint16(self.cipher_suite) + self.freshness.encode()


@dataclasses.dataclass(frozen=True, slots=True)
class AddPackage:
    """All that adding a client takes. The key of the leaf inside binds the queue to the KeyPackage.

    `signed` is the part before the signature, as received.
    """

    key_package: KeyPackage
    client_queue_config: ClientQueueConfig
    last_resort: bool
    signature: bytes
    signed: bytes = dataclasses.field(default=b"", compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.signed:
            content = self.key_package.encode() + self.client_queue_config.encode() + uint8(self.last_resort)
            object.__setattr__(self, "signed", content)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        start = reader.position
        key_package = KeyPackage.read(reader)
        client_queue_config = ClientQueueConfig.read(reader)
        last_resort = reader.uint8()
        if last_resort > 1:
            raise DecodeError("last_resort is neither 0 nor 1")
        signed = reader.since(start)
        return cls(key_package, client_queue_config, bool(last_resort), reader.opaque(), signed)

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return self.signed + opaque(self.signature)

    @classmethod
    def sign(
        cls,
        key_package: KeyPackage,
        client_queue_config: ClientQueueConfig,
        sign: Callable[[str, bytes], bytes],
        *,
        last_resort: bool = False,
    ) -> Self:
        """Return a signed AddPackage; `sign` is SignWithLabel with the key of the KeyPackage's leaf."""
        unsigned = cls(key_package, client_queue_config, last_resort, b"")
        return dataclasses.replace(unsigned, signature=sign(ADD_PACKAGE_LABEL, unsigned.signed))

    def verify(self, suite: CipherSuite) -> None:
        """[ds-22] Verify the signature with the key of the leaf inside; the KeyPackage's own is not looked at."""
        key = self.key_package.leaf_node.signature_key
        suite.verify_with_label(key, ADD_PACKAGE_LABEL, self.signed, self.signature, "ds-22")


@dataclasses.dataclass(frozen=True, slots=True)
class PublishKeyPackages:
    """Offer KeyPackages for others to take."""

    add_packages: tuple[AddPackage, ...]
    freshness: Freshness

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.vector(AddPackage.read), Freshness.read(reader))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return vector(self.add_packages) + self.freshness.encode()


@dataclasses.dataclass(frozen=True, slots=True)
class KeyPackages:
    """Take one KeyPackage for every client of each user, at the delivery service that is theirs."""

    ds_domain: Domain
    cipher_suite: int
    users: tuple[UserID, ...]
    freshness: Freshness

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(
            read_domain(reader),
            reader.uint16(),
            reader.vector(lambda inner: UserID(inner.opaque())),
            Freshness.read(reader),
        )

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        users = opaque(b"".join([opaque(user) for user in self.users]))
        return text(self.ds_domain) + uint16(self.cipher_suite) + users + self.freshness.encode()


@dataclasses.dataclass(frozen=True, slots=True)
class KeyPackagesQuery:
    """What a delivery service asks another one for a user of its own: KeyPackages, without who wants them."""

    cipher_suite: int
    users: tuple[UserID, ...]

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.uint16(), reader.vector(lambda inner: UserID(inner.opaque())))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return uint16(self.cipher_suite) + opaque(b"".join([opaque(user) for user in self.users]))


@dataclasses.dataclass(frozen=True, slots=True)
class KeyPackageRefQuery:
    """What a delivery service asks another one of a KeyPackage: whether it was published there.

    The signature keys are those of the user's clients that the group knows. By them the other service sees whether
    its user is the one in the group, and not another of that name.
    """

    key_package_ref: bytes
    signature_keys: tuple[bytes, ...]

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.opaque(), reader.vector(lambda inner: inner.opaque()))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return opaque(self.key_package_ref) + opaque(b"".join([opaque(key) for key in self.signature_keys]))


@dataclasses.dataclass(frozen=True, slots=True)
class Upload:
    """Ask where a body may be put that is too large to be posted."""

    sha256: bytes
    length: int
    freshness: Freshness

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.take(DIGEST_SIZE), reader.uint64(), Freshness.read(reader))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return self.sha256 + uint64(self.length) + self.freshness.encode()


@dataclasses.dataclass(frozen=True, slots=True)
class UploadReference:
    """What is posted in place of a DSMessage that was uploaded."""

    sha256: bytes
    length: int

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.take(DIGEST_SIZE), reader.uint64())

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return self.sha256 + uint64(self.length)
