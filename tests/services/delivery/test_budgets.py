"""What a request may hold is bounded by its route, because it is decoded before anybody knows who sends it."""

import dataclasses

import pytest

from chalicelib.errors import DecodeError
from chalicelib.protocol.delivery.group_updates import AddUsers, CommitRequest
from chalicelib.protocol.delivery.messages import ROUTES, DSMessage, DSSenderID
from chalicelib.protocol.delivery.responses import Ok
from chalicelib.protocol.mls.commit import Commit, ProposalOrRef
from chalicelib.protocol.mls.framing import PublicMessage
from chalicelib.protocol.mls.welcome import Welcome
from chalicelib.protocol.tls import MESSAGE_ELEMENTS, POSTED_ELEMENTS, SMALL_ELEMENTS
from chalicelib.services.delivery.desk import elements
from chalicelib.services.delivery.senders import WrongSender
from chalicelib.services.delivery.state import GroupId
from tests.effort import least
from tests.services.delivery.house import House, Person

LARGE = {"add-users", "add-clients", "remove-users", "remove-clients", "update-client", "delete-group", "resync-client"}
LARGE |= {"join-by-external-commit", "commit"}


def referring(person: Person, references: int) -> DSMessage:
    """Return a commit that refers to so many proposals that nobody made."""
    message, _ = person.committing()
    body = message.request.body
    assert isinstance(body, CommitRequest)
    framed = body.group_update.commit.body
    assert isinstance(framed, PublicMessage)
    assert isinstance(framed.content.content, Commit)
    commit = Commit((ProposalOrRef(reference=b""),) * references, framed.content.content.path)
    content = dataclasses.replace(framed.content, content=commit, received=b"")
    changed = dataclasses.replace(body.group_update.commit, body=dataclasses.replace(framed, content=content))
    update = dataclasses.replace(body.group_update, commit=changed)
    return person.sign(DSSenderID.leaf(99), dataclasses.replace(body, group_update=update))


def test_requests_with_a_commit_may_hold_more_and_uploaded_ones_most() -> None:
    for route in ROUTES:
        posted, uploaded = (elements(route, uploaded=one) for one in (False, True))
        large = (POSTED_ELEMENTS, MESSAGE_ELEMENTS)
        assert (posted, uploaded) == (large if route in LARGE else (SMALL_ELEMENTS, SMALL_ELEMENTS)), route
    assert elements("no-such-operation", uploaded=True) == SMALL_ELEMENTS


def test_a_posted_commit_holds_fewer_elements_than_an_uploaded_one(house: House, alice: Person, group: GroupId) -> None:
    content = referring(alice, POSTED_ELEMENTS).encode()
    with pytest.raises(DecodeError, match="more vector elements"):
        house.desk.serve("commit", content)
    with pytest.raises(WrongSender):
        house.desk.serve("commit", content, uploaded=True)


def test_what_is_decoded_for_a_stranger_takes_no_time(house: House, alice: Person, group: GroupId) -> None:
    """As much as the gateway takes, of what costs most to decode."""
    content = referring(alice, POSTED_ELEMENTS - 200).encode()

    def serve() -> None:
        with pytest.raises(WrongSender):
            house.desk.serve("commit", content)

    assert least(serve) < 1  # A fifth of it, mostly.


def test_empty_welcomes_do_not_come_as_far_as_the_log(house: House, alice: Person, group: GroupId) -> None:
    """[ds-9] Half a million of them fitted into one request, and into no worker's time."""
    message, pending = alice.adding(Person(house, "dora"))
    first, body = pending.welcome, message.request.body
    assert first is not None
    assert isinstance(body, AddUsers)
    empty = dataclasses.replace(first, body=Welcome(1, (), b""))
    with pytest.raises(DecodeError, match="more vector elements"):
        house.serve(alice.as_member(dataclasses.replace(body, welcomes=(first, *([empty] * 500_000)))))
    house.refuses(alice.as_member(dataclasses.replace(body, welcomes=(first, empty))), "ds-9")
    assert house.serve(message) == Ok()
