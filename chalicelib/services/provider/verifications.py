"""Proving that a user holds an address (draft §8.2): opening a verification and sending its code.

The AP never learns the code from us: it is derived from the verification's id when it is sent and when it is
checked (`protocol.glados.codes`). One transaction decides an opening: the verification, the pair's live pointer,
the limits it uses up, and an outbox entry. The message goes out right after; the outbox entry, due a little
later, covers a death in between. The user may then get the same code twice, and never none.
"""

import dataclasses
from typing import Literal

from chalicelib.errors import (
    IdempotencyKeyReused,
    InvalidIdentifier,
    InvalidValue,
    NotFound,
    TooManyRequests,
    Unavailable,
    VerificationEnded,
)
from chalicelib.protocol.base64url import encode_base64url
from chalicelib.protocol.glados import codes
from chalicelib.protocol.glados.client_api import Delivery, VerificationAnswer, VerificationRequest, VerificationStatus
from chalicelib.protocol.glados.identifiers import (
    Sii,
    check_reachable,
    check_user_id,
    parse_sii,
    phone_region,
)
from chalicelib.protocol.timestamps import DAY, HOUR, SECOND, format_time
from chalicelib.services.accounts.state import Account
from chalicelib.services.limits import Allowance
from chalicelib.services.ports import Clock, Entropy, Undeliverable, Unreachable
from chalicelib.services.provider.limits import SendLimits, check_success
from chalicelib.services.provider.ports import Keyring, Messenger, Store
from chalicelib.services.provider.state import (
    Count,
    LimitKey,
    OutboxEntry,
    OutboxId,
    PairKey,
    Verification,
    VerificationId,
)
from chalicelib.services.provider.writes import (
    AddOutbox,
    CheckBelow,
    ClearDelay,
    CountUp,
    DropOutbox,
    MoveVerification,
    OpenVerification,
    RecordDelivery,
    SendAgain,
    SetLive,
    Stale,
    Write,
)

MOST_TRIES = 5
KEY_LIFE = DAY
MOST_TURNS = 8  # An idempotency key's days for which verifications are kept.
UNBOUNDED = 2**53  # For counters that are only watched.
SEND_GRACE = 15 * SECOND  # The outbox sends what the request itself has not sent by then.
RETRY_SEND = 20 * SECOND


@dataclasses.dataclass(frozen=True, slots=True)
class SendCounters:
    """The counters that bound messages to one address and guesses at its codes, for the day of `now`."""

    by_all: LimitKey
    by_all_before: LimitKey
    by_one: LimitKey
    wrong_day: LimitKey
    wrong_month: LimitKey
    sent: LimitKey
    sent_before: LimitKey
    entered_before: LimitKey

    @classmethod
    def at(cls, now: int, account: Account, sii: Sii) -> "SendCounters":
        """Return today's counters. Days are those of UTC; a month is 30 of them.

        A delay outlives its day: yesterday's counter is looked at too. Whether codes come back is judged on the
        hour before, whose codes have all had their ten minutes.
        """
        day, month, hour = now - now % DAY, now - now % (30 * DAY), now - now % HOUR
        mine = f"{account.provider_id} {sii.uri}"
        return cls(
            by_all=LimitKey("sends", sii.uri, day, day + DAY),
            by_all_before=LimitKey("sends", sii.uri, day - DAY, day),
            by_one=LimitKey("sends-by-one", mine, day, day + DAY),
            wrong_day=LimitKey("wrong-codes", sii.uri, day, day + DAY),
            wrong_month=LimitKey("wrong-codes-30", sii.uri, month, month + 30 * DAY),
            sent=LimitKey("codes-sent", account.provider_id, hour, hour + DAY),
            sent_before=LimitKey("codes-sent", account.provider_id, hour - HOUR, hour - HOUR + DAY),
            entered_before=entered_at(now - HOUR, account),
        )

    @property
    def judged(self) -> tuple[LimitKey, ...]:
        """The counters that decide whether a message may be sent, in the order `_spend` takes them."""
        return (
            self.by_all,
            self.by_one,
            self.wrong_day,
            self.wrong_month,
            self.sent_before,
            self.entered_before,
            self.by_all_before,
        )


def entered_at(opened_at: int, account: Account) -> LimitKey:
    """Return the counter of codes that came back, for the hour in which their verification was opened.

    A right code may take a day to become a mapping, so its counter is kept for longer.
    """
    hour = opened_at - opened_at % HOUR
    return LimitKey("codes-entered", account.provider_id, hour, hour + 2 * DAY)


@dataclasses.dataclass(frozen=True, slots=True)
class Verifications:
    """Opens, shows, resends and cancels verifications. `confirmation.py` takes the codes."""

    store: Store
    keyring: Keyring
    messenger: Messenger
    limits: SendLimits
    clock: Clock
    entropy: Entropy

    def open(
        self, account: Account, request: VerificationRequest, key: str | None
    ) -> tuple[VerificationAnswer, Allowance | None]:
        """Send a code to an address and return the verification that waits for it.

        With an idempotency `key` a repeat within a day lands on the same verification, and another request under
        that key is refused. A refusal uses up no limit.
        """
        sii = parse_sii(request.sii)
        check_user_id(request.user_id)
        if isinstance(request.channel, str) and request.channel != sii.channel:
            raise InvalidValue(f"a code for this kind of identifier goes by {sii.channel}", "channel")
        is_test = sii.is_test_number and account.test_numbers
        if not is_test:
            check_reachable(sii)
            _check_region(account, sii)
        turn = 0
        for _ in range(MOST_TRIES + MOST_TURNS):
            now = self.clock()
            identity = self._identity(account, key, turn)
            counters = SendCounters.at(now, account, sii)
            pair_key = PairKey(account.provider_id, sii, request.user_id)
            known, pair, counts = self.store.admission(identity, pair_key, counters.judged)
            if known is not None:
                if now - known.opened_at >= KEY_LIFE:
                    turn += 1  # A key is free again after a day, and what it once opened is kept for longer.
                    continue
                if (known.sii, known.user_id) != (sii, request.user_id):
                    raise IdempotencyKeyReused("the idempotency key has opened another verification")
                return _answer(self._own(account, known)), None
            verification = Verification(
                verification_id=identity,
                provider_id=account.provider_id,
                sii=sii,
                user_id=request.user_id,
                purpose="mapping",
                opened_at=now,
                expires_at=now + codes.LIFE,
                resend_after=now + codes.delay_after(counts[0].count + 1),
                locale=request.locale if isinstance(request.locale, str) else "en",
                delivery="sent" if is_test else "queued",
                delivery_at=now,
            )
            writes: list[Write] = [
                OpenVerification(verification),
                SetLive(pair_key, identity, before=pair.live),
                *self._cancel_live(pair.live),
            ]
            if is_test:
                allowance, entry = None, None
            else:
                allowance, entry = self._spend(account, sii, counters, counts, now), _send_entry(verification, now)
                writes += _count_send(counters, counts[0].count + 1, now)
                writes.append(AddOutbox(entry))
            try:
                self.store.commit(*writes)
            except Stale:
                # Another request for the same address came first, or a limit was reached: look again.
                if entry is not None:
                    self.limits.give_back(account, sii)
                continue
            if entry is not None:
                # From here the verification stands, and its message will be sent whatever happens to us.
                self.send(account, verification, entry.outbox_id)
            return _answer(verification), allowance
        raise Unavailable("other requests for this identifier came first")

    def status(self, account: Account, verification_id: str) -> VerificationStatus:
        """Return the state of the AP's own verification and of its latest message."""
        verification = self.load(account, verification_id)
        answer = _answer(verification)
        return VerificationStatus(
            verification_id=answer.verification_id,
            channel=answer.channel,
            expires_at=answer.expires_at,
            attempts_left=answer.attempts_left,
            resend_after=answer.resend_after,
            state=state_of(verification, self.clock()),
            delivery=Delivery(
                state=verification.delivery,
                at=format_time(verification.delivery_at),
                **({} if verification.delivery_reason is None else {"reason": verification.delivery_reason}),
            ),
        )

    def resend(self, account: Account, verification_id: str) -> tuple[VerificationAnswer, Allowance | None]:
        """Send the same code again, by the next delay; attempts that were spent stay spent."""
        for _ in range(MOST_TRIES):
            verification = self.load(account, verification_id)
            now = self.clock()
            if (state := state_of(verification, now)) != "pending":
                raise VerificationEnded(state)
            if verification.sii.is_test_number and account.test_numbers:
                return _answer(verification), None
            counters = SendCounters.at(now, account, verification.sii)
            pair_key = PairKey(account.provider_id, verification.sii, verification.user_id)
            _, _, counts = self.store.admission(verification.verification_id, pair_key, counters.judged)
            allowance = self._spend(account, verification.sii, counters, counts, now)
            resend_after = now + codes.delay_after(counts[0].count + 1)
            again = dataclasses.replace(verification, sends=verification.sends + 1, resend_after=resend_after)
            entry = _send_entry(again, now)
            try:
                self.store.commit(
                    SendAgain(verification.verification_id, verification.sends, resend_after, now),
                    *_count_send(counters, counts[0].count + 1, now),
                    AddOutbox(entry),
                )
            except Stale:
                self.limits.give_back(account, verification.sii)
                continue
            self.send(account, again, entry.outbox_id)
            return _answer(again), allowance
        raise Unavailable("other requests for this identifier came first")

    def cancel(self, account: Account, verification_id: str) -> None:
        """End a verification that waits for its code; cancelling it again is no error."""
        verification = self.load(account, verification_id)
        state = state_of(verification, self.clock())
        if state == "cancelled":
            return
        if state != "pending":
            raise VerificationEnded(state)
        try:
            self.store.commit(MoveVerification(verification.verification_id, "pending", "cancelled", self.clock()))
        except Stale as stale:
            raise VerificationEnded(state_of(self.load(account, verification_id), self.clock())) from stale

    def load(self, account: Account, verification_id: str) -> Verification:
        """Return the AP's own verification; another AP's is as unknown as one that never was."""
        return self._own(account, self.store.verification(VerificationId(verification_id)))

    def send(self, account: Account, verification: Verification, outbox_id: OutboxId) -> None:
        """Hand a verification's code to the network and note how that went.

        An outage leaves the outbox entry, which is tried again while the code is good.
        """
        code = codes.derive_code(self.keyring.code_key(), verification.verification_id, verification.purpose)
        subject, text = codes.message(verification.channel, code, account.name, account.domain)
        try:
            if verification.channel == "sms":
                self.messenger.send_sms(verification.sii.address, text)
            else:
                self.messenger.send_email(verification.sii.address, subject, text)
        except Unreachable:
            return
        except Undeliverable as error:
            done: Write = RecordDelivery(verification.verification_id, "failed", self.clock(), str(error))
        else:
            done = RecordDelivery(verification.verification_id, "sent", self.clock())
        self.store.commit(done, DropOutbox(outbox_id))

    def _own(self, account: Account, verification: Verification | None) -> Verification:
        if verification is None or verification.provider_id != account.provider_id:
            raise NotFound("there is no such verification")
        return verification

    def _identity(self, account: Account, key: str | None, turn: int) -> VerificationId:
        """Return an id that a repeat with the same idempotency key comes to again, in each turn of the key."""
        source = self.entropy(24) if key is None else key.encode()
        kind = "random" if key is None else f"repeatable {turn}"
        digest = self.keyring.digest("verification-id", account.provider_id, kind, source)
        return VerificationId(encode_base64url(digest[:18]))

    def _cancel_live(self, live: VerificationId | None) -> list[Write]:
        """Return the write that ends the pair's previous verification, if that still waits for a code."""
        previous = None if live is None else self.store.verification(live)
        if previous is None or previous.state != "pending":
            return []
        return [MoveVerification(previous.verification_id, "pending", "cancelled", self.clock())]

    def _spend(
        self, account: Account, sii: Sii, counters: SendCounters, counts: tuple[Count, ...], now: int
    ) -> Allowance:
        """Check every limit on a message and spend the provider's, or raise and spend nothing."""
        by_all, by_one, wrong_day, wrong_month, sent_before, entered_before, by_all_before = counts
        until_tomorrow = (counters.by_all.ends - now) / SECOND
        if wrong_day.count >= codes.MOST_WRONG_A_DAY:
            raise TooManyRequests("wrong-codes-a-day", until_tomorrow)
        if wrong_month.count >= codes.MOST_WRONG_IN_30_DAYS:
            raise TooManyRequests("wrong-codes-in-30-days", (counters.wrong_month.ends - now) / SECOND)
        if by_all.count >= codes.MOST_SENDS_A_DAY:
            raise TooManyRequests("sends-to-identifier", until_tomorrow)
        if by_one.count >= codes.MOST_SENDS_A_DAY_BY_ONE_PROVIDER:
            raise TooManyRequests("sends-to-identifier-by-provider", until_tomorrow)
        if (next_at := max(by_all.next_at, by_all_before.next_at)) > now:
            raise TooManyRequests("send-delay", (next_at - now) / SECOND)
        check_success(account, sent_before.count, entered_before.count)
        return self.limits.admit(account, sii, now)


def clear_delays(counters: SendCounters, now: int) -> list[Write]:
    """Return the writes that let the address be sent a code at once, as a right one does."""
    over_midnight = now - counters.by_all.window < max(codes.SEND_DELAYS)
    return [ClearDelay(limit) for limit in (counters.by_all, *([counters.by_all_before] if over_midnight else []))]


ShownState = Literal["pending", "matched", "confirmed", "locked", "expired", "cancelled"]


def state_of(verification: Verification, now: int) -> ShownState:
    """Return the state as a caller sees it: time and spent attempts end a pending verification by themselves."""
    if verification.state != "pending":
        return verification.state
    if verification.attempts_left == 0:
        return "locked"
    return "expired" if verification.expires_at <= now else "pending"


def wrong_code_writes(counters: SendCounters, *, right: bool, now: int) -> list[Write]:
    """Return the writes that count a wrong code against the address, or check that a right one is still heard."""
    bounds = ((counters.wrong_day, codes.MOST_WRONG_A_DAY), (counters.wrong_month, codes.MOST_WRONG_IN_30_DAYS))
    if right:
        return [CheckBelow(limit, most) for limit, most in bounds]
    return [CountUp(limit, most, now) for limit, most in bounds]


def _check_region(account: Account, sii: Sii) -> None:
    if sii.channel == "sms" and "*" not in account.sms_regions and phone_region(sii) not in account.sms_regions:
        raise InvalidIdentifier("the operator has not opened this number's region for this provider", "sii")


def _count_send(counters: SendCounters, sends: int, now: int) -> list[Write]:
    return [
        CountUp(counters.by_all, codes.MOST_SENDS_A_DAY, now, next_at=now + codes.delay_after(sends)),
        CountUp(counters.by_one, codes.MOST_SENDS_A_DAY_BY_ONE_PROVIDER, now),
        CountUp(counters.sent, UNBOUNDED, now),
    ]


def _send_entry(verification: Verification, now: int) -> OutboxEntry:
    return OutboxEntry(
        outbox_id=OutboxId(f"code.{verification.verification_id}.{verification.sends}"),
        kind="code",
        ref=verification.verification_id,
        created_at=now,
        next_at=now + SEND_GRACE,
    )


def _answer(verification: Verification) -> VerificationAnswer:
    return VerificationAnswer(
        verification_id=verification.verification_id,
        channel=verification.channel,
        expires_at=format_time(verification.expires_at),
        attempts_left=verification.attempts_left,
        resend_after=format_time(verification.resend_after),
    )
