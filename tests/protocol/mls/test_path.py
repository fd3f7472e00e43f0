"""A commit's path, and commits that go without (§§7.5, 7.9.2, 12.4, 12.4.2)."""

import dataclasses

import pytest

from chalicelib.client.mls_crypto import CannotDecrypt
from chalicelib.protocol.mls.commit import Commit, HPKECiphertext, ProposalOrRef, UpdatePath
from chalicelib.protocol.mls.nodes import LeafNodeSource
from chalicelib.protocol.mls.policy import Policy
from chalicelib.protocol.mls.proposals import Add, GroupContextExtensions, Remove
from tests.protocol.mls.story import Story, commit_of, refused

JUNK = HPKECiphertext(bytes(32), bytes(48))


def story_of_five() -> Story:
    return Story("alice", "bob", "third", "fourth", "fifth")


def with_leaf(story: Story, name: str, path: UpdatePath, **changes: object) -> UpdatePath:
    """Return a path whose leaf has some fields replaced, signed again."""
    leaf = story.sign_leaf(name, dataclasses.replace(path.leaf_node, **changes))  # type: ignore[arg-type]
    return dataclasses.replace(path, leaf_node=leaf)


def test_a_commit_needs_a_path_unless_its_proposals_say_otherwise() -> None:
    story = Story("alice", "bob", "third")
    for proposals in ((), (ProposalOrRef(Remove(2)),), (ProposalOrRef(GroupContextExtensions(())),)):
        with refused("mls-12.4-1"):
            story.stage(story.forge("alice", Commit(proposals, None)))
    add = ProposalOrRef(Add(story.key_package("fourth").public))
    with refused("mls-12.4-1"):
        story.stage(story.forge("alice", Commit((add, ProposalOrRef(Remove(2))), None)))
    story.commit("alice", Add(story.key_package("fourth").public), path=False)


def test_a_commit_refers_only_to_proposals_that_are_here() -> None:
    story = Story("alice", "bob", "third")
    with refused("mls-12.4-2"):
        story.stage(story.forge_commit("alice", bytes(32)))
    reference = story.propose("bob", Remove(2))
    story.commit("alice")
    with refused("mls-12.4-2"):  # Proposals end with their epoch.
        story.stage(story.forge_commit("alice", reference))


def test_unmerged_leaves_do_not_pile_up_without_end() -> None:
    class Small(Policy):
        maximum_unmerged = 2

    story = Story("alice", "bob", "third", "fourth", "fifth", policy=Small())
    for name in ("sixth", "seventh"):
        story.add("alice", name, path=False)
    eighth = story.key_package("eighth").public
    with refused("ds-1"):
        story.stage(story.commit_adding("alice", eighth))
    story.commit("alice", Add(eighth))


def test_a_path_has_a_node_for_each_of_the_filtered_direct_path() -> None:
    story = story_of_five()
    path = story.path("bob")
    for nodes in (path.nodes[1:], path.nodes[:-1], (*path.nodes, path.nodes[0]), ()):
        with refused("mls-7.5-1"):
            fresh = tuple(dataclasses.replace(node, encryption_key=story.random.randbytes(32)) for node in nodes)
            story.stage(story.forge_commit("bob", path=dataclasses.replace(path, nodes=fresh)))


def test_a_path_node_has_a_ciphertext_for_each_receiver() -> None:
    story = story_of_five()
    path = story.path("bob")
    for number, node in enumerate(path.nodes):
        for ciphertexts in (node.encrypted_path_secret[1:], (*node.encrypted_path_secret, JUNK)):
            nodes = list(path.nodes)
            nodes[number] = dataclasses.replace(node, encrypted_path_secret=ciphertexts)
            with refused("mls-7.5-2"):
                story.stage(story.forge_commit("bob", path=dataclasses.replace(path, nodes=tuple(nodes))))


def test_members_just_added_get_no_ciphertext_in_the_path() -> None:
    story = Story("alice", "bob", "third")
    commit = commit_of(story.pending("alice", Add(story.key_package("fourth").public)).commit)
    assert commit.path is not None
    top = commit.path.nodes[-1]
    nodes = (
        *commit.path.nodes[:-1],
        dataclasses.replace(top, encrypted_path_secret=(*top.encrypted_path_secret, JUNK)),
    )
    with refused("mls-7.5-2"):
        story.stage(story.forge("alice", Commit(commit.proposals, dataclasses.replace(commit.path, nodes=nodes))))


def test_a_forged_parent_hash_is_refused() -> None:
    story = story_of_five()
    path = story.path("bob")
    with refused("mls-7.9.2-2"):
        story.stage(story.forge_commit("bob", path=with_leaf(story, "bob", path, parent_hash=bytes(32))))
    other = dataclasses.replace(path.nodes[-1], encryption_key=story.random.randbytes(32))
    with refused("mls-7.9.2-2"):  # The hash covers every key above.
        changed = dataclasses.replace(path, nodes=(*path.nodes[:-1], other))
        story.stage(story.forge_commit("bob", path=changed))


def test_a_paths_leaf_says_that_it_is_of_a_commit() -> None:
    story = Story("alice", "bob")
    path = with_leaf(story, "bob", story.path("bob"), source=LeafNodeSource.UPDATE, parent_hash=None)
    with refused("mls-12.4.2-8"):
        story.stage(story.forge_commit("bob", path=path))


def test_a_committer_changes_its_encryption_key() -> None:
    story = Story("alice", "bob")
    old = story.members["bob"].keys[2].public
    with refused("mls-7.3-10"):  # [mls-12.4.2-9]
        story.stage(story.forge_commit("bob", path=with_leaf(story, "bob", story.path("bob"), encryption_key=old)))


def test_no_key_of_a_path_stands_in_the_tree_or_twice_in_the_path() -> None:
    story = story_of_five()
    story.commit("third")
    path = story.path("bob")
    alice, third = story.members["alice"], story.members["third"]
    root = story.group.tree.leaf_capacity - 1
    used = [alice.keys[0].public, third.keys[root].public, path.leaf_node.encryption_key, path.nodes[1].encryption_key]
    for key in used:
        nodes = (dataclasses.replace(path.nodes[0], encryption_key=key), *path.nodes[1:])
        with refused("mls-12.4.2-10"):
            story.stage(story.forge_commit("bob", path=dataclasses.replace(path, nodes=nodes)))


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33)])
def test_a_paths_keys_are_of_the_suites_kem(key: bytes) -> None:
    story = Story("alice", "bob")
    path = story.path("bob")
    nodes = (dataclasses.replace(path.nodes[0], encryption_key=key), *path.nodes[1:])
    with refused("mls-5.1.1-1"):
        story.stage(story.forge_commit("bob", path=dataclasses.replace(path, nodes=nodes)))


def test_an_external_committer_gets_the_leftmost_blank_leaf() -> None:
    story = story_of_five()
    story.accept("alice", story.pending("alice", Remove(2)), "third")
    staged = story.stage_commit(story.external("sixth").commit)
    assert staged.committer == 2  # [mls-12.4.2-7]
    story.add("alice", "seventh")
    full = Story("alice", "bob")
    assert full.stage_commit(full.external("third").commit).committer == 2
    assert full.stage_commit(full.external("third").commit).applied.draft.leaf_capacity == 4


def test_a_path_that_nobody_can_decrypt_passes_here_and_fails_at_the_members() -> None:
    story = Story("alice", "bob", "third")
    path = story.path("bob")
    nodes = tuple(
        dataclasses.replace(node, encrypted_path_secret=(JUNK,) * len(node.encrypted_path_secret))
        for node in path.nodes
    )
    message = story.forge_commit("bob", path=dataclasses.replace(path, nodes=nodes))
    assert story.stage_commit(message).context.epoch == story.group.epoch + 1
    with pytest.raises(CannotDecrypt):
        story.members["alice"].receive(message, 0)


def test_a_wrong_confirmation_tag_passes_here_and_fails_at_the_members() -> None:
    story = Story("alice", "bob", "third")
    message = story.forge_commit("bob")
    assert story.stage_commit(message).confirmation_tag == bytes(32)
    with pytest.raises(CannotDecrypt):
        story.members["alice"].receive(message, 0)
