"""Extensions, credentials, and the code points of the registries (RFC 9420 §§5.3, 11.1, 12.1.8.1, 13.4, 17).

Unknown extension and credential types are kept as bytes and travel on unchanged; nothing treats the GREASE
values of §13.5 apart.
"""

import dataclasses
from typing import Final, Self

from chalicelib.errors import DecodeError
from chalicelib.protocol.tls import STORED_ELEMENTS, Reader, decode, opaque, uint16, uint16s, vector

APPLICATION_ID: Final = 1
RATCHET_TREE: Final = 2
REQUIRED_CAPABILITIES: Final = 3
EXTERNAL_PUB: Final = 4
EXTERNAL_SENDERS: Final = 5
APP_DATA_DICTIONARY: Final = 6
DEFAULT_EXTENSIONS: Final = frozenset({1, 2, 3, 4, 5})
"""What every client supports without listing it (§7.2)."""

BASIC: Final = 1
X509: Final = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Extension:
    """One extension: a type and opaque data."""

    extension_type: int
    extension_data: bytes

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.uint16(), reader.opaque())

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return uint16(self.extension_type) + opaque(self.extension_data)


Extensions = tuple[Extension, ...]


def read_extensions(reader: Reader) -> Extensions:
    """Read `Extension extensions<V>`, of which no two have the same type (§13.4)."""
    extensions = reader.vector(Extension.read)
    if len({extension.extension_type for extension in extensions}) != len(extensions):
        # [mls-13.4-4] It is a property of every such field, so the decoder has it.
        raise DecodeError("a list of extensions names one type twice")
    return extensions


def find(extensions: Extensions, extension_type: int) -> bytes | None:
    """Return the data of the extension of this type, if there is one."""
    for extension in extensions:
        if extension.extension_type == extension_type:
            return extension.extension_data
    return None


@dataclasses.dataclass(frozen=True, slots=True)
class Certificate:
    """One DER-encoded X.509 certificate, not looked into here."""

    cert_data: bytes

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.opaque())

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return opaque(self.cert_data)


@dataclasses.dataclass(frozen=True, slots=True)
class Credential:
    """A credential (§5.3): its type and the vector that follows it.

    Every credential type defined so far is one vector: an identity, certificates, bindings. An unknown one is
    read in the same form, or a group that uses it could not be served at all.
    """

    credential_type: int
    content: bytes

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct; an X.509 chain must be a list of certificates."""
        credential = cls(reader.uint16(), reader.opaque())
        if credential.credential_type == X509:
            reader.inside(opaque(credential.content), lambda chain: chain.vector(Certificate.read))
        return credential

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return uint16(self.credential_type) + opaque(self.content)

    def certificates(self) -> tuple[Certificate, ...]:
        """Return the chain of an X.509 credential, the end entity first."""
        return decode(lambda reader: reader.vector(Certificate.read), opaque(self.content), STORED_ELEMENTS)


@dataclasses.dataclass(frozen=True, slots=True)
class RequiredCapabilities:
    """What every member must support (§11.1)."""

    extension_types: tuple[int, ...] = ()
    proposal_types: tuple[int, ...] = ()
    credential_types: tuple[int, ...] = ()

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.uint16s(), reader.uint16s(), reader.uint16s())

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return uint16s(self.extension_types) + uint16s(self.proposal_types) + uint16s(self.credential_types)


@dataclasses.dataclass(frozen=True, slots=True)
class ExternalSender:
    """One party outside the group that may send it proposals (§12.1.8.1)."""

    signature_key: bytes
    credential: Credential

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.opaque(), Credential.read(reader))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return opaque(self.signature_key) + self.credential.encode()


def required_capabilities(extensions: Extensions) -> RequiredCapabilities:
    """Return what the GroupContext's extensions require: nothing, where there is no such extension."""
    data = find(extensions, REQUIRED_CAPABILITIES)
    return RequiredCapabilities() if data is None else decode(RequiredCapabilities.read, data)


def external_senders(extensions: Extensions) -> tuple[ExternalSender, ...]:
    """Return the group's external senders, in the order that `sender_index` counts."""
    data = find(extensions, EXTERNAL_SENDERS)
    return () if data is None else decode(lambda reader: reader.vector(ExternalSender.read), data, STORED_ELEMENTS)


def external_senders_extension(senders: tuple[ExternalSender, ...]) -> Extension:
    """Return the extension that names these external senders."""
    return Extension(EXTERNAL_SENDERS, vector(senders))
