"""GroupInfos, the trees of groups that are created here, and Welcomes (§§7.8, 7.9.2, 12.4.2, 12.4.3)."""

import dataclasses
from collections.abc import Callable, Sequence

import pytest

from chalicelib.client.mls_member import Member
from chalicelib.errors import DecodeError
from chalicelib.protocol.crypto import UnsupportedCipherSuite
from chalicelib.protocol.mls import group_info_rules
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.errors import InvalidProposal
from chalicelib.protocol.mls.extensions import (
    APP_DATA_DICTIONARY,
    EXTERNAL_PUB,
    EXTERNAL_SENDERS,
    RATCHET_TREE,
    REQUIRED_CAPABILITIES,
    Credential,
    Extension,
    ExternalSender,
    RequiredCapabilities,
    external_senders_extension,
)
from chalicelib.protocol.mls.group_info import GroupInfo, PartialGroupInfo
from chalicelib.protocol.mls.group_info_rules import create_group, verify_staged_group_info
from chalicelib.protocol.mls.nodes import LeafNode, Node, ParentNode, encode_optional_node
from chalicelib.protocol.mls.plain_tree import PlainTree, encode_tree
from chalicelib.protocol.mls.policy import Policy
from chalicelib.protocol.mls.proposals import Add, Remove
from chalicelib.protocol.mls.public_group import PublicGroup
from chalicelib.protocol.mls.welcome import Welcome
from chalicelib.protocol.mls.welcome_rules import check_welcomes
from chalicelib.protocol.tls import opaque
from tests.protocol.mls.story import Story, refused


def sign(member: Member, info: GroupInfo, **changes: object) -> GroupInfo:
    """Return a GroupInfo with some fields replaced, signed by a member."""
    unsigned = dataclasses.replace(info, **changes, signed=b"")  # type: ignore[arg-type]
    return dataclasses.replace(unsigned, signature=member.identity.sign("GroupInfoTBS", unsigned.signed))


def grown() -> Story:
    """Return a group with unmerged leaves, blanks and a history."""
    story = Story("alice", "bob", "third", "fourth", "fifth", "sixth")
    story.commit("third")
    story.accept("fifth", story.pending("fifth", Remove(1)), "bob")
    story.add("fourth", "seventh", path=False)
    story.commit("sixth")
    story.add("alice", "eighth", path=False)
    return story


def test_a_group_is_created_from_a_group_info_and_its_tree() -> None:
    story = grown()
    member = story.members["fourth"]
    for tree in (encode_tree(story.group.tree), None):
        info = member.group_info(with_tree=tree is None)
        created = create_group(info, tree, story.policy)
        assert created == dataclasses.replace(story.group, tree=created.tree)
        assert created.merge(created.stage(story.pending("fifth").commit, 0)).epoch == story.group.epoch + 1


def test_a_group_info_needs_a_tree_from_somewhere() -> None:
    story = grown()
    with refused("mls-12.4.3.1-1"):
        create_group(story.members["fourth"].group_info(), None, story.policy)


def test_the_tree_must_be_the_one_whose_hash_is_given() -> None:
    story = grown()
    member = story.members["fourth"]
    old = encode_tree(story.group.tree)
    story.commit("alice")
    with refused("mls-12.4.3.1-2"):
        create_group(story.members["fourth"].group_info(), old, story.policy)
    assert create_group(member.group_info(), old, story.policy).epoch == story.group.epoch - 1


def test_a_group_info_of_another_version_or_suite_is_refused() -> None:
    story = grown()
    member = story.members["fourth"]
    info, tree = member.group_info(), encode_tree(story.group.tree)
    other = dataclasses.replace(info.group_context, version=2)
    with refused("mls-8.1-1"):
        create_group(sign(member, info, group_context=other), tree, story.policy)
    unknown = dataclasses.replace(info.group_context, cipher_suite=0x0A0A)
    with pytest.raises(UnsupportedCipherSuite):
        create_group(sign(member, info, group_context=unknown), tree, story.policy)
    with refused("mls-5.1-1"):
        create_group(sign(member, info, group_context=unknown), tree, story.policy)


def test_no_commit_and_no_group_comes_after_the_last_epoch() -> None:
    story = grown()
    member, tree = story.members["fourth"], encode_tree(story.group.tree)
    for epoch in (2**64 - 2, 2**64 - 1):
        context = dataclasses.replace(story.group.context, epoch=epoch)
        info = sign(member, member.group_info(), group_context=context)
        story.group = dataclasses.replace(story.group, context=context)
        commit = story.forge_commit("fourth")
        if epoch < 2**64 - 1:
            assert create_group(info, tree, story.policy).epoch == epoch
            story.stage(commit)
            continue
        with refused("ds-7"):
            create_group(info, tree, story.policy)
        with refused("ds-7"):
            story.stage(commit)


def with_extension(story: Story, extension: Extension) -> GroupInfo:
    """Return a GroupInfo of a GroupContext that has one extension."""
    member = story.members["fourth"]
    context = dataclasses.replace(story.group.context, extensions=(extension,))
    return sign(member, member.group_info(), group_context=context)


def test_the_external_senders_of_a_new_group_are_left_to_the_policy() -> None:
    class Closed(Policy):
        def check_external_senders(self, senders: Sequence[ExternalSender]) -> None:
            raise InvalidProposal("mls-5.3.1-3", "nobody from outside here")

    story = grown()
    tree = encode_tree(story.group.tree)
    extension = external_senders_extension((ExternalSender(bytes(32), Credential(1, b"service")),))
    create_group(with_extension(story, extension), tree, Policy())
    with refused("mls-5.3.1-3"):
        create_group(with_extension(story, extension), tree, Closed())
    create_group(story.members["fourth"].group_info(), tree, Closed())


@pytest.mark.parametrize("extension_type", [REQUIRED_CAPABILITIES, EXTERNAL_SENDERS, APP_DATA_DICTIONARY])
def test_malformed_extensions_of_a_new_group_are_a_decode_error(extension_type: int) -> None:
    story = grown()
    broken = with_extension(story, Extension(extension_type, b"\x01"))
    with pytest.raises(DecodeError):
        create_group(broken, encode_tree(story.group.tree), story.policy)


def test_the_signature_must_be_the_signers() -> None:
    story = grown()
    member, tree = story.members["fourth"], encode_tree(story.group.tree)
    info = member.group_info()
    with refused("mls-12.4.3-2"):
        create_group(dataclasses.replace(info, signature=bytes(64)), tree, story.policy)
    with refused("mls-12.4.3-2"):
        create_group(sign(member, info, signer=0), tree, story.policy)


@pytest.mark.parametrize("signer", [1, 8, 2**32 - 1])
def test_the_signer_must_be_a_member(signer: int) -> None:
    story = grown()
    story.accept("alice", story.pending("alice", Remove(6)), "eighth")
    story.accept("alice", story.pending("alice", Remove(1)), "seventh")
    member = story.members["fourth"]
    with refused("mls-12.4.3-4"):
        create_group(sign(member, member.group_info(), signer=signer), encode_tree(story.group.tree), story.policy)


def test_a_committer_vouches_for_the_epoch_it_makes() -> None:
    story = grown()
    pending = story.pending("fourth")
    staged = story.stage_commit(pending.commit)
    assert verify_staged_group_info(pending.group_info, staged) == pending.group_info
    part = PartialGroupInfo(pending.group_info.extensions, pending.group_info.signature)
    assert verify_staged_group_info(part, staged) == pending.group_info


def test_an_external_committer_vouches_too() -> None:
    story = grown()
    pending = story.external("ninth")
    staged = story.stage_commit(pending.commit)
    part = PartialGroupInfo(pending.group_info.extensions, pending.group_info.signature)
    assert verify_staged_group_info(part, staged) == pending.group_info


def test_a_group_info_of_another_epoch_or_tag_is_refused() -> None:
    story = grown()
    pending = story.pending("fourth")
    staged = story.stage_commit(pending.commit)
    info, member = pending.group_info, story.members["fourth"]
    for field in ("tree_hash", "confirmed_transcript_hash"):
        context = dataclasses.replace(info.group_context, **{field: bytes(32)})  # type: ignore[arg-type]
        with refused("mls-12.4.3-1"):
            verify_staged_group_info(sign(member, info, group_context=context), staged)
    with refused("mls-12.4.3-3"):
        verify_staged_group_info(sign(member, info, confirmation_tag=bytes(32)), staged)
    part = PartialGroupInfo(info.extensions, story.members["alice"].group_info().signature)
    with refused("mls-12.4.3-2"):
        verify_staged_group_info(part, staged)
    with refused("mls-12.4.3-2"):
        verify_staged_group_info(PartialGroupInfo((), info.signature), staged)


def test_an_external_pub_has_the_form_of_a_key() -> None:
    # Extensions that are not known here are ignored [mls-13.4-3].
    story = grown()
    member = story.members["fourth"]
    info, tree = member.group_info(), encode_tree(story.group.tree)
    bad = sign(member, info, extensions=(Extension(EXTERNAL_PUB, opaque(bytes(31))),))
    with refused("mls-12.4.3.2-6"):
        create_group(bad, tree, story.policy)
    unknown = (Extension(0x5A5A, b"grease"), *info.extensions)
    create_group(sign(member, info, extensions=unknown), tree, story.policy)


def test_a_tree_inside_a_group_info_is_the_groups_own(monkeypatch: pytest.MonkeyPatch) -> None:
    story = grown()
    member = story.members["fourth"]
    pending = story.pending("fourth")
    staged = story.stage_commit(pending.commit)
    own = pending.accepted.group_info(with_tree=True)
    assert verify_staged_group_info(own, staged) == own
    old = (Extension(RATCHET_TREE, encode_tree(story.group.tree)),)
    with refused("mls-12.4.3.3-3"):
        verify_staged_group_info(sign(member, own, extensions=old), staged)
    monkeypatch.setattr(group_info_rules, "TREE_IN_GROUP_INFO", 6)
    with refused("ds-4"):
        verify_staged_group_info(own, staged)


# Trees, by a GroupInfo whose hash is right for them.


def create_from(story: Story, change: Callable[[list[Node | None]], None], suite_blank: int = 0) -> PublicGroup:
    """Create a group from the story's tree after a change, with everything that is signed made to fit."""
    tree = story.group.tree
    nodes = [tree.node(index) for index in range(2 * tree.leaf_capacity - 1)]
    change(nodes)
    changed = PlainTree.build(tree.suite, story.policy, nodes)
    member = story.members["fourth"]
    info = member.group_info()
    context = dataclasses.replace(info.group_context, tree_hash=Draft(changed).tree_hash)
    encoded = encode_tree(changed)
    return create_group(sign(member, info, group_context=context), encoded, story.policy)


def parent_at(nodes: Sequence[Node | None], index: int) -> ParentNode:
    node = nodes[index]
    assert isinstance(node, ParentNode)
    return node


def test_the_storys_tree_is_good_as_it_is() -> None:
    story = grown()
    assert create_from(story, lambda nodes: None) == dataclasses.replace(
        story.group, tree=create_from(story, lambda nodes: None).tree
    )
    filled = [node for node in map(story.group.tree.node, range(1, 15, 2)) if node is not None]
    assert any(isinstance(node, ParentNode) and node.unmerged_leaves for node in filled)


def test_a_parent_with_a_key_of_its_own_is_not_parent_hash_valid() -> None:
    story = grown()

    def change(nodes: list[Node | None]) -> None:
        nodes[7] = dataclasses.replace(parent_at(nodes, 7), encryption_key=b"k" * 32)

    with refused("mls-7.9.2-1"):
        create_from(story, change)


def test_parents_that_point_at_each_other_do_not_make_a_chain() -> None:
    story = grown()

    def change(nodes: list[Node | None]) -> None:
        root = parent_at(nodes, 7)
        nodes[3] = ParentNode(b"k" * 32, root.parent_hash, ())
        nodes[11] = ParentNode(b"\x01" * 32, root.parent_hash, root.unmerged_leaves)

    with refused("mls-7.9.2-1"):
        create_from(story, change)


@pytest.mark.parametrize("leaf_index", [1, 8, 2**31])
def test_an_unmerged_leaf_is_a_member_below_its_node(leaf_index: int) -> None:
    story = grown()
    story.accept("alice", story.pending("alice", Remove(1)), "seventh")

    def change(nodes: list[Node | None]) -> None:
        place = next(index for index in range(1, 15, 2) if isinstance(nodes[index], ParentNode))
        nodes[place] = dataclasses.replace(parent_at(nodes, place), unmerged_leaves=(leaf_index,))

    with refused("mls-12.4.3.1-3"):
        create_from(story, change)


def test_an_unmerged_leaf_is_unmerged_all_the_way() -> None:
    story = grown()
    draft = Draft(story.group.tree)
    assert (draft.parent(7), draft.parent(11)) != (None, None)

    def change(nodes: list[Node | None]) -> None:
        assert 6 in parent_at(nodes, 7).unmerged_leaves
        nodes[11] = ParentNode(b"k" * 32, b"", ())
        nodes[13] = None

    with refused("mls-12.4.3.1-4"):
        create_from(story, change)


def test_a_parents_key_stands_nowhere_else() -> None:
    story = grown()

    def change(nodes: list[Node | None]) -> None:
        leaf = nodes[0]
        assert isinstance(leaf, LeafNode)
        nodes[7] = dataclasses.replace(parent_at(nodes, 7), encryption_key=leaf.encryption_key)

    with refused("mls-12.4.3.1-5"):
        create_from(story, change)


def test_a_parents_key_is_of_the_suites_kem() -> None:
    story = grown()

    def change(nodes: list[Node | None]) -> None:
        nodes[7] = dataclasses.replace(parent_at(nodes, 7), encryption_key=b"short")

    with refused("mls-5.1.1-1"):
        create_from(story, change)


def test_every_leaf_of_an_imported_tree_is_validated() -> None:
    story = grown()

    def unsigned(nodes: list[Node | None]) -> None:
        leaf = nodes[0]
        assert isinstance(leaf, LeafNode)
        nodes[0] = dataclasses.replace(leaf, signature=bytes(64))

    with refused("mls-7.3-2"):
        create_from(story, unsigned)

    def doubled(nodes: list[Node | None]) -> None:
        nodes[2] = nodes[0]

    with pytest.raises(Exception, match="signature"):
        create_from(story, doubled)


def test_two_leaves_of_one_client_are_refused() -> None:
    class OneForAll(Policy):
        def client(self, leaf: LeafNode) -> bytes:
            return b"everyone"

    story = grown()
    story.policy = OneForAll()
    with refused("mls-12.2-6"):
        create_from(story, lambda nodes: None)


def test_a_tree_without_what_its_group_requires_is_refused() -> None:
    story = Story("alice", "bob", "third", "fourth")
    required = RequiredCapabilities((0xF001,))
    member = story.members["fourth"]
    info = member.group_info()
    context = dataclasses.replace(info.group_context, extensions=(Extension(REQUIRED_CAPABILITIES, required.encode()),))
    with refused("mls-7.3-3"):
        create_group(sign(member, info, group_context=context), encode_tree(story.group.tree), Policy())


def test_the_encoding_of_a_tree_ends_with_a_node() -> None:
    story = grown()
    whole = encode_tree(story.group.tree)
    nodes = [story.group.tree.node(index) for index in range(15)]
    padded = opaque(b"".join(map(encode_optional_node, [*nodes, None])))
    info = story.members["fourth"].group_info()
    assert whole != padded
    for tree in (padded, opaque(b"\x00"), opaque(b"")):
        with refused("mls-12.4.3.3-1"):
            create_group(info, tree, story.policy)


def test_leaves_and_parents_stand_in_their_places() -> None:
    story = grown()
    leaf, parent = story.group.tree.node(0), story.group.tree.node(7)
    info = story.members["fourth"].group_info()
    for nodes in ([parent], [leaf, leaf], [leaf, leaf, leaf]):
        with refused("mls-12.4.3.3-2"):
            create_group(info, opaque(b"".join(map(encode_optional_node, nodes))), story.policy)


def test_unmerged_leaves_are_sorted() -> None:
    for leaves in ((3, 2), (2, 2)):
        node = ParentNode(b"k" * 32, b"", leaves)
        tree = opaque(b"\x00" + encode_optional_node(node))
        story = Story("alice", "bob")
        with pytest.raises(DecodeError, match="increasing order"):  # mls-7.1-1
            create_group(story.members["bob"].group_info(), tree, story.policy)


def test_a_tree_that_is_too_large_is_refused_before_it_is_built() -> None:
    story = grown()
    leaf = story.group.tree.node(0)
    tree = opaque(bytes(2 << 18) + encode_optional_node(leaf))
    with refused("ds-2"):
        create_group(story.members["fourth"].group_info(), tree, story.policy)


# Welcomes.


def test_welcomes_are_for_exactly_those_who_are_added() -> None:
    story = Story("alice", "bob")
    added = [story.key_package(name).public for name in ("third", "fourth")]
    pending = story.pending("alice", *map(Add, added))
    staged = story.stage_commit(pending.commit)
    assert pending.welcome is not None
    welcome = pending.welcome.body
    assert isinstance(welcome, Welcome)
    check_welcomes([welcome], staged)
    one, two = (dataclasses.replace(welcome, secrets=(entry,)) for entry in welcome.secrets)
    check_welcomes([two, one], staged)
    stranger = dataclasses.replace(welcome.secrets[0], new_member=bytes(32))
    for wrong in (
        [],
        [one],
        [one, one],
        [one, two, one],
        [dataclasses.replace(welcome, secrets=(*welcome.secrets, stranger))],
    ):
        with refused("mls-12.4.2-15"):
            check_welcomes(wrong, staged)
    # [ds-9] One that invites nobody is for nobody: there would be no end of them.
    with refused("ds-9"):
        check_welcomes([welcome, dataclasses.replace(welcome, secrets=())], staged)
    with refused("mls-12.4.3.1-6"):
        check_welcomes([dataclasses.replace(welcome, cipher_suite=3)], staged)
