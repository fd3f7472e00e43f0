"""A group followed from outside: what a story of members comes to, and how state changes (§§7.7, 8.2, 12.3, 14)."""

import dataclasses

import pytest

from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.framing import MLSMessage, PublicMessage
from chalicelib.protocol.mls.plain_tree import decode_tree, encode_tree
from chalicelib.protocol.mls.proposals import Add, Remove
from chalicelib.protocol.mls.public_group import StagedCommit
from tests.protocol.mls.story import NOW, Story, refused

SUITES = [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("suite", SUITES)
def test_a_group_of_each_suite_is_followed(suite: int) -> None:
    story = Story("alice", "bob", suite=suite)
    story.commit("bob")
    story.add("bob", "third", path=False)
    story.accept("fourth", story.external("fourth"))
    reference = story.propose("fourth", Remove(1))
    story.accept("third", story.pending("third", reference), "bob")
    assert story.group.epoch == 5


def test_the_tree_grows_and_shrinks_with_the_group() -> None:
    # [mls-7.7-1]
    story = Story("alice")
    sizes = []
    for name in ("bob", "third", "fourth", "fifth"):
        story.add("alice", name)
        sizes.append(story.group.tree.leaf_capacity)
    for leaf_index, name in ((2, "third"), (4, "fifth"), (3, "fourth"), (1, "bob")):
        story.accept("alice", story.pending("alice", Remove(leaf_index)), name)
        sizes.append(story.group.tree.leaf_capacity)
    assert sizes == [2, 4, 4, 8, 8, 4, 2, 1]


def test_an_add_fills_the_leaf_that_a_later_remove_empties() -> None:
    # [mls-12.3-2] Removes are applied before adds, whatever the order of the list [mls-12.4.2-6].
    story = Story("alice", "bob", "third")
    owner = story.key_package("fourth")
    staged = story.stage_commit(story.pending("alice", Add(owner.public), Remove(1)).commit)
    assert [leaf_index for leaf_index, _ in staged.added] == [1]
    assert staged.removed == (1,)


def test_one_wrong_hash_shows_with_the_next_message() -> None:
    story = Story("alice", "bob")
    story.commit("alice")
    message = story.pending("bob").commit
    context = story.group.context
    for field in ("tree_hash", "confirmed_transcript_hash"):  # [mls-8.2-1], [mls-12.4.2-13]
        wrong = dataclasses.replace(context, **{field: bytes(32)})  # type: ignore[arg-type]
        with refused("mls-6.1-1"):
            dataclasses.replace(story.group, context=wrong).stage(message, NOW)
    astray = dataclasses.replace(story.group, interim_transcript_hash=bytes(32))
    staged = astray.stage(message, NOW)
    assert isinstance(staged, StagedCommit)
    assert staged.context != story.stage_commit(message).context


def test_the_tree_that_was_followed_is_the_one_that_would_be_sent() -> None:
    story = Story("alice", "bob", "third", "fourth", "fifth")
    story.accept("alice", story.pending("alice", Remove(3)), "fourth")
    again = decode_tree(story.group.suite, story.policy, encode_tree(story.group.tree))
    assert again == story.group.tree
    assert Draft(again).tree_hash == story.group.context.tree_hash


def test_what_was_staged_on_another_state_is_not_merged() -> None:
    # [mls-14-1]
    story = Story("alice", "bob")
    staged = story.stage(story.pending("bob").commit)
    story.commit("alice")
    with pytest.raises(ValueError, match="staged on another state"):
        story.group.merge(staged)


def test_staging_changes_nothing() -> None:
    story = Story("alice", "bob", "third")
    before = story.group
    tree = encode_tree(before.tree)
    message = story.pending("bob", Remove(2)).commit
    story.stage(message)
    story.stage(message)
    assert story.group == before
    assert encode_tree(story.group.tree) == tree


def test_a_commit_with_a_replaced_signature_is_refused() -> None:
    story = Story("alice", "bob")
    message = story.pending("bob").commit
    other = story.pending("alice").commit
    assert isinstance(message.body, PublicMessage)
    assert isinstance(other.body, PublicMessage)
    auth = dataclasses.replace(message.body.auth, signature=other.body.auth.signature)
    with refused("mls-6.1-1"):
        story.stage(MLSMessage(dataclasses.replace(message.body, auth=auth)))


def test_members_write_to_each_other() -> None:
    story = Story("alice", "bob", "third")
    message = story.members["alice"].protect_application(b"hello", story.random.randbytes)
    assert [story.members[name].receive(message, NOW) for name in ("bob", "third")] == [b"hello"] * 2
