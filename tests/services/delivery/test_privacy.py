"""Sealed groups (-02 §7): their life, who is kept out, what lies at rest, and what falls due while nobody asks."""

import dataclasses
import hashlib
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chalicelib.client.mls_identity import Identity
from chalicelib.client.mls_member import Pending
from chalicelib.errors import DecodeError
from chalicelib.protocol.delivery.group_messages import SelfRemoveRequest
from chalicelib.protocol.delivery.group_updates import CommitRequest, DeleteGroupRequest
from chalicelib.protocol.delivery.info_requests import ExternalCommitInfo, UpdateQueueInfo, WelcomeInfo
from chalicelib.protocol.delivery.messages import Body, DSMessage, DSRequest, DSSenderID, sign_message
from chalicelib.protocol.delivery.queueing import QueueingServiceResponse
from chalicelib.protocol.delivery.refusals import InvalidRequest, MustCover, Removed, UnknownGroup
from chalicelib.protocol.delivery.responses import Ok
from chalicelib.protocol.delivery.sealed import STATE_KEY, Sealed, seal_to
from chalicelib.protocol.delivery.sealed_state import SMALLEST
from chalicelib.protocol.mls.errors import StaleEpoch
from chalicelib.protocol.mls.proposals import SelfRemove
from chalicelib.protocol.timestamps import DAY, HOUR, start_of_month
from chalicelib.services.delivery import commits, recipients, vault
from chalicelib.services.delivery.ports import MOST_NOTES
from chalicelib.services.delivery.safe import MOST_PAST
from chalicelib.services.delivery.sealed_rows import OpenRow
from chalicelib.services.delivery.state import GroupId, Kind, User
from tests.fakes.clock import FixedEntropy
from tests.services.delivery.house import GROUP, SUITE, House, Person
from tests.services.delivery.messages import update_of

KEY = bytes(range(32))
IMPROPER = {"short": KEY[:31], "long": KEY + b"\x00", "empty": b""}
OTHER = GroupId(b"another group")
OVERHEAD = 1 + 12 + 16
SELF_REMOVE = 10


def sealed_key(house: House, key: bytes = KEY, group_id: bytes = GROUP) -> Sealed:
    epoch, public = house.world.keys.state_key()
    return seal_to(public, epoch, STATE_KEY, group_id, key)


class Insider(Person):
    """A person who knows the key of the group, and seals it to the service with every request."""

    key: bytes | None = KEY

    def __init__(self, house: House, name: str, domain: str | None = None) -> None:
        super().__init__(house, name, domain)
        self.identity = Identity.basic(SUITE, self.identity.credential.content, self.random, (SELF_REMOVE,))

    def sign(self, sender: DSSenderID, body: Body) -> DSMessage:
        about: Any = body
        if self.key is not None and hasattr(about, "state_key"):
            about = dataclasses.replace(about, state_key=sealed_key(self.house, self.key, about.group_id))
        return super().sign(sender, about)


@dataclasses.dataclass
class Cast:
    """A house, and three people of whom alice and bob are in the sealed group."""

    house: House
    alice: Insider
    bob: Insider
    carol: Insider

    def __post_init__(self) -> None:
        self.alice.create()
        self.alice.add(self.bob)
        self.house.deliver()


@pytest.fixture
def cast() -> Cast:
    house = House()
    return Cast(house, Insider(house, "alice"), Insider(house, "bob"), Insider(house, "carol", "us.ds.example"))


def got(house: House, person: Person) -> list[bytes]:
    """Return what came to a person's queue."""
    there = house.world.queueing_services.delivered.get(person.domain, [])
    return [one.message for one in there if one.config == person.queue]


def outside(house: House) -> bytes:
    """Return all bytes that the service has stored."""
    tables = {name: value for name, value in vars(house.world.tables).items() if name != "lock"}
    others = (house.world.memberships, house.world.users, house.world.directory, house.world.uploads)
    rows = [value for port in others for name, value in vars(port).items() if name.startswith("_")]
    return pickle.dumps((tables, rows))


def traces(house: House, *people: Person) -> set[str]:
    """Return whose identities, keys and queues can be read in what the service has stored."""
    stored, found = outside(house), set()
    for person in people:
        leaf = person.identity.signature_key
        secrets = (person.identity.credential.content, leaf, person.queue.sealed_config.ciphertext)
        found |= {f"{person.name} {place}" for place, secret in enumerate(secrets) if secret in stored}
    return found | ({"the key"} if KEY in stored else set())


# Life.


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
    without = dataclasses.replace(request, state_key=None)
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


# Who is kept out.


def requests(cast: Cast) -> Iterator[tuple[str, Callable[[], DSMessage]]]:
    """Give a maker for one request of each kind about the group."""
    alice, bob = cast.alice, cast.bob
    yield "send", lambda: bob.saying(b"hello")
    yield "commit", lambda: alice.updating()[0]
    yield "propose", lambda: bob.proposing(SelfRemove())
    yield "come back", bob.asking_to_return
    key = bob.identity.signature_key
    yield "queue", lambda: bob.as_member(UpdateQueueInfo(GROUP, key, bob.queue, bob.fresh()))
    assert bob.offered is not None
    reference = DSSenderID.key_package(bob.offered.public.reference(bob.member_suite))
    yield "welcome", lambda: bob.sign(reference, WelcomeInfo(GROUP, key, 1, bob.fresh()))


KINDS = ("send", "commit", "propose", "come back", "queue", "welcome")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", [None, bytes(32)], ids=["missing", "wrong"])
def test_who_has_not_the_key_hears_of_no_group(cast: Cast, kind: str, key: bytes | None) -> None:
    """[mds-sealed-1]"""
    make = dict(requests(cast))[kind]
    cast.alice.key = cast.bob.key = key
    with pytest.raises(UnknownGroup):
        cast.house.serve(make())
    cast.alice.key = cast.bob.key = KEY
    cast.house.serve(make())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", IMPROPER.values(), ids=IMPROPER)
def test_what_is_too_short_or_too_long_for_a_key_is_malformed(cast: Cast, kind: str, key: bytes) -> None:
    make = dict(requests(cast))[kind]
    cast.alice.key = cast.bob.key = key
    with pytest.raises(DecodeError, match="another length"):
        cast.house.serve(make())


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_that_was_sealed_for_another_group_opens_nothing(
    cast: Cast, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = dict(requests(cast))[kind]
    sealed = sealed_key(cast.house, KEY, OTHER)
    monkeypatch.setattr("tests.services.delivery.test_privacy.sealed_key", lambda *_: sealed)
    with pytest.raises(UnknownGroup):
        cast.house.serve(make())


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_for_a_group_that_is_not_sealed_is_refused(kind: str) -> None:
    house = House()
    people = [Insider(house, name) for name in ("alice", "bob", "carol")]
    for person in people:
        person.key = None
    cast = Cast(house, *people)
    make = dict(requests(cast))[kind]
    for person in people:
        person.key = KEY
    with pytest.raises(UnknownGroup):
        house.serve(make())


def test_who_has_not_the_key_does_not_hear_the_epoch(cast: Cast) -> None:
    stale, _ = cast.bob.updating()
    message, _ = cast.alice.updating()
    assert cast.house.serve(message) == Ok()
    with pytest.raises(StaleEpoch):
        cast.house.serve(stale)
    cast.bob.key = bytes(32)
    with pytest.raises(UnknownGroup):
        cast.house.serve(cast.bob.updating()[0])


def test_a_group_is_created_under_a_proper_key_only(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    sealed = sealed_key(house, KEY, OTHER)
    monkeypatch.setattr("tests.services.delivery.test_privacy.sealed_key", lambda *_: sealed)
    with pytest.raises(InvalidRequest) as refused:
        house.serve(Insider(house, "alice").creation())
    assert refused.value.check == "mds-sealed-3"
    assert house.world.tables.heads == {}


def test_a_key_that_the_operator_rotates_goes_on_opening(cast: Cast) -> None:
    old = cast.alice.saying(b"one")
    cast.house.world.keys.rotate()
    assert cast.house.serve(old) == Ok()
    cast.bob.say(b"two")


def test_an_older_state_does_not_open_under_a_newer_head(cast: Cast) -> None:
    tables = cast.house.world.tables
    before = tables.heads[GROUP]
    message, pending = cast.alice.updating()
    assert cast.house.serve(message) == Ok()
    cast.alice.accepted(pending, others=[cast.bob])
    after = tables.heads[GROUP]
    tables.heads[GROUP] = dataclasses.replace(after, root=before.root)
    with pytest.raises(UnknownGroup):
        cast.bob.say(b"hello")
    tables.heads[GROUP] = after
    cast.bob.say(b"hello")


def test_the_state_of_another_group_does_not_open_under_the_same_key(cast: Cast) -> None:
    dave = Insider(cast.house, "dave")
    dave.create(OTHER)
    tables = cast.house.world.tables
    theirs = tables.heads[GROUP]
    stolen = dataclasses.replace(theirs, version=1, root=tables.heads[OTHER].root)
    tables.heads[GROUP], tables.objects[GROUP] = stolen, tables.objects[OTHER]
    with pytest.raises(UnknownGroup):
        cast.bob.say(b"hello")


def test_a_sealed_group_has_a_limit(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault, "MOST_MEMBERS", 2)
    message, _ = cast.alice.adding(cast.carol)
    with pytest.raises(InvalidRequest) as refused:
        cast.house.serve(message)
    assert refused.value.check == "mds-sealed-2"
    assert cast.house.serve(cast.alice.updating()[0]) == Ok()


# At rest.


def test_nothing_of_the_members_can_be_read_at_rest(cast: Cast) -> None:
    house, alice, bob, carol = cast.house, cast.alice, cast.bob, cast.carol
    everybody = (alice, bob, carol)
    steps: list[Callable[[], DSMessage]] = [
        lambda: alice.adding(carol)[0],
        lambda: bob.saying(b"hello"),
        lambda: bob.proposing(SelfRemove()),
        lambda: carol.asking_to_return(),
    ]
    for step in steps:
        assert house.serve(step())
        assert traces(house, *everybody) == set()
        rows = house.world.tables.logs[GROUP].values()
        for row in rows:
            assert (row.kind, row.root, row.body, row.sender) == (Kind.SEALED, b"", b"", None)
            assert (row.joiners, row.joined, row.left) == ((), (), ())
        if step is steps[0]:
            assert len(rows) == 2
        # While it is delivered, and after.
        house.deliver()
        assert traces(house, *everybody) == set()
        assert house.world.tables.logs[GROUP] == {}
        if step is steps[0]:
            bob.receive(got(house, bob)[-1])
    assert house.world.tables.pasts == {}
    assert house.noticed == []
    assert all(house.world.memberships.of(user) == [] for user in (b"mimi://example.com/u/alice", b"alice"))


def test_a_sealed_group_begins_without_a_row() -> None:
    house = House()
    alice = Insider(house, "alice")
    alice.create()
    assert (house.head().seq, house.world.tables.logs[GROUP], traces(house, alice)) == (0, {}, set())
    house.deliver()
    assert house.noticed == []


def test_a_row_names_the_queues_that_get_it_and_no_other(cast: Cast) -> None:
    house, alice, bob, carol = cast.house, cast.alice, cast.bob, cast.carol
    assert house.serve(alice.adding(carol)[0]) == Ok()
    commit, welcome = (house.vault.disclose(GROUP, row) for row in house.world.tables.logs[GROUP].values())
    assert isinstance(commit, OpenRow)
    assert isinstance(welcome, OpenRow)
    assert (commit.kind, commit.queues) == (Kind.COMMIT, (bob.queue,))
    assert (welcome.kind, welcome.queues) == (Kind.WELCOME, (carol.queue,))
    assert [place for _, place in welcome.joiners] == [0]
    assert commit.inbox_key == welcome.inbox_key == contents(cast).inbox


def test_each_group_has_an_inbox_key_of_its_own(cast: Cast) -> None:
    other = new_cast()
    other.house.world.entropy = FixedEntropy("another seed")
    other.house.restart()
    Insider(other.house, "dave").create(OTHER)
    key = contents(cast).inbox_key
    opened = other.house.vault.unlock(other.house.head(OTHER), sealed_key(other.house, KEY, OTHER))
    assert opened.safe is not None
    assert len({key, opened.safe.inbox_key, bytes(32)}) == 3
    assert contents(cast).inbox_key == key


def test_a_sealed_group_has_one_shard_however_large_it_is(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "SHARD_LEAVES", 1)
    monkeypatch.setattr(recipients, "SHARD_LEAVES", 1)
    cast.alice.add(cast.carol)
    assert cast.house.head().shards == 1
    cast.alice.say(b"hello")
    cast.house.deliver()
    assert len(got(cast.house, cast.carol)) == 2


def test_of_a_group_that_is_not_sealed_everything_can() -> None:
    house = House()
    alice, bob = Person(house, "alice"), Person(house, "bob")
    alice.create()
    alice.add(bob)
    assert len(traces(house, alice, bob)) == 6


def test_the_head_says_the_month_and_what_ordering_needs(cast: Cast) -> None:
    house, alice = cast.house, cast.alice
    month = start_of_month(house.world.clock())
    head = house.head()
    assert (head.created_at, head.used_at, head.shards, head.blocked_since) == (month, month, 1, 0)
    house.world.clock.advance(40 * DAY)
    alice.say(b"still here")
    assert house.head().used_at == start_of_month(house.world.clock()) > month


def test_the_stored_state_has_the_size_of_a_power_of_two(cast: Cast) -> None:
    house = cast.house
    sizes = set()
    for number in range(12):
        cast.alice.add(Insider(house, f"guest {number}"))
        sizes.add(len(house.world.tables.objects[GROUP][house.head().root]) - OVERHEAD)
    assert len(sizes) > 1
    assert all(size & (size - 1) == 0 and size >= SMALLEST for size in sizes)
    assert all(len(content) - OVERHEAD in sizes | {SMALLEST} for content in house.world.tables.objects[GROUP].values())


def test_no_two_versions_have_anything_in_common(cast: Cast) -> None:
    for _ in range(3):
        message, pending = cast.alice.updating()
        assert cast.house.serve(message) == Ok()
        cast.alice.accepted(pending)
    names = list(cast.house.world.tables.objects[GROUP])
    assert len({name[:8] for name in names}) == len({name[8:] for name in names}) == len(names) == 5


def test_the_state_does_not_grow_with_its_history(cast: Cast) -> None:
    """What no epoch can ask for any more is dropped, and so are epochs that are too old or too many."""
    house, alice = cast.house, cast.alice
    pendings: list[Pending] = []
    guests = [Insider(house, f"guest {number}") for number in range(MOST_PAST + 1)]
    for guest in guests:
        message, pending = alice.adding(guest)
        assert house.serve(message) == Ok()
        alice.accepted(pending)
        pendings.append(pending)
    with pytest.raises(UnknownGroup):
        guests[0].join(pendings[0])
    for guest, pending in list(zip(guests, pendings, strict=True))[1:3]:
        guest.join(pending)
    house.world.clock.advance(91 * DAY)
    with pytest.raises(UnknownGroup):
        guests[3].join(pendings[3])
    full = len(contents(cast).objects)
    message, pending = alice.updating()
    assert house.serve(message) == Ok()
    assert len(contents(cast).objects) < full / 2
    assert contents(cast).past == ()


def contents(cast: Cast) -> Any:
    """Return what the sealed object holds now."""
    opened = cast.house.vault.unlock(cast.house.head(), sealed_key(cast.house))
    assert opened.safe is not None
    return opened.safe


def test_rows_stay_while_a_domain_is_behind(cast: Cast) -> None:
    house, alice, carol = cast.house, cast.alice, cast.carol
    alice.add(carol)
    house.deliver()
    house.world.queueing_services.down.add("us.ds.example")
    alice.say(b"one")
    alice.say(b"two")
    house.deliver()
    assert len(house.world.tables.logs[GROUP]) == 2
    assert traces(house, alice, carol) == set()
    house.world.queueing_services.down.clear()
    house.deliver()
    assert len(got(house, carol)) == 3
    assert house.world.tables.logs[GROUP] == {}
    assert house.world.tables.wakes == {}


# What falls due while nobody asks.


def reject(cast: Cast, person: Person) -> None:
    cast.house.world.queueing_services.results[person.queue] = QueueingServiceResponse.INVALID_CLIENT_QUEUE_INFORMATION


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


# Crashes.


def adding(cast: Cast) -> DSMessage:
    return cast.alice.adding(cast.carol)[0]


STORIES: dict[str, Callable[[Cast], DSMessage]] = {
    "add": adding,
    "send": lambda cast: cast.bob.saying(b"hello"),
    "propose": lambda cast: cast.bob.proposing(SelfRemove()),
    "queue": lambda cast: dict(requests(cast))["queue"](),
}


def new_cast() -> Cast:
    house = House()
    return Cast(house, Insider(house, "alice"), Insider(house, "bob"), Insider(house, "carol", "us.ds.example"))


def calls_of(story: Callable[[Cast], DSMessage]) -> list[tuple[str, str, int]]:
    """Return each call that a request makes of a port that can fail, with how many of its kind came before."""
    cast = new_cast()
    message = story(cast)
    before = len(cast.house.world.calls())
    cast.house.serve(message)
    made = [call for call in cast.house.world.calls()[before:] if call[0] not in {"hints", "alarms"}]
    return [(port, method, made[:place].count((port, method))) for place, (port, method) in enumerate(made)]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("story", STORIES)
def test_a_request_is_done_once_wherever_it_crashed(story: str, when: Any) -> None:
    made = calls_of(STORIES[story])
    assert ("objects", "load", 0) in made
    for port, method, skip in made:
        cast = new_cast()
        message = STORIES[story](cast)
        before = cast.house.head()
        cast.house.world.fail(port, method, when, skip=skip)
        with pytest.raises(ConnectionError):
            cast.house.serve(message)
        cast.house.restart()
        assert cast.house.serve(message) == Ok()
        assert cast.house.world.faults.armed == []
        after = cast.house.head()
        assert after.version - before.version == (story != "send")
        assert after.seq - before.seq == {"add": 2, "send": 1, "propose": 1, "queue": 0}[story]
        assert traces(cast.house, cast.alice, cast.bob, cast.carol) == set()
        cast.house.deliver()
        assert cast.house.world.tables.logs[GROUP] == {}


@pytest.mark.parametrize("when", ["before", "after"])
def test_removals_are_proposed_once_wherever_it_crashed(when: Any) -> None:
    def rejected() -> Cast:
        cast = new_cast()
        reject(cast, cast.bob)
        cast.alice.say(b"hello")
        cast.house.deliver()
        return cast

    def refuse(cast: Cast) -> None:
        with pytest.raises(MustCover) as refused:
            cast.alice.say(b"are you there?")
        assert len(refused.value.required) == 1

    cast = rejected()
    start = len(cast.house.world.calls())
    refuse(cast)
    made = [call for call in cast.house.world.calls()[start:] if call[0] not in {"hints", "alarms"}]
    assert ("inboxes", "clear") in made
    for place, (port, method) in enumerate(made):
        cast = rejected()
        before = cast.house.head()
        cast.house.world.fail(port, method, when, skip=made[:place].count((port, method)))
        with pytest.raises(ConnectionError):
            cast.alice.say(b"are you there?")
        refuse(cast)
        assert cast.house.head().version - before.version == 1
        assert cast.house.world.tables.inboxes == {}


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_sealed_group_is_created_once_wherever_it_crashed(when: Any) -> None:
    house = House()
    message = Insider(house, "alice").creation()
    start = len(house.world.calls())
    house.serve(message)
    made = [call for call in house.world.calls()[start:] if call[0] not in {"hints", "alarms"}]
    for place, (port, method) in enumerate(made):
        house = House()
        alice = Insider(house, "alice")
        message = alice.creation()
        house.world.fail(port, method, when, skip=made[:place].count((port, method)))
        with pytest.raises(ConnectionError):
            house.serve(message)
        assert house.serve(message) == Ok()
        alice.say(b"alone")


def test_delivery_goes_on_wherever_it_crashed(cast: Cast) -> None:
    house, alice, bob = cast.house, cast.alice, cast.bob
    alice.say(b"hello")
    start = len(house.world.calls())
    house.deliver()
    made = [call for call in house.world.calls()[start:] if call[0] not in {"hints", "alarms"}]
    assert ("groups", "forget") in made
    for place, (port, method) in enumerate(made):
        for when in ("before", "after"):
            cast = new_cast()
            house, alice, bob = cast.house, cast.alice, cast.bob
            alice.say(b"hello")
            house.world.fail(port, method, when, skip=made[:place].count((port, method)))
            with pytest.raises(ConnectionError):
                house.deliver()
            house.restart()
            for _ in range(4):
                house.deliver()
            assert len(got(house, bob)) == 2
            assert house.world.tables.logs[GROUP] == {}
