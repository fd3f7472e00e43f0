"""Service independent and service specific identifiers in their one canonical form.

An SII (draft §2) is a phone number or an e-mail address, written here as a `tel:` or `mailto:` URI. Everything
that is hashed, keyed, stored or compared is the canonical form, so two spellings that mean one address must
meet in it, and two addresses must never: canonical(x) = canonical(y) implies the same delivery address. The
draft leaves the form open; this is the grammar.

Where a library would be lenient we are not. `phonenumberslite` reads letters, extensions, full-width digits and
numbers inside prose; the grammar admits none of them before it asks. Full case folding would let `boſs@` take
over `boss@`, so of a local part only ASCII letters are folded.

An SSI (draft §2, §8.2) is the user at a provider, written as an `im:` URI.
"""

import dataclasses
import re
import unicodedata
from typing import Literal
from urllib.parse import quote, unquote_to_bytes

from chalicelib.errors import InvalidIdentifier, InvalidValue

_TEL = re.compile(r"\+[1-9][0-9 .()-]{4,30}", re.ASCII)
_SEPARATORS = str.maketrans("", "", " .()-")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_FORBIDDEN_IN_MAILTO = frozenset("?,;")
_LONGEST = 1_000

# The numbers Ofcom keeps for drama: possible, never assigned to anyone.
_TEST_NUMBERS = re.compile(r"\+447700900[0-9]{3}", re.ASCII)

Channel = Literal["sms", "email"]


@dataclasses.dataclass(frozen=True, slots=True)
class Sii:
    """A service independent identifier in canonical form; made by `parse_sii` only."""

    uri: str

    @property
    def address(self) -> str:
        """The phone number in E.164 form, or the e-mail address: where a code goes."""
        return self.uri.partition(":")[2].replace("%25", "%")

    @property
    def channel(self) -> Channel:
        """The channel that reaches this kind of identifier."""
        return "sms" if self.uri.startswith("tel:") else "email"

    @property
    def is_test_number(self) -> bool:
        """Whether the number lies in a range that is never assigned."""
        return self.channel == "sms" and _TEST_NUMBERS.fullmatch(self.address) is not None

    def __repr__(self) -> str:
        """Name the kind only: an identifier must not reach a log by way of a traceback."""
        return f"<Sii {self.uri.partition(':')[0]}>"


def parse_sii(text: str) -> Sii:
    """Read a `tel:` or `mailto:` URI and return its canonical form; raise `InvalidIdentifier`."""
    if len(text) > _LONGEST:
        raise InvalidIdentifier(f"the identifier is longer than {_LONGEST} characters", "sii")
    scheme, colon, rest = text.partition(":")
    match (scheme.lower() if scheme.isascii() else scheme), colon:
        case "tel", ":":
            return Sii("tel:" + _canonical_number(rest))
        case "mailto", ":":
            return Sii("mailto:" + _canonical_address(rest))
        case _:
            raise InvalidIdentifier("the identifier is neither a tel: nor a mailto: URI", "sii")


def _canonical_number(text: str) -> str:
    import phonenumbers  # noqa: PLC0415 - as for `email_validator`

    if not _TEL.fullmatch(text):
        raise InvalidIdentifier(
            "a phone number is + and a country code, then digits with spaces, dots, hyphens or parentheses",
            "sii",
        )
    if "(0)" in text:
        raise InvalidIdentifier("the phone number holds a national prefix in parentheses", "sii")
    digits = text.translate(_SEPARATORS)
    try:
        number = phonenumbers.parse(digits)
    except phonenumbers.NumberParseException as error:
        raise InvalidIdentifier("no country has such a phone number", "sii") from error
    if not phonenumbers.is_possible_number(number):
        raise InvalidIdentifier("the phone number is too long or too short for its country", "sii")
    if phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164) != digits:
        # The library dropped or moved digits. Two numbers that it makes one might ring two telephones.
        raise InvalidIdentifier("the phone number holds a national prefix", "sii")
    return digits


def _canonical_address(text: str) -> str:
    import email_validator  # noqa: PLC0415 - its tables take a tenth of a cold start, and most identifiers are numbers

    if _BAD_ESCAPE.search(text):
        raise InvalidIdentifier("a % is not followed by two hexadecimal digits", "sii")
    try:
        address = unquote_to_bytes(text).decode()
    except UnicodeError as error:
        raise InvalidIdentifier("the e-mail address is not UTF-8", "sii") from error
    if any(character in _FORBIDDEN_IN_MAILTO or not character.isprintable() for character in address):
        raise InvalidIdentifier("a mailto: identifier is one plain address without ?, comma or semicolon", "sii")
    try:
        valid = email_validator.validate_email(address, check_deliverability=False)
    except email_validator.EmailNotValidError as error:
        # The library's message quotes the address, so only our own words leave here.
        raise InvalidIdentifier("the e-mail address is malformed or its domain cannot exist", "sii") from error
    local, _, _ = address.rpartition("@")
    # NFC comes first, because it makes ASCII letters of some others: KELVIN SIGN becomes K.
    folded = "".join(letter.lower() if letter.isascii() else letter for letter in unicodedata.normalize("NFC", local))
    # A % stays escaped, or whoever reads the canonical form would decode it once more, to another address.
    return f"{folded.replace('%', '%25')}@{valid.ascii_domain.lower()}"


def phone_region(sii: Sii) -> str:
    """Return the ISO 3166 region of a phone number ("001" for the world, "ZZ" for none)."""
    import phonenumbers  # noqa: PLC0415 - as for `email_validator`

    number = phonenumbers.parse(sii.address)
    return phonenumbers.region_code_for_number(number) or "ZZ"


def check_reachable(sii: Sii) -> None:
    """Refuse an identifier that no SMS or mail of ours can reach, though it may well be mapped or asked for."""
    import phonenumbers  # noqa: PLC0415 - as for `email_validator`

    if sii.channel == "sms":
        kind = phonenumbers.number_type(phonenumbers.parse(sii.address))
        kinds = phonenumbers.PhoneNumberType
        if kind not in (kinds.MOBILE, kinds.FIXED_LINE_OR_MOBILE, kinds.PERSONAL_NUMBER):
            raise InvalidIdentifier("the phone number's type takes no SMS", "sii")
    elif not sii.address.isascii():
        raise InvalidIdentifier("the local part needs SMTPUTF8, which the mail service does not carry", "sii")


def check_user_id(user_id: str) -> None:
    """Refuse a user id that is empty, over 256 bytes, or holds control characters or lone surrogates.

    It is the application provider's own name for its user (draft §8.2) and is compared exactly.
    """
    try:
        size = len(user_id.encode())
    except UnicodeEncodeError as error:
        raise InvalidValue("the user id is not valid Unicode", "user_id") from error
    if not 1 <= size <= 256:
        raise InvalidValue("a user id has 1 to 256 bytes of UTF-8", "user_id")
    if any(unicodedata.category(character) == "Cc" for character in user_id):
        raise InvalidValue("a user id holds no control characters", "user_id")


def ssi(user_id: str, domain: str) -> str:
    """Write the service specific identifier of a provider's user as an `im:` URI (draft §8.2, RFC 3860)."""
    return f"im:{quote(user_id, safe='')}@{domain}"
