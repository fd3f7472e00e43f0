"""Cipher suites: labels, signatures and references that verify, and their failures, which raise."""

import pytest

from chalicelib.protocol.crypto import (
    CIPHER_SUITES,
    InvalidSignature,
    UnsupportedCipherSuite,
    cipher_suite,
)

SUITES = sorted(CIPHER_SUITES)


def private_key(number: int) -> bytes:
    return bytes(range(1, 1 + {4: 57, 6: 57, 5: 66, 7: 48}.get(number, 32)))


@pytest.mark.parametrize("number", SUITES)
def test_a_signature_verifies_with_its_key_label_and_content_only(number: int) -> None:
    suite = cipher_suite(number)
    key = private_key(number)
    public = suite.signatures.public_key(key)
    signature = suite.sign_with_label(key, "Label", b"content")
    suite.verify_with_label(public, "Label", b"content", signature, "a check")
    for label, content, made in (
        ("Lable", b"content", signature),
        ("Label", b"contents", signature),
        ("Label", b"content", signature[:-1]),
        ("Label", b"content", b""),
        ("Label", b"content", bytes(len(signature))),
    ):
        with pytest.raises(InvalidSignature) as caught:
            suite.verify_with_label(public, label, content, made, "a check")
        assert caught.value.facts() == {"check": "a check"}


@pytest.mark.parametrize("number", SUITES)
def test_what_is_no_key_verifies_nothing(number: int) -> None:
    suite = cipher_suite(number)
    signature = suite.sign_with_label(private_key(number), "Label", b"content")
    public = suite.signatures.public_key(private_key(number))
    for key in (b"", public[:-1], public + b"\x00", bytes(len(public)), b"\xff" * len(public)):
        with pytest.raises(InvalidSignature):
            suite.verify_with_label(key, "Label", b"content", signature, "a check")


@pytest.mark.parametrize("number", SUITES)
def test_a_key_that_can_be_read_is_told_from_what_is_none(number: int) -> None:
    suite = cipher_suite(number)
    public = suite.signatures.public_key(private_key(number))
    suite.check_signature_key(public)
    for key in (b"", public[:-1], public + b"\x00"):
        with pytest.raises(ValueError):  # noqa: PT011 (cryptography's words are its own)
            suite.check_signature_key(key)


@pytest.mark.parametrize("number", [2, 5, 7])
def test_a_point_has_one_form(number: int) -> None:
    suite = cipher_suite(number)
    public = suite.signatures.public_key(private_key(number))
    half = (len(public) - 1) // 2
    compressed = bytes([2 + public[-1] % 2]) + public[1 : 1 + half]
    signature = suite.sign_with_label(private_key(number), "Label", b"content")
    with pytest.raises(InvalidSignature):
        suite.verify_with_label(compressed, "Label", b"content", signature, "a check")
    suite.check_encryption_key(public)
    with pytest.raises(ValueError, match="uncompressed"):
        suite.check_encryption_key(compressed)


@pytest.mark.parametrize("number", [0, 8, 0x0A0A, 0xFFFF])
def test_an_unknown_suite_is_refused_by_number(number: int) -> None:
    with pytest.raises(UnsupportedCipherSuite) as caught:
        cipher_suite(number)
    assert caught.value.facts() == {"cipher_suite": number, "check": "mls-5.1-1"}


def test_the_suites_are_the_seven_of_the_rfc_and_one_of_private_use() -> None:
    assert SUITES == [1, 2, 3, 4, 5, 6, 7, 0xF057]
    assert [cipher_suite(number).hash_size for number in SUITES] == [32, 32, 32, 64, 64, 64, 48, 32]
