"""When is a leaf node valid, and a KeyPackage? (RFC 9420 §§7.2, 7.3, 10.1, 11.1, 13.4)"""

import dataclasses

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from chalicelib.protocol.crypto import CipherSuite
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.errors import InvalidKeyPackage, InvalidLeafNode, TooLarge
from chalicelib.protocol.mls.extensions import DEFAULT_EXTENSIONS, X509, Extensions, required_capabilities
from chalicelib.protocol.mls.key_package import MLS10, KeyPackage
from chalicelib.protocol.mls.nodes import LeafNode, LeafNodeSource
from chalicelib.protocol.mls.policy import Policy
from chalicelib.protocol.mls.proposals import DEFAULT_PROPOSALS
from chalicelib.protocol.mls.support import CREDENTIAL, EXTENSION, PROPOSAL, Support, Value
from chalicelib.protocol.mls.tree import Kind

MAX_CAPABILITIES = 1_024
"""The most entries in each of a leaf's lists of capabilities."""

MAX_LEAF = 16 << 10
"""The most bytes of a leaf node, or of a KeyPackage with the leaf inside: those in use have about 3 kB."""

MAX_CREDENTIAL = 8 << 10
"""The most bytes in a credential: a name, or a chain of a few certificates."""

MAX_EXTENSIONS = 256
"""The most extensions of a leaf node, or of a KeyPackage."""


@dataclasses.dataclass(frozen=True)
class GroupRules:
    """What a leaf must fit: the group's parameters and what its members support."""

    suite: CipherSuite
    policy: Policy
    group_id: bytes
    extensions: Extensions
    support: Support

    def required(self) -> list[Value]:
        """Return what the `required_capabilities` extension asks of every member."""
        required = required_capabilities(self.extensions)
        return [
            *((EXTENSION, number) for number in required.extension_types),
            *((PROPOSAL, number) for number in required.proposal_types),
            *((CREDENTIAL, number) for number in required.credential_types),
        ]


def check_encryption_key(suite: CipherSuite, key: bytes, check: str) -> None:
    """Refuse what is no public key of the suite's KEM."""
    try:
        suite.check_encryption_key(key)
    except ValueError as failure:
        raise InvalidLeafNode(check, "an encryption key is not one of the cipher suite's KEM") from failure


def check_size(offered: LeafNode | KeyPackage) -> None:
    """[ds-10] Refuse what would make every member's part of the tree, and every proposal to add it, too large."""
    if len(offered.signed) + len(offered.signature) > MAX_LEAF or len(offered.extensions) > MAX_EXTENSIONS:
        raise TooLarge("ds-10", "a leaf node or a KeyPackage is larger than is taken here")


def check_certificate(leaf: LeafNode) -> None:
    """[mls-5.3-1] Check that the end entity's certificate is for the leaf's signature key."""
    chain = leaf.credential.certificates()
    try:
        key = x509.load_der_x509_certificate(chain[0].cert_data).public_key() if chain else None
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as failure:
        raise InvalidLeafNode("mls-5.3-1", "a certificate cannot be read") from failure
    match key:
        case ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey():
            encoded = key.public_bytes_raw()
        case ec.EllipticCurvePublicKey():
            encoded = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        case _:
            encoded = b""
    if encoded != leaf.signature_key:
        raise InvalidLeafNode("mls-5.3-1", "the certificate is for another key than the leaf's")


def check_leaf_node(leaf: LeafNode, rules: GroupRules) -> None:
    """Apply §7.3 as far as it looks at the leaf and the group's parameters, not at signature or place."""
    # [mls-7.2-2] Values that are not known here are looked up like any other, and so ignored [mls-13.5-1].
    listed = leaf.capabilities
    # [ds-6] Every commit may have to look through what each member lists.
    lists = (listed.versions, listed.cipher_suites, listed.extensions, listed.proposals, listed.credentials)
    if any(len(numbers) > MAX_CAPABILITIES for numbers in lists):
        raise TooLarge("ds-6", "the leaf lists more capabilities than are looked through here")
    check_size(leaf)
    # [ds-11] A credential is small: it names its client wherever one is named.
    if len(leaf.credential.content) > MAX_CREDENTIAL:
        raise TooLarge("ds-11", "the leaf's credential is larger than is taken here")
    # [mls-10-3] Both keys are valid for the cipher suite; the signature is about to prove its own.
    check_encryption_key(rules.suite, leaf.encryption_key, "mls-10-3")
    # [mls-11.1-1] All members support the cipher suite and protocol version in use.
    if MLS10 not in listed.versions or rules.suite.number not in listed.cipher_suites:
        raise InvalidLeafNode("mls-11.1-1", "the leaf does not support the group's version and cipher suite")
    # [mls-7.2-3] Its own credential's type is listed.
    if leaf.credential.credential_type not in listed.credentials:
        raise InvalidLeafNode("mls-7.2-3", "the leaf does not list the type of its own credential")
    if leaf.credential.credential_type == X509:
        check_certificate(leaf)
    # [mls-7.3-1] The credential is valid, as the authentication service says [mls-5.3.1-1].
    rules.policy.check_credential(leaf)
    # [mls-7.3-3] What required_capabilities names is supported.
    required = required_capabilities(rules.extensions)
    extensions = DEFAULT_EXTENSIONS.union(listed.extensions)
    if not (
        extensions.issuperset(required.extension_types)
        and DEFAULT_PROPOSALS.union(listed.proposals).issuperset(required.proposal_types)
        and set(listed.credentials).issuperset(required.credential_types)
    ):
        raise InvalidLeafNode("mls-7.3-3", "the leaf does not support a required capability")
    # [mls-7.3-5] It supports all the credential types in use by other members.
    if not set(listed.credentials).issuperset(rules.support.credential_types_in_use()):
        raise InvalidLeafNode("mls-7.3-5", "the leaf does not support a credential type in use")
    # [mls-7.3-7] The leaf's own extensions are among those it lists; the default ones MUST NOT be listed.
    if not extensions.issuperset(extension.extension_type for extension in leaf.extensions):
        raise InvalidLeafNode("mls-7.3-7", "the leaf has an extension that it does not list")
    # [mls-13.4-5] It supports each extension in the GroupContext.
    if not extensions.issuperset(extension.extension_type for extension in rules.extensions):
        raise InvalidLeafNode("mls-13.4-5", "the leaf does not support a GroupContext extension")


def check_source(leaf: LeafNode, source: LeafNodeSource, check: str) -> None:
    """Check `leaf_node_source` for the place where the leaf appears."""
    if leaf.source != source:
        raise InvalidLeafNode(check, "the leaf node has the wrong source for where it appears")


def check_lifetime(leaf: LeafNode, policy: Policy, now: int) -> None:
    """Check the lifetime of a leaf that is being added; leaves already in a tree may have grown old."""
    if leaf.lifetime is None:
        return
    # [mls-7.2-4] The application defines the longest lifetime that is acceptable.
    if not 0 <= leaf.lifetime.not_after - leaf.lifetime.not_before <= policy.maximum_lifetime:
        raise InvalidLeafNode("mls-7.2-4", "the leaf's lifetime ends before it starts, or is longer than is taken here")
    # [mls-7.3-6] The current time is within the lifetime, give or take a clock.
    if not leaf.lifetime.not_before - policy.clock_skew <= now <= leaf.lifetime.not_after + policy.clock_skew:
        raise InvalidLeafNode("mls-7.3-6", "the leaf's lifetime does not include the present")


def check_unique(leaf: LeafNode, leaf_index: int, draft: Draft) -> None:
    """Check that the leaf's keys stand nowhere else in the tree."""
    here = {2 * leaf_index}
    # [mls-7.3-11] signature_key is unique among the members.
    if draft.positions(Kind.SIGNATURE_KEY, leaf.signature_key) - here:
        raise InvalidLeafNode("mls-7.3-11", "another member has the same signature key")
    # [mls-7.3-12] encryption_key is unique among the members; parents count too (§16.7).
    if draft.positions(Kind.ENCRYPTION_KEY, leaf.encryption_key) - here:
        raise InvalidLeafNode("mls-7.3-12", "another node has the same encryption key")


def check_leaf_in_tree(leaf: LeafNode, leaf_index: int, draft: Draft, rules: GroupRules) -> None:
    """Apply §7.3 to a leaf of an imported tree. Its lifetime is past asking: it may have run out since."""
    check_leaf_node(leaf, rules)
    leaf.verify_signature(rules.suite, rules.group_id, leaf_index)
    check_unique(leaf, leaf_index, draft)
    if draft.positions(Kind.CLIENT, rules.policy.client(leaf)) != {2 * leaf_index}:
        raise InvalidLeafNode("mls-12.2-6", "two leaves belong to the same client")


def check_key_package(key_package: KeyPackage, rules: GroupRules, now: int) -> None:
    """Apply §10.1, in the order of the text; the keys' places in the tree are checked when it is applied."""
    # [mls-10.1-1] Its cipher suite and protocol version match those of the group.
    if key_package.version != MLS10 or key_package.cipher_suite != rules.suite.number:
        raise InvalidKeyPackage("mls-10.1-1", "the KeyPackage is for another version or cipher suite")
    check_size(key_package)
    # [mls-10.1-2] Its leaf is valid for a KeyPackage.
    check_source(key_package.leaf_node, LeafNodeSource.KEY_PACKAGE, "mls-7.3-8")
    check_leaf_node(key_package.leaf_node, rules)
    check_lifetime(key_package.leaf_node, rules.policy, now)
    key_package.leaf_node.verify_signature(rules.suite, b"", 0)
    # [mls-10.1-3] Its signature is valid.
    key_package.verify_signature(rules.suite)
    # [mls-10.1-4] Its init key is another than its leaf's encryption key.
    if key_package.init_key == key_package.leaf_node.encryption_key:
        raise InvalidKeyPackage("mls-10.1-4", "the init key is the leaf's encryption key")
    # [mls-10-2] The init key is a public key of the suite's KEM.
    check_encryption_key(rules.suite, key_package.init_key, "mls-10-2")
