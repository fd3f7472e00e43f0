"""Identifiers in their one canonical form: two spellings of one address meet in it, two addresses never."""

import string
import unicodedata
from urllib.parse import quote, unquote

import phonenumbers
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from chalicelib.errors import InvalidIdentifier, InvalidValue
from chalicelib.protocol.glados.identifiers import check_reachable, check_user_id, parse_sii, phone_region, ssi

MOBILE = phonenumbers.PhoneNumberType.MOBILE


def example_mobiles() -> list[phonenumbers.PhoneNumber]:
    """Return the example mobile number of every region that the library knows."""
    found = (phonenumbers.example_number_for_type(region, MOBILE) for region in phonenumbers.SUPPORTED_REGIONS)
    return [number for number in found if number is not None]


def written(number: phonenumbers.PhoneNumber, how: int) -> str:
    return str(phonenumbers.format_number(number, how))


E164 = phonenumbers.PhoneNumberFormat.E164
INTERNATIONAL = phonenumbers.PhoneNumberFormat.INTERNATIONAL
MOBILES = sorted({written(number, E164) for number in example_mobiles()})

# Letters that lower-case, fold, compose or decompose into others, and those that a URI writes with care.
LETTERS = string.ascii_letters + string.digits + "!#$%&'*+/=^_`{|}~-." + "ſßıİ\u212aÅé\u0301ÉñΣσςﬁ"


@st.composite
def spelled_numbers(draw: st.DrawFn) -> str:
    """Draw a real number with separators strewn in."""
    number = draw(st.sampled_from(MOBILES))
    seasoned = "".join(digit + draw(st.sampled_from(["", "", "", " ", ".", "-"])) for digit in number[1:])
    return f"tel:+{seasoned[: draw(st.integers(len(number) - 2, 31))]}"


@st.composite
def spelled_addresses(draw: st.DrawFn) -> str:
    """Draw a mail address, some of its letters percent-escaped, in a URI."""
    local = draw(st.text(LETTERS, min_size=1, max_size=12))
    domain = draw(st.sampled_from(["example.org", "EXAMPLE.org", "bücher.example.org", "xn--bcher-kva.example.org"]))
    escaped = quote(local, safe=draw(st.sampled_from(["", string.ascii_letters, LETTERS.replace("%", "")])))
    return f"{draw(st.sampled_from(['mailto:', 'MailTo:']))}{escaped}@{domain}"


@given(spelled_numbers() | spelled_addresses())
@example("mailto:mi\u212ae@example.org")
@example("mailto:100%25@example.org")
@example("mailto:x%2541@example.org")
def test_the_canonical_form_of_the_canonical_form_is_itself(text: str) -> None:
    try:
        sii = parse_sii(text)
    except InvalidIdentifier:
        assume(False)
    assert parse_sii(sii.uri) == sii


@given(spelled_numbers())
def test_a_number_keeps_every_digit_in_its_place(text: str) -> None:
    """So canonical(x) = canonical(y) only where the same digits were dialled."""
    try:
        sii = parse_sii(text)
    except InvalidIdentifier:
        assume(False)
    assert sii.address == "+" + "".join(letter for letter in text if letter.isdigit())


@given(spelled_addresses())
def test_of_a_local_part_only_the_letters_a_to_z_are_folded(text: str) -> None:
    try:
        sii = parse_sii(text)
    except InvalidIdentifier:
        assume(False)
    typed, _, _ = unquote(text.partition(":")[2]).rpartition("@")
    kept, _, _ = sii.address.rpartition("@")
    for before, after in zip(unicodedata.normalize("NFC", typed), kept, strict=True):
        assert after == (before.lower() if before in string.ascii_uppercase else before)


@pytest.mark.parametrize("number", example_mobiles(), ids=lambda number: written(number, E164))
def test_every_regions_example_mobile_is_canonical_and_reachable(number: phonenumbers.PhoneNumber) -> None:
    sii = parse_sii(f"tel:{written(number, INTERNATIONAL)}")
    assert sii.uri == f"tel:{written(number, E164)}"
    check_reachable(sii)


def test_there_are_example_mobiles_of_over_two_hundred_regions() -> None:
    assert len(MOBILES) > 200


@pytest.mark.parametrize(
    "text",
    [
        "tel:+1800FLOWERS",
        "tel:+49 30 123456;ext=5",
        "tel:+49 30 123456 ext 5",
        "tel:+49 30 123456#5",
        "tel:+４９３０１２３４５６",
        "tel:+\u0664\u0669301234567",
        "tel:call +4930123456",
        "tel:+4930123456 (office)",
        "tel:+44 (0)20 7946 0018",
        "tel:+44 ( 0 )20 7946 0018",
        "tel:+39 (0)6 1234 5678",
        "tel:+44020 7946 0018",
        "tel:+49 0 30 123456",
        "tel:030 123456",
        "tel:0049 30 123456",
        "tel:++4930123456",
        "tel:+4930123456\n",
        "tel:+49\t30123456",
        "tel:+4930123456%20",
        "tel:",
        "tel:+",
        "tel:+1",
        "tel:+999123456789",
        "tel:+1 253 222 11111",
        "tel:+49" + "1" * 30,
        "4930123456",
        "+4930123456",
        "sip:+4930123456@example.org",
        "ＴＥＬ:+4930123456",
        "",
    ],
)
def test_what_only_looks_like_a_number_is_refused(text: str) -> None:
    with pytest.raises(InvalidIdentifier) as refused:
        parse_sii(text)
    assert refused.value.field == "sii"


@pytest.mark.parametrize(
    "text",
    [
        "mailto:",
        "mailto:alice",
        "mailto:alice@",
        "mailto:@example.org",
        "mailto:alice@bob@example.org",
        "mailto:alice@example.org,bob@example.org",
        "mailto:alice@example.org;bob@example.org",
        "mailto:alice@example.org?subject=hello",
        "mailto:alice%3Fsubject@example.org",
        "mailto:alice%00@example.org",
        "mailto:alice%0D%0A@example.org",
        "mailto:alice%7F@example.org",
        "mailto:alice\u200d@example.org",
        "mailto:alice\u202e@example.org",
        "mailto:alice%@example.org",
        "mailto:alice%4@example.org",
        "mailto:alice%zz@example.org",
        "mailto:alice%ff@example.org",
        "mailto:\ud800@example.org",
        "mailto: alice@example.org",
        "mailto:alice @example.org",
        'mailto:"alice"@example.org',
        "mailto:Alice <alice@example.org>",
        "mailto:alice@[192.0.2.1]",
        "mailto:alice@localhost",
        "mailto:alice@example.org.",
        "mailto:alice@-example.org",
        "mailto:.alice@example.org",
        "mailto:alice..bob@example.org",
        "mailto:a\u037eb@example.org",
        "mailto:alice@" + "a" * 1_000,
    ],
)
def test_what_only_looks_like_a_mail_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidIdentifier) as refused:
        parse_sii(text)
    assert refused.value.field == "sii"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("mailto:boss@example.org", "mailto:boſs@example.org"),
        ("mailto:boss@example.org", "mailto:boß@example.org"),
        ("mailto:file@example.org", "mailto:ﬁle@example.org"),
        ("mailto:istanbul@example.org", "mailto:İstanbul@example.org"),
        ("mailto:é@example.org", "mailto:É@example.org"),
        ("mailto:alice@example.org", "mailto:alice+spam@example.org"),
        ("mailto:alice@example.org", "mailto:a.lice@example.org"),
        ("mailto:x%2541@example.org", "mailto:xa@example.org"),
    ],
)
def test_two_mailboxes_never_become_one(one: str, other: str) -> None:
    assert parse_sii(one) != parse_sii(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tel:+49 (30) 123-456", "TEL:+4930123456"),
        ("mailto:Alice@example.org", "mailto:aLICE@Example.ORG"),
        ("mailto:alice%40example.org", "mailto:alice@example.org"),
        ("mailto:%61lice@example.org", "mailto:alice@example.org"),
        ("mailto:e\u0301@example.org", "mailto:\u00e9@example.org"),
        ("mailto:%c3%a9@example.org", "mailto:é@example.org"),
        ("mailto:alice@bücher.example.org", "mailto:alice@xn--bcher-kva.example.org"),
        ("mailto:alice@BÜCHER.example.org", "mailto:alice@bücher.example.org"),
    ],
)
def test_two_spellings_of_one_address_are_one_identifier(one: str, other: str) -> None:
    assert parse_sii(one) == parse_sii(other)


def test_a_code_goes_to_the_address_and_not_to_its_escaped_form() -> None:
    assert parse_sii("mailto:100%25@example.org").address == "100%@example.org"
    assert parse_sii("tel:+49 30 123456").address == "+4930123456"


@pytest.mark.parametrize("text", ["tel:+4930123456", "tel:+18002345678", "mailto:é@example.org"])
def test_what_no_message_of_ours_reaches_may_be_asked_for_but_not_proved(text: str) -> None:
    sii = parse_sii(text)
    with pytest.raises(InvalidIdentifier):
        check_reachable(sii)


def test_a_mail_address_in_ascii_is_reachable() -> None:
    check_reachable(parse_sii("mailto:alice@bücher.example.org"))


@pytest.mark.parametrize(("number", "region"), [("+4930123456", "DE"), ("+80012345678", "001"), ("+12530000", "ZZ")])
def test_a_number_belongs_to_its_region(number: str, region: str) -> None:
    assert phone_region(parse_sii(f"tel:{number}")) == region


def test_only_the_numbers_kept_for_drama_are_test_numbers() -> None:
    assert parse_sii("tel:+44 7700 900123").is_test_number
    assert not parse_sii("tel:+44 7700 901123").is_test_number
    assert not parse_sii("mailto:+447700900123@example.org").is_test_number


@pytest.mark.parametrize("text", ["tel:+4930123456", "mailto:alice@example.org"])
def test_a_traceback_does_not_tell_whose_identifier_it_was(text: str) -> None:
    sii = parse_sii(text)
    assert sii.address not in repr(sii)


@pytest.mark.parametrize("user_id", ["a", "u" * 256, "é" * 128, "a b", "🙂"])
def test_a_user_id_is_whatever_its_provider_likes(user_id: str) -> None:
    check_user_id(user_id)


@pytest.mark.parametrize("user_id", ["", "u" * 257, "é" * 129, "a\n", "\x00", "a\x7f", "a\x85", "\ud800"])
def test_a_user_id_that_is_empty_long_or_unprintable_is_refused(user_id: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        check_user_id(user_id)
    assert refused.value.field == "user_id"


@given(st.text(min_size=1))
def test_an_ssi_holds_the_user_id_whole(user_id: str) -> None:
    scheme, _, rest = ssi(user_id, "alpha.example").partition(":")
    user, at, domain = rest.partition("@")
    assert (scheme, at, domain) == ("im", "@", "alpha.example")
    assert unquote(user) == user_id
    assert user.isascii()
