"""Every struct: what is encoded is decoded, what is decoded is encoded, and no other bytes are taken."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib.errors import DecodeError
from chalicelib.protocol.delivery.messages import BODIES, ROUTES, DSMessage, DSRequest, DSRequestType, DSSenderID
from chalicelib.protocol.delivery.parts import (
    BodyReference,
    Freshness,
    Reference,
    encode_signature,
    read_domain,
    read_option,
    read_signature,
    read_url,
)
from chalicelib.protocol.delivery.queue_requests import QSMessage, QSRequest, QSRequestType
from chalicelib.protocol.delivery.queueing import Delivery, EnqueueRequest, EnqueueResponse
from chalicelib.protocol.delivery.responses import ANSWERS, DSError, DSResponse
from chalicelib.protocol.delivery.sealed import Sealed
from chalicelib.protocol.tls import decode, opaque, uint16, uint32, uint64
from tests.protocol.delivery import strategies
from tests.protocol.delivery.strategies import STRUCTS
from tests.protocol.one_encoding import has_no_encoding_for_a_part, has_no_second_encoding, is_decoded_again

quick = settings(max_examples=40, suppress_health_check=list(HealthCheck), deadline=None)
EVERY = {**STRUCTS, **strategies.BODIES, **strategies.ANSWERS}
EMPTY = {"Ok"}


def test_there_are_values_of_every_request_and_answer() -> None:
    assert set(strategies.BODIES) == set(BODIES.values())
    assert set(strategies.ANSWERS) == set(ANSWERS.values())


@pytest.mark.parametrize("struct", EVERY, ids=lambda struct: struct.__name__)
def test_what_is_encoded_is_decoded(struct: Any) -> None:
    is_decoded_again(struct, EVERY[struct], quick)


@pytest.mark.parametrize("struct", EVERY, ids=lambda struct: struct.__name__)
def test_no_part_of_an_encoding_is_one(struct: Any) -> None:
    has_no_encoding_for_a_part(struct, EVERY[struct], settings(quick, max_examples=8))


@pytest.mark.parametrize("struct", [one for one in EVERY if one.__name__ not in EMPTY], ids=lambda one: one.__name__)
def test_a_changed_byte_is_refused_or_encoded_again_as_it_is(struct: Any) -> None:
    has_no_second_encoding(struct, EVERY[struct], quick)


@quick
@given(strategies.ds_message, st.one_of(*strategies.QUEUEING.values()))
def test_what_is_read_in_the_middle_of_something_keeps_its_own_bytes(message: DSMessage, other: Any) -> None:
    reader_data = opaque(b"before") + message.encode() + other.encode()

    def read(reader: Any) -> tuple[bytes, DSMessage, Any]:
        return reader.opaque(), DSMessage.read(reader), type(other).read(reader)

    _, found, after = decode(read, reader_data)
    assert found.signed == message.signed
    assert after.encode() == other.encode()


def test_request_types_have_their_numbers_and_routes() -> None:
    assert {request_type.route: int(request_type) for request_type in DSRequestType} == {
        "create-group": 0,
        "delete-group": 1,
        "update-queue-info": 2,
        "welcome-info": 3,
        "external-commit-info": 4,
        "add-users": 5,
        "remove-users": 6,
        "add-clients": 7,
        "remove-clients": 8,
        "update-client": 9,
        "resync-client": 10,
        "send-message": 11,
        "request-group-id": 12,
        "self-remove": 13,
        "join-by-external-commit": 14,
        "key-packages": 15,
        "public-key": 16,
        "submit-proposals": 17,
        "commit": 18,
        "publish-key-packages": 19,
        "upload": 20,
        "close-group": 21,
    }
    assert ROUTES["send-message"] is DSRequestType.SEND_MESSAGE
    assert {request_type.name: int(request_type) for request_type in QSRequestType} == {
        "CREATE_QUEUE": 0,
        "FETCH": 1,
        "ACKNOWLEDGE": 2,
        "DELETE_QUEUE": 3,
        "UPDATE_QUEUE": 4,
    }


@pytest.mark.parametrize("request_type", DSRequestType)
def test_a_request_begins_with_its_type(request_type: DSRequestType) -> None:
    @settings(quick, max_examples=5)
    @given(strategies.BODIES[BODIES[request_type]])
    def check(body: Any) -> None:
        request = DSRequest(body)
        assert request.request_type is request_type
        assert request.encode() == bytes([request_type]) + body.encode()

    check()


FRESH = uint64(1) + b"n" * 16


@pytest.mark.parametrize(
    ("read", "encoded"),
    [
        (DSRequest.read, "16"),
        (DSRequest.read, "ff"),
        (QSRequest.read, "05"),
        (DSSenderID.read, "0300000000"),
        (DSResponse.read, "0001" + "00" * 32 + "09"),
        (DSResponse.read, "0002" + "00" * 32 + "00"),
        (DSResponse.read, "0000" + "00" * 32 + "00"),
        (DSResponse.read, "0001" + "00" * 32 + "0203"),
        (DSError.read, "0000" + "00" * 14),
        (DSError.read, "000d" + "00" * 14),
        (DSError.read, "0001" + "01ff" + "00" * 13),
        (EnqueueResponse.read, "0105"),
        (read_option, "0200"),
        (Delivery.read, "020000"),
    ],
)
def test_what_is_not_defined_is_refused(read: Any, encoded: str) -> None:
    with pytest.raises(DecodeError, match=r"unknown value|another version|not ASCII|neither"):
        decode(read, bytes.fromhex(encoded))


@pytest.mark.parametrize("name", [b"", b"a" * 256, b"a b", "ü.example".encode(), b"a\x00", b"a\x7f", b"a\n"])
def test_a_domain_is_plain_ascii(name: bytes) -> None:
    with pytest.raises(DecodeError, match="visible ASCII"):
        decode(read_domain, opaque(name))
    with pytest.raises(DecodeError, match="visible ASCII"):
        decode(Freshness.read, FRESH + opaque(name))


def test_the_longest_domain_is_taken() -> None:
    assert decode(read_domain, opaque(b"a" * 255)) == "a" * 255


def test_a_url_has_an_end() -> None:
    assert len(decode(read_url, opaque(b"a" * 8192))) == 8192
    with pytest.raises(DecodeError, match="URL"):
        decode(read_url, opaque(b"a" * 8193))


def test_a_nonce_has_sixteen_bytes() -> None:
    assert decode(Freshness.read, FRESH + opaque(b"a")).nonce == b"n" * 16


def test_a_signature_has_one_byte_of_length() -> None:
    assert encode_signature(b"s" * 200) == bytes([200]) + b"s" * 200
    assert decode(read_signature, b"\xff" + b"s" * 255) == b"s" * 255
    # The same signature with a length as RFC 9420 writes it.
    with pytest.raises(DecodeError):
        decode(read_signature, opaque(b"s" * 200))
    with pytest.raises(ValueError, match="255"):
        encode_signature(b"s" * 256)


@pytest.mark.parametrize("last_resort", [2, 255])
def test_a_last_resort_is_one_or_is_none(last_resort: int) -> None:
    @settings(quick, max_examples=5)
    @given(strategies.add_package)
    def check(package: Any) -> None:
        encoded = package.encode()
        place = len(package.signed) - 1
        with pytest.raises(DecodeError, match="last_resort"):
            decode(type(package).read, encoded[:place] + bytes([last_resort]) + encoded[place + 1 :])

    check()


@pytest.mark.parametrize("present", [2, 255])
def test_a_state_key_is_there_or_not(present: int) -> None:
    @settings(quick, max_examples=5)
    @given(strategies.group_update)
    def check(update: Any) -> None:
        with pytest.raises(DecodeError, match="optional"):
            decode(BODIES[DSRequestType.UPDATE_CLIENT].read, update.encode() + bytes([present]))

    check()


@pytest.mark.parametrize("size", [0, 47])
def test_what_is_too_short_to_have_been_sealed_is_refused(size: int) -> None:
    with pytest.raises(DecodeError, match="shorter"):
        decode(Sealed.read, uint32(1) + opaque(bytes(size)))


@pytest.mark.parametrize("size", [0, 15, 17])
def test_a_queue_id_has_sixteen_bytes(size: int) -> None:
    with pytest.raises(DecodeError, match="16 bytes"):
        decode(QSMessage.read, opaque(bytes(size)) + b"\x03" + FRESH + b"\x01a" + b"\x00")


@pytest.mark.parametrize(("before", "seq"), [(1, 1), (2, 1), (0, 0)])
def test_a_stream_goes_forward(before: int, seq: int) -> None:
    encoded = b"\x01a" + b"\x01g" + uint32(0) + uint64(before) + uint64(seq) + uint64(0) + b"\x00"
    with pytest.raises(DecodeError, match="not greater"):
        decode(EnqueueRequest.read, encoded)


def test_a_reference_is_told_from_what_stands_inline() -> None:
    assert decode(read_option, b"\x00\x01t") == b"t"
    assert decode(read_option, b"\x01\x01u" + b"d" * 32 + uint64(7)) == Reference("u", b"d" * 32, 7)
    assert decode(Delivery.read, b"\x00\x01m\x00") == Delivery(b"m", ())
    assert decode(Delivery.read, b"\x01" + b"d" * 32 + uint64(7) + b"\x00") == Delivery(BodyReference(b"d" * 32, 7), ())


def test_an_error_is_two_bytes_of_code_and_the_facts() -> None:
    error = DSError.read
    encoded = uint16(4) + b"\x00" + uint64(9) + uint32(0) + b"\x00"
    assert decode(error, encoded).current_epoch == 9
