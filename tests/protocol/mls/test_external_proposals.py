"""A delivery service that removes a member: as an external sender that the group has listed."""

import random
import time
from pathlib import Path

from chalicelib.client.mls_member import Member
from chalicelib.protocol.crypto import cipher_suite
from chalicelib.protocol.mls.extensions import (
    BASIC,
    Credential,
    ExternalSender,
    external_senders_extension,
)
from chalicelib.protocol.mls.external_proposals import propose_externally, sender_index
from chalicelib.protocol.mls.framing import decode_message
from chalicelib.protocol.mls.proposals import Remove
from chalicelib.protocol.mls.public_group import StagedCommit, StagedProposal
from tests.protocol.mls.clients import GROUP_ID, Own, Rine, ratchet_tree
from tests.protocol.mls.story import NOW, Story, refused

SUITE = cipher_suite(1)
KEY = bytes(range(32))
SERVICE = ExternalSender(SUITE.signatures.public_key(KEY), Credential(BASIC, b"ds.example"))


def test_the_services_place_is_where_the_group_lists_it() -> None:
    other = ExternalSender(bytes(32), Credential(BASIC, b"another"))
    listed = Story("alice", extensions=(external_senders_extension((other, SERVICE)),))
    assert sender_index(listed.group.context, SERVICE) == 1
    assert sender_index(Story("alice").group.context, SERVICE) is None


def test_a_removal_by_the_service_is_stored_committed_and_over_with_its_epoch() -> None:
    story = Story("alice", "bob", "third", extensions=(external_senders_extension((SERVICE,)),))
    message = propose_externally(SUITE, KEY, 0, story.group.context, Remove(2))
    staged = story.stage(message)
    assert isinstance(staged, StagedProposal)
    story.deliver(message)
    story.accept("bob", story.pending("bob", staged.reference), "third")
    with refused("mls-12.4.2-1"):
        story.stage(message)


def test_the_key_of_another_signs_nothing_for_the_service() -> None:
    story = Story("alice", "bob", extensions=(external_senders_extension((SERVICE,)),))
    with refused("mls-6.1-1"):
        story.stage(propose_externally(SUITE, bytes(32), 0, story.group.context, Remove(1)))


def test_a_real_client_commits_what_the_service_proposes(tmp_path: Path) -> None:
    source, now = random.Random(7), int(time.time())
    owner = Own(b"owner", source, now)
    offered = owner.identity.key_package(source.randbytes, now)
    senders = (external_senders_extension((SERVICE,)),)
    owner.member = Member.create(offered, GROUP_ID, source.randbytes, senders)
    clients = [Rine(tmp_path / str(number), source.randbytes(32)) for number in range(3)]
    sent = owner.add([client.key_package() for client in clients[:2]], b"")
    group = owner.member.group
    for client in clients[:2]:
        client.join(sent.welcomes, ratchet_tree(group))
    message = propose_externally(SUITE, KEY, 0, group.context, Remove(2))
    group = group.merge(group.stage(message, now))
    for listening in (owner, *clients[:2]):
        listening.receive(message.encode())
    # It commits what it has heard of along with what it is asked to.
    committed = clients[0].add([clients[2].key_package()], b"")
    staged = group.stage(decode_message(committed.commit), now)
    assert isinstance(staged, StagedCommit)
    assert staged.removed == (2,)
    owner.receive(committed.commit)
    clients[2].join(committed.welcomes, b"")
    assert owner.tree_hash() == clients[0].tree_hash() == clients[2].tree_hash() == staged.context.tree_hash


def test_what_the_service_proposes_stands_in_the_staged_commit() -> None:
    story = Story("alice", "bob", "third", extensions=(external_senders_extension((SERVICE,)),))
    message = propose_externally(SUITE, KEY, 0, story.group.context, Remove(2))
    story.deliver(message)
    (reference,) = story.group.proposals
    staged = story.group.stage(story.pending("alice", reference).commit, NOW)
    assert isinstance(staged, StagedCommit)
    assert staged.removed == (2,)
