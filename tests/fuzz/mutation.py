"""How bytes are changed: small edits, and lengths that lie."""

import random

LENGTHS = [
    b"\x00",
    b"\x3f",
    b"\x40\x00",
    b"\x40\x40",
    b"\x7f\xff",
    b"\x80\x00\x40\x00",
    b"\xbf\xff\xff\xff",
    b"\xc0",
    b"\xff\xff\xff\xff",
]


def mutate(source: random.Random, corpus: list[bytes]) -> bytes:
    """Return a changed copy of something in the corpus."""
    data = bytearray(source.choice(corpus))
    for _ in range(source.choice([1, 1, 2, 4, 8])):
        at = source.randrange(len(data) + 1)
        match source.randrange(7):
            case 0:
                data[at : at + 1] = bytes([source.randrange(256)])
            case 1 if data:
                place = source.randrange(len(data))
                data[place] ^= 1 << source.randrange(8)
            case 2:
                del data[at : at + source.randint(1, 16)]
            case 3:
                data[at:at] = source.randbytes(source.randint(1, 16))
            case 4:
                size = source.randint(1, 64)
                data[at:at] = data[at : at + size]
            case 5:
                lie = source.choice(LENGTHS)
                data[at : at + len(lie)] = lie
            case _:
                other = source.choice(corpus)
                start = source.randrange(len(other) + 1)
                data[at:] = other[start:]
    return bytes(data)
