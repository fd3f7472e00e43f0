"""The frame of a message: whose it is, and whether its signature is its sender's (§§6, 12.1.8, 12.4.2)."""

import dataclasses

from chalicelib.client.mls_identity import Identity
from chalicelib.protocol.mls.commit import Commit
from chalicelib.protocol.mls.errors import InvalidProposal
from chalicelib.protocol.mls.extensions import ExternalSender, external_senders_extension
from chalicelib.protocol.mls.framing import MLSMessage, PublicMessage, Sender, SenderType
from chalicelib.protocol.mls.nodes import LeafNode
from chalicelib.protocol.mls.policy import Policy
from chalicelib.protocol.mls.proposals import Add, ExternalInit, ReInit, Remove, SelfRemove, Update
from chalicelib.protocol.mls.public_group import StagedProposal
from tests.protocol.mls.story import NOW, Story, content_of, refused, sign_key_package

EXTERNAL = Sender(SenderType.EXTERNAL, 0)
JOINER = Sender(SenderType.NEW_MEMBER_PROPOSAL)


def with_external_sender() -> tuple[Story, Identity]:
    """Return a group that lists an external sender, and that sender."""
    identity = Story("alice").identity("the service")
    sender = ExternalSender(identity.signature_key, identity.credential)
    return Story("alice", "bob", extensions=(external_senders_extension((sender,)),)), identity


def test_an_application_message_must_be_encrypted() -> None:
    story = Story("alice", "bob")
    with refused("mls-6-1"):
        story.stage(story.forge("bob", b"hello"))


def test_an_encrypted_handshake_is_not_judged() -> None:
    # What comes from outside the group is a PublicMessage in any case [mls-12.1.8-3].
    story = Story("alice", "bob")
    with refused("mls-6-2"):
        story.stage(story.members["bob"].protect_application(b"hello", story.random.randbytes))


def test_a_message_for_another_group_is_refused() -> None:
    story = Story("alice", "bob")
    with refused("mls-6-3"):
        story.stage(story.forge("bob", Remove(0), group_id=b"another group"))


def test_a_message_for_another_epoch_is_stale_and_says_which_epoch_it_is() -> None:
    story = Story("alice", "bob")
    for epoch in (0, 2):
        with refused("mls-12.4.2-1"):
            story.stage(story.forge("bob", Commit((), story.path("bob")), epoch=epoch))
    with refused("mls-12.4.2-1"):  # [mls-12.1-2]: for a proposal it is the same rule.
        story.stage(story.forge("bob", Remove(0), epoch=0))


def test_a_commit_of_the_last_epoch_is_refused_once_another_has_won() -> None:
    story = Story("alice", "bob")
    loser = story.pending("bob")
    story.commit("alice")
    with refused("mls-12.4.2-1"):
        story.stage(loser.commit)


def test_a_message_that_another_member_signed_is_refused() -> None:
    story = Story("alice", "bob")
    forged = story.forge("bob", Remove(0), signer=story.members["alice"].identity)
    with refused("mls-6.1-1"):
        story.stage(forged)


def test_a_signature_covers_content_and_group_context() -> None:
    # For commits too [mls-12.4.2-3].
    story = Story("alice", "bob")
    honest = story.members["bob"].propose(Remove(0))
    assert isinstance(honest.body, PublicMessage)
    changed = dataclasses.replace(content_of(honest), authenticated_data=b"more", received=b"")
    with refused("mls-6.1-1"):
        story.stage(MLSMessage(dataclasses.replace(honest.body, content=changed)))
    elsewhere = dataclasses.replace(story.group.context, confirmed_transcript_hash=bytes(32))
    with refused("mls-6.1-1"):
        dataclasses.replace(story.group, context=elsewhere).stage(honest, NOW)


def test_a_sender_without_a_leaf_is_refused() -> None:
    story = Story("alice", "bob", "third")
    for index in (3, 4, 2**32 - 1):
        with refused("mls-6.1-2"):
            story.stage(story.forge("bob", Remove(0), sender=Sender(SenderType.MEMBER, index)))


def test_an_external_sender_proposes_by_the_key_that_the_group_lists() -> None:
    story, identity = with_external_sender()
    staged = story.stage(story.forge("alice", Remove(1), sender=EXTERNAL, signer=identity))
    assert isinstance(staged, StagedProposal)
    with refused("mls-6.1-1"):
        story.stage(story.forge("alice", Remove(1), sender=EXTERNAL))


def test_an_external_sender_that_is_not_listed_is_refused() -> None:
    story, _ = with_external_sender()
    with refused("mls-12.1.8-1"):
        story.stage(story.forge("alice", Remove(1), sender=Sender(SenderType.EXTERNAL, 1)))
    bare = Story("alice", "bob")
    with refused("mls-12.1.8-1"):
        bare.stage(bare.forge("alice", Remove(1), sender=EXTERNAL))


def test_an_external_sender_sends_proposals_only() -> None:
    story, identity = with_external_sender()
    with refused("mls-6.1-3"):
        story.stage(story.forge("alice", Commit((), story.path("alice")), sender=EXTERNAL, signer=identity))


def test_an_external_sender_sends_only_the_proposals_meant_for_it() -> None:
    story, identity = with_external_sender()
    leaf = story.path("alice").leaf_node
    for proposal in (Update(leaf), ExternalInit(b"kem"), SelfRemove()):
        with refused("mls-12.1.8-4"):
            story.stage(story.forge("alice", proposal, sender=EXTERNAL, signer=identity))
    reinit = ReInit(b"next", 1, 1, ())
    assert isinstance(story.stage(story.forge("alice", reinit, sender=EXTERNAL, signer=identity)), StagedProposal)


def test_an_external_committer_sends_commits_only() -> None:
    story = Story("alice", "bob")
    with refused("mls-6.1-4"):
        story.stage(story.forge("alice", Remove(1), sender=Sender(SenderType.NEW_MEMBER_COMMIT)))


def test_a_new_member_proposes_to_add_itself_and_nothing_else() -> None:
    story = Story("alice", "bob")
    owner = story.key_package("third")
    message = story.forge("alice", Add(owner.public), sender=JOINER, signer=owner.identity)
    assert isinstance(story.stage(message), StagedProposal)
    with refused("mls-6.1-5"):
        story.stage(story.forge("alice", Remove(1), sender=JOINER))
    with refused("mls-6.1-1"):
        story.stage(story.forge("alice", Add(owner.public), sender=JOINER))


def test_a_new_members_proposal_can_be_left_to_the_policy() -> None:
    class Closed(Policy):
        def check_new_member_proposal(self, leaf: LeafNode) -> None:
            raise InvalidProposal("mls-12.1.8-2", "nobody may propose itself")

    story = Story("alice", "bob", policy=Closed())
    owner = story.key_package("third")
    with refused("mls-12.1.8-2"):
        story.stage(story.forge("alice", Add(owner.public), sender=JOINER, signer=owner.identity))
    # A member may still propose the same client.
    assert isinstance(story.stage(story.forge("alice", Add(owner.public))), StagedProposal)


def test_an_external_init_is_not_sent_as_a_proposal() -> None:
    story = Story("alice", "bob")
    with refused("mls-12.1.6-1"):
        story.stage(story.forge("bob", ExternalInit(b"kem")))


def test_a_reinitialised_group_takes_no_more_messages() -> None:
    story = Story("alice", "bob")
    story.commit("alice", ReInit(b"next", 1, 1, ()), path=False)
    assert story.group.reinit is not None
    with refused("mls-12.4.2-14"):
        story.stage(story.forge("bob", Remove(0)))


def test_a_key_package_of_another_suite_cannot_be_framed_into_the_group() -> None:
    story = Story("alice", "bob")
    with refused("mls-10.1-1"):
        story.stage(story.forge("bob", Add(sign_key_package(story.key_package("third"), cipher_suite=3))))
