"""`Events`: what each provider was told, in order, for 30 days."""

import dataclasses
from functools import partial

from chalicelib.protocol.timestamps import DAY, MINUTE
from chalicelib.services.accounts.state import ProviderId
from chalicelib.services.provider.state import Event
from chalicelib.services.provider.writes import AddEvent
from tests.contracts.examples import ALPHA, NOW, event, event_id
from tests.contracts.ports import Ports
from tests.contracts.races import race, winners

OWN = ProviderId("alpha")
OTHER = ProviderId("beta")


def told(ports: Ports, *events: Event) -> None:
    ports.store.commit(*map(AddEvent, events))


def known(ports: Ports) -> Event:
    found = ports.events.get(OWN, event().event_id)
    assert found is not None
    return found


def test_an_event_is_read_as_it_was_added(ports: Ports) -> None:
    full = dataclasses.replace(event(), mapping_id="map_1", user_id="alice", by=ALPHA, detail='{"a":1}')
    told(ports, full)
    assert ports.events.get(OWN, full.event_id) == full


def test_another_providers_event_is_not_found(ports: Ports) -> None:
    told(ports, event())
    assert ports.events.get(OTHER, event().event_id) is None
    assert ports.events.page(OTHER, None, NOW + MINUTE, 10) == []


def test_a_page_is_in_the_order_of_ids_over_the_days(ports: Ports) -> None:
    events = [event(0, NOW), event(1, NOW), event(0, NOW + MINUTE), event(0, NOW + DAY), event(0, NOW + 3 * DAY)]
    ports.clock.advance(4 * DAY)
    told(ports, *reversed(events))
    assert ports.events.page(OWN, None, NOW + 4 * DAY, 10) == events


def test_pages_that_follow_each_other_miss_nothing_and_repeat_nothing(ports: Ports) -> None:
    events = [event(number % 3, NOW + number // 3 * 12 * 60 * MINUTE) for number in range(9)]
    ports.clock.advance(4 * DAY)
    told(ports, *events)
    read: list[Event] = []
    while page := ports.events.page(OWN, read[-1].event_id if read else None, NOW + 4 * DAY, 2):
        assert len(page) <= 2
        read += page
    assert read == events


def test_a_page_withholds_what_came_after_its_end(ports: Ports) -> None:
    told(ports, event(0, NOW), event(0, NOW + 2 * MINUTE))
    assert ports.events.page(OWN, None, NOW + MINUTE, 10) == [event(0, NOW)]


def test_a_page_after_an_event_that_is_still_withheld_is_empty(ports: Ports) -> None:
    told(ports, event(0, NOW), event(0, NOW + 2 * MINUTE))
    assert ports.events.page(OWN, event_id(NOW + 2 * MINUTE, 0), NOW + MINUTE, 10) == []


def test_a_page_goes_on_after_an_id_that_has_no_event(ports: Ports) -> None:
    told(ports, event(0, NOW), event(2, NOW))
    assert ports.events.page(OWN, event_id(NOW, 1), NOW + MINUTE, 10) == [event(2, NOW)]


def test_an_event_is_kept_for_thirty_days(ports: Ports) -> None:
    told(ports, event())
    ports.clock.advance(30 * DAY - MINUTE)
    assert known(ports) == event()
    ports.clock.advance(2 * MINUTE)
    assert ports.events.get(OWN, event().event_id) is None
    assert ports.events.page(OWN, None, ports.clock(), 10) == []


def test_each_try_is_on_record(ports: Ports) -> None:
    told(ports, event())
    ports.events.record(known(ports), "pending", NOW + 1, "500")
    ports.events.record(known(ports), "delivered", NOW + 2, "200")
    assert (known(ports).state, known(ports).tries) == ("delivered", ((NOW + 1, "500"), (NOW + 2, "200")))


def test_a_repeated_try_is_recorded_once(ports: Ports) -> None:
    told(ports, event())
    ports.lose_reply("events", "record")
    race(lambda: ports.events.record(event(), "failed", NOW + 1, "500"))
    ports.events.record(event(), "failed", NOW + 1, "500")
    assert known(ports).tries == ((NOW + 1, "500"),)


def test_a_delivered_event_stays_delivered(ports: Ports) -> None:
    told(ports, event())
    before = known(ports)
    ports.events.record(before, "delivered", NOW + 2, "200")
    ports.events.record(before, "failed", NOW + 3, "500")
    assert known(ports).state == "delivered"


def test_two_workers_tries_are_both_on_record(ports: Ports) -> None:
    told(ports, event())
    before = known(ports)
    tries = [NOW + 1, NOW + 2, NOW + 3]
    outcomes = race(*(partial(ports.events.record, before, "pending", at, "500") for at in tries))
    assert winners(outcomes, AssertionError) == 3
    assert sorted(known(ports).tries) == [(at, "500") for at in tries]


def test_a_try_of_an_unknown_event_makes_none(ports: Ports) -> None:
    race(lambda: ports.events.record(event(), "delivered", NOW, "200"))
    assert ports.events.get(OWN, event().event_id) is None
