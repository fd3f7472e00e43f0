"""Which identifiers the benchmarks use."""

MOST_MAPPED = 10_000_000


def mapped(number: int) -> str:
    """Return the canonical identifier of one of up to ten million mappings: a German mobile number."""
    if not 0 <= number < MOST_MAPPED:
        raise ValueError(f"there are {MOST_MAPPED} numbers")
    return f"tel:+49151{10_000_000 + number}"
