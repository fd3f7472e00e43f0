"""Our own member: keys used once, pre-shared keys, Welcomes, and what it refuses though the service cannot."""

import dataclasses

import pytest

from chalicelib.client.mls_crypto import CannotDecrypt, UnknownKem, member_suite
from chalicelib.client.mls_framing import InvalidTag
from chalicelib.client.mls_member import Member
from chalicelib.client.mls_path import NotForThisMember
from chalicelib.client.mls_secret_tree import FURTHEST_STEP, KeyGone, SecretTree
from chalicelib.errors import DecodeError, Refusal
from chalicelib.protocol.mls.framing import MLSMessage, PrivateMessage, PublicMessage
from chalicelib.protocol.mls.plain_tree import encode_tree
from chalicelib.protocol.mls.proposals import (
    Add,
    PreSharedKey,
    PreSharedKeyID,
    PSKType,
    Remove,
    ResumptionPSKUsage,
)
from chalicelib.protocol.mls.welcome import Welcome
from tests.protocol.mls.story import NOW, Story


def welcome_of(message: MLSMessage | None) -> Welcome:
    assert message is not None
    assert isinstance(message.body, Welcome)
    return message.body


def test_messages_may_come_out_of_order_but_not_twice() -> None:
    story = Story("alice", "bob")
    alice, bob = story.members["alice"], story.members["bob"]
    messages = [alice.protect_application(b"%d" % number, story.random.randbytes) for number in range(4)]
    assert [bob.receive(messages[number], NOW) for number in (2, 0, 3, 1)] == [b"2", b"0", b"3", b"1"]
    with pytest.raises(KeyGone):
        bob.receive(messages[2], NOW)


def test_a_generation_far_ahead_is_refused() -> None:
    tree = SecretTree(member_suite(1), bytes(32), 4)
    with pytest.raises(KeyGone):
        tree.ratchet(2, handshake=False).take(FURTHEST_STEP + 1)
    key = tree.ratchet(2, handshake=False).take(FURTHEST_STEP)
    assert key.generation == FURTHEST_STEP


def test_no_two_leaves_or_kinds_share_a_key() -> None:
    tree = SecretTree(member_suite(1), bytes(32), 8)
    keys = {tree.ratchet(leaf, handshake=kind).next().key for leaf in range(8) for kind in (True, False)}
    assert len(keys) == 16


@pytest.mark.parametrize("suite", [1, 2, 3, 4, 5, 6, 7])
def test_a_changed_ciphertext_does_not_open(suite: int) -> None:
    story = Story("alice", "bob", suite=suite)
    message = story.members["alice"].protect_application(b"hello", story.random.randbytes).body
    assert isinstance(message, PrivateMessage)
    for field in ("ciphertext", "encrypted_sender_data", "authenticated_data"):
        changed = bytearray(getattr(message, field) or b"\x00")
        changed[-1] ^= 1
        forged = dataclasses.replace(message, **{field: bytes(changed)})  # type: ignore[arg-type]
        with pytest.raises((CannotDecrypt, DecodeError)):
            story.members["bob"].receive(MLSMessage(forged), NOW)
    assert story.members["bob"].receive(MLSMessage(message), NOW) == b"hello"


def test_a_wrong_membership_tag_is_refused_by_members_only() -> None:
    story = Story("alice", "bob")
    message = story.members["alice"].propose(Remove(1)).body
    assert isinstance(message, PublicMessage)
    forged = MLSMessage(dataclasses.replace(message, membership_tag=bytes(32)))
    story.stage(forged)
    with pytest.raises(InvalidTag):
        story.members["bob"].receive(forged, NOW)


def external_psk(name: bytes, nonce: bytes = bytes(32)) -> PreSharedKey:
    return PreSharedKey(PreSharedKeyID(PSKType.EXTERNAL, name, nonce))


def test_a_pre_shared_key_is_needed_to_follow_and_to_join() -> None:
    story = Story("alice", "bob")
    for name in ("alice", "bob"):
        story.members[name] = dataclasses.replace(story.members[name], psks={b"a key": b"secret"})
    owner = story.key_package("third")
    pending = story.pending("alice", Add(owner.public), external_psk(b"a key"))
    without = dataclasses.replace(story.members["bob"], psks={})
    with pytest.raises(NotForThisMember, match="pre-shared key"):
        without.receive(pending.commit, NOW)
    wrong = dataclasses.replace(story.members["bob"], psks={b"a key": b"another"})
    with pytest.raises(InvalidTag):
        wrong.receive(pending.commit, NOW)
    story.accept("alice", pending)
    tree = encode_tree(story.group.tree)
    with pytest.raises(NotForThisMember, match="pre-shared key"):
        Member.join(owner, welcome_of(pending.welcome), tree)
    with pytest.raises(CannotDecrypt):
        Member.join(owner, welcome_of(pending.welcome), tree, {b"a key": b"another"})
    story.members["third"] = Member.join(owner, welcome_of(pending.welcome), tree, {b"a key": b"secret"})
    story.agree()


def test_an_earlier_epochs_resumption_key_is_remembered() -> None:
    story = Story("alice", "bob")
    story.commit("alice")
    past = story.group.epoch - 1
    usage = ResumptionPSKUsage.APPLICATION
    name = PreSharedKeyID(PSKType.RESUMPTION, story.group.context.group_id, bytes(32), usage, past)
    story.commit("bob", PreSharedKey(name))
    assert story.members["bob"].resumption.keys() == {1, 2, 3}


def test_a_welcome_is_for_those_it_names() -> None:
    story = Story("alice", "bob")
    owner = story.key_package("third")
    pending = story.pending("alice", Add(owner.public))
    story.accept("alice", pending)
    with pytest.raises(NotForThisMember, match="not for this KeyPackage"):
        Member.join(story.key_package("fourth"), welcome_of(pending.welcome), encode_tree(story.group.tree))


def test_a_welcome_with_another_tree_is_refused() -> None:
    story = Story("alice", "bob")
    old = encode_tree(story.group.tree)
    owner = story.key_package("third")
    pending = story.pending("alice", Add(owner.public))
    story.accept("alice", pending)
    with pytest.raises(Refusal, match="tree hash"):
        Member.join(owner, welcome_of(pending.welcome), old)


def test_a_member_that_is_removed_follows_no_further() -> None:
    story = Story("alice", "bob")
    pending = story.pending("alice", Remove(1))
    with pytest.raises(NotForThisMember, match="removes this member"):
        story.members["bob"].receive(pending.commit, NOW)


def test_a_pending_commit_changes_nothing_until_it_is_accepted() -> None:
    story = Story("alice", "bob")
    before = story.members["alice"]
    story.pending("alice")
    assert story.members["alice"] is before
    story.commit("bob")  # Alice's own was not accepted, and she follows Bob's.


def test_without_an_external_pub_nobody_comes_in() -> None:
    story = Story("alice", "bob")
    info = story.members["alice"].group_info(with_external_pub=False)
    with pytest.raises(NotForThisMember, match="external_pub"):
        Member.join_by_external_commit(
            story.identity("third"), info, encode_tree(story.group.tree), story.random.randbytes, NOW
        )


def test_an_unknown_kem_is_nothing_for_this_member() -> None:
    with pytest.raises(UnknownKem):
        member_suite(0xF057)
