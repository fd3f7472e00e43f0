"""What production would let pass and the fakes do not: each rule that they hold their callers to."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.protocol.glados.filters import Parameters
from chalicelib.protocol.glados.mappings import MOST_ACTIVE, Change, Mapping, Records, remove
from chalicelib.protocol.glados.trust import Peer, PeerKeys
from chalicelib.protocol.timestamps import DAY, MINUTE
from chalicelib.services.ports import Versioned
from chalicelib.services.provider.state import (
    FilterVersion,
    Heads,
    OutboxId,
    PairKey,
    Pointer,
    RebuildJob,
    StoredRecords,
    VerificationId,
    VerificationState,
)
from chalicelib.services.provider.writes import (
    AddEvent,
    AddOutbox,
    CountUp,
    MoveVerification,
    OpenVerification,
    RecordProof,
    ReplaceRecords,
    SetLive,
    SpendProof,
    TakeAttempt,
    Write,
)
from tests.contracts.examples import (
    ALICE,
    ALPHA,
    BETA,
    LIMIT,
    NOW,
    account,
    change_of,
    event,
    mapping,
    outbox_entry,
    pair_of,
    register,
    verification,
    writes_of,
)
from tests.contracts.filters import building, peer_head, staged_delta
from tests.fakes.faults import Misuse
from tests.fakes.store import EDGES
from tests.fakes.world import World

ONE = verification()


@pytest.fixture
def world() -> World:
    return World(gp="eu")


# --- the store


@pytest.mark.parametrize(
    "writes",
    [
        [],
        [CountUp(LIMIT, 5, NOW), CountUp(LIMIT, 5, NOW)],
        [OpenVerification(ONE), TakeAttempt(ONE.verification_id, right=False, now=NOW)],
        [AddOutbox(outbox_entry(str(number))) for number in range(101)],
        [OpenVerification(dataclasses.replace(ONE, attempts=1))],
        [OpenVerification(dataclasses.replace(ONE, state="matched"))],
        [OpenVerification(dataclasses.replace(ONE, expires_at=NOW))],
        [SetLive(pair_of(ONE), ONE.verification_id, None)],
        [OpenVerification(ONE), SetLive(dataclasses.replace(pair_of(ONE), user_id="bob"), ONE.verification_id, None)],
        [RecordProof(pair_of(ONE), VerificationId("unknown"), NOW)],
        [CountUp(LIMIT, 5, LIMIT.ends)],
        [AddEvent(dataclasses.replace(event(), tries=((NOW, "200"),)))],
        [AddEvent(dataclasses.replace(event(), sequence=1, mapping_id="map_1"))],
        [AddOutbox(dataclasses.replace(outbox_entry(), attempts=1))],
    ],
    ids=["nothing", "one row twice", "one row by two kinds", "too many items", "attempts", "state", "no life",
         "live unknown", "live of another", "proof of nothing", "outside the window", "tried", "no notice", "taken"],
)  # fmt: skip
def test_a_commit_that_no_service_should_make_fails_the_test(world: World, writes: list[Write]) -> None:
    with pytest.raises(Misuse):
        world.store.commit(*writes)


STATES: tuple[VerificationState, ...] = ("pending", "matched", "confirmed", "locked", "cancelled")


@pytest.mark.parametrize(
    ("before", "after"), [(one, other) for one in STATES for other in STATES if (one, other) not in EDGES]
)
def test_a_verification_goes_no_way_that_does_not_exist(
    world: World, before: VerificationState, after: VerificationState
) -> None:
    world.store.commit(OpenVerification(ONE))
    with pytest.raises(Misuse):
        world.store.commit(MoveVerification(ONE.verification_id, before, after, NOW))


def test_a_wrong_code_has_no_answer_to_keep(world: World) -> None:
    world.store.commit(OpenVerification(ONE))
    with pytest.raises(Misuse):
        world.store.commit(MoveVerification(ONE.verification_id, "pending", "cancelled", NOW, b"answer"))


def test_a_spent_proof_is_never_recorded_again(world: World) -> None:
    key: PairKey = pair_of(ONE)
    world.store.commit(OpenVerification(ONE), RecordProof(key, ONE.verification_id, NOW))
    world.store.commit(SpendProof(key, ONE.verification_id))
    with pytest.raises(Misuse):
        world.store.commit(RecordProof(key, ONE.verification_id, NOW + 1))


def test_one_outbox_id_does_not_stand_for_two_things(world: World) -> None:
    world.store.commit(AddOutbox(outbox_entry()))
    with pytest.raises(Misuse):
        world.store.commit(AddOutbox(dataclasses.replace(outbox_entry(), ref="another")))


Spoil = Callable[[StoredRecords, Change], ReplaceRecords]


def replacing(before: StoredRecords, change: Change, **more: Any) -> ReplaceRecords:
    return ReplaceRecords(ALICE, before, dataclasses.replace(change, **more), NOW)


def first(change: Change, **more: Any) -> Records:
    """Return a change's records with the first of them altered."""
    one, *others = change.records.all
    return Records((dataclasses.replace(one, **more), *others), change.records.floor)


def more(change: Change, *others: Mapping) -> Records:
    """Return a change's records with others behind them."""
    return Records((*change.records.all, *others), change.records.floor)


CROWD = [mapping(dataclasses.replace(ALPHA, provider_id=f"p{number}")) for number in range(MOST_ACTIVE)]

# One illegal change for each complaint.
SPOILED: dict[str, Spoil] = {
    "no read gave out": lambda before, change: replacing(StoredRecords(before.records, None), change),
    "not the ones that the token": lambda before, change: replacing(StoredRecords(Records(), before.token), change),
    "record vanished": lambda before, change: replacing(before, change, records=Records(change.records.all[1:])),
    "floor falls": lambda before, change: replacing(before, change, records=Records(change.records.all, -1)),
    "became another": lambda before, change: replacing(before, change, records=first(change, user_id="bob")),
    "only a tombstone": lambda before, change: replacing(before, change, records=first(change, ended_at=NOW)),
    "sequence falls": lambda before, change: replacing(before, change, records=first(change, sequence=-1)),
    "without a notice": lambda before, change: replacing(
        before, change, records=first(change, state="removed", ended_at=NOW)
    ),
    "two active": lambda before, change: replacing(before, change, records=more(change, mapping(BETA, "bob"))),
    "have one id": lambda before, change: replacing(before, change, records=more(change, change.records.all[0])),
    "more than 32": lambda before, change: replacing(before, change, records=more(change, *CROWD)),
    "counts of users": lambda before, change: replacing(before, change, users=()),
    "`appears`": lambda before, change: replacing(before, change, appears=True),
}


@pytest.mark.parametrize(("complaint", "spoil"), SPOILED.items(), ids=SPOILED)
def test_records_that_no_legal_change_makes_fail_the_test(world: World, complaint: str, spoil: Spoil) -> None:
    register(world.store)
    before = world.store.records(ALICE)
    change = change_of(before, mapping(BETA))
    with pytest.raises(Misuse, match=complaint):
        world.store.commit(spoil(before, change))
    world.store.commit(ReplaceRecords(ALICE, before, change, NOW))


def test_a_tombstone_stays_as_it_is_or_comes_back(world: World) -> None:
    register(world.store)
    before = world.store.records(ALICE)
    world.store.commit(*writes_of(ALICE, before, remove(before.records, before.records.all[0], NOW)))
    before = world.store.records(ALICE)
    change = change_of(before, mapping(BETA))
    with pytest.raises(Misuse, match="a tombstone changed"):
        world.store.commit(replacing(before, change, records=first(change, ended_at=NOW + 1)))


def test_a_notice_without_its_event_fails_the_test(world: World) -> None:
    register(world.store)
    before = world.store.records(ALICE)
    writes = writes_of(ALICE, before, remove(before.records, before.records.all[0], NOW))
    with pytest.raises(Misuse):
        world.store.commit(writes[0])
    world.store.commit(*writes)


def test_a_notice_is_not_told_twice_under_two_ids(world: World) -> None:
    register(world.store)
    before = world.store.records(ALICE)
    change = remove(before.records, before.records.all[0], NOW)
    writes = writes_of(ALICE, before, change)
    world.store.commit(*writes)
    (removed,) = (write.event for write in writes if isinstance(write, AddEvent))
    world.tables.records.clear()  # So that the records can be removed once more.
    register(world.store)
    before = world.store.records(ALICE)
    again = AddEvent(dataclasses.replace(removed, event_id=event(1).event_id))
    with pytest.raises(Misuse, match="strictly increases"):
        world.store.commit(ReplaceRecords(ALICE, before, change, NOW), again)


# --- compare-and-swap rows


def version(**more: Any) -> FilterVersion:
    return dataclasses.replace(building(), **more)


@pytest.mark.parametrize(
    "after",
    [
        (version(state="retiring"),),
        (version(seq=2, at=NOW + 1),),
        (version(seq=1),),
        (version(cut_at=NOW + 1),),
        (version(), version(version=2)),
        (version(raw=peer_head().base),),
        (version(version=0),),
    ],
    ids=["leaps", "skips", "stands still", "moves its cut", "two building", "names nothing", "an old version"],
)
def test_a_pointer_that_leads_readers_astray_fails_the_test(world: World, after: tuple[FilterVersion, ...]) -> None:
    world.filter_pointer.replace(world.filter_pointer.load(), Pointer((version(),)))
    with pytest.raises(Misuse):
        world.filter_pointer.replace(world.filter_pointer.load(), Pointer(after))


def test_deltas_with_a_gap_fail_the_test(world: World) -> None:
    deltas = [staged_delta(world.filter_objects, seq, seq) for seq in (1, 2, 3)]
    states = [version(seq=seq, at=NOW + seq, deltas=tuple(deltas[:seq])) for seq in range(3)]
    for state in states:
        world.filter_pointer.replace(world.filter_pointer.load(), Pointer((state,)))
    gap = version(seq=3, at=NOW + 3, deltas=(deltas[0], deltas[2]))
    short = version(seq=3, at=NOW + 3, deltas=tuple(deltas[:2]))
    for broken in (gap, short):
        with pytest.raises(Misuse):
            world.filter_pointer.replace(world.filter_pointer.load(), Pointer((broken,)))
    world.filter_pointer.replace(
        world.filter_pointer.load(), Pointer((version(seq=3, at=NOW + 3, deltas=tuple(deltas)),))
    )


def test_an_object_that_changes_fails_the_test_even_after_it_was_deleted(world: World) -> None:
    world.filter_objects.put("name", b"data")
    world.filter_objects.delete("name")
    with pytest.raises(Misuse):
        world.filter_objects.put("name", b"other")


@pytest.mark.parametrize("after", [peer_head(seq=4), peer_head(seq=9, version=0)], ids=["seq", "version"])
def test_a_peers_head_that_goes_back_fails_the_test(world: World, after: Any) -> None:
    world.peer_heads.replace(world.peer_heads.load(), Heads((peer_head(seq=5),)))
    with pytest.raises(Misuse):
        world.peer_heads.replace(world.peer_heads.load(), Heads((after,)))


def test_a_token_that_no_read_gave_out_fails_the_test(world: World) -> None:
    world.accounts.create(account())
    with pytest.raises(Misuse):
        world.filter_pointer.replace(Versioned(Pointer(), None), Pointer())
    with pytest.raises(Misuse):
        world.peer_heads.replace(Versioned(Heads(), None), Heads())
    with pytest.raises(Misuse):
        world.accounts.replace(Versioned(account(), None), account())


# --- one call of each port that no service should make

HEAD = peer_head()
US = Peer(gp="us", name="Us", origins=["https://us.example"], thumbprints=["u" * 43], keys=PeerKeys())
JOB = RebuildJob(version=1, not_before=NOW, segments=2)

CALLS: dict[str, Callable[[World], object]] = {
    "over before it begins": lambda world: world.outbox.take(OutboxId("out_1"), NOW, NOW),
    "was not taken": lambda world: world.outbox.postpone(outbox_entry(), NOW),
    "not durable yet": lambda world: world.hints.outbox(OutboxId("out_1")),
    "15 minutes": lambda world: (
        world.store.commit(AddOutbox(outbox_entry())),
        world.hints.outbox(outbox_entry().outbox_id, 901),
    ),
    "no users yet": lambda world: world.accounts.create(dataclasses.replace(account(), users=1)),
    "keeps its id": lambda world: world.accounts.replace(Versioned(account(), None), account("beta")),
    "two heads": lambda world: world.peer_heads.replace(world.peer_heads.load(), Heads((HEAD, HEAD))),
    "given up before": lambda world: world.idempotency.begin(("a",), b"", NOW, NOW),
    "never began": lambda world: world.idempotency.finish(("a",), (200, {}, b"")),
    "gives nothing": lambda world: world.buckets.take("alpha", "query", 1, 0.0, 5, NOW),
    "not taken": lambda world: world.buckets.give_back("alpha", "query", -1, 5),
    "differ in size": lambda world: [
        world.buckets.take("alpha", "query", 1, 1.0, 5, NOW, sketch) for sketch in (b"a", b"ab")
    ],
    "no purpose": lambda world: world.keyring.digest("", "a"),
    "too few fresh": lambda world: world.keyring.mapping_id("alpha", ALICE, bytes(15)),
    "work before it": lambda world: world.rebuild_jobs.create(dataclasses.replace(JOB, segments=0)),
    "segment that does not exist": lambda world: world.scans.positions(2, 2, HEAD.parameters),
    "that is no number": lambda world: world.messenger.send_sms("alice@example.org", "text"),
    "that is no address": lambda world: world.messenger.send_email("+4915123456789", "subject", "text"),
    "two lines": lambda world: world.messenger.send_email("alice@example.org", "sub\nject", "text"),
    "says nothing": lambda world: world.messenger.send_sms("+4915123456789", ""),
    "outside the peer": lambda world: world.peer_client.download(US, "https://evil.example/raw", 1, "0" * 64),
    "pseudonym": lambda world: world.peer_client.ask([], ALICE, "", NOW),
}


@pytest.mark.parametrize(("complaint", "call"), CALLS.items(), ids=CALLS)
def test_a_call_that_no_service_should_make_fails_the_test(
    world: World, complaint: str, call: Callable[[World], object]
) -> None:
    with pytest.raises(Misuse, match=complaint):
        call(world)


def test_a_segment_that_the_job_does_not_have_fails_the_test(world: World) -> None:
    world.rebuild_jobs.create(JOB)
    with pytest.raises(Misuse):
        world.rebuild_jobs.finish_segment(1, 2, HEAD.base, 0)


def test_an_entry_that_no_read_gave_out_is_not_discarded(world: World) -> None:
    register(world.store)
    (entry,) = world.pending_log.read()
    with pytest.raises(Misuse):
        world.pending_log.discard([dataclasses.replace(entry, users=(("alpha", 2),))])


def test_a_filter_version_keeps_its_parameters_on_both_sides(world: World) -> None:
    world.filter_pointer.replace(world.filter_pointer.load(), Pointer((version(),)))
    world.peer_heads.replace(world.peer_heads.load(), Heads((HEAD,)))
    with pytest.raises(Misuse, match="parameters"):
        world.filter_pointer.replace(world.filter_pointer.load(), Pointer((version(parameters=Parameters(21)),)))
    other = dataclasses.replace(HEAD, parameters=Parameters(21))
    with pytest.raises(Misuse, match="parameters"):
        world.peer_heads.replace(world.peer_heads.load(), Heads((other,)))


def test_a_published_version_loses_no_bits_and_names_its_objects_rightly(world: World) -> None:
    raw = world.filter_objects.put("raw", b"raw")
    published = version(state="current", bits_set=5, raw=raw)
    world.filter_pointer.replace(world.filter_pointer.load(), Pointer((version(),)))
    misnamed = dataclasses.replace(published, raw=dataclasses.replace(raw, size=4))
    with pytest.raises(Misuse, match="misnames"):
        world.filter_pointer.replace(world.filter_pointer.load(), Pointer((misnamed,)))
    world.filter_pointer.replace(world.filter_pointer.load(), Pointer((published,)))
    fewer = dataclasses.replace(published, bits_set=4, seq=1, at=NOW + 1)
    with pytest.raises(Misuse, match="lost bits"):
        world.filter_pointer.replace(world.filter_pointer.load(), Pointer((fewer,)))


# --- as stale as a port may be


def test_what_may_be_a_minute_old_is(world: World) -> None:
    world.accounts.create(account())
    world.accounts.recent(account().provider_id)
    loaded = world.accounts.load(account().provider_id)
    assert loaded is not None
    world.accounts.replace(loaded, dataclasses.replace(account(), status="suspended"))
    world.clock.advance(MINUTE - 1)
    old = world.accounts.recent(account().provider_id)
    world.clock.advance(1)
    new = world.accounts.recent(account().provider_id)
    assert old is not None
    assert new is not None
    assert (old.status, new.status) == ("active", "suspended")


def test_what_the_sweep_may_miss_it_misses(world: World) -> None:
    world.store.commit(AddOutbox(outbox_entry()))
    assert world.outbox.due(NOW + DAY, 10) == []
    world.clock.advance(1_000)
    assert world.outbox.due(NOW + DAY, 10) == [outbox_entry().outbox_id]


# --- hints, alarms and answers


def test_a_lost_hint_leaves_no_trace(world: World) -> None:
    world.store.commit(AddOutbox(outbox_entry()))
    world.hints.lost = True
    world.hints.outbox(outbox_entry().outbox_id)
    world.hints.lost = False
    world.hints.outbox(outbox_entry().outbox_id, delay_seconds=5)
    assert world.hints.take() == [("outbox", (OutboxId("out_1"), 5))]
    assert world.hints.take() == []


@pytest.mark.parametrize("about", ["alice@example.org", "tel:+4915123456789", "+4915123456789", "123456"])
def test_an_alarm_that_may_name_a_person_fails_the_test(world: World, about: str) -> None:
    with pytest.raises(Misuse):
        world.alarms.raise_("bounces", about)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_answer_that_invites_a_repeat_is_not_to_be_kept(world: World, status: int) -> None:
    world.idempotency.begin(("a",), b"", NOW, NOW + 1)
    with pytest.raises(Misuse):
        world.idempotency.finish(("a",), (status, {}, b""))
