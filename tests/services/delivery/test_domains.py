"""Queues are where messages can be delivered to: here, or at a delivery service that was admitted."""

import dataclasses

import pytest

from chalicelib.client.mls_member import Pending
from chalicelib.protocol.delivery.info_requests import UpdateQueueInfo
from chalicelib.protocol.delivery.messages import DSMessage
from chalicelib.protocol.delivery.parts import Domain
from chalicelib.protocol.delivery.queueing import ClientQueueConfig
from chalicelib.protocol.delivery.refusals import InvalidRequest
from chalicelib.protocol.delivery.responses import Ok
from chalicelib.protocol.mls.errors import StaleEpoch
from chalicelib.services.delivery import domains
from chalicelib.services.delivery.domains import MOST_DOMAINS, QueueDomains
from chalicelib.services.delivery.state import DsPeer, GroupId
from tests.services.delivery.house import GROUP, House, Person, done
from tests.services.delivery.messages import refused
from tests.services.delivery.sealed.insiders import Cast, Insider, new_cast

NOWHERE = "nowhere.example"


def elsewhere(config: ClientQueueConfig, domain: str = NOWHERE) -> ClientQueueConfig:
    return dataclasses.replace(config, ds_domain=Domain(domain))


def test_a_queue_is_at_a_domain_that_was_admitted(house: House, alice: Person, bob: Person, group: GroupId) -> None:
    """[mds-domain-1] However it comes in."""
    creator, dora = Person(house, "creator", NOWHERE), Person(house, "dora", NOWHERE)
    house.refuses(creator.creation(GroupId(b"another")), "mds-domain-1")
    house.refuses(alice.adding(dora)[0], "mds-domain-1")
    alice.queue = elsewhere(alice.queue)
    house.refuses(alice.moving("x"), "mds-domain-1")
    phone = Person(house, "phone", user="bob")
    answer = house.serve(phone.asking_to_return())
    phone.queue = elsewhere(phone.queue)
    house.refuses(phone.returning(answer.group_info.body, answer.ratchet_tree, None)[0], "mds-domain-1")


def test_a_request_names_so_many_domains_at_most(house: House, alice: Person) -> None:
    """[mds-domain-2]"""
    domains = QueueDomains(house.world.ds_peers, house.world.domain)
    configs = [elsewhere(alice.queue, f"d{number}.example") for number in range(MOST_DOMAINS + 1)]
    with refused("mds-domain-2"):
        domains.check(configs)
    with refused("mds-domain-1"):
        domains.check(configs[1:])


# --- of the group as a whole


def admitted(house: House, number: int) -> str:
    """Return a domain that was admitted."""
    domain = f"d{number}.example"
    house.world.ds_peers.tables.ds_peers[domain] = DsPeer(domain, f"https://{domain}", frozenset({domain}))
    house.world.queueing_services.known.add(domain)
    return domain


def at(house: House, number: int) -> Person:
    """Return somebody whose queue is at such a domain."""
    return Person(house, f"person {number}", admitted(house, number))


def moving(person: Person, config: ClientQueueConfig) -> DSMessage:
    """Return the request to have messages sent to this queue."""
    return person.as_member(UpdateQueueInfo(GROUP, person.identity.signature_key, config, person.fresh()))


def came(served: tuple[DSMessage, Pending], by: Person, *joining: Person) -> None:
    """Let a commit be accepted, and who was added join."""
    message, pending = served
    assert by.house.serve(message) == Ok()
    by.accepted(pending, joining=joining)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> int:
    """How many other domains there may be in these tests; carol's is one."""
    monkeypatch.setattr(domains, "MOST_DOMAINS", 3)
    return 3


def test_a_group_has_queues_at_so_many_domains_and_no_more(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId
) -> None:
    """[mds-domain-3] By however many requests they come, while those that are there already may be used."""
    done(alice.adding(*(at(house, number) for number in range(40))), alice)
    done(alice.adding(*(at(house, number) for number in range(40, MOST_DOMAINS - 1))), alice)
    house.refuses(alice.adding(at(house, 99))[0], "mds-domain-3")
    there = {domain: members for domain, members in house.state().records.domains.items() if members != 1}
    assert there == {house.world.domain: 2}
    done(alice.adding(Person(house, "another", admitted(house, 5)), Person(house, "here")), alice)
    assert len(house.state().records.domains) == 1 + MOST_DOMAINS


def test_a_queue_that_moves_and_a_client_that_comes_back_count_like_one_that_is_added(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId, few: int
) -> None:
    done(alice.adding(at(house, 1)), alice, bob, carol)
    done(alice.adding(at(house, 2)), alice, bob, carol)
    before = bob.queue
    bob.queue = elsewhere(before, admitted(house, 3))
    house.refuses(moving(bob, bob.queue), "mds-domain-3")
    bob.queue = elsewhere(before, "d2.example")
    assert house.serve(moving(bob, bob.queue)) == Ok()
    bob.queue = before
    assert house.serve(moving(bob, bob.queue)) == Ok()
    carol.queue = elsewhere(carol.queue, admitted(house, 3))
    assert house.serve(moving(carol, carol.queue)) == Ok(), "one for another"
    assert house.state().records.domains == {house.world.domain: 2, "d1.example": 1, "d2.example": 1, "d3.example": 1}
    phone = Person(house, "phone", user="bob")
    answer = house.serve(phone.asking_to_return())
    phone.queue = elsewhere(phone.queue, admitted(house, 4))
    house.refuses(phone.returning(answer.group_info.body, answer.ratchet_tree, None)[0], "mds-domain-3")


def test_who_is_removed_makes_room(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId, few: int
) -> None:
    one, other = at(house, 1), at(house, 2)
    came(alice.adding(one, other), alice, one, other)
    new = at(house, 3)
    house.refuses(alice.adding(new)[0], "mds-domain-3")
    done(alice.removing(other), alice)
    came(alice.adding(new), alice, new)
    assert house.state().records.domains.keys() == {house.world.domain, carol.domain, "d1.example", "d3.example"}
    house.refuses(alice.adding(at(house, 4))[0], "mds-domain-3")


def test_a_group_that_has_too_many_goes_on_and_may_shrink(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after the number was lowered."""
    one, other = at(house, 1), at(house, 2)
    came(alice.adding(one, other), alice, one, other)
    monkeypatch.setattr(domains, "MOST_DOMAINS", 1)
    done(alice.updating(), alice)
    done(alice.adding(Person(house, "another", "d1.example")), alice)
    done(alice.removing(other), alice)
    house.refuses(alice.adding(at(house, 2))[0], "mds-domain-3")


def test_of_two_that_each_would_fit_alone_one_is_refused(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId, few: int
) -> None:
    done(alice.adding(at(house, 1)), alice, bob, carol)
    first = moving(alice, elsewhere(alice.queue, admitted(house, 2)))
    second = moving(bob, elsewhere(bob.queue, admitted(house, 3)))
    house.meanwhile("groups", "advance", lambda: house.serve(first))
    with refused("mds-domain-3"):
        house.serve(second)
    assert house.state().records.domains.keys() == {house.world.domain, carol.domain, "d1.example", "d2.example"}


def test_of_two_adders_at_once_one_is_too_late_and_then_refused(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId, few: int
) -> None:
    done(alice.adding(at(house, 1)), alice, bob, carol)
    first, second = alice.adding(at(house, 2)), bob.adding(at(house, 3))
    house.meanwhile("groups", "advance", lambda: house.serve(first[0]))
    with pytest.raises(StaleEpoch):
        house.serve(second[0])
    alice.accepted(first[1], others=[bob, carol])
    house.refuses(bob.adding(at(house, 4))[0], "mds-domain-3")


def test_a_commit_is_judged_again_with_the_queue_that_moved_before_it(
    house: House, alice: Person, bob: Person, carol: Person, group: GroupId, few: int
) -> None:
    done(alice.adding(at(house, 1)), alice, bob, carol)
    moved = moving(bob, elsewhere(bob.queue, admitted(house, 2)))
    house.meanwhile("groups", "advance", lambda: house.serve(moved))
    with refused("mds-domain-3"):
        house.serve(alice.adding(at(house, 3))[0])
    assert house.head().epoch == 2


def test_a_sealed_group_has_as_many(few: int) -> None:
    cast: Cast = new_cast()
    house, alice, bob, carol = cast.house, cast.alice, cast.bob, cast.carol
    one, other, new = (Insider(house, f"insider {number}", admitted(house, number)) for number in (1, 2, 3))
    message, pending = alice.adding(carol, one, other)
    assert house.serve(message) == Ok()
    alice.accepted(pending, [carol, one, other], [bob])
    with pytest.raises(InvalidRequest, match="too many domains"):
        house.serve(alice.adding(new)[0])
    message, pending = alice.removing(other)
    assert house.serve(message) == Ok()
    alice.accepted(pending, others=[bob, carol, one])
    assert house.serve(alice.adding(new)[0]) == Ok()
