"""`Keyring`: keys that come out the same, one for each purpose, and ids that open for their provider alone."""

from collections.abc import Sequence

import pytest

from chalicelib.protocol.glados.identifiers import Sii
from chalicelib.protocol.glados.mappings import MappingId
from chalicelib.protocol.signed import TYPS, Typ, read_jwk, sign, verify
from tests.contracts.examples import ALICE, BOB, NOW
from tests.contracts.ports import Ports

FRESH, OTHER = bytes(16), bytes([1]) * 16


@pytest.mark.parametrize("typ", TYPS)
def test_what_a_key_signs_its_published_half_verifies(ports: Ports, typ: Typ) -> None:
    keys = dict(read_jwk(jwk) for jwk in ports.keyring.public_jwks(typ))
    claims = {"iss": "eu", "iat": NOW // 1000, "exp": NOW // 1000 + 60}
    token = sign(ports.keyring.signing_key(typ), typ, claims)
    assert verify(token, typ, keys, issuer="eu", audience=None, now=NOW) == claims


def test_every_purpose_has_a_key_of_its_own(ports: Ports) -> None:
    keys = [ports.keyring.signing_key(typ) for typ in TYPS]
    assert len({key.kid for key in keys}) == len(TYPS)
    assert len({key.private.private_numbers().private_value for key in keys}) == len(TYPS)


def test_the_key_of_codes_stays_the_same(ports: Ports) -> None:
    assert len(ports.keyring.code_key()) >= 32
    assert ports.keyring.code_key() == ports.keyring.code_key()


def test_a_digest_comes_out_the_same(ports: Ports) -> None:
    assert ports.keyring.digest("id", "alpha", b"\x00") == ports.keyring.digest("id", "alpha", b"\x00")
    assert len(ports.keyring.digest("id", "alpha")) >= 32


def test_digests_differ_by_purpose_and_by_where_the_parts_end(ports: Ports) -> None:
    questions: list[tuple[str, Sequence[str | bytes]]] = [
        ("id", ("ab", "c")),
        ("pseudonym", ("ab", "c")),
        ("id", ("a", "bc")),
        ("id", ("abc",)),
        ("id", ("ab", "c", "")),
        ("id", ("ab\x00c",)),
        ("id", ("c", "ab")),
        ("i", ("dab", "c")),
        ("id", ()),
    ]
    assert len({ports.keyring.digest(purpose, *parts) for purpose, parts in questions}) == len(questions)


@pytest.mark.parametrize("sii", [ALICE, BOB])
def test_a_mapping_id_opens_for_its_provider(ports: Ports, sii: Sii) -> None:
    assert ports.keyring.open_mapping_id("alpha", ports.keyring.mapping_id("alpha", sii, FRESH)) == sii


def test_a_mapping_id_opens_for_nobody_else(ports: Ports) -> None:
    mapping_id = ports.keyring.mapping_id("alpha", ALICE, FRESH)
    assert ports.keyring.open_mapping_id("beta", mapping_id) is None


def test_two_ids_of_one_pair_differ_and_each_comes_out_the_same(ports: Ports) -> None:
    one, two = (ports.keyring.mapping_id("alpha", ALICE, fresh) for fresh in (FRESH, OTHER))
    assert one != two
    assert one == ports.keyring.mapping_id("alpha", ALICE, FRESH)


def test_a_mapping_id_shows_nothing_of_the_identifier(ports: Ports) -> None:
    mapping_id = ports.keyring.mapping_id("alpha", ALICE, FRESH)
    assert "alice" not in mapping_id
    assert mapping_id.isascii()
    assert mapping_id.replace("_", "").replace("-", "").isalnum()


@pytest.mark.parametrize("mapping_id", ["", "map_", "map_AAAA", "nonsense", "é", "map_é", "\ud800", "map_" + "A" * 500])
def test_any_other_id_opens_for_nobody(ports: Ports, mapping_id: str) -> None:
    assert ports.keyring.open_mapping_id("alpha", MappingId(mapping_id)) is None


def test_an_id_that_was_changed_opens_for_nobody(ports: Ports) -> None:
    mapping_id = ports.keyring.mapping_id("alpha", ALICE, FRESH)
    for place in (5, len(mapping_id) // 2, len(mapping_id) - 2):
        letter = "A" if mapping_id[place] != "A" else "B"
        changed = MappingId(mapping_id[:place] + letter + mapping_id[place + 1 :])
        assert ports.keyring.open_mapping_id("alpha", changed) is None
