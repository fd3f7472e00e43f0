"""Queues are where messages can be delivered to: here, or at a delivery service that was admitted."""

import dataclasses

from chalicelib.protocol.delivery.parts import Domain
from chalicelib.protocol.delivery.queueing import ClientQueueConfig
from chalicelib.services.delivery.domains import MOST_DOMAINS, QueueDomains
from chalicelib.services.delivery.state import GroupId
from tests.services.delivery.house import House, Person
from tests.services.delivery.messages import refused

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
