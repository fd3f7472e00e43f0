"""What falls due in a sealed group while nobody asks waits for the next request."""

import dataclasses

import pytest

from chalicelib.protocol.delivery.group_updates import CommitRequest
from chalicelib.protocol.delivery.info_requests import UpdateQueueInfo
from chalicelib.protocol.delivery.refusals import MustCover, Removed
from chalicelib.protocol.delivery.responses import Ok
from chalicelib.protocol.delivery.sealed import Sealed
from chalicelib.protocol.timestamps import HOUR
from chalicelib.services.delivery.ports import MOST_NOTES
from tests.services.delivery.house import GROUP
from tests.services.delivery.messages import update_of
from tests.services.delivery.sealed.insiders import (
    Cast,
    got,
    reject,
    traces,
)


def test_a_rejected_queue_waits_in_the_inbox_for_the_next_request(cast: Cast) -> None:
    house, alice, bob = cast.house, cast.alice, cast.bob
    reject(cast, bob)
    alice.say(b"hello")
    before = house.head()
    house.deliver()
    assert (len(house.world.tables.inboxes[GROUP]), house.head()) == (1, before)
    assert traces(house, alice, bob) == set()
    with pytest.raises(MustCover) as refused:
        alice.say(b"are you there?")
    assert house.world.tables.inboxes == {}
    assert house.head().blocked_since == 0
    for required in refused.value.required:
        alice.receive(required)
    pending = alice.commit(*alice.member.group.proposals)
    assert house.serve(alice.as_member(CommitRequest(update_of(pending)))) == Ok()
    alice.accepted(pending)
    alice.say(b"gone")


def test_a_queue_that_was_replaced_since_is_no_reason(cast: Cast) -> None:
    house, alice, bob = cast.house, cast.alice, cast.bob
    reject(cast, bob)
    alice.say(b"hello")
    house.deliver()
    queue = dataclasses.replace(bob.queue, sealed_config=Sealed(1, b"another queue".ljust(80, b".")))
    assert house.serve(bob.as_member(UpdateQueueInfo(GROUP, bob.identity.signature_key, queue, bob.fresh()))) == Ok()
    alice.say(b"are you there?")
    assert house.world.tables.inboxes == {}


def test_the_inbox_is_bounded_and_what_others_write_into_it_is_nothing(cast: Cast) -> None:
    house, alice, bob = cast.house, cast.alice, cast.bob
    junk = [Sealed(0, bytes([number]) * 80).encode() for number in range(MOST_NOTES + 9)]
    house.world.inboxes.add(GROUP, junk)
    reject(cast, bob)
    alice.say(b"one")
    assert house.world.tables.inboxes == {}
    house.world.inboxes.add(GROUP, junk)
    house.deliver()
    assert len(house.world.tables.inboxes[GROUP]) == MOST_NOTES
    alice.say(b"two")
    # What had no room is noticed again with the next message.
    house.deliver()
    with pytest.raises(MustCover):
        alice.say(b"three")


def test_who_is_not_removed_within_the_hour_is_quarantined_at_the_next_request(cast: Cast) -> None:
    house, alice, bob = cast.house, cast.alice, cast.bob
    reject(cast, bob)
    alice.say(b"hello")
    house.deliver()
    with pytest.raises(MustCover):
        alice.say(b"one")
    house.world.clock.advance(HOUR)
    alice.say(b"two")
    with pytest.raises(Removed):
        bob.say(b"three")
    # His queue may well be there again: he gets nothing more.
    house.deliver()
    house.world.queueing_services.results.clear()
    alice.say(b"four")
    before = len(got(house, bob))
    house.deliver()
    assert len(got(house, bob)) == before
