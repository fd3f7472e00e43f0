"""What a group keeps for good is bounded, whatever a request has room for."""

import dataclasses
import random

import pytest

from chalicelib.errors import DecodeError
from chalicelib.protocol import tls
from chalicelib.protocol.crypto import cipher_suite
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.extensions import X509, Credential, Extension
from chalicelib.protocol.mls.group_info_rules import MAX_INFO, create_group, verify_group_info
from chalicelib.protocol.mls.key_package import KeyPackage
from chalicelib.protocol.mls.leaf_rules import MAX_CREDENTIAL, MAX_EXTENSIONS, MAX_LEAF, check_size
from chalicelib.protocol.mls.plain_tree import encode_tree
from chalicelib.protocol.mls.proposal_rules import MAX_CONTEXT
from chalicelib.protocol.mls.proposals import Add, GroupContextExtensions, ReInit
from chalicelib.protocol.mls.public_group import check_tag
from chalicelib.protocol.tls import STORED_ELEMENTS, decode, opaque
from tests.protocol.mls.story import NOW, Story, refused

OTHER = 0xE000


def offering(story: Story, *extensions: Extension) -> KeyPackage:
    owner = story.key_package("third")
    changed = dataclasses.replace(owner.public, extensions=extensions, signed=b"", signature=b"")
    return dataclasses.replace(changed, signature=owner.identity.sign("KeyPackageTBS", changed.signed))


def test_a_leaf_and_a_key_package_have_a_size_and_so_many_extensions() -> None:
    story = Story("alice", "bob")
    plain = len(offering(story, Extension(OTHER, bytes(4_096))).encode()) - 4_096
    fits = offering(story, Extension(OTHER, bytes(MAX_LEAF - plain - 16)))
    story.stage(story.forge("alice", Add(fits)))
    many = tuple(Extension(OTHER + number, b"") for number in range(MAX_EXTENSIONS + 1))
    story.stage(story.forge("alice", Add(offering(story, *many[1:]))))
    for wrong in (offering(story, *many), offering(story, Extension(OTHER, bytes(MAX_LEAF)))):
        with refused("ds-10"):
            story.stage(story.forge("alice", Add(wrong)))
    leaf = fits.leaf_node
    check_size(leaf)
    with refused("ds-10"):
        check_size(dataclasses.replace(leaf, extensions=many, signed=b""))


def test_a_credential_has_a_size() -> None:
    story = Story("alice", "bob")
    for size, room in ((MAX_CREDENTIAL, True), (MAX_CREDENTIAL + 1, False)):
        owner = story.key_package("third")
        identity = dataclasses.replace(owner.identity, credential=Credential(1, bytes(size)))
        add = Add(identity.key_package(random.Random(size).randbytes, NOW).public)
        if room:
            story.stage(story.forge("alice", add))
            continue
        with refused("ds-11"):
            story.stage(story.forge("alice", add))


def test_the_certificates_of_a_credential_count_as_elements() -> None:
    chain = Credential(X509, opaque(b"a") * 50).encode()
    assert decode(Credential.read, chain, 50).encode() == chain
    with pytest.raises(DecodeError, match="more vector elements"):
        decode(Credential.read, chain, 49)


def test_a_group_context_has_a_size() -> None:
    story = Story("alice", "bob", leaf_extensions=(OTHER,))
    fits = Extension(OTHER, bytes(MAX_CONTEXT - 6))
    large = Extension(OTHER, bytes(MAX_CONTEXT - 5))
    story.stage(story.forge_commit("bob", GroupContextExtensions((fits,))))
    with refused("ds-12"):
        story.stage(story.forge_commit("bob", GroupContextExtensions((large,))))
    with refused("ds-12"):
        story.stage(story.forge("bob", ReInit(b"next", 1, 1, (large,))))
    story.stage(story.forge("bob", ReInit(b"next", 1, 1, (fits,))))


def test_a_group_is_not_created_with_a_larger_one() -> None:
    story = Story("alice", leaf_extensions=(OTHER,))
    member = story.members["alice"]
    info, tree = member.group_info(), encode_tree(member.group.tree)
    context = dataclasses.replace(info.group_context, extensions=(Extension(OTHER, bytes(MAX_CONTEXT)),))
    with refused("ds-12"):
        create_group(dataclasses.replace(info, group_context=context), tree, story.policy)
    context = dataclasses.replace(info.group_context, confirmed_transcript_hash=bytes(33))
    with refused("ds-13"):
        create_group(dataclasses.replace(info, group_context=context), tree, story.policy)
    with refused("ds-13"):
        create_group(dataclasses.replace(info, confirmation_tag=bytes(33)), tree, story.policy)


def test_a_confirmation_tag_is_no_longer_than_a_mac() -> None:
    check_tag(cipher_suite(1), bytes(32))
    check_tag(cipher_suite(5), bytes(64))
    with refused("ds-13"):
        check_tag(cipher_suite(1), bytes(33))


def test_the_extensions_of_a_group_info_have_a_size() -> None:
    story = Story("alice")
    member = story.members["alice"]
    plain = member.group_info()
    for size, room in ((MAX_INFO // 2, True), (MAX_INFO, False)):
        changed = dataclasses.replace(plain, extensions=(Extension(OTHER, bytes(size)),), signature=b"", signed=b"")
        info = dataclasses.replace(changed, signature=member.identity.sign("GroupInfoTBS", changed.signed))
        if room:
            verify_group_info(info, info.group_context, info.confirmation_tag, Draft(member.group.tree))
            continue
        with refused("ds-14"):
            verify_group_info(info, info.group_context, info.confirmation_tag, Draft(member.group.tree))


@pytest.mark.parametrize("size", [0, 4_097])
def test_a_key_of_an_unknown_kem_has_a_size_too(size: int) -> None:
    suite = cipher_suite(0xF057)
    suite.check_encryption_key(bytes(1_216))
    with pytest.raises(ValueError, match="longer than any"):
        suite.check_encryption_key(bytes(size))


def test_whatever_a_request_may_hold_can_be_read_from_the_store() -> None:
    budgets = (tls.SMALL_ELEMENTS, tls.POSTED_ELEMENTS, tls.MESSAGE_ELEMENTS, tls.TREE_ELEMENTS)
    assert max(budgets) <= STORED_ELEMENTS
