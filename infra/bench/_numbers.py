"""Which identifiers the benchmarks use."""

import itertools
from collections.abc import Iterator

import phonenumbers
from phonenumbers import PhoneNumberFormat, PhoneNumberType

MOST_MAPPED = 10_000_000
A_REGION = 1_000
SMS_TYPES = (PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE)


def mapped(number: int) -> str:
    """Return the canonical identifier of one of up to ten million mappings: a German mobile number."""
    if not 0 <= number < MOST_MAPPED:
        raise ValueError(f"there are {MOST_MAPPED} numbers")
    return f"tel:+49151{10_000_000 + number}"


def mobiles() -> Iterator[str]:
    """Yield valid mobile numbers in E.164 form, each once, from one region after another.

    What may be sent to a region within minutes is bounded, so no region gets two in a row.
    """
    regions = [_of_region(region) for region in sorted(phonenumbers.SUPPORTED_REGIONS)]
    seen: set[str] = set()
    for turn in itertools.zip_longest(*regions):
        fresh = {number for number in turn if number is not None} - seen
        yield from sorted(fresh)
        seen |= fresh


def _of_region(region: str) -> Iterator[str]:
    """Yield numbers around a region's example of a mobile number."""
    example = phonenumbers.example_number_for_type(region, PhoneNumberType.MOBILE)
    if example is None or example.national_number is None:
        return
    first = example.national_number // A_REGION * A_REGION
    zero = example.italian_leading_zero
    for national in range(first, first + A_REGION):
        number = phonenumbers.PhoneNumber(example.country_code, national, italian_leading_zero=zero)
        written = phonenumbers.format_number(number, PhoneNumberFormat.E164)
        if not phonenumbers.is_valid_number(number) or phonenumbers.region_code_for_number(number) != region:
            continue
        # Ofcom's numbers for drama get no text: their code is prescribed.
        if phonenumbers.number_type(number) in SMS_TYPES and not written.startswith("+447700900"):
            yield written
