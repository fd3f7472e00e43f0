"""The codes that prove a user holds an address (draft §8.2), and how often one may be sent or tried.

A code is derived from its verification at send and at check and stored nowhere, so no store can leak it and a
resend is the same code. Its purpose is part of the derivation: a code sent for one purpose is never good for
another.
"""

import hashlib
import hmac
from typing import Literal

from chalicelib.errors import InvalidValue
from chalicelib.protocol.glados.identifiers import Channel
from chalicelib.protocol.timestamps import HOUR, MINUTE, SECOND

Purpose = Literal["mapping", "certificate"]

DIGITS = 6
LIFE = 10 * MINUTE
MOST_ATTEMPTS = 5

# After the nth send of a day, how long until the next (the last entry repeats).
SEND_DELAYS = (30 * SECOND, 60 * SECOND, 5 * MINUTE, HOUR)
MOST_SENDS_A_DAY = 8
MOST_SENDS_A_DAY_BY_ONE_PROVIDER = 4
MOST_WRONG_A_DAY = 10
MOST_WRONG_IN_30_DAYS = 30


def derive_code(key: bytes, verification_id: str, purpose: Purpose) -> str:
    """Return the six digits that belong to a verification."""
    digest = hmac.digest(key, f"{purpose}\0{verification_id}".encode(), hashlib.sha256)
    return f"{int.from_bytes(digest, 'big') % 10**DIGITS:0{DIGITS}d}"


def prescribed_code(number: str) -> str:
    """Return the code of a never-assigned test number, which is sent nowhere: its last six digits."""
    return number[-DIGITS:]


def check_form(code: str) -> None:
    """Refuse a code that is not six ASCII digits; no attempt is spent on it."""
    if len(code) != DIGITS or not code.isascii() or not code.isdigit():
        raise InvalidValue(f"a code is {DIGITS} digits", "code")


def is_right(code: str, expected: str) -> bool:
    """Compare in constant time; the caller has already paid for the attempt."""
    return hmac.compare_digest(code.encode(), expected.encode())


def delay_after(sends: int) -> int:
    """Return the milliseconds that must pass after the nth send of a day before the next one."""
    return SEND_DELAYS[min(sends, len(SEND_DELAYS)) - 1]


def message(channel: Channel, code: str, provider_name: str, origin: str) -> tuple[str, str]:
    """Return the subject and the body of the message that carries a code.

    The only run of six digits in the text is the code. The last line of an SMS is the WebOTP form, by which a
    browser offers the code to that origin alone. The provider's name and origin come from its enrolment, never
    from a request, so that nobody can make us send words of their own.
    """
    subject = f"Your code for {provider_name}"
    text = f"{code} is your code for {provider_name}. It is good for 10 minutes. Give it to nobody who asks for it."
    if channel == "sms":
        return subject, f"{text}\n\n@{origin} #{code}"
    return subject, f"{text}\n\nIf you did not ask for a code, you need not do anything.\n"
