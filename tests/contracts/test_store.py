"""`Store`: what changes together changes at once or not at all, and of two rivals one wins."""

import dataclasses
from collections.abc import Callable

import pytest

from chalicelib.protocol.glados.codes import MOST_ATTEMPTS
from chalicelib.protocol.glados.identifiers import Sii
from chalicelib.protocol.glados.mappings import Records, choose, claim, remove
from chalicelib.protocol.timestamps import DAY, MINUTE
from chalicelib.services.provider.ports import Store
from chalicelib.services.provider.state import Count, LimitKey, Pair, Verification, VerificationId
from chalicelib.services.provider.writes import (
    AddEvent,
    AddOutbox,
    CheckBelow,
    ClearDelay,
    CountUp,
    DropOutbox,
    MoveVerification,
    OpenVerification,
    RecordProof,
    SendAgain,
    SetLive,
    SpendProof,
    Stale,
    TakeAttempt,
    Write,
)
from tests.contracts.examples import (
    ALICE,
    ALPHA,
    BETA,
    BOB,
    DRAMA,
    LIMIT,
    NOW,
    change_of,
    counted,
    event,
    mapping,
    outbox_entry,
    pair_of,
    register,
    verification,
    writes_of,
)
from tests.contracts.ports import Ports
from tests.contracts.races import race, winners


@pytest.fixture
def store(ports: Ports) -> Store:
    return ports.store


def refused(store: Store, *writes: Write) -> Write:
    """Commit what must be stale, and return the write that is named."""
    with pytest.raises(Stale) as stale:
        store.commit(*writes)
    return stale.value.write


def opened(store: Store, name: str = "ver_1", sii: Sii = ALICE) -> Verification:
    one = verification(name, sii)
    store.commit(OpenVerification(one))
    return one


def found(store: Store, one: Verification) -> Verification:
    stored = store.verification(one.verification_id)
    assert stored is not None
    return stored


# --- commit


def test_a_commit_is_made_whole_or_not_at_all(store: Store) -> None:
    opened(store)
    repeat = OpenVerification(verification())
    before = store.records(ALICE)
    rest = [
        *writes_of(ALICE, before, change_of(before, mapping())),
        CountUp(LIMIT, 5, NOW),
        OpenVerification(verification("ver_2")),
        AddEvent(event()),
        AddOutbox(outbox_entry()),
    ]
    for place in (0, 2, len(rest)):
        assert refused(store, *rest[:place], repeat, *rest[place:]) == repeat
    assert store.records(ALICE) == before
    assert counted(store, LIMIT) == Count()
    assert store.verification(VerificationId("ver_2")) is None
    store.commit(*rest)


def test_the_first_write_whose_condition_fails_is_named(store: Store) -> None:
    one = opened(store)
    again, spend = OpenVerification(one), SpendProof(pair_of(one), one.verification_id)
    assert refused(store, CountUp(LIMIT, 5, NOW), again, spend) == again
    assert refused(store, CountUp(LIMIT, 5, NOW), spend, again) == spend


# --- records


def test_an_unknown_identifier_has_no_records(store: Store) -> None:
    assert store.records(ALICE).records == Records()


def test_records_are_read_as_they_were_written(store: Store) -> None:
    register(store)
    register(store, new=mapping(BETA, number=1))
    before = store.records(ALICE)
    change = choose(before.records, before.records.all[1], "replace", NOW + 2)
    store.commit(*writes_of(ALICE, before, change))
    before = store.records(ALICE)
    heard = claim(before.records, "prefer", NOW + MINUTE, ALPHA, NOW)
    assert heard is not None
    store.commit(*writes_of(ALICE, before, heard))
    assert store.records(ALICE).records == heard.records
    assert {record.state for record in heard.records.all} == {"active", "superseded"}
    assert heard.records.floor == NOW + MINUTE


def test_records_that_changed_since_they_were_read_are_not_replaced(store: Store) -> None:
    before = store.records(ALICE)
    register(store)
    writes = writes_of(ALICE, before, change_of(before, mapping(BETA)))
    assert refused(store, *writes) == writes[0]
    assert [record.provider for record in store.records(ALICE).records.all] == [ALPHA]


def test_one_identifiers_records_are_not_anothers(store: Store) -> None:
    before = store.records(BOB)
    register(store, ALICE)
    store.commit(*writes_of(BOB, before, change_of(before, mapping(BETA, "bob"))))
    assert [record.user_id for record in store.records(ALICE).records.all] == ["alice"]
    assert [record.user_id for record in store.records(BOB).records.all] == ["bob"]


@pytest.mark.parametrize("known", [False, True], ids=["new", "known"])
def test_of_rivals_for_one_identifier_one_wins_and_the_others_see_it(store: Store, known: bool) -> None:
    if known:
        register(store)
    before = store.records(ALICE)
    rivals = [writes_of(ALICE, before, change_of(before, mapping(BETA, f"user {number}"))) for number in range(6)]
    assert winners(race(*(committing(store, *writes) for writes in rivals)), Stale) == 1
    assert len(store.records(ALICE).records.all) == len(before.records.all) + 1


def test_a_commit_whose_reply_was_lost_took_effect_once(ports: Ports) -> None:
    store = ports.store
    before = store.records(ALICE)
    writes = [*writes_of(ALICE, before, change_of(before, mapping())), CountUp(LIMIT, 5, NOW), AddEvent(event())]
    ports.lose_reply("store", "commit")
    told = race(committing(store, *writes))
    assert not isinstance(told[0], Stale)
    assert refused(store, *writes) == writes[0]
    assert counted(store, LIMIT).count == 1
    assert len(store.records(ALICE).records.all) == 1
    assert len(ports.pending_log.read()) == 1


# --- the pending log's entries


def test_an_identifier_that_appears_leaves_one_entry(ports: Ports) -> None:
    register(ports.store)
    (entry,) = ports.pending_log.read()
    assert (entry.appears, entry.users) == (ALICE, (("alpha", 1),))


def test_a_second_provider_leaves_an_entry_that_moves_a_count_only(ports: Ports) -> None:
    register(ports.store)
    ports.pending_log.discard(ports.pending_log.read())
    register(ports.store, new=mapping(BETA))
    (entry,) = ports.pending_log.read()
    assert (entry.appears, entry.users) == (None, (("beta", 1),))


def test_a_removal_leaves_an_entry_that_moves_a_count_only(ports: Ports) -> None:
    register(ports.store)
    ports.pending_log.discard(ports.pending_log.read())
    before = ports.store.records(ALICE)
    change = remove(before.records, before.records.all[0], NOW + 1)
    ports.store.commit(*writes_of(ALICE, before, change, NOW + 1))
    (entry,) = ports.pending_log.read()
    assert (entry.appears, entry.users) == (None, (("alpha", -1),))


def test_a_change_that_no_filter_and_no_count_can_see_leaves_no_entry(ports: Ports) -> None:
    register(ports.store)
    ports.pending_log.discard(ports.pending_log.read())
    before = ports.store.records(ALICE)
    change = choose(before.records, before.records.all[0], "prefer", NOW + 1)
    ports.store.commit(*writes_of(ALICE, before, change, NOW + 1))
    assert ports.pending_log.read() == []


def test_a_test_number_never_appears(ports: Ports) -> None:
    register(ports.store, DRAMA, dataclasses.replace(mapping(), test=True))
    assert [entry.appears for entry in ports.pending_log.read()] == [None]


# --- verifications


def test_a_verification_is_read_as_it_was_opened(store: Store) -> None:
    one = opened(store)
    assert store.verification(one.verification_id) == one


def test_an_unknown_verification_is_none(store: Store) -> None:
    assert store.verification(VerificationId("ver_1")) is None


def test_a_verifications_id_is_used_once(store: Store) -> None:
    one = opened(store)
    other = OpenVerification(dataclasses.replace(one, user_id="bob"))
    assert refused(store, other) == other
    assert found(store, one).user_id == "alice"


def test_of_any_number_of_guesses_at_once_five_are_taken(store: Store) -> None:
    one = opened(store)
    guesses = [
        committing(store, TakeAttempt(one.verification_id, right=False, now=NOW)) for _ in range(2 * MOST_ATTEMPTS)
    ]
    assert winners(race(*guesses), Stale) == MOST_ATTEMPTS
    assert found(store, one).attempts == MOST_ATTEMPTS
    assert found(store, one).attempts_left == 0


@pytest.mark.parametrize("end", ["matched", "locked", "cancelled"])
def test_a_verification_that_ended_takes_no_attempt_and_no_send(store: Store, end: str) -> None:
    one = opened(store)
    attempt = TakeAttempt(one.verification_id, right=False, now=NOW)
    store.commit(attempt)
    match end:
        case "matched":
            store.commit(TakeAttempt(one.verification_id, right=True, now=NOW))
        case "locked":
            store.commit(MoveVerification(one.verification_id, "pending", "locked", NOW))
        case "cancelled":
            store.commit(MoveVerification(one.verification_id, "pending", "cancelled", NOW))
    send = SendAgain(one.verification_id, 1, NOW + MINUTE, NOW)
    assert refused(store, attempt) == attempt
    assert refused(store, send) == send


def test_a_verification_takes_attempts_and_sends_until_the_moment_it_expires(store: Store) -> None:
    one = opened(store)
    last = one.expires_at - 1
    for late in (
        TakeAttempt(one.verification_id, right=False, now=one.expires_at),
        SendAgain(one.verification_id, 1, one.expires_at, one.expires_at),
    ):
        assert refused(store, late) == late
    store.commit(TakeAttempt(one.verification_id, right=False, now=last))
    store.commit(SendAgain(one.verification_id, 1, one.expires_at, last))


def test_an_unknown_verification_takes_nothing(store: Store) -> None:
    unknown = VerificationId("ver_1")
    for write in (
        TakeAttempt(unknown, right=False, now=NOW),
        SendAgain(unknown, 1, NOW, NOW),
        MoveVerification(unknown, "pending", "cancelled", NOW),
    ):
        assert refused(store, write) == write
    assert store.verification(unknown) is None


def test_a_verification_moves_from_the_state_it_is_in(store: Store) -> None:
    one = opened(store)
    early = MoveVerification(one.verification_id, "matched", "confirmed", NOW)
    assert refused(store, early) == early
    match = TakeAttempt(one.verification_id, right=True, now=NOW + 1)
    store.commit(match)
    assert refused(store, match) == match
    assert (found(store, one).state, found(store, one).matched_at) == ("matched", NOW + 1)
    assert found(store, one).attempts == 1


def test_a_confirmed_verification_keeps_its_answer(store: Store) -> None:
    one = opened(store)
    store.commit(TakeAttempt(one.verification_id, right=True, now=NOW + 1))
    store.commit(MoveVerification(one.verification_id, "matched", "confirmed", NOW + 2, b"\x00answer"))
    assert found(store, one).answer == b"\x00answer"
    assert found(store, one).matched_at == NOW + 1


def test_of_two_ends_of_a_verification_one_comes(store: Store) -> None:
    one = opened(store)
    ends: list[Write] = [
        TakeAttempt(one.verification_id, right=True, now=NOW),
        MoveVerification(one.verification_id, "pending", "locked", NOW),
        MoveVerification(one.verification_id, "pending", "cancelled", NOW),
    ]
    assert winners(race(*(committing(store, end) for end in ends)), Stale) == 1


def test_a_send_is_counted_by_whoever_saw_the_last_one(store: Store) -> None:
    one = opened(store)
    sends = [committing(store, SendAgain(one.verification_id, 1, NOW + MINUTE, NOW)) for _ in range(4)]
    assert winners(race(*sends), Stale) == 1
    assert (found(store, one).sends, found(store, one).resend_after) == (2, NOW + MINUTE)


def test_a_send_leaves_attempts_as_they_are(store: Store) -> None:
    one = opened(store)
    store.commit(TakeAttempt(one.verification_id, right=False, now=NOW))
    store.commit(SendAgain(one.verification_id, 1, NOW + MINUTE, NOW))
    assert found(store, one).attempts == 1


# --- pairs


def test_an_unknown_pair_has_proved_nothing(store: Store) -> None:
    assert store.pair(pair_of(verification())) == Pair()


def test_a_pair_has_one_live_verification(store: Store) -> None:
    first, second = opened(store), opened(store, "ver_2")
    key = pair_of(first)
    store.commit(SetLive(key, first.verification_id, None))
    late = SetLive(key, second.verification_id, None)
    assert refused(store, late) == late
    store.commit(SetLive(key, second.verification_id, first.verification_id))
    assert store.pair(key).live == second.verification_id


def test_of_two_verifications_opened_at_once_one_is_live(store: Store) -> None:
    rivals = [verification(f"ver_{number}") for number in range(4)]
    key = pair_of(rivals[0])
    opening = [committing(store, OpenVerification(one), SetLive(key, one.verification_id, None)) for one in rivals]
    assert winners(race(*opening), Stale) == 1
    known = [one for one in rivals if store.verification(one.verification_id) is not None]
    assert [one.verification_id for one in known] == [store.pair(key).live]


def test_a_proof_is_good_for_one_choice(store: Store) -> None:
    one = opened(store)
    key = pair_of(one)
    store.commit(RecordProof(key, one.verification_id, NOW + 1))
    assert store.pair(key) == Pair(proof=one.verification_id, proof_at=NOW + 1)
    spending = [committing(store, SpendProof(key, one.verification_id)) for _ in range(4)]
    assert winners(race(*spending), Stale) == 1
    assert store.pair(key).proof_used


def test_a_new_proof_is_good_for_another_choice_and_leaves_the_live_one(store: Store) -> None:
    one, two = opened(store), opened(store, "ver_2")
    key = pair_of(one)
    store.commit(SetLive(key, two.verification_id, None))
    store.commit(RecordProof(key, one.verification_id, NOW))
    store.commit(SpendProof(key, one.verification_id))
    store.commit(RecordProof(key, two.verification_id, NOW + 1))
    old = SpendProof(key, one.verification_id)
    assert refused(store, old) == old
    store.commit(SpendProof(key, two.verification_id))
    assert store.pair(key) == Pair(two.verification_id, two.verification_id, NOW + 1, proof_used=True)


def test_what_a_proof_was_spent_on_is_kept_until_the_next_proof(store: Store) -> None:
    one, two = opened(store), opened(store, "ver_2")
    key = pair_of(one)
    store.commit(RecordProof(key, one.verification_id, NOW))
    store.commit(SpendProof(key, one.verification_id, "replace"))
    assert store.pair(key).spent_on == "replace"
    store.commit(RecordProof(key, two.verification_id, NOW + 1))
    assert store.pair(key).spent_on == ""


def test_where_nothing_was_proved_nothing_is_spent(store: Store) -> None:
    one = opened(store)
    spend = SpendProof(pair_of(one), one.verification_id)
    assert refused(store, spend) == spend


# --- limits


def test_a_counter_goes_to_its_limit_and_no_further(store: Store) -> None:
    counting = [committing(store, CountUp(LIMIT, 3, NOW)) for _ in range(8)]
    assert winners(race(*counting), Stale) == 3
    assert counted(store, LIMIT).count == 3


def test_a_counter_waits_until_its_delay_is_over(store: Store) -> None:
    store.commit(CountUp(LIMIT, 5, NOW, next_at=NOW + MINUTE))
    assert counted(store, LIMIT) == Count(1, NOW + MINUTE)
    early = CountUp(LIMIT, 5, NOW + MINUTE - 1)
    assert refused(store, early) == early
    store.commit(CountUp(LIMIT, 5, NOW + MINUTE))
    assert counted(store, LIMIT).count == 2


def test_an_ended_delay_leaves_the_count(store: Store) -> None:
    store.commit(CountUp(LIMIT, 5, NOW, next_at=NOW + MINUTE))
    store.commit(ClearDelay(LIMIT))
    assert counted(store, LIMIT).count == 1
    store.commit(CountUp(LIMIT, 5, NOW))


def test_a_counter_can_be_checked_without_counting(store: Store) -> None:
    check = CheckBelow(LIMIT, 1)
    store.commit(check, OpenVerification(verification()))
    assert counted(store, LIMIT) == Count()
    store.commit(CountUp(LIMIT, 1, NOW))
    assert refused(store, check) == check
    assert counted(store, LIMIT).count == 1


def test_a_delay_that_has_gone_stays_gone_and_holds_up_nothing(store: Store) -> None:
    store.commit(ClearDelay(LIMIT), OpenVerification(verification()))
    assert counted(store, LIMIT) == Count()
    assert store.verification(verification().verification_id) is not None
    store.commit(CountUp(LIMIT, 1, NOW))


def test_counters_of_another_kind_value_or_window_are_others(store: Store) -> None:
    others = [
        dataclasses.replace(LIMIT, kind="wrong"),
        dataclasses.replace(LIMIT, value=BOB.uri),
        LimitKey(LIMIT.kind, LIMIT.value, LIMIT.window - DAY, LIMIT.ends),
    ]
    store.commit(CountUp(LIMIT, 5, NOW))
    assert [counted(store, other).count for other in others] == [0, 0, 0]


# --- what is told and sent


def test_an_events_id_is_used_once(ports: Ports) -> None:
    ports.store.commit(AddEvent(event()))
    again = AddEvent(event())
    assert refused(ports.store, again, CountUp(LIMIT, 5, NOW)) == again
    assert counted(ports.store, LIMIT).count == 0


def test_an_outbox_entry_that_is_added_again_stays_as_it_is(ports: Ports) -> None:
    ports.store.commit(AddOutbox(outbox_entry()))
    taken = ports.outbox.take(outbox_entry().outbox_id, NOW, NOW + MINUTE)
    assert taken is not None
    ports.store.commit(AddOutbox(outbox_entry()), CountUp(LIMIT, 5, NOW))
    assert counted(ports.store, LIMIT).count == 1
    assert ports.outbox.take(outbox_entry().outbox_id, NOW, NOW + MINUTE) is None
    again = ports.outbox.take(outbox_entry().outbox_id, NOW + MINUTE, NOW + 2 * MINUTE)
    assert again is not None
    assert again.attempts == 2


def test_a_large_change_is_one_commit(store: Store) -> None:
    """All of one identifier's providers give way at once, each is told, and each notice is in the outbox."""
    for number in range(31):
        register(store, new=mapping(dataclasses.replace(ALPHA, provider_id=f"p{number}")))
    register(store, new=mapping(BETA))
    before = store.records(ALICE)
    mine = before.records.of("beta")
    assert mine is not None
    change = choose(before.records, mine, "replace", NOW + 1)
    sent = [AddOutbox(outbox_entry(f"out_{number}")) for number in range(31)]
    store.commit(*writes_of(ALICE, before, change, NOW + 1), *sent)
    assert store.records(ALICE).records.active == (change.records.find(mine.mapping_id),)


def committing(store: Store, *writes: Write) -> Callable[[], None]:
    return lambda: store.commit(*writes)


def test_an_entry_that_is_done_is_dropped_with_what_it_did(ports: Ports) -> None:
    ports.store.commit(AddOutbox(outbox_entry()))
    for _ in range(2):
        ports.store.commit(DropOutbox(outbox_entry().outbox_id))
    assert ports.outbox.take(outbox_entry().outbox_id, NOW, NOW + MINUTE) is None
