"""Leaf nodes and KeyPackages, by an Add unless the rule is about something else (§§5.3, 7.2, 7.3, 10, 11.1, 13.4)."""

import dataclasses
import datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from chalicelib.client.mls_identity import PrivateKeyPackage
from chalicelib.errors import DecodeError
from chalicelib.protocol.crypto import InvalidSignature, cipher_suite
from chalicelib.protocol.mls.errors import InvalidLeafNode
from chalicelib.protocol.mls.extensions import (
    BASIC,
    REQUIRED_CAPABILITIES,
    X509,
    Credential,
    Extension,
    RequiredCapabilities,
)
from chalicelib.protocol.mls.framing import MLSMessage, decode_message
from chalicelib.protocol.mls.key_package import KeyPackage
from chalicelib.protocol.mls.nodes import LeafNode, LeafNodeSource, Lifetime
from chalicelib.protocol.mls.policy import Policy
from chalicelib.protocol.mls.proposals import Add, GroupContextExtensions, Update
from chalicelib.protocol.mls.public_group import StagedCommit
from chalicelib.protocol.tls import opaque
from tests.protocol.mls.story import (
    NOW,
    Story,
    refused,
    sign_key_package,
    sign_key_package_leaf,
    sign_leaf,
)

GREASE = 0x1A1A
KEY_SIZES = {1: 32, 2: 65, 4: 56, 5: 133, 7: 97}


def add(story: Story, key_package: KeyPackage) -> None:
    """Let alice commit an Add of a KeyPackage; it is refused before its missing place in the path matters."""
    assert isinstance(story.stage(story.forge_commit("alice", Add(key_package))), StagedCommit)


def update(story: Story, leaf: LeafNode) -> None:
    """Let bob propose a leaf as his next one."""
    story.stage(story.forge("bob", Update(leaf)))


def honest_update(story: Story) -> LeafNode:
    """Return the leaf of an honest update of bob's."""
    return dataclasses.replace(story.path("bob").leaf_node, source=LeafNodeSource.UPDATE, parent_hash=None, signed=b"")


def test_a_certificate_must_be_for_the_leafs_own_key() -> None:
    story = Story("alice")
    owner = story.key_package("third", credentials=(BASIC, X509))
    own = ed25519.Ed25519PrivateKey.from_private_bytes(owner.identity.signature_private)
    other = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
    for key, check in ((own, "mls-7.3-4"), (other, "mls-5.3-1")):
        # Alice reads no X.509 credentials, so even the right certificate gets no further than that.
        credential = Credential(X509, opaque(certificate(key)))
        with refused(check):
            story.stage(story.commit_adding("alice", sign_key_package_leaf(owner, credential=credential)))
    version_6 = certificate(own).replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020105"))
    for content in (b"no certificate", version_6):
        unreadable = sign_key_package_leaf(owner, credential=Credential(X509, opaque(content)))
        with refused("mls-5.3-1"):
            add(story, unreadable)


def certificate(key: ed25519.Ed25519PrivateKey) -> bytes:
    """Return a self-signed certificate."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "third")])
    start = datetime.datetime(2023, 1, 1, tzinfo=datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=1))
        .sign(key, None)
        .public_bytes(Encoding.DER)
    )


def test_a_credential_is_left_to_the_policy() -> None:
    # What introduces a credential asks the policy [mls-5.3.1-1].
    class Suspicious(Policy):
        def check_credential(self, leaf: LeafNode) -> None:
            if leaf.credential.content == b"stranger":
                raise InvalidLeafNode("mls-7.3-1", "nobody vouches for this credential")

    story = Story("alice", policy=Suspicious())
    story.add("alice", "bob")
    with refused("mls-7.3-1"):
        add(story, story.key_package("stranger").public)


def test_a_leafs_signature_must_be_its_own() -> None:
    story = Story("alice", "bob")
    owner = story.key_package("third")
    leaf = dataclasses.replace(owner.public.leaf_node, signature=bytes(64))
    with refused("mls-7.3-2"):
        add(story, sign_key_package(owner, leaf_node=leaf))


def test_a_leaf_made_in_a_group_is_signed_for_its_place() -> None:
    story = Story("alice", "bob")
    leaf = honest_update(story)
    with refused("mls-7.3-2"):
        update(story, story.sign_leaf("bob", leaf, leaf_index=0))
    update(story, story.sign_leaf("bob", leaf))


def test_required_capabilities_are_required_of_those_added() -> None:
    required = RequiredCapabilities((0xF001,), (0xF002,), (BASIC,))
    story = Story(
        "alice",
        extensions=(Extension(REQUIRED_CAPABILITIES, required.encode()),),
        proposals=(0xF002,),
        leaf_extensions=(0xF001,),
    )
    story.add("alice", "bob")
    for changes in ({"extensions": ()}, {"proposals": ()}):
        with refused("mls-7.3-3"):
            add(story, story.key_package("third", **changes).public)


def test_a_member_must_support_every_credential_type_in_use() -> None:
    story = Story("alice", "bob")
    owner = story.key_package("third", credentials=(0xF00C,))
    with refused("mls-7.3-5"):
        add(story, sign_key_package_leaf(owner, credential=Credential(0xF00C, b"third")))


def test_every_member_must_support_a_new_credential_type() -> None:
    story = Story("alice", "bob")
    owner = story.key_package("third", credentials=(BASIC, 0xF00C))
    key_package = sign_key_package_leaf(owner, credential=Credential(0xF00C, b"third"))
    with refused("mls-7.3-4"):
        story.stage(story.commit_adding("alice", key_package))


def test_a_leaf_lists_the_type_of_its_own_credential() -> None:
    story = Story("alice", "bob")
    owner = story.key_package("third")
    with refused("mls-7.2-3"):
        add(story, sign_key_package_leaf(owner, credential=Credential(0xF00C, b"third")))


@pytest.mark.parametrize(
    ("lifetime", "check"),
    [
        (Lifetime(NOW - 10, NOW - 10 + 400 * 86_400 + 1), "mls-7.2-4"),
        (Lifetime(NOW + 1, NOW - 1), "mls-7.2-4"),
        (Lifetime(NOW - 86_400, NOW - 3_601), "mls-7.3-6"),
        (Lifetime(NOW + 3_601, NOW + 86_400), "mls-7.3-6"),
    ],
)
def test_a_lifetime_is_bounded_and_includes_the_present(lifetime: Lifetime, check: str) -> None:
    story = Story("alice", "bob")
    with refused(check):
        add(story, sign_key_package_leaf(story.key_package("third"), lifetime=lifetime))


@pytest.mark.parametrize("lifetime", [Lifetime(NOW - 86_400, NOW - 3_600), Lifetime(NOW + 3_600, NOW + 86_400)])
def test_clocks_may_differ_by_an_hour(lifetime: Lifetime) -> None:
    story = Story("alice", "bob")
    key_package = sign_key_package_leaf(story.key_package("third"), lifetime=lifetime)
    story.stage(story.forge("alice", Add(key_package)))


def test_the_lifetimes_of_members_are_not_asked_again() -> None:
    story = Story("alice", "bob")
    message = decode_message(story.pending("bob").commit.encode())
    story.group.stage(message, NOW + 50 * 365 * 86_400)


def test_a_leaf_lists_its_own_extensions() -> None:
    story = Story("alice", "bob")
    owner = story.key_package("third")
    for extension_type in (0xF001, GREASE):
        with refused("mls-7.3-7"):
            add(story, sign_key_package_leaf(owner, extensions=(Extension(extension_type, b""),)))


def test_default_extensions_need_no_listing_and_grease_is_let_be() -> None:
    # Unknown values are ignored in capabilities [mls-7.2-2] and KeyPackages [mls-13.4-2], GREASE too [mls-13.5-1].
    story = Story("alice", "bob")
    owner = story.key_package("third", extensions=(GREASE,), proposals=(GREASE,), cipher_suites=(1, GREASE))
    leaf_extensions = (Extension(1, b"an application id"), Extension(GREASE, b"anything"))
    leaf = sign_leaf(owner.identity, dataclasses.replace(owner.public.leaf_node, extensions=leaf_extensions), 0)
    key_package = sign_key_package(owner, leaf_node=leaf, extensions=(Extension(0x2A2A, b"unlisted"),))
    story.stage(story.forge("alice", Add(key_package)))


def test_a_leaf_supports_every_extension_of_the_group_context() -> None:
    story = Story("alice", extensions=(Extension(0xF001, b""),), leaf_extensions=(0xF001,))
    story.add("alice", "bob")
    with refused("mls-13.4-5"):
        add(story, story.key_package("third", extensions=()).public)


def test_every_member_supports_an_extension_before_the_group_context_has_it() -> None:
    # The tree that the commit leaves behind would be invalid [mls-12.2-12].
    story = Story("alice", "bob", leaf_extensions=(0xF001,))
    story.commit("alice", GroupContextExtensions((Extension(0xF001, b""),)))
    with refused("mls-13.4-5"):
        story.stage(story.forge_commit("alice", GroupContextExtensions((Extension(0xF002, b""),))))


def test_a_list_of_extensions_names_each_type_once() -> None:
    story = Story("alice", "bob")
    twice = (Extension(0xF001, b"a"), Extension(0xF001, b"b"))
    with pytest.raises(DecodeError, match="names one type twice"):  # mls-13.4-4
        story.stage(story.forge("alice", GroupContextExtensions(twice)))


@pytest.mark.parametrize(
    ("source", "check"), [(LeafNodeSource.UPDATE, "mls-7.3-8"), (LeafNodeSource.COMMIT, "mls-7.3-8")]
)
def test_a_key_packages_leaf_says_so(source: LeafNodeSource, check: str) -> None:
    # It is one of the ways in which a leaf is invalid for a KeyPackage [mls-10.1-2].
    story = Story("alice", "bob")
    owner = story.key_package("third")
    above = b"" if source == LeafNodeSource.COMMIT else None
    with refused(check):
        add(story, sign_key_package_leaf(owner, source=source, lifetime=None, parent_hash=above))


def test_an_updates_leaf_says_so() -> None:
    story = Story("alice", "bob")
    with refused("mls-7.3-9"):
        update(story, story.path("bob").leaf_node)


def test_an_update_changes_the_encryption_key() -> None:
    story = Story("alice", "bob")
    bob = story.members["bob"]
    old = bob.keys[2 * bob.leaf_index].public
    with refused("mls-7.3-10"):
        update(
            story,
            story.sign_leaf("bob", dataclasses.replace(honest_update(story), encryption_key=old)),
        )


def test_an_updates_credential_must_be_a_successor_by_the_policy() -> None:
    class Steadfast(Policy):
        def check_successor(self, old: LeafNode, new: LeafNode) -> None:
            if old.credential != new.credential:
                raise InvalidLeafNode("mls-5.3.1-2", "another credential is no successor")

    story = Story("alice", "bob", policy=Steadfast())
    leaf = dataclasses.replace(honest_update(story), credential=Credential(BASIC, b"bob by another name"))
    with refused("mls-5.3.1-2"):
        update(story, story.sign_leaf("bob", leaf))
    with refused("mls-5.3.1-2"):
        path = story.path("bob")
        changed = dataclasses.replace(path.leaf_node, credential=Credential(BASIC, b"bob by another name"))
        story.stage(
            story.forge_commit("bob", path=dataclasses.replace(path, leaf_node=story.sign_leaf("bob", changed)))
        )


def test_no_two_members_have_the_same_signature_key() -> None:
    story = Story("alice", "bob")
    # Bob's client is another by name, so that only the key can be what is refused.

    class ByName(Policy):
        def client(self, leaf: LeafNode) -> bytes:
            return leaf.credential.content

    story = Story("alice", "bob", policy=ByName())
    bob = story.members["bob"].identity
    twin = dataclasses.replace(bob, credential=Credential(BASIC, b"third"))
    with refused("mls-7.3-11"):
        add(story, twin.key_package(story.random.randbytes, NOW).public)


def test_no_two_nodes_have_the_same_encryption_key() -> None:
    story = Story("alice", "bob")
    alice = story.members["alice"]
    for place in (0, 1):  # Alice's leaf, and the parent above it.
        key_package = sign_key_package_leaf(story.key_package("third"), encryption_key=alice.keys[place].public)
        with refused("mls-7.3-12"):
            add(story, key_package)


@pytest.mark.parametrize("changes", [{"versions": (2,)}, {"cipher_suites": (3,)}])
def test_a_leaf_supports_the_groups_version_and_suite(changes: dict[str, Any]) -> None:
    story = Story("alice", "bob")
    with refused("mls-11.1-1"):
        add(story, story.key_package("third", **changes).public)


def test_a_key_package_is_for_the_groups_suite_and_version() -> None:
    story = Story("alice", "bob")
    for changes in ({"cipher_suite": 3}, {"version": 2}):
        with refused("mls-10.1-1"):
            add(story, sign_key_package(story.key_package("third"), **changes))


def test_a_key_package_in_a_message_has_the_messages_version() -> None:
    key_package = sign_key_package(Story("alice").key_package("third"), version=2)
    with pytest.raises(DecodeError, match="another version than the message"):  # mls-10-1
        decode_message(MLSMessage(key_package).encode())


def test_a_key_packages_signature_must_be_its_owners() -> None:
    story = Story("alice", "bob")
    owner = story.key_package("third")
    with refused("mls-10.1-3"):
        add(story, dataclasses.replace(owner.public, signature=bytes(64)))


def test_a_key_packages_init_key_is_not_its_leafs() -> None:
    story = Story("alice", "bob")
    owner = story.key_package("third")
    with refused("mls-10.1-4"):
        add(story, sign_key_package(owner, init_key=owner.public.leaf_node.encryption_key))


@pytest.mark.parametrize("suite", sorted(KEY_SIZES))
def test_keys_are_of_the_suites_kem(suite: int) -> None:
    story = Story("alice", suite=suite)
    owner = story.key_package("third")
    for key in (b"", bytes(KEY_SIZES[suite] - 1), bytes(KEY_SIZES[suite] + 1), b"\x04" * 3):
        with refused("mls-10-2"):
            add(story, sign_key_package(owner, init_key=key))
        with refused("mls-10-3"):
            add(story, sign_key_package_leaf(owner, encryption_key=key))


def low_order(prime: int, size: int, *others: int) -> list[bytes]:
    """Return the coordinates of small order of a Montgomery curve, and those that come to the same modulo its prime."""
    points = [*others, 0, 1, prime - 1, prime, prime + 1]
    return [point.to_bytes(size, "little") for point in points]


ORDER_8 = int.from_bytes(bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"), "little")


@pytest.mark.parametrize(
    ("suite", "keys"), [(1, low_order(2**255 - 19, 32, ORDER_8)), (4, low_order(2**448 - 2**224 - 1, 56))]
)
def test_a_key_with_which_every_secret_is_zero_is_refused(suite: int, keys: list[bytes]) -> None:
    story = Story("alice", suite=suite)
    owner = story.key_package("third")
    for key in keys:
        with refused("mls-10-2"):
            add(story, sign_key_package(owner, init_key=key))
        with refused("mls-10-3"):
            add(story, sign_key_package_leaf(owner, encryption_key=key))


def test_a_key_package_of_a_suite_with_an_unknown_kem_is_judged_all_the_same() -> None:
    suite = cipher_suite(0xF057)
    owner: PrivateKeyPackage = Story("alice").key_package("third")
    owner.public.leaf_node.verify_signature(suite, b"", 0)
    with pytest.raises(InvalidSignature):
        dataclasses.replace(owner.public.leaf_node, signature=bytes(64)).verify_signature(suite, b"", 0)
