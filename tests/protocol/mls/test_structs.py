"""Every struct: what is encoded is decoded, what is decoded is encoded, and no other bytes are taken."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from chalicelib.errors import DecodeError
from chalicelib.protocol.mls.framing import FramedContent, Sender, SenderType, decode_message
from chalicelib.protocol.mls.nodes import LeafNode
from chalicelib.protocol.mls.proposals import PROPOSALS, read_proposal
from chalicelib.protocol.tls import Reader, decode, uint16
from tests.protocol.mls.story import Story
from tests.protocol.mls.strategies import STRUCTS, leaf_node
from tests.protocol.one_encoding import has_no_encoding_for_a_part, has_no_second_encoding, is_decoded_again

quick = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_what_is_encoded_is_decoded(struct: Any) -> None:
    is_decoded_again(struct, STRUCTS[struct], quick)


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_no_part_of_an_encoding_is_one(struct: Any) -> None:
    has_no_encoding_for_a_part(struct, STRUCTS[struct], settings(quick, max_examples=15))


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_a_changed_byte_is_refused_or_encoded_again_as_it_is(struct: Any) -> None:
    has_no_second_encoding(struct, STRUCTS[struct], quick)


@quick
@given(leaf_node)
def test_signed_bytes_are_kept_as_they_were_received(leaf: LeafNode) -> None:
    encoded = leaf.encode()
    reader = Reader(b"before" + encoded + b"after")
    reader.position = 6
    decoded = LeafNode.read(reader)
    assert encoded.startswith(decoded.signed)
    assert decoded.signed == leaf.signed


def test_a_message_keeps_the_content_it_came_with() -> None:
    content = FramedContent(b"a group", 7, Sender(SenderType.MEMBER, 1), b"", b"data")
    assert decode(FramedContent.read, content.encode()).received == content.encode()
    commit = Story("alice", "bob").pending("bob").commit
    assert decode_message(commit.encode()) == commit


@pytest.mark.parametrize("number", [0, 11, 0x0A0A, 0xFFFF])
def test_a_proposal_of_an_unknown_type_cannot_be_read(number: int) -> None:
    with pytest.raises(DecodeError, match="not known here"):
        decode(read_proposal, uint16(number) + bytes(40))


def test_the_registry_says_what_may_come_from_outside_and_what_needs_a_path() -> None:
    assert {number for number, kind in PROPOSALS.items() if kind.external} == {1, 3, 4, 5, 7, 8, 9}
    assert {number for number, kind in PROPOSALS.items() if kind.path_required} == {2, 3, 6, 7, 10}


@pytest.mark.parametrize(
    "encoded",
    [
        "0002000100",  # MLS 2.0
        "0001000000",  # a reserved wire format
        "00010006",  # an unknown wire format
        "00010001" + "00" + "00" * 8 + "05" + "00",  # an unknown sender type
        "00010001" + "00" + "00" * 8 + "03" + "00" + "04",  # an unknown content type
    ],
)
def test_unknown_enumerations_are_refused(encoded: str) -> None:
    with pytest.raises(DecodeError):
        decode_message(bytes.fromhex(encoded))
