"""Who a member is: its credential, its signature key, and the KeyPackages it offers (RFC 9420 §§5.3, 7.2, 10)."""

import dataclasses
from collections.abc import Callable
from typing import Self

from chalicelib.client.mls_crypto import KeyPair, MemberSuite, member_suite
from chalicelib.protocol.mls.extensions import BASIC, Credential
from chalicelib.protocol.mls.key_package import MLS10, KeyPackage
from chalicelib.protocol.mls.nodes import Capabilities, LeafNode, LeafNodeSource, Lifetime

Random = Callable[[int], bytes]
"""A source of that many random bytes."""


@dataclasses.dataclass(frozen=True)
class Identity:
    """A client: its credential, its signature key, and what it supports."""

    suite: MemberSuite
    credential: Credential
    signature_private: bytes
    capabilities: Capabilities

    @classmethod
    def basic(
        cls,
        suite_number: int,
        name: bytes,
        random: Random,
        proposals: tuple[int, ...] = (),
        extensions: tuple[int, ...] = (),
    ) -> Self:
        """Return a client with a basic credential and a fresh signature key."""
        suite = member_suite(suite_number)
        private = random(57 if suite.cipher_suite.hash_name == "sha512" else 32)
        capabilities = Capabilities((MLS10,), (suite_number,), extensions, proposals, (BASIC,))
        return cls(suite, Credential(BASIC, name), private, capabilities)

    @property
    def cipher_suite(self) -> int:
        """Return the number of the cipher suite."""
        return self.suite.cipher_suite.number

    @property
    def signature_key(self) -> bytes:
        """Return the public signature key."""
        return self.suite.cipher_suite.signatures.public_key(self.signature_private)

    def sign(self, label: str, content: bytes) -> bytes:
        """SignWithLabel with this client's key."""
        return self.suite.cipher_suite.sign_with_label(self.signature_private, label, content)

    def leaf_node(
        self,
        encryption_key: bytes,
        source: LeafNodeSource,
        *,
        lifetime: Lifetime | None = None,
        parent_hash: bytes | None = None,
        group_id: bytes = b"",
        leaf_index: int = 0,
    ) -> LeafNode:
        """Return a signed leaf node."""
        unsigned = LeafNode(
            encryption_key,
            self.signature_key,
            self.credential,
            self.capabilities,
            source,
            lifetime,
            parent_hash,
            (),
            b"",
        )
        signature = self.sign("LeafNodeTBS", unsigned.to_be_signed(group_id, leaf_index))
        return dataclasses.replace(unsigned, signature=signature)

    def key_package(self, random: Random, now: int, lifetime: int = 30 * 86_400) -> "PrivateKeyPackage":
        """Return a KeyPackage with its private keys."""
        init = self.suite.derive_key_pair(random(self.suite.hash_size))
        encryption = self.suite.derive_key_pair(random(self.suite.hash_size))
        leaf = self.leaf_node(encryption.public, LeafNodeSource.KEY_PACKAGE, lifetime=Lifetime(now, now + lifetime))
        unsigned = KeyPackage(MLS10, self.suite.cipher_suite.number, init.public, leaf, (), b"")
        signed = dataclasses.replace(unsigned, signature=self.sign("KeyPackageTBS", unsigned.signed))
        return PrivateKeyPackage(self, signed, init.private, encryption)


@dataclasses.dataclass(frozen=True)
class PrivateKeyPackage:
    """A KeyPackage and the private keys that its owner keeps."""

    identity: Identity
    public: KeyPackage
    init_private: bytes
    encryption: KeyPair
