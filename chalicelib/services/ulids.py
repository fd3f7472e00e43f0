"""Ids that sort by time: 48 bits of milliseconds, then 80 unpredictable ones (the ULID layout)."""

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LENGTH = 26
_TIME_LENGTH = 10


def ulid(now: int, entropy: bytes) -> str:
    """Return 26 characters from the time in milliseconds and 10 bytes of entropy."""
    value = now << 80 | int.from_bytes(entropy[:10], "big")
    return "".join(_ALPHABET[value >> shift & 31] for shift in range(5 * (_LENGTH - 1), -1, -5))


def time_of(identity: str) -> int | None:
    """Return the time in milliseconds of an id, or None for anything that is not one."""
    if len(identity) != _LENGTH or not set(identity) <= set(_ALPHABET) or identity[0] > "7":
        return None
    moment = 0
    for character in identity[:_TIME_LENGTH]:
        moment = moment << 5 | _ALPHABET.index(character)
    return moment


def earliest(moment: int) -> str:
    """Return the lowest id of a time in milliseconds."""
    return ulid(moment, bytes(10))
