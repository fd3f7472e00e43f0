"""The outbox: each entry at least once, whoever wakes it, and none in the way of another."""

import dataclasses
import datetime

import msgspec
import pytest
from standardwebhooks import Webhook

from chalicelib.protocol.timestamps import DAY, HOUR, MINUTE, SECOND
from chalicelib.services.accounts.state import Account
from chalicelib.services.ports import Lost
from chalicelib.services.provider.dispatch import LEASE
from chalicelib.services.provider.state import OutboxId
from tests.fakes.world import World
from tests.services.provider.providers import PHONE, Gp, endpoint_of, meanwhile, settle

ENDPOINT = endpoint_of("alpha")


def owe(gp: Gp, alpha: Account) -> OutboxId:
    """Let alpha be owed one event, and return its outbox entry."""
    gp.register(alpha)
    gp.register(alpha, user="bob")
    gp.world.hints.take()
    (entry,) = gp.world.outbox.entries
    return entry.outbox_id


def hours_of_attempts(gp: Gp, since: int) -> list[float]:
    posts = gp.world.webhook_sender.posts
    return [(int(post.headers["webhook-timestamp"]) * SECOND - since) / HOUR for post in posts]


def pump(gp: Gp, hours: int) -> None:
    """Let the queue deliver each hint when it is due, and the schedule sweep each minute, for some hours."""
    ends = gp.world.clock() + hours * HOUR
    while gp.world.clock() < ends:
        gp.hinted()
        gp.world.clock.advance(5 * SECOND)
        if gp.world.clock() % MINUTE == 0:
            gp.dispatch.sweep()


def test_an_event_is_posted_once_and_signed_so_that_its_receiver_can_tell(gp: Gp, alpha: Account, world: World) -> None:
    secret = gp.webhooks.set(alpha, ENDPOINT).secret
    owe(gp, alpha)
    settle(gp)
    (post,) = world.webhook_sender.posts
    (event,) = gp.events(alpha)
    seconds = int(post.headers["webhook-timestamp"])
    assert Webhook(secret).sign(event.event_id, moment(seconds), post.body.decode()) in post.headers[
        "webhook-signature"
    ].split(" ")
    body = msgspec.json.decode(post.body)
    assert (post.headers["webhook-id"], body["type"]) == (event.event_id, "mapping.superseded")
    assert body["data"]["by"] == {"provider_id": "alpha", "provider_name": "Alpha", "gp": "eu"}
    assert PHONE.removeprefix("tel:") not in post.body.decode()
    assert event.state == "delivered"


def moment(seconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC)


def test_a_message_that_comes_twice_sends_once(gp: Gp, alpha: Account, world: World) -> None:
    entry = owe(gp, alpha)
    gp.dispatch.work_off(entry)
    gp.dispatch.work_off(entry)
    assert len(world.webhook_sender.posts) == 1


def test_an_entry_that_is_being_worked_on_is_left_alone_until_its_lease_ends(
    gp: Gp, alpha: Account, world: World
) -> None:
    entry = owe(gp, alpha)
    world.fail("webhook_sender", "post")
    with pytest.raises(ConnectionError):
        gp.dispatch.work_off(entry)
    gp.dispatch.work_off(entry)
    world.clock.advance(LEASE - 1)
    assert gp.dispatch.sweep() == 0
    assert world.webhook_sender.posts == []
    world.clock.advance(1)
    assert gp.dispatch.sweep() == 1
    assert len(world.webhook_sender.posts) == 1


def test_an_endpoint_that_is_down_for_a_day_hears_of_it_in_the_end(gp: Gp, alpha: Account, world: World) -> None:
    world.webhook_sender.script(ENDPOINT, *(None, 500, 503, 429, 302, None, None, None, 500))
    entry = owe(gp, alpha)
    (event,) = gp.events(alpha)
    world.hints.outbox(entry)
    pump(gp, 25)
    hours = [0, 5 / 3600, 5 / 60, 0.5, 2, 5, 10, 14, 20, 24]
    assert hours_of_attempts(gp, event.at) == pytest.approx(hours, abs=0.02)
    (event,) = gp.events(alpha)
    assert (event.state, len(event.tries)) == ("delivered", 10)


def test_the_schedule_alone_makes_ten_attempts_and_then_says_that_it_failed(
    gp: Gp, alpha: Account, world: World
) -> None:
    """No hint ever arrives, and the endpoint never answers; the history keeps the event."""
    world.webhook_sender.script(ENDPOINT, *([None] * 20))
    owe(gp, alpha)
    for _ in range(26 * 60):
        world.clock.advance(MINUTE)
        gp.dispatch.sweep()
    (event,) = gp.events(alpha)
    assert (event.state, len(event.tries), world.outbox.entries) == ("failed", 10, [])
    assert world.account("alpha").webhook is not None


def test_workers_that_die_do_not_use_up_the_attempts(gp: Gp, alpha: Account, world: World) -> None:
    owe(gp, alpha)
    world.fail("webhook_sender", "post", times=15)
    for _ in range(20):
        world.clock.advance(MINUTE + SECOND)
        try:
            gp.dispatch.sweep()
        except ConnectionError:
            assert world.webhook_sender.posts == []
    assert world.faults.armed == []
    (event,) = gp.events(alpha)
    assert event.state == "delivered"


def test_workers_that_die_and_then_an_outage_leave_the_day_its_length(gp: Gp, alpha: Account, world: World) -> None:
    world.webhook_sender.script(ENDPOINT, 503, 503)
    owe(gp, alpha)
    world.fail("webhook_sender", "post", times=12)
    for _ in range(5 * 60):
        world.clock.advance(MINUTE)
        try:
            gp.dispatch.sweep()
        except ConnectionError:
            assert gp.events(alpha)[0].state == "pending"
    (event,) = gp.events(alpha)
    assert [outcome for _, outcome in event.tries] == ["status 503", "status 503", "status 200"]
    assert event.state == "delivered"


def test_an_entry_that_always_fails_does_not_hold_up_the_others(gp: Gp, alpha: Account, world: World) -> None:
    bad = owe(gp, alpha)
    world.tables.outbox[bad] = dataclasses.replace(world.tables.outbox[bad], ref="not two words")
    world.clock.advance(SECOND)
    gp.webhooks.test(alpha)
    world.clock.advance(MINUTE)
    with pytest.raises(ValueError, match="unpack"):
        gp.dispatch.sweep()
    assert [entry.outbox_id for entry in world.outbox.entries] == [bad]


def test_gone_disables_the_webhook_and_alarms(gp: Gp, alpha: Account, world: World) -> None:
    world.webhook_sender.script(ENDPOINT, 410)
    gp.dispatch.work_off(owe(gp, alpha))
    health = gp.webhooks.show(alpha)
    assert (health.state, health.last_failure) == ("disabled", "status 410")
    assert ("webhook-disabled", "alpha") in world.alarms.raised
    gp.register(alpha)
    settle(gp)
    assert [event.state for event in gp.events(alpha)] == ["failed", "failed"]
    assert len(world.webhook_sender.posts) == 1


def test_that_it_is_gone_is_not_lost_to_a_change_made_meanwhile(gp: Gp, alpha: Account, world: World) -> None:
    world.webhook_sender.script(ENDPOINT, 410, 410)
    entry = owe(gp, alpha)
    meanwhile(world.accounts, "replace", lambda: gp.enrolment.rotate_secret("alpha"))
    with pytest.raises(Lost):
        gp.dispatch.work_off(entry)
    world.clock.advance(LEASE)
    gp.dispatch.work_off(entry)
    assert gp.webhooks.show(alpha).state == "disabled"


def test_a_new_endpoint_is_not_disabled_by_what_the_old_one_said(gp: Gp, alpha: Account, world: World) -> None:
    world.webhook_sender.script(ENDPOINT, 410)
    entry = owe(gp, alpha)
    meanwhile(world.events, "record", lambda: gp.webhooks.set(alpha, "https://alpha.example/new"))
    gp.dispatch.work_off(entry)
    assert gp.webhooks.show(alpha).state == "enabled"


def test_an_event_without_a_webhook_waits_in_the_history(gp: Gp, world: World) -> None:
    account = gp.enrol("quiet")
    gp.dispatch.work_off(owe(gp, account))
    (event,) = gp.events(account)
    assert (event.state, event.tries[0][1], world.outbox.entries) == ("failed", "no webhook is enabled", [])
    world.clock.advance(DAY)
    assert len(gp.webhooks.history(account, None).events) == 1
