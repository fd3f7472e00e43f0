"""Webhooks as their owner sees them: the endpoint, its secrets, and a history that skips nothing."""

import datetime

import msgspec
import pytest
from standardwebhooks import Webhook

from chalicelib.errors import InvalidValue, NotFound
from chalicelib.protocol.timestamps import DAY, HOUR, MINUTE, SECOND
from chalicelib.services.accounts.state import Account
from tests.fakes.outside import Post
from tests.fakes.world import World
from tests.services.provider.providers import Gp, endpoint_of, meanwhile, settle

OLD, NEW = endpoint_of("alpha"), "https://alpha.example/new"


def accepts(secret: str, post: Post) -> bool:
    """Tell whether a receiver who knows one secret believes a post."""
    at = datetime.datetime.fromtimestamp(int(post.headers["webhook-timestamp"]), tz=datetime.UTC)
    signature = Webhook(secret).sign(post.headers["webhook-id"], at, post.body.decode())
    return signature in post.headers["webhook-signature"].split(" ")


@pytest.mark.parametrize(
    "url",
    ["http://a.example/", "https://a.example:22/", "https://user@a.example/", "https://10.0.0.1/"],
)
def test_a_webhook_goes_nowhere_it_must_not(gp: Gp, alpha: Account, url: str) -> None:
    with pytest.raises(InvalidValue):
        gp.webhooks.set(alpha, url)
    assert gp.webhooks.show(alpha).url == OLD


def test_a_changed_url_is_announced_to_the_old_one_under_the_old_secret(gp: Gp, alpha: Account, world: World) -> None:
    old = gp.webhooks.set(alpha, OLD).secret
    new = gp.webhooks.set(alpha, NEW).secret
    settle(gp)
    (told_old,) = [post for post in world.webhook_sender.posts if post.url == OLD]
    (told_new,) = [post for post in world.webhook_sender.posts if post.url == NEW]
    assert (accepts(old, told_old), accepts(new, told_old)) == (True, False)
    assert (accepts(old, told_new), accepts(new, told_new)) == (False, True)
    assert msgspec.json.decode(told_old.body)["type"] == "webhook.changed"
    assert ("webhook-changed", "alpha") in world.alarms.raised


def test_the_same_url_again_is_no_change_and_has_a_new_secret(gp: Gp, alpha: Account, world: World) -> None:
    assert gp.webhooks.set(alpha, OLD).secret != gp.webhooks.set(alpha, OLD).secret
    assert (world.alarms.raised, gp.events(alpha)) == ([], [])


def test_a_webhook_that_is_deleted_is_told_so_and_deleting_again_is_no_error(
    gp: Gp, alpha: Account, world: World
) -> None:
    gp.webhooks.delete(alpha)
    gp.webhooks.delete(alpha)
    settle(gp)
    assert [(post.url, msgspec.json.decode(post.body)["type"]) for post in world.webhook_sender.posts] == [
        (OLD, "webhook.changed")
    ]
    with pytest.raises(NotFound):
        gp.webhooks.show(alpha)


def test_whoever_was_set_meanwhile_is_told_too(gp: Gp, alpha: Account, world: World) -> None:
    between = "https://alpha.example/between"
    meanwhile(world.accounts, "replace", lambda: gp.webhooks.set(alpha, between))
    gp.webhooks.set(alpha, NEW)
    settle(gp)
    assert gp.webhooks.show(alpha).url == NEW
    assert {post.url for post in world.webhook_sender.posts} == {OLD, between, NEW}


def test_a_rotated_secret_signs_beside_the_new_one_for_a_day(gp: Gp, alpha: Account, world: World) -> None:
    first = gp.webhooks.set(alpha, OLD).secret
    second = gp.webhooks.rotate(alpha).secret
    believed = []
    for wait in (0, DAY - 5 * MINUTE, 10 * MINUTE):
        world.clock.advance(wait)
        gp.webhooks.test(alpha)
        gp.hinted()
        post = world.webhook_sender.posts[-1]
        believed.append((accepts(first, post), accepts(second, post)))
    assert believed == [(True, True), (True, True), (False, True)]


def test_the_last_minute_of_the_history_is_withheld_so_that_a_cursor_skips_nothing(
    gp: Gp, alpha: Account, world: World
) -> None:
    for _ in range(3):
        gp.webhooks.test(alpha)
        world.clock.advance(50 * SECOND)
    page = gp.webhooks.history(alpha, None)
    assert len(page.events) == 2
    world.clock.advance(MINUTE)
    rest = gp.webhooks.history(alpha, page.next)
    assert len(rest.events) == 1
    assert gp.webhooks.history(alpha, rest.next).next == rest.next


def test_a_long_history_is_read_in_pages_each_event_once(gp: Gp, alpha: Account, world: World) -> None:
    for _ in range(250):
        world.clock.advance(SECOND)
        gp.webhooks.test(alpha)
    world.clock.advance(MINUTE)
    seen: list[str] = []
    cursor = None
    while (page := gp.webhooks.history(alpha, cursor)).events:
        seen += [event.id for event in page.events]
        cursor = page.next
    assert seen == [event.event_id for event in gp.events(alpha)]


def test_the_history_is_ones_own(gp: Gp, alpha: Account, beta: Account, world: World) -> None:
    event = gp.webhooks.test(alpha)
    world.clock.advance(HOUR)
    assert gp.webhooks.history(beta, None).events == []
    for name in (event.id, "no-event", "0" * 26):
        with pytest.raises(NotFound):
            gp.webhooks.redeliver(beta, name)
    with pytest.raises(InvalidValue):
        gp.webhooks.history(alpha, "yesterday")


def test_an_event_is_sent_again_on_request_under_the_same_id(gp: Gp, alpha: Account, world: World) -> None:
    event = gp.webhooks.test(alpha)
    settle(gp)
    gp.webhooks.redeliver(alpha, event.id)
    gp.webhooks.redeliver(alpha, event.id)
    settle(gp)
    assert [post.headers["webhook-id"] for post in world.webhook_sender.posts] == [event.id] * 2


def test_without_a_webhook_there_is_nothing_to_test_or_rotate(gp: Gp) -> None:
    quiet = gp.enrol("quiet")
    for act in (gp.webhooks.show, gp.webhooks.test, gp.webhooks.rotate):
        with pytest.raises(NotFound):
            act(quiet)
    assert gp.events(quiet) == []
