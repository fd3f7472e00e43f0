"""A code comes back, and a mapping is made (draft §8.2, Figure 3).

    load the verification → spend an attempt → ask the peers for prior mappings → one transaction → answer

The comparison is made in memory first, and its outcome is written with the attempt in one conditional
transaction; only then is it told. So nobody learns anything from an attempt that was not paid for, a right code
cannot be lost between paying and matching, and after a crash the same code leads to the same mapping: its id
derives from the verification, and the answer is stored with it.
"""

import dataclasses

import msgspec

from chalicelib.errors import (
    InvalidValue,
    TooManyRequests,
    Unavailable,
    VerificationEnded,
    WrongCode,
)
from chalicelib.protocol.glados import codes, mappings
from chalicelib.protocol.glados.client_api import Code, ConfirmAnswer, MappingAnswer, ProviderAnswer
from chalicelib.protocol.glados.identifiers import Sii, ssi
from chalicelib.protocol.glados.mappings import Change, Mapping, Provider
from chalicelib.protocol.timestamps import DAY, SECOND
from chalicelib.services.accounts.state import Account
from chalicelib.services.ports import Clock, Entropy
from chalicelib.services.provider.consultation import Consultation, Consulted
from chalicelib.services.provider.notices import announce
from chalicelib.services.provider.ports import Hints, Keyring, Snapshots, Store
from chalicelib.services.provider.state import Heads, PairKey, Verification
from chalicelib.services.provider.verifications import (
    UNBOUNDED,
    SendCounters,
    Verifications,
    clear_delays,
    entered_at,
    state_of,
    wrong_code_writes,
)
from chalicelib.services.provider.writes import (
    CheckBelow,
    CountUp,
    MoveVerification,
    RecordProof,
    ReplaceRecords,
    Stale,
    TakeAttempt,
    Write,
)

MOST_TRIES = 8
MATCH_LIFE = DAY  # How long a matched verification may still be made a mapping.


@dataclasses.dataclass(frozen=True, slots=True)
class Confirmation:
    """Takes codes and makes mappings."""

    verifications: Verifications
    store: Store
    snapshots: Snapshots
    consultation: Consultation
    keyring: Keyring
    hints: Hints
    clock: Clock
    entropy: Entropy
    gp: str

    def confirm(self, account: Account, verification_id: str, code: Code) -> ConfirmAnswer:
        """Check a code; on the right one map the identifier to the AP's user and say who else holds it.

        Raises `WrongCode` for the first four wrong codes, `VerificationEnded` from the fifth on and when the
        verification has expired or ended otherwise. The right code again gives the same answer.
        """
        codes.check_form(code.code)
        verification = self.verifications.load(account, verification_id)
        if code.user_id != verification.user_id:
            raise InvalidValue("the verification was opened for another user id", "user_id")
        right = codes.is_right(code.code, self._expected(account, verification))
        if verification.state in ("matched", "confirmed"):
            self._count_late(account, verification, right=right)
            if not right or self.clock() > (verification.matched_at or 0) + MATCH_LIFE:
                raise VerificationEnded(verification.state)
        else:
            verification = self._spend_attempt(account, verification, right=right)
        if verification.answer is not None:
            return msgspec.json.decode(verification.answer, type=ConfirmAnswer)
        return self._make_mapping(account, verification)

    def _expected(self, account: Account, verification: Verification) -> str:
        if verification.sii.is_test_number and account.test_numbers:
            return codes.prescribed_code(verification.sii.address)
        return codes.derive_code(self.keyring.code_key(), verification.verification_id, verification.purpose)

    def _spend_attempt(self, account: Account, verification: Verification, *, right: bool) -> Verification:
        """Pay for one attempt and return the matched verification, or raise what the attempt came to."""
        now = self.clock()
        if (state := state_of(verification, now)) != "pending":
            raise VerificationEnded(state)
        counters = SendCounters.at(now, account, verification.sii)
        attempt = TakeAttempt(verification.verification_id, right, now)
        try:
            self.store.commit(attempt, *wrong_code_writes(counters, right=right, now=now))
        except Stale as stale:
            if isinstance(stale.write, CheckBelow | CountUp):
                raise TooManyRequests("wrong-codes", (stale.write.limit.ends - now) / SECOND) from stale
            verification = self.verifications.load(account, verification.verification_id)
            if right and verification.state in ("matched", "confirmed"):
                return verification  # The same right code came in twice at once.
            raise VerificationEnded(state_of(verification, now)) from stale
        if not right:
            left = self.verifications.load(account, verification.verification_id).attempts_left
            if left == 0:
                raise VerificationEnded("locked")
            raise WrongCode(left)
        return dataclasses.replace(verification, state="matched", attempts=verification.attempts + 1, matched_at=now)

    def _count_late(self, account: Account, verification: Verification, *, right: bool) -> None:
        """Count a wrong code against the address although its verification is over: 200 still proves a right one."""
        now = self.clock()
        try:
            self.store.commit(*wrong_code_writes(SendCounters.at(now, account, verification.sii), right=right, now=now))
        except Stale as stale:
            ends = stale.write.limit.ends if isinstance(stale.write, CheckBelow | CountUp) else now
            raise TooManyRequests("wrong-codes", (ends - now) / SECOND) from stale

    def _make_mapping(self, account: Account, verification: Verification) -> ConfirmAnswer:
        sii = verification.sii
        consulted: Consulted | None = None
        for _ in range(MOST_TRIES):
            stored, _, heads = self.snapshots.read(sii, account.provider_id)
            if consulted is None:
                consulted = self._ask(sii, heads, account)
            now = self.clock()
            known = (*stored.records.active, *consulted.mappings)
            prior = mappings.prior_to(self._provider(account), known)
            change = mappings.confirm(
                stored.records,
                self._mapping(account, verification, now),
                now,
                alone=consulted.complete and not prior,
                seen=consulted.stamps,
            )
            answer = self._answer(change, account, prior, consulted)
            told, hinted = announce(change.notices, self.clock, self.entropy)
            move = MoveVerification(
                verification.verification_id, "matched", "confirmed", now, answer=msgspec.json.encode(answer)
            )
            writes: list[Write] = [
                move,
                ReplaceRecords(sii, stored, change, now),
                RecordProof(PairKey(account.provider_id, sii, verification.user_id), verification.verification_id, now),
                *told,
            ]
            if not verification.sii.is_test_number:
                counters = SendCounters.at(now, account, sii)
                writes += [
                    *clear_delays(counters, now),
                    CountUp(entered_at(verification.opened_at, account), UNBOUNDED, now),
                ]
            try:
                self.store.commit(*writes)
            except Stale as stale:
                if stale.write is move:
                    # A repeat of the right code finished first; its answer is the answer.
                    done = self.verifications.load(account, verification.verification_id)
                    if done.answer is None:
                        raise VerificationEnded(done.state) from stale
                    return msgspec.json.decode(done.answer, type=ConfirmAnswer)
                continue  # Another provider changed the records: judge again, with it in view.
            # From here the mapping stands and can be asked for. Filters and webhooks follow; hints hurry them.
            for outbox_id in hinted:
                self.hints.outbox(outbox_id)
            if change.appears and not sii.is_test_number:
                self.hints.sequence()
            return answer
        raise Unavailable("other changes to this identifier came first; send the same code again")

    def _ask(self, sii: Sii, heads: Heads, account: Account) -> Consulted:
        return self.consultation.ask(sii, heads, account.provider_id, self.clock())

    def _provider(self, account: Account) -> Provider:
        return Provider(account.provider_id, account.name, self.gp)

    def _mapping(self, account: Account, verification: Verification, now: int) -> Mapping:
        fresh = self.keyring.digest("mapping", verification.verification_id)[:16]
        return Mapping(
            mapping_id=self.keyring.mapping_id(account.provider_id, verification.sii, fresh),
            provider=self._provider(account),
            user_id=verification.user_id,
            ssi=ssi(verification.user_id, account.domain),
            source="verified",
            registered_at=now,
            test=verification.sii.is_test_number,
        )

    def _answer(
        self, change: Change, account: Account, prior: tuple[Provider, ...], consulted: Consulted
    ) -> ConfirmAnswer:
        mapping = change.records.of(account.provider_id)
        if mapping is None:
            raise AssertionError("a confirmed mapping is active")
        return ConfirmAnswer(
            mapping=MappingAnswer.of(mapping, own=True),
            prior=[
                ProviderAnswer(provider_id=one.provider_id, provider_name=one.provider_name, gp=one.gp) for one in prior
            ],
            prior_complete=consulted.complete,
        )
