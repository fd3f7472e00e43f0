"""What members say outside of commits: application messages, proposals, and where their messages shall go."""

import dataclasses

import pytest

from chalicelib.errors import DecodeError
from chalicelib.protocol.delivery.group_messages import SelfRemoveRequest
from chalicelib.protocol.delivery.group_state import StoredProposal
from chalicelib.protocol.delivery.group_updates import AddClients
from chalicelib.protocol.delivery.info_requests import UpdateQueueInfo
from chalicelib.protocol.delivery.proposals import (
    LARGEST_PROPOSAL,
    LARGEST_STORE,
    MOST_AT_ONCE,
    MOST_PENDING,
    judge_proposals,
)
from chalicelib.protocol.delivery.responses import Ok
from chalicelib.protocol.mls.extensions import Extension
from chalicelib.protocol.mls.external_proposals import propose_externally
from chalicelib.protocol.mls.proposals import Add, PreSharedKey, PreSharedKeyID, PSKType, Remove
from chalicelib.services.delivery.state import GroupId
from tests.services.delivery.house import House, Person, done
from tests.services.delivery.messages import refused

SECOND = 1_000


# Application messages.


def test_what_is_said_is_heard_by_all_others(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    alice.say(b"one")
    bob.say(b"two")
    house.deliver()
    assert (alice.catch_up(), bob.catch_up(), carol.catch_up()) == ([b"two"], [b"one"], [b"one", b"two"])


def test_sending_changes_no_state(house: House, alice: Person, group: GroupId) -> None:
    before = house.head()
    alice.say(b"one")
    after = house.head()
    assert (after.version, after.root, after.epoch) == (before.version, before.root, before.epoch)
    assert after.seq == before.seq + 1


# Proposals.


def test_proposals_wait_for_a_commit_and_are_heard_by_all_others(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    dora = Person(house, "dora")
    assert house.serve(bob.proposing(Remove(2), Add(dora.key_package().public))) == Ok()
    house.deliver()
    assert house.kinds(bob)[-1] == "welcome"
    assert house.kinds(alice) == house.kinds(carol)[1:] == ["proposal", "proposal"]
    alice.catch_up()
    assert len(alice.member.group.proposals) == 2
    house.refuses(alice.covering()[0], "mls-12.4.2-15")  # It would add dora, and sends no Welcome along.
    assert len(house.state().proposals) == 2


def test_the_same_proposal_again_is_no_second_one(house: House, alice: Person, bob: Person, group: GroupId) -> None:
    message = bob.member.propose(Remove(2))
    assert house.serve(bob.proposing(message)) == house.serve(bob.proposing(message)) == Ok()
    assert len(house.state().proposals) == 1


def test_nobody_proposes_in_this_services_name(house: House, alice: Person, bob: Person, group: GroupId) -> None:
    """[mds-propose-3] Not even what it has signed itself: a proposal of another epoch's removal, say."""
    state, signer = house.state(), house.vault.signer(group, 1)
    message = propose_externally(state.group.suite, signer.private_key, 0, state.group.context, Remove(1))
    house.refuses(alice.proposing(message), "mds-sender-1")
    with refused("mds-propose-3"):
        judge_proposals(state, (message,), house.world.clock())


def test_a_member_has_one_proposal_of_a_kind_pending(house: House, bob: Person, group: GroupId) -> None:
    """[mds-propose-4]"""
    dora = Person(house, "dora")
    assert house.serve(bob.proposing(Remove(2))) == Ok()
    house.refuses(bob.proposing(Remove(0)), "mds-propose-4")
    assert house.serve(bob.proposing(Add(dora.key_package().public))) == Ok()
    house.refuses(bob.proposing(Add(dora.key_package().public)), "mds-propose-4")


def test_the_store_of_proposals_is_bounded(house: House, bob: Person, group: GroupId) -> None:
    """[mds-propose-5]"""
    state = house.state()
    assert house.serve(bob.proposing(Remove(2))) == Ok()
    (stored,) = house.state().proposals
    full = dataclasses.replace(state, proposals=(stored,) * MOST_PENDING)
    with refused("mds-propose-5"):
        judge_proposals(full, (bob.member.propose(Remove(0)),), house.world.clock())
    almost = dataclasses.replace(state, proposals=(stored,) * (MOST_PENDING - 1))
    change = judge_proposals(almost, (bob.member.propose(Remove(0)),), house.world.clock())
    assert len(change.state.proposals) == MOST_PENDING


def test_a_request_holds_so_many_proposals_at_most(house: House, bob: Person, group: GroupId) -> None:
    """[mds-propose-7]"""
    message = bob.member.propose(Remove(2))
    house.refuses(bob.proposing(*[message] * (MOST_AT_ONCE + 1)), "mds-propose-7")
    assert house.serve(bob.proposing(*[message] * MOST_AT_ONCE)) == Ok()


def test_a_proposal_that_is_kept_is_small(house: House, bob: Person, group: GroupId) -> None:
    """[mds-propose-8] The root, with all that waits, is read for every request about the group."""

    def psk(size: int) -> PreSharedKey:
        return PreSharedKey(PreSharedKeyID(PSKType.EXTERNAL, bytes(size), bytes(32)))

    house.refuses(bob.proposing(psk(LARGEST_PROPOSAL)), "mds-propose-8")
    assert house.serve(bob.proposing(psk(LARGEST_PROPOSAL - 1_000))) == Ok()


def test_the_store_of_proposals_is_bounded_in_bytes(house: House, bob: Person, group: GroupId) -> None:
    """[mds-propose-9]"""
    state = house.state()
    message = bob.member.propose(Remove(2))
    room = LARGEST_STORE - len(message.encode())
    for kept, fits in ((room, True), (room + 1, False)):
        large = dataclasses.replace(state, proposals=(StoredProposal(b"r", bytes(kept), 0),))
        if fits:
            assert len(judge_proposals(large, (message,), house.world.clock()).state.proposals) == 2
            continue
        with refused("mds-propose-9"):
            judge_proposals(large, (message,), house.world.clock())


def test_adds_with_all_the_extensions_there_can_be_do_not_stop_a_group(
    house: House, alice: Person, bob: Person, group: GroupId
) -> None:
    """[ds-10] Seventeen of 65,000 extensions each were taken, and the root that held them could not be read."""
    clients = [Person(house, f"client{number}", user="bob") for number in range(17)]
    bob.add(*clients, kind=AddClients)
    newest = Person(house, "newest", user="bob")
    many = [Extension(0x0100 + number, b"") for number in range(65_000)]
    for client in clients:
        with pytest.raises(DecodeError, match="more vector elements"):
            house.serve(client.proposing(Add(newest.offering(*many))))
        house.refuses(client.proposing(Add(newest.offering(*many[:257]))), "ds-10")
        assert house.serve(client.proposing(Add(newest.offering(*many[:256])))) == Ok()
    assert len(house.state().proposals) == 17
    assert len(house.state().group.proposals) == 17


def test_none_of_a_request_is_stored_where_one_is_refused(house: House, bob: Person, group: GroupId) -> None:
    house.refuses(bob.proposing(Remove(2), Remove(0)), "mds-propose-4")
    assert house.state().proposals == ()


def test_proposals_are_over_with_their_epoch(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    assert house.serve(bob.proposing(Remove(2))) == Ok()
    done(alice.updating(), alice, bob, carol)
    assert house.state().proposals == ()
    assert not house.state().group.proposals


# Leaving.


def test_a_member_leaves_by_proposing_so(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    assert house.serve(bob.leaving()) == Ok()
    house.deliver()
    alice.catch_up()
    carol.catch_up()
    done(alice.covering(), alice, carol)
    house.deliver()
    assert house.kinds(bob)[-1] == "commit", "who has left is told that it has"
    assert house.state().records.get(1) is None


def test_a_member_may_leave_by_a_remove_of_itself(house: House, bob: Person, group: GroupId) -> None:
    """As clients do that know nothing of SelfRemove."""
    assert house.serve(bob.as_member(SelfRemoveRequest(bob.member.propose(Remove(1)), bob.fresh()))) == Ok()
    assert len(house.state().proposals) == 1


def test_who_leaves_takes_nobody_along(house: House, bob: Person, group: GroupId) -> None:
    """[mds-self-remove-1]"""
    dora = Person(house, "dora")
    for proposal in (Remove(2), Add(dora.key_package().public)):
        request = SelfRemoveRequest(bob.member.propose(proposal), bob.fresh())
        house.refuses(bob.as_member(request), "mds-self-remove-1")


def test_a_self_remove_must_be_committed_once_the_others_have_heard_of_it(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    """[mds-cover-2] For ten seconds a commit may pass it by."""
    message, _ = alice.updating()
    assert house.serve(bob.leaving()) == Ok()
    house.world.clock.advance(10 * SECOND)
    house.refuses(message, "mds-cover-1")
    house.world.clock.advance(-1)
    assert house.serve(message) == Ok()


def test_an_update_does_not_stand_for_leaving(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    """[mds-cover-2] Bob's own Update, committed by a friend, gives him a new leaf and leaves him where he is."""
    update, bob.group = bob.member.propose_update(bob.random)
    assert house.serve(bob.proposing(update)) == Ok()
    assert house.serve(bob.leaving()) == Ok()
    house.deliver()
    alice.catch_up()
    first, _ = alice.member.group.proposals
    house.refuses(alice.committing(first)[0], "mds-cover-1")


# Where messages go.


def test_messages_go_to_the_queue_that_was_named_when_they_were_accepted(
    house: House, alice: Person, bob: Person, group: GroupId
) -> None:
    old = bob.queue
    alice.say(b"before")
    message = bob.moving("elsewhere")
    assert house.serve(message) == house.serve(message) == Ok()
    alice.say(b"after")
    house.deliver()
    assert house.kinds(bob)[-1] == "application"
    assert isinstance(message.request.body, UpdateQueueInfo)
    bob.queue = message.request.body.client_queue_config
    assert house.kinds(bob) == ["application"]
    assert bob.queue != old


def test_a_queue_moves_in_no_epoch(house: House, alice: Person, bob: Person, group: GroupId) -> None:
    """It is nobody's business but the client's: nothing is told the others."""
    before = house.head()
    assert house.serve(bob.moving("elsewhere")) == Ok()
    after = house.head()
    assert (after.epoch, after.seq, after.version) == (before.epoch, before.seq, before.version + 1)
