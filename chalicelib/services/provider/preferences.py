"""The user's choice among several applications, and its undoing (draft §8.2.1, §10).

`prefer` and `replace` need proof: a code for this identifier and user that this AP had checked within a day, one
choice a check. `keep` changes nothing but is written down. A choice is one transaction on this GP; peers that
hold the identifier, or may, follow by claims from the outbox, and the old APs are told by webhook.
"""

import dataclasses
from typing import Literal, Protocol

import msgspec

from chalicelib.errors import NotFound, TooManyRequests, Unavailable, VerificationRequired
from chalicelib.protocol.glados import mappings
from chalicelib.protocol.glados.client_api import Choice, ChoiceAnswer, MappingAnswer, MappingList
from chalicelib.protocol.glados.federation_api import PeerMapping
from chalicelib.protocol.glados.identifiers import Channel, Sii, parse_sii
from chalicelib.protocol.glados.mappings import Change, Mapping, MappingId, Records
from chalicelib.protocol.timestamps import DAY, SECOND, format_time
from chalicelib.services.accounts.state import Account
from chalicelib.services.ports import Clock, Entropy
from chalicelib.services.provider.consultation import Consultation, Consulted
from chalicelib.services.provider.notices import announce
from chalicelib.services.provider.ports import Hints, Keyring, Snapshots, Store
from chalicelib.services.provider.state import (
    Event,
    EventId,
    LimitKey,
    OutboxEntry,
    OutboxId,
    Pair,
    PairKey,
    StoredRecords,
    VerificationId,
)
from chalicelib.services.provider.writes import AddEvent, AddOutbox, CountUp, ReplaceRecords, SpendProof, Stale, Write
from chalicelib.services.ulids import ulid

ProvenChoice = Literal["prefer", "replace", "restore"]

MOST_TRIES = 8
MOST_CHOICES_A_DAY = 4
MOST_CLAIMS_AT_ONCE = 16  # A transaction has a hundred items, and notices may take most of them.
PROOF_LIFE = DAY


class ClaimToSend(msgspec.Struct, frozen=True, tag="claim"):
    """A claim as the outbox keeps it until it is signed and sent.

    `sure` says that the peer answered with a match. A peer that could not be asked is asked first, and told
    only if it has one.
    """

    gp: str
    sure: bool
    sii: str
    mapping: PeerMapping
    choice: Literal["prefer", "replace"]
    preferred_at: str
    verified_at: str
    channel: Channel


class ClaimsToSend(msgspec.Struct, frozen=True, tag="bundle"):
    """Many claims as one outbox entry, which its worker takes apart: one entry for each peer."""

    claims: list[ClaimToSend]


@dataclasses.dataclass(frozen=True, slots=True)
class _Proof:
    verification_id: VerificationId
    at: int


@dataclasses.dataclass(frozen=True, slots=True)
class Preferences:
    """Makes choices, and ends, restores and lists an AP's own mappings."""

    store: Store
    snapshots: Snapshots
    consultation: Consultation
    keyring: Keyring
    hints: Hints
    clock: Clock
    entropy: Entropy

    def choose(self, account: Account, choice: Choice, key: str | None = None) -> ChoiceAnswer:
        """Record a user's choice for the AP's own mapping of `sii` to `user_id`.

        With an idempotency `key` a repeat is answered as the first time while the choice still stands; without
        one it is another choice, which needs another proof.
        """
        sii = parse_sii(choice.sii)
        if choice.choice == "keep":
            return self._keep(account, sii, choice.user_id)
        kind: Literal["prefer", "replace"] = choice.choice

        def about(stored: StoredRecords) -> Mapping:
            return _own(stored, account, choice.user_id)

        def judge(records: Records, mapping: Mapping, consulted: Consulted, now: int) -> Change:
            return mappings.choose(records, mapping, kind, now, consulted.stamps)

        pair_key = PairKey(account.provider_id, sii, choice.user_id)
        chosen, pending = self._decide(account, pair_key, kind, about, judge, key)
        return ChoiceAnswer(mapping=MappingAnswer.of(chosen, own=True), choice=kind, pending=pending)

    def restore(self, account: Account, mapping_id: str) -> MappingAnswer:
        """Bring back an AP's own tombstone as its user's choice; restoring an active mapping is no error."""
        sii = self._locate(account, mapping_id)
        found = self._find(account, sii, mapping_id)
        if found.state == "active":
            return MappingAnswer.of(found, own=True)

        def about(stored: StoredRecords) -> Mapping:
            return _of_account(stored, account, mapping_id)

        def judge(records: Records, mapping: Mapping, consulted: Consulted, now: int) -> Change:
            return mappings.restore(records, mapping, now, consulted.stamps)

        key = PairKey(account.provider_id, sii, found.user_id)
        restored, _ = self._decide(account, key, "restore", about, judge, None)
        return MappingAnswer.of(restored, own=True)

    def show(self, account: Account, mapping_id: str) -> MappingAnswer:
        """Return one of the AP's own mappings, tombstones included."""
        return MappingAnswer.of(self._find(account, self._locate(account, mapping_id), mapping_id), own=True)

    def search(self, account: Account, sii_text: str) -> MappingList:
        """Return the AP's own records for an identifier: the active one and tombstones."""
        records = self.store.records(parse_sii(sii_text)).records
        own = [mapping for mapping in records.all if mapping.provider.provider_id == account.provider_id]
        return MappingList(mappings=[MappingAnswer.of(mapping, own=True) for mapping in own])

    def remove(self, account: Account, mapping_id: str) -> MappingAnswer:
        """End one of the AP's own mappings; removing it again is no error."""
        sii = self._locate(account, mapping_id)
        for _ in range(MOST_TRIES):
            stored = self.store.records(sii)
            mapping = _of_account(stored, account, mapping_id)
            if mapping.state != "active":
                return MappingAnswer.of(mapping, own=True)
            now = self.clock()
            change = mappings.remove(stored.records, mapping, now)
            told, hinted = announce(change.notices, self.clock, self.entropy)
            try:
                self.store.commit(ReplaceRecords(sii, stored, change, now), *told)
            except Stale:
                continue
            for outbox_id in hinted:
                self.hints.outbox(outbox_id)
            return MappingAnswer.of(change.records.find(mapping.mapping_id), own=True)
        raise Unavailable("other changes to this identifier came first")

    def _keep(self, account: Account, sii: Sii, user_id: str) -> ChoiceAnswer:
        """Write down that the user keeps things as they are."""
        mapping = _own(self.store.records(sii), account, user_id)
        now = self.clock()
        kept = Event(
            event_id=EventId(ulid(now, self.entropy(10))),
            provider_id=account.provider_id,
            type="mapping.kept",
            at=now,
            mapping_id=mapping.mapping_id,
            user_id=user_id,
            by=mapping.provider,
            state="undeliverable",
        )
        self.store.commit(AddEvent(kept))
        return ChoiceAnswer(mapping=MappingAnswer.of(mapping, own=True), choice="keep", pending=[])

    def _decide(
        self,
        account: Account,
        key: PairKey,
        choice: ProvenChoice,
        about: "About",
        judge: "Judge",
        repeat_key: str | None,
    ) -> tuple[Mapping, list[str]]:
        """Ask the peers, judge, and make the choice true here in one transaction with its claims and notices.

        Asked for once more under the same key, because the answer was lost, a choice that still stands is
        answered as it is.
        """
        source = self.entropy(16) if repeat_key is None else repeat_key.encode()
        request = f"{choice} {self.keyring.digest('choice', account.provider_id, choice, source).hex()}"
        kind: Literal["prefer", "replace"] = "replace" if choice == "replace" else "prefer"
        consulted: Consulted | None = None
        for _ in range(MOST_TRIES):
            now = self.clock()
            pair = self.store.pair(key)  # Read first: where it was spent, the records show on what.
            stored, _, heads = self.snapshots.read(key.sii, account.provider_id)
            repeated = pair.proof_used and pair.spent_on == request and _stands(stored.records, about(stored), choice)
            proof = _proof(pair, now, repeated=repeated)
            mapping = about(stored)
            if consulted is None:
                consulted = self.consultation.ask(key.sii, heads, account.provider_id, now)
            if repeated or (choice == "restore" and mapping.state == "active"):
                return mapping, list(consulted.unanswered)
            change = judge(stored.records, mapping, consulted, now)
            chosen = change.records.find(mapping.mapping_id)
            told, hinted = announce(change.notices, self.clock, self.entropy)
            claims = self._claims(key.sii, chosen, kind, consulted, proof, now)
            day = now - now % DAY
            limit = LimitKey("choices", f"{account.provider_id} {key.sii.uri}", day, day + DAY)
            count = CountUp(limit, MOST_CHOICES_A_DAY, now)
            spend = SpendProof(key, proof.verification_id, request)
            replace = ReplaceRecords(key.sii, stored, change, now)
            writes: list[Write] = [spend, count, replace, *told, *(AddOutbox(claim) for claim in claims)]
            try:
                self.store.commit(*writes)
            except Stale as stale:
                if stale.write is count:
                    raise TooManyRequests("choices-a-day", (limit.ends - now) / SECOND) from stale
                continue  # The records changed, or the proof was spent: look again.
            # From here the choice stands. The claims and notices were written with it and cannot be lost.
            for outbox_id in (*hinted, *(claim.outbox_id for claim in claims)):
                self.hints.outbox(outbox_id)
            if change.appears and not key.sii.is_test_number:
                self.hints.sequence()
            return chosen, list(consulted.unanswered)
        raise Unavailable("other changes to this identifier came first")

    def _claims(
        self,
        sii: Sii,
        chosen: Mapping,
        kind: Literal["prefer", "replace"],
        consulted: Consulted,
        proof: _Proof,
        now: int,
    ) -> list[OutboxEntry]:
        """Return an outbox entry for each peer that holds the identifier, and each that could not be asked."""
        if chosen.preferred_at is None:
            raise AssertionError("a chosen mapping has the time of its choice")
        claims = [
            ClaimToSend(
                gp=gp,
                sure=gp in consulted.answered_with,
                sii=sii.uri,
                mapping=PeerMapping.of(chosen),
                choice=kind,
                preferred_at=format_time(chosen.preferred_at),
                verified_at=format_time(proof.at),
                channel=sii.channel,
            )
            for gp in (*consulted.answered_with, *consulted.unanswered)
        ]
        choice = str(proof.verification_id)
        if len(claims) <= MOST_CLAIMS_AT_ONCE:
            return [claim_entry(claim, choice, now) for claim in claims]
        ref = msgspec.json.encode(ClaimsToSend(claims)).decode()
        return [OutboxEntry(OutboxId(f"claims.{choice}"), "claim", ref, created_at=now, next_at=now)]

    def _locate(self, account: Account, mapping_id: str) -> Sii:
        sii = self.keyring.open_mapping_id(account.provider_id, MappingId(mapping_id))
        if sii is None:
            raise NotFound("there is no such mapping")
        return sii

    def _find(self, account: Account, sii: Sii, mapping_id: str) -> Mapping:
        return _of_account(self.store.records(sii), account, mapping_id)


def claim_entry(claim: ClaimToSend, choice: str, now: int) -> OutboxEntry:
    """Return the outbox entry of one claim; `choice` names the choice it belongs to."""
    ref = msgspec.json.encode(claim).decode()
    return OutboxEntry(OutboxId(f"claim.{claim.gp}.{choice}"), "claim", ref, created_at=now, next_at=now)


class About(Protocol):
    """Finds the mapping that a choice is about, or raises `NotFound`."""

    def __call__(self, stored: StoredRecords, /) -> Mapping: ...  # noqa: D102


class Judge(Protocol):
    """Turns what was read into the change to make."""

    def __call__(self, records: Records, mapping: Mapping, consulted: Consulted, now: int, /) -> Change: ...  # noqa: D102


def _proof(pair: Pair, now: int, *, repeated: bool) -> _Proof:
    """Return the proof that a choice may spend, or that a repeated one has spent."""
    if pair.proof is None or now - pair.proof_at > PROOF_LIFE:
        raise VerificationRequired("no code was checked for this identifier and user within the last day")
    if pair.proof_used and not repeated:
        raise VerificationRequired("the code checked last was already used for a choice")
    return _Proof(pair.proof, pair.proof_at)


def _stands(records: Records, mapping: Mapping, choice: ProvenChoice) -> bool:
    """Tell whether no later choice, here or claimed elsewhere, has come after this mapping's."""
    newest = max([records.floor, *(record.preferred_at or 0 for record in records.active)])
    first = mapping.state == "active" and mapping.preferred_at is not None and mapping.preferred_at >= newest
    return first and (choice != "replace" or len(records.active) == 1)


def _own(stored: StoredRecords, account: Account, user_id: str) -> Mapping:
    mapping = stored.records.of(account.provider_id)
    if mapping is None or mapping.user_id != user_id:
        raise NotFound("the provider has no active mapping of this identifier to this user")
    return mapping


def _of_account(stored: StoredRecords, account: Account, mapping_id: str) -> Mapping:
    mapping = stored.records.find(MappingId(mapping_id))
    if mapping.provider.provider_id != account.provider_id:
        raise NotFound("there is no such mapping")
    return mapping
