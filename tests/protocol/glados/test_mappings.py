"""Who an identifier leads to: the order, each way it changes, and two GPs that hear of each other's choices."""

import dataclasses
import itertools
import random
from typing import Literal, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.errors import Gone, NotFound, TooManyMappings
from chalicelib.protocol.glados.mappings import (
    AHEAD,
    MOST_ACTIVE,
    TOMBSTONE_LIFE,
    Change,
    Mapping,
    MappingId,
    Provider,
    Records,
    best,
    choose,
    claim,
    confirm,
    prior_to,
    rank,
    remove,
    restore,
    stamp,
)
from chalicelib.protocol.timestamps import DAY, MINUTE

NOW = 1_767_225_600_000

ALPHA = Provider("alpha", "Alpha", "eu")
BETA = Provider("beta", "Beta", "eu")
GAMMA = Provider("gamma", "Gamma", "us")


def mapping(provider: Provider, at: int = NOW, *, chosen: int | None = None, user: str = "alice") -> Mapping:
    return Mapping(
        mapping_id=MappingId(f"{provider.provider_id} {user} {at}"),
        provider=provider,
        user_id=user,
        ssi=f"im:{user}@{provider.provider_id}.example",
        source="verified",
        registered_at=at,
        preferred_at=chosen,
    )


def records(*held: Mapping, floor: int = 0) -> Records:
    return Records(held, floor)


# --- the order


@pytest.mark.parametrize(
    ("winner", "loser"),
    [
        (mapping(BETA, NOW, chosen=NOW), mapping(ALPHA, NOW - DAY)),
        (mapping(BETA, NOW, chosen=NOW), mapping(ALPHA, NOW - DAY, chosen=NOW - 1)),
        (mapping(BETA, NOW - 1), mapping(ALPHA, NOW)),
        (mapping(BETA), mapping(GAMMA)),
        (mapping(ALPHA), mapping(BETA)),
        (mapping(BETA, NOW, chosen=NOW + AHEAD), mapping(ALPHA, NOW, chosen=NOW)),
    ],
    ids=["chosen", "newest choice", "oldest unchosen", "GP", "provider", "ahead but believed"],
)
def test_the_answer_is_the_newest_choice_or_else_the_oldest_registration(winner: Mapping, loser: Mapping) -> None:
    assert best([loser, winner], NOW) == best([winner, loser], NOW) == winner


def test_a_choice_too_far_ahead_of_our_clock_is_no_choice() -> None:
    ahead = mapping(ALPHA, NOW - DAY, chosen=NOW + AHEAD + 1)
    chosen = mapping(BETA, NOW, chosen=NOW)
    assert best([ahead, chosen], NOW) == chosen
    assert best([ahead, chosen], NOW + 1) == ahead


def test_where_nobody_holds_the_identifier_there_is_no_answer() -> None:
    assert best([], NOW) is None


def test_prior_names_every_other_provider_once() -> None:
    held = [mapping(GAMMA), mapping(ALPHA), mapping(BETA), mapping(BETA, user="bob")]
    assert prior_to(ALPHA, held) == (BETA, GAMMA)


def test_a_namesake_at_another_gp_is_another_provider() -> None:
    namesake = Provider("alpha", "Alpha", "us")
    assert prior_to(ALPHA, [mapping(ALPHA), mapping(namesake)]) == (namesake,)


# --- stamps


@given(
    st.lists(st.tuples(st.integers(-DAY, AHEAD), st.none() | st.integers(-DAY, AHEAD)), max_size=4),
    st.integers(-DAY, AHEAD),
    st.lists(st.integers(-DAY, AHEAD), max_size=3),
)
def test_a_stamp_lies_above_every_stamp_seen(held: list[tuple[int, int | None]], floor: int, seen: list[int]) -> None:
    known = [
        mapping(ALPHA, NOW + at, chosen=None if chosen is None else NOW + chosen, user=str(number))
        for number, (at, chosen) in enumerate(held)
    ]
    new = stamp(NOW, Records(tuple(known), NOW + floor), [NOW + moment for moment in seen])
    assert new >= NOW
    for moment in [NOW + floor, *(record.stamp for record in known), *(NOW + moment for moment in seen)]:
        assert new > moment


@pytest.mark.parametrize("unbelieved", ["floor", "seen", "record"])
def test_one_bad_clock_neither_moves_stamps_nor_hides_the_others(unbelieved: str) -> None:
    far = NOW + AHEAD + 1
    known = records(mapping(ALPHA, chosen=NOW + MINUTE), floor=far if unbelieved == "floor" else 0)
    if unbelieved == "record":
        known = records(*known.all, mapping(BETA, chosen=far))
    assert stamp(NOW, known, [far] if unbelieved == "seen" else []) == NOW + MINUTE + 1


# --- confirming


def test_a_first_mapping_with_no_prior_anywhere_is_the_users_choice() -> None:
    change = confirm(Records(), mapping(ALPHA), NOW, alone=True)
    (held,) = change.records.active
    assert held.preferred_at == NOW
    assert change == Change(change.records, notices=(), users=(("alpha", 1),), appears=True)


def test_where_the_search_was_not_complete_nothing_is_chosen() -> None:
    (held,) = confirm(Records(), mapping(ALPHA), NOW, alone=False).records.active
    assert held.preferred_at is None


def test_what_was_loaded_in_bulk_is_never_a_choice() -> None:
    bulk = dataclasses.replace(mapping(ALPHA), source="bulk")
    (held,) = confirm(Records(), bulk, NOW, alone=True).records.active
    assert held.preferred_at is None


def test_a_second_provider_waits_behind_the_first() -> None:
    first = confirm(Records(), mapping(ALPHA), NOW, alone=True).records
    change = confirm(first, mapping(BETA, NOW + 1), NOW + 1, alone=False)
    assert best(change.records.active, NOW + 1) == first.of("alpha")
    assert change.notices == ()
    assert not change.appears


def test_the_same_user_again_keeps_its_registration_and_its_choice() -> None:
    first = confirm(Records(), mapping(ALPHA), NOW, alone=True).records
    change = confirm(first, mapping(ALPHA, NOW + DAY), NOW + DAY, alone=True)
    assert change.records == first
    assert change.users == ()


def test_a_bulk_mapping_that_is_verified_later_counts_as_verified_and_may_be_chosen() -> None:
    bulk = records(dataclasses.replace(mapping(ALPHA), source="bulk"))
    (held,) = confirm(bulk, mapping(ALPHA, NOW + DAY), NOW + DAY, alone=True).records.active
    assert (held.source, held.registered_at, held.preferred_at) == ("verified", NOW, NOW + DAY)


def test_a_verified_mapping_is_not_made_less_by_a_bulk_load() -> None:
    verified = records(mapping(ALPHA, chosen=NOW))
    bulk = dataclasses.replace(mapping(ALPHA, NOW + DAY), source="bulk", tags=("new",))
    (held,) = confirm(verified, bulk, NOW + DAY, alone=False).records.active
    assert (held.source, held.preferred_at, held.tags) == ("verified", NOW, ("new",))


def test_another_user_at_the_same_provider_is_a_number_that_moved() -> None:
    old = mapping(ALPHA, chosen=NOW)
    new = mapping(ALPHA, NOW + DAY, user="bob")
    change = confirm(records(old), new, NOW + DAY, alone=False)
    assert change.records.active == (new,)
    ended = change.records.find(old.mapping_id)
    assert (ended.state, ended.ended_at) == ("superseded", NOW + DAY)
    (notice,) = change.notices
    assert (notice.mapping_id, notice.user_id, notice.type) == (old.mapping_id, "alice", "mapping.superseded")
    assert change.users == ()


def test_an_identifier_has_no_room_for_one_provider_too_many() -> None:
    full = records(*(mapping(Provider(f"p{number}", "P", "eu")) for number in range(MOST_ACTIVE)))
    with pytest.raises(TooManyMappings):
        confirm(full, mapping(ALPHA), NOW, alone=False)
    again = mapping(Provider("p0", "P", "eu"), NOW + 1)
    assert len(confirm(full, again, NOW + 1, alone=False).records.active) == MOST_ACTIVE


def test_a_full_identifier_has_room_again_once_a_mapping_is_removed() -> None:
    full = records(*(mapping(Provider(f"p{number}", "P", "eu")) for number in range(MOST_ACTIVE)))
    less = remove(full, full.all[0], NOW).records
    assert confirm(less, mapping(ALPHA), NOW, alone=False).records.of("alpha") is not None


# --- choosing


def test_prefer_removes_nothing_and_tells_the_others() -> None:
    before = records(mapping(ALPHA, chosen=NOW), mapping(BETA))
    change = choose(before, before.all[1], "prefer", NOW + 1)
    assert {record.state for record in change.records.all} == {"active"}
    answer = best(change.records.active, NOW + 1)
    assert answer is not None
    assert answer.provider == BETA
    assert [(notice.provider_id, notice.by) for notice in change.notices] == [("alpha", BETA)]
    assert change.users == ()


def test_replace_leaves_one_active_record_and_tombstones() -> None:
    before = records(mapping(ALPHA, chosen=NOW), mapping(BETA))
    change = choose(before, before.all[1], "replace", NOW + 1)
    assert [record.provider for record in change.records.active] == [BETA]
    assert change.records.find(before.all[0].mapping_id).ended_at == NOW + 1
    assert change.users == (("alpha", -1),)


def test_a_tombstone_is_not_told_of_later_choices() -> None:
    held = records(mapping(ALPHA), mapping(BETA))
    once = choose(held, held.all[1], "replace", NOW).records
    again = choose(once, once.active[0], "replace", NOW + 1)
    assert again.notices == ()
    assert again.records.find(held.all[0].mapping_id) == once.find(held.all[0].mapping_id)


# --- removing and restoring


def test_a_removed_mapping_is_a_tombstone_and_no_answer() -> None:
    held = mapping(ALPHA)
    change = remove(records(held), held, NOW + 1)
    assert change.records.active == ()
    assert change.records.find(held.mapping_id).state == "removed"
    assert change.users == (("alpha", -1),)
    assert [notice.type for notice in change.notices] == ["mapping.removed"]


def test_a_tombstone_ends_after_thirty_days() -> None:
    held = mapping(ALPHA)
    gone = remove(records(held), held, NOW).records
    last = confirm(gone, mapping(BETA), NOW + TOMBSTONE_LIFE - 1, alone=False).records
    assert last.find(held.mapping_id).state == "removed"
    later = confirm(gone, mapping(BETA), NOW + TOMBSTONE_LIFE, alone=False).records
    with pytest.raises(NotFound):
        later.find(held.mapping_id)


def test_a_restored_mapping_has_its_old_id_and_date_and_is_chosen() -> None:
    held = mapping(ALPHA)
    gone = confirm(remove(records(held), held, NOW).records, mapping(BETA), NOW, alone=True).records
    change = restore(gone, gone.find(held.mapping_id), NOW + DAY)
    back = change.records.find(held.mapping_id)
    assert (back.state, back.registered_at, back.ended_at) == ("active", NOW, None)
    assert best(change.records.active, NOW + DAY) == back
    assert [(notice.type, notice.provider_id) for notice in change.notices] == [
        ("mapping.restored", "alpha"),
        ("mapping.superseded", "beta"),
    ]
    assert change.users == (("alpha", 1),)


def test_the_record_that_proved_a_restoration_gives_way_to_it() -> None:
    held = mapping(ALPHA)
    gone = remove(records(held), held, NOW).records
    proved = confirm(gone, mapping(ALPHA, NOW + DAY), NOW + DAY, alone=False).records
    change = restore(proved, proved.find(held.mapping_id), NOW + DAY)
    assert [record.mapping_id for record in change.records.active] == [held.mapping_id]
    assert change.users == ()
    assert not change.appears


def test_the_first_record_to_come_back_makes_the_identifier_appear() -> None:
    held = mapping(ALPHA)
    gone = remove(records(held), held, NOW).records
    assert restore(gone, gone.all[0], NOW + DAY).appears


def test_a_tombstone_that_has_ended_is_not_restored() -> None:
    held = mapping(ALPHA)
    gone = remove(records(held), held, NOW).records
    assert restore(gone, gone.all[0], NOW + TOMBSTONE_LIFE - 1).records.active
    with pytest.raises(Gone):
        restore(gone, gone.all[0], NOW + TOMBSTONE_LIFE)


# --- claims


class Heard(NamedTuple):
    """A claim as it arrives."""

    choice: Literal["prefer", "replace"]
    at: int


def hear(known: Records, claims: list[Heard]) -> Records:
    for heard in claims:
        change = claim(known, heard.choice, heard.at, GAMMA, NOW)
        known = known if change is None else change.records
    return known


def outcome(known: Records) -> tuple[int, set[tuple[MappingId, str, int | None]]]:
    """Return all that a query or a later choice can see of some records."""
    return known.floor, {(record.mapping_id, record.state, record.preferred_at) for record in known.all}


MOMENTS = st.integers(NOW - 3, NOW + 3)  # Few enough to meet.


@settings(max_examples=500)
@given(
    st.lists(st.tuples(MOMENTS, st.none() | MOMENTS), min_size=1, max_size=4),
    st.lists(st.builds(Heard, st.sampled_from(["prefer", "replace"]), MOMENTS), min_size=1, max_size=4),
    st.data(),
)
def test_claims_that_are_doubled_and_reordered_end_in_one_state(
    held: list[tuple[int, int | None]], claims: list[Heard], data: st.DataObject
) -> None:
    known = records(
        *(mapping(Provider(f"p{number}", "P", "eu"), at, chosen=chosen) for number, (at, chosen) in enumerate(held))
    )
    shuffled = data.draw(st.permutations([*claims, *data.draw(st.lists(st.sampled_from(claims), max_size=3))]))
    assert outcome(hear(known, shuffled)) == outcome(hear(known, claims))


def test_a_claim_ends_only_what_is_older() -> None:
    known = records(mapping(ALPHA, NOW), mapping(BETA, NOW + 1))
    change = claim(known, "replace", NOW + 1, GAMMA, NOW)
    assert change is not None
    assert [record.provider for record in change.records.active] == [BETA]
    assert change.users == (("alpha", -1),)
    assert [(notice.provider_id, notice.by) for notice in change.notices] == [("alpha", GAMMA)]


def test_a_claim_to_be_preferred_tells_and_removes_nothing() -> None:
    known = records(mapping(ALPHA, NOW))
    change = claim(known, "prefer", NOW + 1, GAMMA, NOW)
    assert change is not None
    assert [record.provider for record in change.records.active] == [ALPHA]
    assert [notice.provider_id for notice in change.notices] == ["alpha"]


@pytest.mark.parametrize("choice", ["prefer", "replace"])
def test_a_repeated_claim_tells_nobody_again(choice: Literal["prefer", "replace"]) -> None:
    change = claim(records(mapping(ALPHA)), choice, NOW + 1, GAMMA, NOW)
    assert change is not None
    assert claim(change.records, choice, NOW + 1, GAMMA, NOW) is None


def test_nothing_is_kept_of_a_claim_about_people_unknown_here() -> None:
    assert claim(Records(), "replace", NOW, GAMMA, NOW) is None


def test_a_choice_made_after_a_claim_lies_above_it() -> None:
    known = records(mapping(ALPHA))
    heard = claim(known, "prefer", NOW + MINUTE, GAMMA, NOW)
    assert heard is not None
    (chosen,) = choose(heard.records, heard.records.all[0], "prefer", NOW).records.active
    assert chosen.stamp > NOW + MINUTE


class Step(NamedTuple):
    """One GP's user chooses; `skew` is that GP's clock against the true time, `hears` the claims it knows by then."""

    gp: Literal["eu", "us"]
    who: int
    choice: Literal["prefer", "replace"]
    skew: int
    hears: bool


STEPS = st.builds(
    Step,
    st.sampled_from(["eu", "us"]),
    st.integers(0, 1),
    st.sampled_from(["prefer", "replace"]),
    st.integers(-MINUTE, MINUTE),
    st.booleans(),
)


@given(st.lists(STEPS, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_two_gps_that_heard_of_every_choice_agree_on_the_answer(steps: list[Step], chance: random.Random) -> None:
    """Claims cross on the wire, come late, doubled and in any order; at the end both sides answer alike."""
    held = {
        gp: records(*(mapping(Provider(f"{gp}{who}", "P", gp), NOW - DAY) for who in (0, 1))) for gp in ("eu", "us")
    }
    sent: dict[str, list[tuple[Heard, Provider]]] = {"eu": [], "us": []}
    everything: dict[str, list[tuple[Heard, Provider]]] = {"eu": [], "us": []}

    def listen(gp: str, claims: list[tuple[Heard, Provider]]) -> None:
        for heard, by in claims:
            change = claim(held[gp], heard.choice, heard.at, by, NOW)
            held[gp] = held[gp] if change is None else change.records

    for number, step in enumerate(steps):
        if step.hears:
            listen(step.gp, sent[step.gp])
            sent[step.gp].clear()
        mine = held[step.gp].of(f"{step.gp}{step.who}")
        if mine is None:
            continue  # Its record gave way before.
        held[step.gp] = choose(held[step.gp], mine, step.choice, NOW + number + step.skew).records
        chosen = held[step.gp].find(mine.mapping_id)
        other = "us" if step.gp == "eu" else "eu"
        sent[other].append((Heard(step.choice, chosen.stamp), chosen.provider))
        everything[other].append((Heard(step.choice, chosen.stamp), chosen.provider))
    for gp in ("eu", "us"):
        late = [*sent[gp], *everything[gp]]
        chance.shuffle(late)
        listen(gp, late)

    stamps = [heard.at for claims in everything.values() for heard, _ in claims]
    answer = best([*held["eu"].active, *held["us"].active], NOW)
    assert answer is not None
    assert answer.stamp == max(stamps)


# --- what holds after any story


CHANGES = ("confirm alpha", "confirm beta", "move alpha", "prefer", "replace", "remove", "restore", "claim")


@given(st.lists(st.tuples(st.sampled_from(CHANGES), st.integers(0, 40 * DAY)), max_size=12))
def test_after_any_story_notices_are_numbered_and_users_counted(story: list[tuple[str, int]]) -> None:
    known, now, fresh = Records(), NOW, itertools.count()
    told: dict[MappingId, int] = {}
    users: dict[str, int] = {"alpha": 0, "beta": 0}
    for what, later in story:
        now += later
        change = changed(known, what, now, next(fresh))
        if change is None:
            continue
        assert change.appears == (bool(change.records.active) and not known.active)
        for notice in change.notices:
            assert notice.sequence == told.get(notice.mapping_id, 0) + 1
            told[notice.mapping_id] = notice.sequence
        for provider_id, by in change.users:
            users[provider_id] += by
        known = change.records
        owners = [record.provider.provider_id for record in known.active]
        assert {provider_id: owners.count(provider_id) for provider_id in users} == users
        assert set(users.values()) <= {0, 1}
        for record in known.all:
            assert record.sequence == told.get(record.mapping_id, 0)
            assert record.ended_at is None or record.ended_at > now - TOMBSTONE_LIFE


def changed(known: Records, what: str, now: int, fresh: int) -> Change | None:
    """Make one change of a story, or none where it has nothing to change."""
    tombstones = [record for record in known.all if record.state != "active"]
    match what:
        case "confirm alpha" | "confirm beta" | "move alpha":
            provider = BETA if what == "confirm beta" else ALPHA
            user = f"bob {fresh}" if what == "move alpha" else "alice"
            new = dataclasses.replace(mapping(provider, now, user=user), mapping_id=MappingId(str(fresh)))
            return confirm(known, new, now, alone=not known.active)
        case "prefer" if known.active:
            return choose(known, known.active[0], "prefer", now)
        case "replace" if known.active:
            return choose(known, known.active[-1], "replace", now)
        case "remove" if known.active:
            return remove(known, known.active[0], now)
        case "restore" if tombstones:
            try:
                return restore(known, tombstones[0], now)
            except Gone:
                return None
        case "claim":
            return claim(known, "replace", now - DAY, GAMMA, now)
    return None


def test_a_traceback_does_not_tell_whose_mapping_it_was() -> None:
    assert "alice" not in repr(mapping(ALPHA))


def test_the_order_has_no_ties_between_two_providers() -> None:
    ranks = {rank(mapping(provider), NOW) for provider in (ALPHA, BETA, GAMMA)}
    assert len(ranks) == 3
