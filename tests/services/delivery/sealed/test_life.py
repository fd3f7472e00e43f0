"""Sealed groups live as others do (-02 §7)."""

import dataclasses
import hashlib

import pytest

from chalicelib.client.mls_identity import Identity
from chalicelib.protocol.delivery.group_messages import SelfRemoveRequest
from chalicelib.protocol.delivery.group_updates import CommitRequest, DeleteGroupRequest
from chalicelib.protocol.delivery.info_requests import ExternalCommitInfo, UpdateQueueInfo
from chalicelib.protocol.delivery.messages import DSRequest, DSSenderID, sign_message
from chalicelib.protocol.delivery.refusals import UnknownGroup
from chalicelib.protocol.delivery.responses import Ok
from chalicelib.protocol.delivery.sealed import Sealed
from chalicelib.protocol.mls.proposals import SelfRemove
from chalicelib.protocol.timestamps import DAY
from chalicelib.services.delivery.state import User
from tests.services.delivery.house import GROUP, SUITE, House
from tests.services.delivery.messages import update_of
from tests.services.delivery.sealed.insiders import (
    SELF_REMOVE,
    Cast,
    Insider,
    got,
    sealed_key,
    traces,
)


def test_a_sealed_group_lives_as_any_other(cast: Cast) -> None:
    house, alice, bob, carol = cast.house, cast.alice, cast.bob, cast.carol
    message, pending = bob.adding(carol)
    assert house.serve(message) == Ok()
    assert house.serve(message) == Ok()
    bob.accepted(pending, others=[alice])
    message, next_pending = alice.updating()
    assert house.serve(message) == Ok()
    alice.accepted(next_pending, others=[bob])
    # Carol joins an epoch that is past already, and follows.
    carol.join(pending)
    carol.receive(next_pending.commit)
    carol.say(b"hello")
    house.deliver()
    assert alice.receive(got(house, alice)[-1]) == b"hello"
    assert got(house, carol)[-1] == next_pending.commit.encode()
    assert pending.welcome is not None
    assert pending.welcome.encode() in got(house, carol)
    assert pending.welcome.encode() not in got(house, alice)
    bob.receive(got(house, bob)[-1])

    answer = house.serve(carol.asking_to_return())
    message, pending = carol.returning(answer.group_info.body, answer.ratchet_tree, carol.member.leaf_index)
    assert house.serve(message) == Ok()
    carol.accepted(pending, others=[alice, bob])
    message, pending = alice.removing(bob)
    assert house.serve(message) == Ok()
    alice.accepted(pending, others=[carol])
    with pytest.raises(UnknownGroup):
        house.serve(bob.as_member(UpdateQueueInfo(GROUP, bob.identity.signature_key, bob.queue, bob.fresh())))
    assert alice.member.secrets == carol.member.secrets

    message, pending = alice.removing(carol, kind=DeleteGroupRequest)
    assert house.serve(message) == Ok()
    house.deliver()
    assert got(house, carol)[-1] == pending.commit.encode()
    with pytest.raises(UnknownGroup):
        alice.say(b"over")
    head = house.head()
    assert (head.deleted, head.root, house.world.tables.logs[GROUP]) == (True, b"", {})


def test_proposals_wait_in_the_sealed_state(cast: Cast) -> None:
    house, alice, bob = cast.house, cast.alice, cast.bob
    proposal = bob.member.propose(SelfRemove())
    assert house.serve(bob.as_member(SelfRemoveRequest(proposal, bob.fresh()))) == Ok()
    house.deliver()
    alice.receive(got(house, alice)[-1])
    reference = next(iter(alice.member.group.proposals))
    pending = alice.commit(reference)
    assert house.serve(alice.as_member(CommitRequest(update_of(pending)))) == Ok()
    assert traces(house, alice, bob) == set()


def test_a_pseudonym_is_a_user_like_any_other() -> None:
    """Its key may be registered under the pseudonym; who does without is known by leaf and KeyPackage."""
    house = House()
    alice, bob = Insider(house, "alice"), Insider(house, "bob")
    for person in (alice, bob):
        name = b"pseudonym of " + person.name.encode()
        person.identity = Identity.basic(SUITE, name, person.random, (SELF_REMOVE,))
    alice.create()
    alice.add(bob)
    user = Identity.basic(SUITE, b"", bob.random)
    house.world.users.register(User(b"pseudonym of bob", "an AP", SUITE, user.signature_key))
    key = bob.identity.signature_key
    house.world.directory.record_keys(b"pseudonym of bob", "an AP", [key], house.world.clock() + DAY)
    request = ExternalCommitInfo(GROUP, user.signature_key, None, bob.fresh(), sealed_key(house))
    sender = DSSenderID.user(hashlib.sha256(user.signature_key).digest())
    answer = house.serve(sign_message(sender, DSRequest(request), user.sign))
    assert answer.group_info.body.group_context == bob.member.group.context
    without = dataclasses.replace(request, sealed_state_key=None)
    with pytest.raises(UnknownGroup):
        house.serve(sign_message(sender, DSRequest(without), user.sign))


def test_a_new_queue_gets_what_comes_after(cast: Cast) -> None:
    house, alice, bob = cast.house, cast.alice, cast.bob
    bob.queue = dataclasses.replace(bob.queue, sealed_config=Sealed(1, b"another queue".ljust(80, b".")))
    request = UpdateQueueInfo(GROUP, bob.identity.signature_key, bob.queue, bob.fresh())
    assert house.serve(bob.as_member(request)) == Ok()
    alice.say(b"there?")
    house.deliver()
    assert len(got(house, bob)) == 1
