"""The state of a sealed group opens with its key, for its group and its version, and shows hardly its size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.protocol.delivery.errors import CannotOpen
from chalicelib.protocol.delivery.sealed_state import NONCE_SIZE, SMALLEST, open_state, seal_state

KEY, GROUP, NONCE = bytes(range(32)), b"a group", bytes(NONCE_SIZE)
OVERHEAD = 1 + NONCE_SIZE + 16


@given(st.binary(max_size=40_000), st.binary(min_size=1, max_size=40), st.integers(0, 2**64 - 1))
def test_what_was_sealed_opens(content: bytes, group_id: bytes, version: int) -> None:
    sealed = seal_state(KEY, group_id, version, NONCE, content)
    assert open_state(KEY, group_id, version, sealed) == content


@pytest.mark.parametrize(
    ("key", "group_id", "version"),
    [
        (bytes(32), GROUP, 7),
        (KEY[:31], GROUP, 7),
        (KEY + b"\x00", GROUP, 7),
        (b"", GROUP, 7),
        (KEY, b"another group", 7),
        (KEY, GROUP + b"\x00", 7),
        (KEY, GROUP, 8),
        (KEY, GROUP, 6),
    ],
)
def test_it_opens_nowhere_else(key: bytes, group_id: bytes, version: int) -> None:
    sealed = seal_state(KEY, GROUP, 7, NONCE, b"content")
    with pytest.raises(CannotOpen):
        open_state(key, group_id, version, sealed)


@pytest.mark.parametrize("place", [0, 1, 12, 13, 5_000, -1])
def test_a_changed_byte_is_seen(place: int) -> None:
    sealed = bytearray(seal_state(KEY, GROUP, 7, NONCE, b"content"))
    sealed[place] ^= 1
    with pytest.raises(CannotOpen):
        open_state(KEY, GROUP, 7, bytes(sealed))


@pytest.mark.parametrize("length", [0, 1, 13, 28, 40])
def test_what_is_cut_short_does_not_open(length: int) -> None:
    with pytest.raises(CannotOpen):
        open_state(KEY, GROUP, 7, seal_state(KEY, GROUP, 7, NONCE, b"content")[:length])


def test_each_group_and_version_has_a_key_of_its_own() -> None:
    sealed = {
        seal_state(KEY, group_id, version, NONCE, b"content")[1 + NONCE_SIZE :][:100]
        for group_id in (GROUP, b"another group")
        for version in range(5)
    }
    assert len(sealed) == 10


@pytest.mark.parametrize(
    ("length", "size"),
    [(0, SMALLEST), (SMALLEST - 2, SMALLEST), (SMALLEST - 1, 2 * SMALLEST), (2 * SMALLEST - 4, 2 * SMALLEST)],
)
def test_sizes_are_powers_of_two(length: int, size: int) -> None:
    assert len(seal_state(KEY, GROUP, 7, NONCE, bytes(length))) == size + OVERHEAD
